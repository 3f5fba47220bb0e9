use super::*;
use crate::judge::{Seen, judge};
use crate::policy::Listed;
use crate::protocol::{Act, Environment, Limits, Request};
use std::collections::BTreeMap;

pub(in crate::judge) fn container() -> Container {
    Container {
        image: "registry.example.com/shop:1.2".into(),
        command: vec!["server".into()],
        user: None,
        folder: None,
        env: Environment::default(),
        limits: Limits::default(),
        mounts: vec!["/opt/shop/data".into()],
        log_bytes_max: 1 << 20,
        log_files_max: 3,
        log_compress: false,
        stop_signal: "SIGTERM".into(),
        grace_ms: 1_000,
        made_from: "00ff".into(),
    }
}

fn start(container: Container) -> Act {
    Act::StartContainer { name: "hostler-shop-0".into(), container }
}

fn stop(name: &str) -> Act {
    Act::StopContainer { name: name.into(), signal: "SIGTERM".into(), grace_ms: 0 }
}

fn mounted(path: &str) -> Act {
    start(Container { mounts: vec![path.into()], ..container() })
}

fn list(values: &[&str]) -> Option<Listed> {
    Some(Listed { values: values.iter().map(|&value| value.into()).collect(), line: 3 })
}

fn verdict(policy: &Policy, act: Act) -> String {
    let request = Request { id: 5, expires_at_ms: 2000, act };
    match judge(policy, &request, Seen { last_id: 4, now_ms: 1000 }) {
        Ok(()) => "allowed".into(),
        Err(refusal) => format!("{}: {}", refusal.rule, refusal.words),
    }
}

#[test]
fn refusals_as_people_read_them() {
    let operate = Policy::of(Profile::Operate, "the default");
    let narrow = Policy {
        images: list(&["registry.example.com/*"]),
        units: list(&["hostler-shop-*"]),
        users: list(&["shop"]),
        ..operate.clone()
    };
    let only_commands = Policy { commands: list(&["/opt/shop/bin/*"]), ..operate.clone() };
    let other = |name: &str| start(Container { image: name.into(), ..container() });
    let shown = [
        verdict(&Policy::of(Profile::Watch, "the default"), start(container())),
        verdict(&narrow, other("docker.io/library/nginx:1")),
        verdict(&narrow, Act::PullImage { image: "nginx:1".into() }),
        verdict(&narrow, stop("hostler-web-0")),
        verdict(&narrow, start(Container { user: Some("ann".into()), ..container() })),
        verdict(&only_commands, start(container())),
        verdict(&operate, mounted("/var/lib")),
        verdict(&operate, mounted("/run/docker.sock")),
        verdict(&operate, mounted("/root/.docker")),
        verdict(&Policy::of(Profile::Full, "the default"), mounted("/etc/hostler/keys")),
        verdict(&operate, stop("database")),
        verdict(&operate, stop("hostler-shop-0/../x")),
        verdict(&operate, other("shop?tag=1")),
    ];
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn what_is_allowed() {
    let operate = Policy::of(Profile::Operate, "the default");
    let watch = Policy::of(Profile::Watch, "the default");
    let narrow = Policy {
        images: list(&["registry.example.com/*"]),
        commands: list(&["/opt/shop/bin/*"]),
        paths: list(&["/opt/shop/**"]),
        units: list(&["hostler-shop-*"]),
        ..operate.clone()
    };
    let inspect = Act::InspectContainer { name: "hostler-shop-0".into() };
    let tail = Act::ContainerTail { name: "hostler-shop-0".into(), lines: 50 };
    for user in [None, Some("shop"), Some("1000"), Some("1000:1000"), Some("root")] {
        let user = user.map(str::to_owned);
        assert_eq!(verdict(&operate, start(Container { user, ..container() })), "allowed");
    }
    for act in [start(container()), stop("hostler-shop-0"), inspect.clone(), tail.clone()] {
        assert_eq!(verdict(&narrow, act.clone()), "allowed", "{act:?}");
    }
    for act in [inspect, tail] {
        assert_eq!(verdict(&watch, act.clone()), "allowed", "{act:?}");
    }
}

#[test]
fn what_means_nothing_is_malformed() {
    let full = Policy::of(Profile::Full, "the default");
    for name in ["", "hostler-", "hostler-shop", "hostler-shop-", "hostler--0", "hostler-Shop-0", "hostler-shop-0 "] {
        assert!(verdict(&full, stop(name)).starts_with("malformed: "), "{name}");
    }
    for image in ["", "/shop", "shop:", "a b", "a//b", "a/../b", "shop%2f"] {
        assert!(verdict(&full, Act::PullImage { image: image.into() }).starts_with("malformed: "), "{image}");
    }
    let wrong = [
        Container { user: Some("1000:".into()), ..container() },
        Container { user: Some("Ann".into()), ..container() },
        Container { folder: Some("opt".into()), ..container() },
        Container { mounts: vec!["/a/../b".into()], ..container() },
        Container { stop_signal: "TERM".into(), ..container() },
        Container { log_files_max: 0, ..container() },
        Container { made_from: "a b".into(), ..container() },
        Container { command: vec!["a\0b".into()], ..container() },
        Container { env: Environment(BTreeMap::from([("A=B".into(), String::new())])), ..container() },
        Container { limits: Limits { cpu: Some(0.0), ..Limits::default() }, ..container() },
    ];
    for container in wrong {
        let said = verdict(&full, start(container.clone()));
        assert!(said.starts_with("malformed: "), "{container:?}: {said}");
    }
}

#[test]
fn no_value_of_a_secret_is_shown() {
    let env = BTreeMap::from([("TOKEN".to_owned(), "hunter2".to_owned())]);
    let shown = format!("{:?}", start(Container { env: Environment(env), ..container() }));
    assert!(!shown.contains("hunter2") && shown.contains("TOKEN"), "{shown}");
}
