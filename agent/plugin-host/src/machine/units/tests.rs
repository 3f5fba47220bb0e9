//! Against a systemd of our own at the other end of a socket.

use super::*;
use std::os::unix::net::UnixStream;
use zbus::connection::Builder;

fn object(name: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("{MANAGER_PATH}/unit/{name}")).expect("a path")
}

struct Systemd;

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn list_units_by_patterns(&self, states: Vec<String>, patterns: Vec<String>) -> Vec<Listed> {
        assert!(states.is_empty() && patterns.len() == 1, "{states:?} {patterns:?}");
        let line = |name: &str, active: &str, sub: &str, path: &str| {
            let word = str::to_owned;
            (
                word(name),
                word("A thing"),
                word("loaded"),
                word(active),
                word(sub),
                word(""),
                object(path),
                0,
                word(""),
                object("none"),
            )
        };
        let all = [
            line("web.service", "active", "running", "web"),
            line("app.service", "failed", "failed", "app"),
            line("web.socket", "active", "listening", "socket"),
            line("gone.service", "active", "running", "gone"),
        ];
        // As fnmatch would, for what these tests ask.
        let asked = patterns[0].replace('\\', "");
        all.into_iter().filter(|unit| names::matches(&asked, &unit.0)).collect()
    }

    fn load_unit(&self, name: &str) -> fdo::Result<OwnedObjectPath> {
        match name {
            "rests.service" => Ok(object("rests")),
            "unknown.service" => Ok(object("unknown")),
            name => Err(fdo::Error::InvalidArgs(format!("Unit name {name} is not valid."))),
        }
    }
}

struct Loaded(&'static str);

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Loaded {
    #[zbus(property)]
    fn load_state(&self) -> &str {
        self.0
    }

    #[zbus(property)]
    fn active_state(&self) -> &str {
        "inactive"
    }

    #[zbus(property)]
    fn sub_state(&self) -> &str {
        "dead"
    }
}

struct Service(u32, u32, &'static str);

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        self.0
    }

    #[zbus(property, name = "NRestarts")]
    fn restarts(&self) -> u32 {
        self.1
    }

    #[zbus(property)]
    fn result(&self) -> &str {
        self.2
    }
}

/// Both ends; the first is systemd's, and lives as long as it is held.
async fn connected(serves: bool) -> (Connection, Manager) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut server = Builder::unix_stream(theirs).server(zbus::Guid::generate()).p2p();
    // Who serves nothing at all does not even answer.
    server = server.serve_at("/", Loaded("loaded"));
    if serves {
        server = server.serve_at(MANAGER_PATH, Systemd);
        for (path, service) in [
            ("web", Service(42, 3, "success")),
            ("app", Service(0, 5, "exit-code")),
            ("rests", Service(0, 0, "success")),
        ] {
            server = server.serve_at(object(path), service);
        }
        server = server.serve_at(object("rests"), Loaded("loaded"));
        server = server.serve_at(object("unknown"), Loaded("not-found"));
    }
    let client = Builder::unix_stream(ours).p2p();
    let (server, client) = tokio::join!(server.build(), client.build());
    let manager = Manager { connection: Mutex::new(Some(client.expect("connected"))) };
    (server.expect("connected"), manager)
}

async fn said(manager: &Manager, name: &str) -> String {
    let units = manager.find(name, 10).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let line = |unit: &Unit| {
        let Unit { name, load, active, sub, result, main_pid, restarts } = unit;
        format!("{name} {load} {active} {sub} {result} {main_pid} {restarts}")
    };
    units.iter().map(line).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn finds_by_name_and_sorted() {
    let (_systemd, manager) = connected(true).await;
    let web = "web.service loaded active running success 42 3";
    let app = "app.service loaded failed failed exit-code 0 5";
    assert_eq!(said(&manager, "web.service").await, web);
    assert_eq!(said(&manager, "web.*").await, format!("{web}, web.socket loaded active listening  0 0"));
    // The last has ended since it was listed.
    assert_eq!(said(&manager, "*.service").await, format!("{app}, gone.service loaded active running  0 0, {web}"));
    assert_eq!(manager.find("*", 1).await.map(|units| units.len()), Ok(1));
}

#[tokio::test]
async fn one_that_rests_is_known_and_one_that_is_not_there_is_none() {
    let (_systemd, manager) = connected(true).await;
    assert_eq!(said(&manager, "rests.service").await, "rests.service loaded inactive dead success 0 0");
    for name in ["unknown.service", "no name", "rests*"] {
        assert_eq!(said(&manager, name).await, "", "{name}");
    }
}

#[tokio::test]
async fn without_systemd_it_says_so() {
    let says = |error: CallError| match error {
        CallError::Other { key, value } if key == "units" => value,
        error => panic!("{error:?}"),
    };
    let (systemd, manager) = connected(false).await;
    let strange = says(manager.find("*", 1).await.expect_err("nobody answers to that name"));
    assert!(strange.starts_with("systemd says: "), "{strange}");
    let unknown = fdo::Error::SpawnChildExited("exited with status 1".into());
    let expect = "no systemd here: nobody on the bus goes by its name";
    assert_eq!(says(failed(&Error::FDO(Box::new(unknown)))), expect);
    // Connected anew, to whatever this machine has.
    systemd.close().await.expect("closed");
    match manager.find("*", 1).await {
        Ok(_) => {}
        Err(error) => {
            let gone = says(error);
            assert!(gone.starts_with("no systemd here: "), "{gone}");
        }
    }
}

#[test]
fn only_a_star_is_more_than_itself() {
    assert_eq!(escaped(r"dev-disk\x2d1[a]?.*"), r"dev-disk\\x2d1\[a\]\?.*");
}
