//! What was not granted is denied, by name; what was is given.

use crate::support::{check, granted, host, load, request};
use hostler_plugin_host::{Fault, Machine, MachineConfig, PluginHost};
use hostler_types::Status;
use hostler_types::plugin::Grants;
use std::sync::Arc;

/// What each call needs, as it would stand in plugin.toml; empty: nothing.
const NEEDS: [(&str, &str); 26] = [
    ("http", "http = [\"http://127.0.0.1:HTTP\"]"),
    ("secret", "secrets = [\"token\"]"),
    ("reveal", "secrets = [\"token\"]"),
    ("tcp", "tcp = [\"127.0.0.1:TCP\"]"),
    ("tcp-secret", "tcp = [\"127.0.0.1:TCP\"]"),
    ("unix", "tcp = [\"unix:FOLDER/x.sock\"]"),
    ("tls", "tcp = [\"127.0.0.1:TCP\"]"),
    ("dns", "dns = [\"localhost.test\"]"),
    ("icmp", "icmp = [\"127.0.0.1\"]"),
    ("stat", "files = [\"FOLDER/x.log\"]"),
    ("read", "files = [\"FOLDER/x.log\"]"),
    ("glob", "files = [\"FOLDER/*\"]"),
    ("cursor", "files = [\"FOLDER/x.log\"]"),
    ("command", "commands = [\"nothing: /path/of/it\"]"),
    ("cpu", "system = true"),
    ("memory", "system = true"),
    ("filesystems", "system = true"),
    ("networks", "system = true"),
    ("disks", "system = true"),
    ("machine", "system = true"),
    ("processes", "processes = true"),
    ("units", "units = [\"*\"]"),
    ("containers", "containers = [\"*\"]"),
    ("kv", ""),
    ("random", ""),
    ("wall", ""),
];

/// Everything that the fixture asks for, really there.
struct Place {
    folder: tempfile::TempDir,
    http: u16,
    tcp: u16,
    dns: std::net::SocketAddr,
    _unix: tokio::net::UnixListener,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("x.log"), "one\ntwo\n").expect("writes");
        let secrets = folder.path().join("secrets");
        std::fs::create_dir(&secrets).expect("makes");
        std::fs::write(secrets.join("token"), "s3cret\n").expect("writes");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(secrets.join("token"), private).expect("chmod");
        let listener = || tokio::net::TcpListener::bind("127.0.0.1:0");
        let (http, tcp) = (listener().await.expect("listens"), listener().await.expect("listens"));
        let dns = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("listens");
        let place = Place {
            http: http.local_addr().expect("bound").port(),
            tcp: tcp.local_addr().expect("bound").port(),
            dns: dns.local_addr().expect("bound"),
            _unix: tokio::net::UnixListener::bind(folder.path().join("x.sock")).expect("listens"),
            folder,
        };
        tokio::spawn(serve(http, b"HTTP/1.1 204 No Content\r\n\r\n"));
        // No TLS there: its answer is an error, and no refusal.
        tokio::spawn(serve(tcp, b"hello\r\n"));
        tokio::spawn(async move {
            let mut packet = [0u8; 512];
            while let Ok((length, from)) = dns.recv_from(&mut packet).await {
                // The question, marked as answered: NOERROR and nothing found.
                packet[2] |= 0x80;
                let _ = dns.send_to(&packet[..length], from).await;
            }
        });
        place
    }

    fn config(&self) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        serde_json::json!({
            "http": format!("http://127.0.0.1:{}/", self.http), "tcp_port": self.tcp, "unix": path("x.sock"),
            "file": path("x.log"), "folder": self.folder.path(), "server": self.dns.to_string(),
        })
        .to_string()
    }

    fn filled(&self, text: &str) -> String {
        text.replace("HTTP", &self.http.to_string())
            .replace("TCP", &self.tcp.to_string())
            .replace("FOLDER", &self.folder.path().display().to_string())
    }

    fn host(&self) -> Arc<PluginHost> {
        let config = MachineConfig { secrets_folder: self.folder.path().join("secrets"), ..MachineConfig::default() };
        PluginHost::new(Arc::new(Machine::new(config))).expect("starts")
    }
}

async fn serve(listener: tokio::net::TcpListener, answer: &'static [u8]) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut seen = [0u8; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut seen).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        });
    }
}

#[tokio::test]
async fn what_was_not_granted_is_denied_by_name() {
    let place = Place::new().await;
    let overreach = load(&place.host(), "fixtures/overreach").await;
    let report = check(&overreach, granted(&place.config(), Grants::default())).await.outcome.expect("it reports");
    let expect = NEEDS.map(|(name, need)| {
        let said = if need.is_empty() { "allowed".to_owned() } else { format!("denied: grants.{need}") };
        (name.to_owned(), place.filled(&said))
    });
    assert_eq!(report.attrs, expect);
}

#[tokio::test]
async fn what_was_granted_is_given() {
    let place = Place::new().await;
    let overreach = load(&place.host(), "fixtures/overreach").await;
    let all = "http = [\"http://127.0.0.1:HTTP\"]\ntcp = [\"127.0.0.1:TCP\", \"unix:FOLDER/x.sock\"]\n\
               dns = [\"localhost.test\"]\nicmp = [\"127.0.0.1\"]\nfiles = [\"FOLDER/*\"]\n\
               commands = [\"nothing: /bin/true\"]\nunits = [\"*\"]\ncontainers = [\"*\"]\n\
               secrets = [\"token\"]\nreveal = [\"token\"]\nsystem = true\nprocesses = true\n";
    let all = place.filled(all).replace("DNSPORT", &place.dns.port().to_string());
    let mut grants: Grants = toml::from_str(&all).expect(&all);
    // Another port than a name server's is granted like any other.
    grants.tcp.push(place.dns.to_string().parse().expect("a socket"));
    let report = check(&overreach, granted(&place.config(), grants)).await.outcome.expect("it reports");
    for (name, said) in &report.attrs {
        match name.as_str() {
            "tls" => assert!(!said.starts_with("denied"), "{said}"),
            // This machine may have none of them, and says so.
            "icmp" | "units" | "containers" => assert!(!said.starts_with("denied"), "{name}: {said}"),
            _ => assert_eq!(said, "allowed", "{name}"),
        }
    }
}

#[tokio::test]
async fn a_check_without_its_grant_broke() {
    let host = host();
    let disk = load(&host, "disk").await;
    let outcome = check(&disk, request("{}", &[], false)).await.outcome;
    assert_eq!(outcome, Err(Fault::Broke("denied: grants.system = true".to_owned())));
}

#[tokio::test]
async fn disk_reports_this_machine() {
    let host = host();
    let disk = load(&host, "disk").await;
    let run = check(&disk, request(r#"{"mounts": ["/"], "warn": "100%", "critical": 100}"#, &[], true)).await;
    let report = run.outcome.expect("a report");
    println!("{report:?} in {:?}, {} bytes, {} calls", run.bill.wall, run.bill.memory_peak_bytes, run.bill.calls);
    assert!(report.summary.starts_with("/ ") && report.summary.contains("% used, "), "{}", report.summary);
    assert_eq!(report.status, Status::Ok);
    assert!(run.bill.calls >= 2 && run.bill.memory_peak_bytes > 0);
}

#[tokio::test]
async fn a_wrong_configuration_is_named_each_time() {
    let host = host();
    let disk = load(&host, "disk").await;
    for _ in 0..2 {
        let fault = check(&disk, request(r#"{"warn": 95}"#, &[], true)).await.outcome.expect_err("invalid");
        assert_eq!(
            fault.to_string(),
            "the plugin refuses its configuration: warn: is above critical, so it would never be reached"
        );
    }
    let fault = check(&disk, request(r#"{"wran": 95}"#, &[], true)).await.outcome.expect_err("invalid");
    assert!(fault.to_string().contains("wran: unknown field `wran`"), "{fault}");
}
