//! What the hostile plugin tries, and how each try must end.

use super::place::Place;
use serde_json::{Value, json};

pub struct Case {
    pub name: String,
    /// `hostile`, or `hostile-public`, which may reach every public address.
    pub plugin: &'static str,
    pub with: Value,
    /// All of these stand in the check's summary.
    pub says: Vec<String>,
    pub state: &'static str,
}

fn case(name: &str, plugin: &'static str, with: Value, says: &[&str]) -> Case {
    let says = says.iter().map(|words| (*words).to_owned()).collect();
    Case { name: name.to_owned(), plugin, with, says, state: "unknown" }
}

/// The host gives what was asked for, cut to its limit.
fn bounded(name: &str, with: Value, says: &[&str]) -> Case {
    Case { state: "passing", ..case(name, "hostile", with, says) }
}

pub fn cases(place: &Place) -> Vec<Case> {
    let ours = |name: &str, with: Value, says: &[&str]| case(name, "hostile", with, says);
    let public = |name: &str, url: &str, says: &[&str]| {
        case(name, "hostile-public", json!({"does": "fetch", "target": url}), says)
    };
    let fetch = |port: u16| json!({"does": "fetch", "target": format!("http://127.0.0.1:{port}/")});
    let read = |path: String| json!({"does": "read", "target": path});
    let silent = format!("127.0.0.1:{}", place.silent);
    let granted = place.path("granted");
    let denied_files = &["denied: grants.files"][..];
    let private = &["denied: grants.http", "private networks are refused here"][..];
    vec![
        // What it does to itself.
        ours("spin", json!({"does": "spin"}), &["computed for more than 500 ms"]),
        ours("allocate", json!({"does": "allocate"}), &["more than 64 MiB of memory"]),
        ours("recurse", json!({"does": "recurse"}), &["nested too deep"]),
        ours("panic", json!({}), &["crashed", "the fixture panics"]),
        // What it does to the host's side of a call.
        ours("flood-log", json!({"does": "flood-log"}), &["called the host more than 10000 times"]),
        ours("flood-clock", json!({"does": "flood-clock"}), &["called the host more than 10000 times"]),
        ours("huge-log-line", json!({"does": "huge-log-line"}), &["more than 1024 KiB in one call"]),
        ours("huge-call", json!({"does": "huge-call"}), &["more than 1024 KiB in one call"]),
        ours("huge-attributes", json!({"does": "huge-attributes"}), &["more than 1024 KiB in one call"]),
        bounded("huge-summary", json!({"does": "huge-summary"}), &["xxx"]),
        bounded("escapes", json!({"does": "escapes"}), &["all is well"]),
        ours("series", json!({"does": "series"}), &["limit reached"]),
        ours("state", json!({"does": "state"}), &["limit reached"]),
        ours(
            "requests",
            json!({"does": "requests", "target": format!("http://127.0.0.1:{}/", place.fine)}),
            &["limit reached"],
        ),
        ours("connections", json!({"does": "connections", "target": silent}), &["limit reached"]),
        ours("cursors", json!({"does": "cursors", "target": format!("{granted}/fine.log")}), &["limit reached"]),
        // What it does to files.
        ours("path-not-granted", read("/etc/shadow".to_owned()), denied_files),
        ours("path-up", read(format!("{granted}/../outside/secret")), &["denied"]),
        ours("path-relative", read("../../etc/shadow".to_owned()), denied_files),
        ours("path-with-nul", read(format!("{granted}/fine.log\0/../../outside/secret")), denied_files),
        ours("link-out", read(format!("{granted}/link")), denied_files),
        ours("link-above", read(format!("{granted}/folder/secret")), denied_files),
        ours("link-circle", read(format!("{granted}/loop")), &["file"]),
        ours("link-followed", json!({"does": "read-on", "target": format!("{granted}/link")}), denied_files),
        ours("pipe", read(format!("{granted}/pipe")), &["file"]),
        ours("list-out", json!({"does": "list", "target": format!("{granted}/../outside/*")}), &["denied"]),
        bounded("list-links", json!({"does": "list", "target": format!("{granted}/**")}), &["found"]),
        // What it does to the network.
        ours(
            "port-not-granted",
            json!({"does": "dial", "target": format!("127.0.0.1:{}", place.forbidden)}),
            &["denied: grants.tcp"],
        ),
        ours("redirect-out", fetch(place.redirects), &["denied: grants.http", &place.forbidden.to_string()]),
        ours("slow-drip", fetch(place.drips), &["timeout"]),
        ours("silence", json!({"does": "listen", "target": silent}), &["timeout"]),
        bounded("endless-body", fetch(place.endless), &["200 with 1048576 bytes"]),
        ours("endless-headers", fetch(place.headers), &["headers are longer than 64 KiB"]),
        bounded("zip-bomb", fetch(place.bomb), &["200 with "]),
        public("private-address", &format!("http://127.0.0.1:{}/", place.fine), private),
        public("private-name", &format!("http://localhost:{}/", place.fine), private),
        public("private-number", &format!("http://2130706433:{}/", place.fine), private),
        public("private-mapped", &format!("http://[::ffff:127.0.0.1]:{}/", place.fine), private),
        public("link-local", "http://169.254.169.254/latest/meta-data/", &["denied: grants.http"]),
        // What it does to other programs and their secrets.
        ours("secret", json!({"does": "reveal", "target": "token"}), &["denied: grants.secrets"]),
        ours("processes", json!({"does": "find", "target": "*"}), &["denied: grants.processes"]),
        ours(
            "command-not-granted",
            json!({"does": "command", "target": "sh", "arguments": ["-c", "id"]}),
            &["denied: grants.commands"],
        ),
        ours(
            "command-injected",
            json!({"does": "command", "target": "say", "arguments": ["hello", "; id"]}),
            &["denied: grants.commands"],
        ),
        ours("command-runaway", json!({"does": "command", "target": "runaway"}), &["timeout"]),
    ]
}
