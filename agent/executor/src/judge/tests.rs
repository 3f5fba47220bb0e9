use super::containers::tests::container;
use super::*;
use crate::protocol::{Container, Content, Environment, Limits, LookAt};
use proptest::prelude::*;

fn policy(profile: Profile) -> Policy {
    Policy::of(profile, "the default")
}

fn list(values: &[&str]) -> Option<Listed> {
    Some(Listed { values: values.iter().map(|&value| value.into()).collect(), line: 3 })
}

fn process(user: &str) -> Process {
    Process {
        command: vec!["/opt/shop/bin/api".into()],
        user: Some(user.into()),
        folder: None,
        env: Environment::default(),
        limits: Limits::default(),
        stop_signal: "SIGTERM".into(),
        grace_ms: 1000,
        output: "/var/log/shop/api.log".into(),
        ready_notify: false,
        free: false,
    }
}

fn start(user: &str) -> Act {
    Act::StartProcess { unit: "hostler-shop-1.service".into(), process: process(user) }
}

fn restart(unit: &str) -> Act {
    Act::Restart { unit: unit.into() }
}

fn put(path: &str) -> Act {
    Act::PutFile {
        path: path.into(),
        content_base64: Content::default(),
        owner: None,
        mode: None,
        validate: None,
        user: None,
    }
}

fn write_unit(unit: &str, text: &str) -> Act {
    Act::WriteUnit { unit: unit.into(), text: text.into(), enable: false, env: Environment::default() }
}

fn look(path: &str) -> Act {
    Act::LookAtFiles { files: vec![LookAt { path: path.into(), mark: None }] }
}

fn folder(path: &str) -> Act {
    Act::MakeFolder { path: path.into(), owner: None, mode: None }
}

fn verdict(policy: &Policy, act: Act) -> String {
    let request = Request { id: 5, expires_at_ms: 2000, act };
    match judge(policy, &request, Seen { last_id: 4, now_ms: 1000 }) {
        Ok(()) => "allowed".into(),
        Err(refusal) => format!("{}: {}", refusal.rule, refusal.words),
    }
}

#[test]
fn time_and_order() {
    let check = |id, expires_at_ms, words: &str| {
        let request = Request { id, expires_at_ms, act: Act::List };
        let refusal = judge(&policy(Profile::Full), &request, Seen { last_id: 7, now_ms: 10_000 }).unwrap_err();
        assert_eq!(format!("{}: {}", refusal.rule, refusal.words), words);
    };
    check(8, 10_000, "expired: request 8 was good until 10000 ms and it is 10000: ask anew");
    check(8, 610_001, "expired: request 8 is good for 600001 ms, and may be for 600000: let it expire earlier");
    check(7, 11_000, "replayed: request 7 comes after 7: ids rise, and nothing is done twice");
    check(7, 0, "replayed: request 7 comes after 7: ids rise, and nothing is done twice");
}

#[test]
fn what_means_nothing_is_malformed() {
    let mut rooted = process("0");
    rooted.user = Some("0".into());
    let mut relative = process("shop");
    relative.command = vec!["api".into()];
    let shop = || "hostler-shop-1.service".to_owned();
    let acts = [
        restart("../nginx.service"),
        restart("nginx"),
        restart("hostler-.service"),
        restart(".service"),
        Act::StartProcess { unit: "nginx.service".into(), process: process("shop") },
        Act::StartProcess { unit: shop(), process: rooted },
        Act::StartProcess { unit: shop(), process: relative },
        put("etc/motd"),
        put("/etc/../etc/shadow"),
        put("/srv//a"),
        put("/srv/./a"),
        put("/srv/a/"),
        Act::Kill { unit: "nginx.service".into(), signal: "9".into() },
        Act::InstallPackages { names: vec!["-o=APT::Update::Pre-Invoke::=sh".into()] },
        Act::InstallPackages { names: vec!["nginx-".into()] },
        Act::DropIn { unit: "nginx.service".into(), name: "../x".into(), text: None },
        Act::MakeUser { name: "Shop:0".into(), home: None, groups: Vec::new() },
    ];
    for act in acts {
        let said = verdict(&policy(Profile::Full), act.clone());
        assert!(said.starts_with("malformed: "), "{act:?}: {said}");
    }
}

#[test]
fn refusals_as_people_read_them() {
    let operate = policy(Profile::Operate);
    let narrow = Policy {
        units: list(&["nginx.service", "hostler-*"]),
        paths: list(&["/etc/nginx/**"]),
        users: list(&["shop"]),
        packages: list(&["nginx"]),
        commands: list(&["/opt/shop/bin/*"]),
        ..operate.clone()
    };
    let mut other = process("shop");
    other.command = vec!["/bin/sh".into()];
    let shown = [
        verdict(&policy(Profile::Watch), restart("nginx.service")),
        verdict(&operate, start("root")),
        verdict(&operate, restart("ssh.service")),
        verdict(&operate, restart("hostler-agent.service")),
        verdict(&operate, write_unit("nginx.service", "")),
        verdict(&operate, put("/etc/shadow-")),
        verdict(&operate, put("/home/ann/.ssh/authorized_keys")),
        verdict(&policy(Profile::Full), put("/etc/hostler/policy.toml")),
        verdict(&operate, write_unit("hostler-a.service", "[Service]\nExecStart=/bin/sh\n")),
        verdict(&operate, write_unit("hostler-a.service", "[Service]\nUser=shop\nAmbientCapabilities=CAP_SYS_ADMIN")),
        verdict(&narrow, restart("redis.service")),
        verdict(&narrow, put("/srv/a")),
        verdict(&narrow, Act::StartProcess { unit: "hostler-a.service".into(), process: process("ann") }),
        verdict(&narrow, Act::StartProcess { unit: "hostler-a.service".into(), process: other }),
        verdict(&narrow, Act::InstallPackages { names: vec!["nginx".into(), "redis".into()] }),
        verdict(&operate, folder("/etc")),
        verdict(&operate, look("/etc/shadow")),
        verdict(&operate, look("/etc/systemd/system/ssh.service.d/a.conf")),
        verdict(&narrow, look("/srv/a")),
        verdict(&narrow, look("/etc/systemd/system/redis.service")),
        verdict(&narrow, look("/etc/systemd/system/nginx.service.d/a.conf")),
    ];
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn files_are_checked_as_their_service_or_by_what_is_known() {
    let operate = policy(Profile::Operate);
    let narrow = Policy { commands: list(&["/opt/shop/bin/*"]), ..operate.clone() };
    let check = |policy: &Policy, user: Option<&str>, words: &str| {
        let validate = Some(words.split(' ').map(str::to_owned).collect());
        let mut act = put("/etc/nginx/nginx.conf");
        if let Act::PutFile { validate: one, user: as_whom, .. } = &mut act {
            (*one, *as_whom) = (validate, user.map(str::to_owned));
        }
        verdict(policy, act)
    };
    for words in
        ["/usr/sbin/nginx -t -c ${file}", "/usr/bin/promtool check config ${file}", "/usr/sbin/named-checkconf"]
    {
        assert_eq!(check(&operate, None, words), "allowed", "{words}");
        assert!(check(&narrow, None, words).contains("is not in commands"), "{words}");
    }
    for words in ["/usr/sbin/nginx -c ${file} -t", "/srv/nginx -t", "/usr/sbin/nginx", "/bin/sh -c nginx"] {
        assert!(check(&operate, None, words).contains("checks files as root by"), "{words}");
        assert_eq!(check(&operate, Some("shop"), words), "allowed", "{words}");
        assert!(check(&operate, Some("root"), words).contains("starts nothing as root"), "{words}");
        assert_eq!(check(&policy(Profile::Full), None, words), "allowed", "{words}");
    }
    insta::assert_snapshot!(check(&operate, None, "/bin/true"));
}

#[test]
fn what_a_profile_allows() {
    let operate = policy(Profile::Operate);
    let unit = "[Unit]\nAfter=network.target\nWants=network-online.target\n[Service]\nUser=shop\nExecStart=/opt/shop/bin/api --x\nRestart=no\nStandardOutput=append:/var/log/shop/api.log\n[Install]\nWantedBy=multi-user.target\n";
    let fine = [
        start("shop"),
        restart("nginx.service"),
        write_unit("hostler-shop.service", unit),
        Act::DropIn {
            unit: "nginx.service".into(),
            name: "hostler".into(),
            text: Some("[Service]\nRestart=no\n".into()),
        },
        put("/etc/nginx/conf.d/shop.conf"),
        folder("/srv/shop"),
        Act::MakeUser { name: "shop".into(), home: Some("/srv/shop".into()), groups: vec!["adm".into()] },
        Act::InstallPackages { names: vec!["nginx".into(), "g++".into()] },
        Act::RotateOutput {
            path: "/var/log/shop/api.log".into(),
            keep: 3,
            compress: true,
            over_bytes: None,
            older_s: None,
        },
    ];
    for act in fine {
        assert_eq!(verdict(&operate, act.clone()), "allowed", "{act:?}");
    }
    let never = [
        put("/var/lib/hostler-agent/identity.json"),
        restart("hostler-agent.service"),
        restart("hostler-control-plane.service"),
        Act::DropIn { unit: "hostler-agent.service".into(), name: "a".into(), text: None },
        put("/usr/bin/hostler-agent"),
    ];
    for act in never {
        assert_ne!(verdict(&policy(Profile::Full), act.clone()), "allowed", "{act:?}");
    }
    let full_only = [
        start("root"),
        restart("systemd-journald.service"),
        Act::Start { unit: "reboot.target".into() },
        write_unit("hostler-a.service", "[Service]\nUser=shop\nExecStart=+/bin/sh"),
        write_unit("hostler-a.service", "[Service]\nUser=shop\nExecStart=/bin/a\nStandardOutput=append:/etc/cron.d/a"),
        write_unit("hostler-a.service", "[Service]\nUser=shop\nStateDirectory=hostler-agent"),
        write_unit("hostler-a.service", "[Unit]\nConflicts=ssh.service"),
        write_unit("hostler-a.service", "[Service]\nUser=sh\\\nop"),
        Act::DropIn { unit: "nginx.service".into(), name: "a".into(), text: Some("[Service]\nExecStartPre=/a".into()) },
        Act::DropIn {
            unit: "nginx.service".into(),
            name: "a".into(),
            text: Some("[Service]\nEnvironment=LD_PRELOAD=/a".into()),
        },
        put("/etc/cron.d/a"),
        put("/etc/systemd/system/a.service"),
        put("/lib64/a.so"),
        Act::MakeUser { name: "shop".into(), home: None, groups: vec!["adm".into(), "docker".into()] },
    ];
    for act in full_only {
        assert_ne!(verdict(&operate, act.clone()), "allowed", "{act:?}");
        assert_eq!(verdict(&policy(Profile::Full), act.clone()), "allowed", "{act:?}");
    }
}

#[test]
fn free_commands_are_the_hosts_own_to_allow() {
    let free = |program: &str| {
        let process = Process { command: vec![program.into(), "-h".into()], free: true, ..process("shop") };
        Act::StartProcess { unit: "hostler-task-run-5-7.0.service".into(), process }
    };
    let operate = policy(Profile::Operate);
    let listing = Policy { commands: list(&["/usr/bin/df"]), ..operate.clone() };
    insta::assert_snapshot!(verdict(&operate, free("/usr/bin/df")));
    assert_eq!(verdict(&policy(Profile::Full), free("/usr/bin/df")), "allowed");
    assert_eq!(verdict(&listing, free("/usr/bin/df")), "allowed");
    assert!(verdict(&listing, free("/bin/sh")).contains("is not in commands"));
    assert!(verdict(&policy(Profile::Watch), free("/usr/bin/df")).contains("changes nothing on this host"));
    assert_eq!(verdict(&operate, start("shop")), "allowed", "a spec's own is not free");
}

#[test]
fn a_host_is_rebooted_and_upgraded_unless_it_is_only_watched() {
    let upgrade = |security_only| Act::UpgradePackages { security_only, output: "/var/log/hostler/task.x.log".into() };
    for act in [Act::Reboot, upgrade(true), upgrade(false)] {
        assert!(verdict(&policy(Profile::Watch), act.clone()).contains("changes nothing on this host"), "{act:?}");
        assert_eq!(verdict(&policy(Profile::Operate), act.clone()), "allowed", "{act:?}");
        assert_eq!(verdict(&policy(Profile::Full), act.clone()), "allowed", "{act:?}");
    }
    let of = |packages| Policy { packages: list(packages), ..policy(Profile::Full) };
    assert!(verdict(&of(&["nginx"]), upgrade(true)).contains("package * is not in packages"));
    assert_eq!(verdict(&of(&["*"]), upgrade(true)), "allowed");
    let elsewhere = Act::UpgradePackages { security_only: true, output: "/var/log/syslog".into() };
    assert!(verdict(&policy(Profile::Full), elsewhere).starts_with("malformed: "));
}

#[test]
fn plugins_change_nothing_where_the_host_is_only_watched() {
    let act = |plugin: &str| Act::LetPlugin { plugin: plugin.into() };
    let refused = verdict(&policy(Profile::Watch), act("haproxy-server"));
    assert!(refused.contains("let_plugin: profile watch") && refused.contains("profile = \"operate\""), "{refused}");
    let listing = Policy { commands: list(&["/usr/bin/df"]), units: list(&["nginx.service"]), ..policy(Profile::Full) };
    for policy in [policy(Profile::Operate), policy(Profile::Full), listing] {
        assert_eq!(verdict(&policy, act("haproxy-server")), "allowed");
    }
    assert!(verdict(&policy(Profile::Full), act("../x")).starts_with("malformed: plugin "));
}

#[test]
fn rules_of_a_firewall_read_no_other_files() {
    let load = |rules: &str| Act::TryFirewall { rules: Content(rules.as_bytes().to_vec()), revert_ms: 60_000 };
    let operate = policy(Profile::Operate);
    for fine in ["flush ruleset\n", "table ip a { set includes { type ipv4_addr; } }\n"] {
        assert_eq!(verdict(&operate, load(fine)), "allowed", "{fine}");
    }
    for reads in ["include \"/etc/shadow\"", "flush ruleset;include \"/etc/shadow\"", "\tinclude\t'x'", "# include"] {
        assert!(verdict(&policy(Profile::Full), load(reads)).starts_with("malformed: rules: include"), "{reads}");
    }
    let narrow = Policy { commands: list(&["/usr/bin/df"]), ..operate };
    assert!(verdict(&narrow, load("flush ruleset")).contains("/usr/sbin/nft is not in commands"));
    assert!(verdict(&policy(Profile::Watch), Act::KeepFirewall).contains("changes nothing on this host"));
}

#[test]
fn only_what_a_task_left_is_removed() {
    let remove = |path: &str| Act::RemoveOutput { path: path.into() };
    let operate = policy(Profile::Operate);
    assert_eq!(verdict(&operate, remove("/var/log/hostler/task.run-5-7.log")), "allowed");
    for path in ["/var/log/hostler/api-0.log", "/var/log/syslog", "task.x", "/var/log/../task.x"] {
        assert!(verdict(&policy(Profile::Full), remove(path)).starts_with("malformed: "), "{path}");
    }
    assert!(verdict(&operate, remove("/etc/cron.d/task.x")).contains("leaves /etc/cron* alone"));
}

#[test]
fn a_task_brings_back_what_its_command_could_print() {
    let take = |path: &str, within: Option<&str>, user: &str| Act::TakeFile {
        path: path.into(),
        within: within.map(Into::into),
        user: Some(user.into()),
        free: true,
        bytes_max: 7,
        copy: "/var/log/hostler/task.run-5-7.0.file".into(),
    };
    const OWN: &str = "/var/log/hostler/task.run-5-7.0.folder";
    let own = |user| take("/var/log/hostler/task.run-5-7.0.folder/a/b", Some(OWN), user);
    let elsewhere = |user| take("/var/log/app.log", None, user);
    let (operate, full) = (policy(Profile::Operate), policy(Profile::Full));
    let listing = |commands: &[&str]| Policy { commands: list(commands), ..operate.clone() };
    // In its own folder lies what it wrote; all else it would have to read.
    assert_eq!(verdict(&listing(&["/usr/bin/df"]), own("shop")), "allowed");
    let narrow = verdict(&listing(&["/usr/bin/df"]), elsewhere("shop"));
    assert!(narrow.contains("/usr/bin/cat is not in commands"), "{narrow}");
    assert_eq!(verdict(&listing(&["/bin/cat"]), elsewhere("shop")), "allowed");
    assert!(verdict(&operate, elsewhere("shop")).contains("refuses free commands"));
    assert_eq!(verdict(&full, elsewhere("root")), "allowed");
    assert!(verdict(&operate, own("root")).contains("starts nothing as root"));
    assert!(verdict(&policy(Profile::Watch), own("shop")).contains("changes nothing on this host"));
    assert!(verdict(&full, take("/var/lib/hostler-agent/key", None, "root")).contains("is Hostler's own"));
    for (path, within) in [
        ("/var/log/hostler/task.run-5-7.0.folder/../../x", Some(OWN)),
        ("/etc/shadow", Some(OWN)),
        (OWN, Some(OWN)),
        ("/etc/shadow", Some("/etc")),
        ("report.txt", None),
    ] {
        assert!(verdict(&full, take(path, within, "root")).starts_with("malformed: "), "{path}");
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let unit = prop::sample::select(vec![
        "nginx.service",
        "hostler-shop.service",
        "ssh.service",
        "hostler-agent.service",
        "reboot.target",
        "a.timer",
    ]);
    let path = prop::sample::select(vec![
        "/etc/nginx/a",
        "/etc/shadow",
        "/srv/a",
        "/etc/hostler/a",
        "/root/a",
        "/usr/bin/a",
        "/home/a/.ssh/b",
        "/etc",
    ]);
    let user = prop::sample::select(vec!["root", "shop", "ann"]);
    let text = prop::sample::select(vec![
        "",
        "[Service]\nExecStart=/a\n",
        "[Service]\nUser=shop\nExecStart=/a\n",
        "[Service]\nRestart=no",
    ]);
    (0..21, unit, path, user, text, prop::option::of(0u32..0o7777)).prop_map(|(kind, unit, path, user, text, mode)| {
        let unit = unit.to_owned();
        match kind {
            0 => start(user),
            1 => Act::Start { unit },
            2 => Act::Stop { unit },
            3 => restart(&unit),
            4 => Act::Kill { unit, signal: "SIGHUP".into() },
            5 => write_unit(&unit, text),
            6 => Act::RemoveUnit { unit },
            7 => Act::DropIn { unit, name: "a".into(), text: Some(text.into()) },
            8 => Act::PutFile {
                path: path.into(),
                content_base64: Content::default(),
                owner: Some(user.into()),
                mode,
                validate: mode.map(|_| vec!["/usr/sbin/nginx".into()]),
                user: None,
            },
            9 => Act::MakeFolder { path: path.into(), owner: Some(user.into()), mode },
            10 => Act::MakeUser { name: user.into(), home: Some(path.into()), groups: vec![user.into()] },
            11 => Act::RotateOutput { path: path.into(), keep: 1, compress: false, over_bytes: None, older_s: None },
            12 => Act::Tail { unit, lines: 1 },
            13 => {
                let container = Container { user: Some(user.into()), mounts: vec![path.into()], ..container() };
                Act::StartContainer { name: unit.trim_end_matches(".service").into(), container }
            }
            15 => Act::LookAtFiles { files: vec![LookAt { path: path.into(), mark: None }] },
            18 => Act::StartProcess { unit, process: Process { free: true, ..process(user) } },
            16 => Act::UpgradePackages { security_only: mode.is_some(), output: "/var/log/hostler/task.x.log".into() },
            17 => Act::Reboot,
            19 => Act::TryFirewall { rules: Content(b"flush ruleset\n".to_vec()), revert_ms: 60_000 },
            20 => Act::TakeFile {
                path: path.into(),
                within: None,
                user: Some(user.into()),
                free: mode.is_some(),
                bytes_max: 7,
                copy: "/var/log/hostler/task.x.0.file".into(),
            },
            14 => Act::PullImage { image: "registry.example.com/shop:1".into() },
            _ => Act::InstallPackages { names: vec!["nginx".into()] },
        }
    })
}

type Lists = [Option<Listed>; 6];

fn any_lists() -> impl Strategy<Value = Lists> {
    let of = |values: &'static [&'static str]| {
        prop::option::of(prop::sample::subsequence(values, 0..=values.len()).prop_map(|v| list(&v).unwrap()))
    };
    (
        of(&["nginx.service", "hostler-*", "ssh.service", "*"]),
        of(&["/etc/nginx/**", "/srv/*", "/**"]),
        of(&["root", "shop"]),
        of(&["nginx"]),
        of(&["/opt/shop/bin/*", "/usr/sbin/nginx"]),
        of(&["registry.example.com/*"]),
    )
        .prop_map(|(a, b, c, d, e, f)| [a, b, c, d, e, f])
}

fn with(profile: Profile, [units, paths, users, packages, commands, images]: Lists) -> Policy {
    Policy { units, paths, users, packages, commands, images, ..policy(profile) }
}

proptest! {
    #[test]
    fn a_narrower_profile_allows_nothing_more(act in any_act(), lists in any_lists()) {
        let ok = |profile| allowed(&with(profile, lists.clone()), &act).is_ok();
        prop_assert!(!ok(Profile::Watch) || ok(Profile::Operate));
        prop_assert!(!ok(Profile::Operate) || ok(Profile::Full));
    }

    #[test]
    fn a_shorter_list_allows_nothing_more(act in any_act(), lists in any_lists(), which in 0usize..6, cut in 0usize..4) {
        for profile in [Profile::Watch, Profile::Operate, Profile::Full] {
            let mut shorter = lists.clone();
            let Some(one) = &mut shorter[which] else { continue };
            if cut < one.values.len() {
                one.values.remove(cut);
            }
            prop_assert!(allowed(&with(profile, shorter), &act).is_err() || allowed(&with(profile, lists.clone()), &act).is_ok());
        }
    }
}
