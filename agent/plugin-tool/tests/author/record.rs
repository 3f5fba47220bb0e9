//! `hostler-plugin record`, against a server of this test's own.

use super::{folder, holds, hostler_plugin};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// Answers so many requests, each with this, then is gone.
fn serve(count: usize, body: &'static str) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        for _ in 0..count {
            let (stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut line = String::new();
            while reader.read_line(&mut line).expect("a line") > 2 {
                line.clear();
            }
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: {length}\r\n\r\n");
            let mut stream = stream;
            stream.write_all(format!("{head}{body}").as_bytes()).expect("answers");
        }
    });
    (port, server)
}

#[test]
fn what_is_recorded_passes_without_its_server_until_it_is_edited() {
    let folder = folder("http");
    let (port, server) = serve(1, "ready\n");
    let with = format!("{{url: \"http://127.0.0.1:{port}/health\", body_contains: ready}}");
    let said = hostler_plugin(folder.path(), &["record", "--with", &with, "--name", "up"]).exits(0);
    server.join().expect("the server");
    assert_eq!(said.err, "");
    holds(&said.out, "testcases/up.yaml  2 calls\n");
    holds(&said.out, &format!("[grants]\nhttp = [\"http://127.0.0.1:{port}\"]\n"));
    holds(&said.out, "and plugin.toml asks for more: http http://*:* https://*:*\n");

    let path = folder.path().join("testcases/up.yaml");
    let text = std::fs::read_to_string(&path).expect("reads");
    for part in
        ["- call: http.send", "method: GET", "body: \"ready\\n\"", "- call: clock.now", "status: ok", "Thu, 01 Jan"]
    {
        holds(&text, part);
    }
    let said = hostler_plugin(folder.path(), &["test"]).exits(0);
    holds(&said.out, "1 passed, 0 failed");

    std::fs::write(&path, text.replace("ready\\n", "starting")).expect("write");
    let said = hostler_plugin(folder.path(), &["test"]).exits(1);
    holds(&said.out, "status: expected ok, got critical\n");
    holds(&said.out, r#"got "200, body without \"ready\"""#);

    let said = hostler_plugin(folder.path(), &["record", "--with", &with, "--name", "up"]).exits(1);
    holds(&said.err, "testcases/up.yaml is already there: choose another name by --name");
    let said = hostler_plugin(folder.path(), &["record", "--with", &with, "--name", "down"]).exits(0);
    holds(&said.out, "1 call\n");
    let text = std::fs::read_to_string(folder.path().join("testcases/down.yaml")).expect("reads");
    holds(&text, "error: {unreachable: connection refused}");
}

/// The time to connect is the machine's, whatever was recorded.
#[test]
fn what_differs_from_run_to_run_is_not_expected() {
    let folder = folder("tcp");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let said = hostler_plugin(folder.path(), &["record", "--with", &format!("{{port: {port}}}")]).exits(0);
    holds(&said.err, "from run to run with the same answers: left out of expect");
    let text = std::fs::read_to_string(folder.path().join("testcases/recorded.yaml")).expect("reads");
    holds(&text, "expect:\n  status: ok\n");
    assert!(!text.contains("connect_us"), "{text}");
    drop(listener);
    hostler_plugin(folder.path(), &["test"]).exits(0);
}

#[test]
fn what_this_machine_says_is_replayed() {
    for name in ["disk", "memory"] {
        let folder = folder(name);
        let said = hostler_plugin(folder.path(), &["record"]).exits(0);
        holds(&said.out, "[grants]\nsystem = true\nand plugin.toml asks for no more\n");
        hostler_plugin(folder.path(), &["test"]).exits(0);
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_written() {
    let folder = folder("http");
    for (arguments, says) in [
        (
            &["record"][..],
            "the plugin refuses its configuration: missing field `url`: give another one by --with '{url: ",
        ),
        (&["record", "--with", "{url: x"], "--with, line 1, column "),
        (&["record", "--with", "5"], "--with is no map"),
        (&["record", "--name", "Up"], "the case's name: "),
        (&["record", "--notice", "{id: 1}"], "a check takes neither --notice nor --plan"),
    ] {
        let said = hostler_plugin(folder.path(), arguments).exits(1);
        holds(&said.err, says);
    }
    assert!(!folder.path().join("testcases").exists());
}
