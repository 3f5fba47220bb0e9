use crate::dockerd::{Dockerd, IMAGE};
use crate::half::{Executor, is_root, wait_for};
use hostler_executor::protocol::{Act, Container, Done, Ended, Limits, Outcome};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const NAME: &str = "hostler-shop-0";

fn container(script: &str) -> Container {
    Container {
        image: IMAGE.into(),
        command: ["/bin/sh", "-c", script].map(String::from).into(),
        user: None,
        folder: None,
        env: hostler_executor::protocol::Environment(BTreeMap::from([("GREETING".into(), "a \"b\" $c".into())])),
        limits: Limits::default(),
        mounts: Vec::new(),
        log_bytes_max: 1 << 20,
        log_files_max: 2,
        log_compress: true,
        stop_signal: "SIGTERM".into(),
        grace_ms: 300,
        made_from: "1".into(),
    }
}

fn start(container: Container) -> Act {
    Act::StartContainer { name: NAME.into(), container }
}

fn stop() -> Act {
    Act::StopContainer { name: NAME.into(), signal: "SIGTERM".into(), grace_ms: 300 }
}

fn inspect(executor: &mut Executor) -> Done {
    executor.done(Act::InspectContainer { name: NAME.into() })
}

fn ended(executor: &mut Executor) -> Ended {
    let mut found = None;
    wait_for("its end", || {
        found = inspect(executor).ended;
        found.is_some()
    });
    found.unwrap()
}

fn failed(executor: &mut Executor, act: Act) -> String {
    match executor.ask(act) {
        Outcome::Failed { words } => words,
        other => panic!("{other:?}"),
    }
}

fn tail(executor: &mut Executor, lines: u32) -> String {
    executor.done(Act::ContainerTail { name: NAME.into(), lines }).text.unwrap()
}

fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

/// One engine for all of it: it takes a second to begin.
#[test]
fn containers_on_a_real_engine() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut dockerd = Dockerd::new();
    let host = dockerd.host();
    let begin = || Executor::start_with(folder.path(), "", &[("DOCKER_HOST", &host)]);
    let mut executor = begin();
    let words = failed(&mut executor, Act::PullImage { image: IMAGE.into() });
    assert!(words.contains("no container engine answers at /") && words.contains("docker.io"), "{words}");
    dockerd.start();
    let executor = it_starts_once_and_is_found_again(executor, begin);
    let mut executor = what_ended_it_is_known(executor);
    a_stop_kills_what_does_not_listen(&mut executor);
    another_takes_its_place(&mut executor, &dockerd);
    it_has_the_folders_it_is_given(&mut executor, folder.path());
    what_can_not_start_says_why(&mut executor, &dockerd);
}

fn it_starts_once_and_is_found_again(mut executor: Executor, begin: impl Fn() -> Executor) -> Executor {
    assert!(executor.done(Act::PullImage { image: IMAGE.into() }).already, "it is there");
    assert_eq!(inspect(&mut executor).container, None);
    let began = Instant::now();
    let first = executor.done(start(container("echo \"$GREETING\"; sleep 0.2; echo oops >&2; exec sleep 600")));
    eprintln!("from nothing to running: {} ms", began.elapsed().as_millis());
    let pid = first.pid.unwrap();
    assert!(first.changed && !first.already);
    wait_for("its output", || tail(&mut executor, 50) == "a \"b\" $c\noops\n");
    assert_eq!(tail(&mut executor, 1), "oops\n");
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/ns/net")).unwrap(), host, "it has the host's network");
    for kind in ["pid", "mnt", "ipc"] {
        let own = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_ne!(own, fs::read_link(format!("/proc/self/ns/{kind}")).unwrap(), "{kind} of its own");
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");

    executor.signal(Signal::KILL);
    executor.child.wait().unwrap();
    drop(executor);
    assert!(lives(pid));
    let mut executor = begin();
    let found = inspect(&mut executor);
    assert_eq!((found.pid, found.container.unwrap().made_from.as_str()), (Some(pid), "1"));
    let again = executor.done(start(container("true")));
    assert_eq!((again.pid, again.already), (Some(pid), true), "never twice");
    executor
}

fn what_ended_it_is_known(mut executor: Executor) -> Executor {
    let first = inspect(&mut executor).pid.unwrap();
    let began = Instant::now();
    kill(first);
    let killed = ended(&mut executor);
    assert_eq!((killed.signal, killed.result.as_str(), killed.known), (Some(9), "signal", true));
    let second = executor.done(start(container("exec sleep 600")));
    eprintln!("from kill to running: {} ms", began.elapsed().as_millis());
    assert!(second.changed && second.pid != Some(first));
    executor.done(stop());

    executor.done(start(container("echo last words; exit 7")));
    let exited = ended(&mut executor);
    assert_eq!((exited.code, exited.result.as_str()), (Some(7), "exit-code"));
    assert_eq!(tail(&mut executor, 50), "last words\n", "also of one that has ended");

    let limits = Limits { memory_bytes: Some(16 << 20), cpu: Some(0.5), files: Some(64), processes: Some(20) };
    let hungry = Container { limits, ..container("ulimit -n; x=a; while true; do x=$x$x; done") };
    executor.done(start(hungry));
    let hungry = ended(&mut executor);
    assert_eq!(hungry.result, "oom-kill", "{hungry:?}");
    assert_eq!(tail(&mut executor, 1), "64\n");
    executor
}

fn a_stop_kills_what_does_not_listen(executor: &mut Executor) {
    // No child of it is left behind, either.
    let deaf = container("trap '' TERM; echo deaf; sleep 601 & wait; while true; do sleep 1; done");
    let pid = executor.done(start(deaf)).pid.unwrap();
    wait_for("its trap", || tail(executor, 1) == "deaf\n");
    let began = Instant::now();
    let stopped = executor.done(stop());
    assert!(began.elapsed() >= Duration::from_millis(300), "its grace");
    assert_eq!(stopped.ended.unwrap().signal, Some(9));
    assert!(!lives(pid) && inspect(executor).container.is_none());
    assert!(executor.done(stop()).already);

    let reads = container("trap 'echo again' HUP; trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done");
    executor.done(start(reads));
    wait_for("its traps", || tail(executor, 1) == "up\n");
    executor.done(Act::KillContainer { name: NAME.into(), signal: "SIGHUP".into() });
    wait_for("its answer", || tail(executor, 1) == "again\n");
    assert_eq!(executor.done(stop()).ended.unwrap().code, Some(3), "it ended by itself");
    let words = failed(executor, Act::KillContainer { name: NAME.into(), signal: "SIGHUP".into() });
    assert!(words.contains("does not run"), "{words}");
}

fn another_takes_its_place(executor: &mut Executor, dockerd: &Dockerd) {
    let first = executor.done(start(container("exec sleep 600"))).pid.unwrap();
    for (number, made_from) in ["2", "3"].into_iter().enumerate() {
        let image = format!("tiny:{}", number + 2);
        dockerd.import(&image, &format!("LABEL number={number}"));
        let changed = Container { image, made_from: made_from.into(), ..container("exec sleep 600") };
        let before = inspect(executor).pid.unwrap();
        let next = executor.done(start(changed.clone()));
        assert!(next.changed && next.pid != Some(before) && !lives(before), "replaced");
        assert!(executor.done(start(changed)).already, "once");
    }
    assert!(!lives(first));
    let images = dockerd.curl(&["http://engine/images/json"]).unwrap();
    assert!(!images.contains("tiny:1") && images.contains("tiny:2") && images.contains("tiny:3"), "{images}");
    executor.done(stop());
    dockerd.import(IMAGE, "");
}

fn it_has_the_folders_it_is_given(executor: &mut Executor, folder: &Path) {
    // Not below /tmp: that is the agent's own there.
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let data = place.path().join("data");
    executor.done(Act::MakeFolder { path: data.clone(), owner: Some("nobody".into()), mode: Some(0o750) });
    let script = format!("id -u >{}/user; pwd >{0}/folder", data.display());
    let given = Container {
        mounts: vec![data.clone()],
        user: Some("nobody".into()),
        folder: Some(data.display().to_string()),
        made_from: "4".into(),
        ..container(&script)
    };
    executor.done(start(given.clone()));
    assert_eq!(ended(executor).code, Some(0), "{}", tail(executor, 50));
    assert_eq!(fs::read_to_string(data.join("user")).unwrap(), "65534\n");
    assert_eq!(fs::read_to_string(data.join("folder")).unwrap().trim(), data.display().to_string());
    let link = place.path().join("link");
    std::os::unix::fs::symlink(folder, &link).unwrap();
    let words = failed(executor, start(Container { mounts: vec![link], ..given }));
    assert!(words.contains("leads through a symlink"), "{words}");
    executor.done(stop());
}

fn what_can_not_start_says_why(executor: &mut Executor, dockerd: &Dockerd) {
    // Nobody listens there.
    let image = "127.0.0.1:9/shop:1".to_owned();
    let words = failed(executor, Act::PullImage { image: image.clone() });
    assert!(words.starts_with("image 127.0.0.1:9/shop:1 is not on this host") && words.contains("pulled: "), "{words}");
    let words = failed(executor, start(Container { image, ..container("true") }));
    assert!(words.contains("docker load -i FILE"), "{words}");
    let words = failed(executor, start(Container { command: vec!["no-such".into()], ..container("") }));
    assert!(words.starts_with("start the container: ") && words.contains("no-such"), "{words}");
    assert_eq!(inspect(executor).container, None, "nothing of it is left");

    // What an image keeps apart stays, whatever becomes of the container.
    dockerd.import("keeper:1", "VOLUME /keep");
    let keeper = |script: &str| start(Container { image: "keeper:1".into(), ..container(script) });
    executor.done(keeper("echo kept >/keep/it"));
    assert_eq!(ended(executor).code, Some(0));
    executor.done(stop());
    executor.done(keeper("cat /keep/it"));
    assert_eq!(ended(executor).code, Some(0));
    assert_eq!(tail(executor, 1), "kept\n");
    executor.done(stop());

    // One of somebody else's, that is called so.
    let body = r#"{"Image": "tiny:1", "Cmd": ["sleep", "600"]}"#;
    let url = format!("http://engine/containers/create?name={NAME}");
    dockerd.curl(&["-H", "Content-Type: application/json", "-d", body, &url]).unwrap();
    assert_eq!(inspect(executor).container, None);
    let words = failed(executor, start(container("true")));
    assert!(words.contains("was not made by Hostler"), "{words}");
}
