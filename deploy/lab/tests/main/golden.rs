//! What people read in their first ten minutes, kept word for word.

use hostler_lab::site::Site;
use hostler_lab::{Agent, ControlPlane};
use std::time::Duration;

/// What changes from run to run becomes a fixed word of the same shape.
fn settled(text: &str) -> String {
    let filters = [
        (r"hj1_[A-Za-z0-9_-]+", "hj1_CODE"),
        (r"sha256//[A-Za-z0-9+/=]+", "sha256//PIN"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:7443"),
        (r"\d+ % used, [\d.]+ .iB free", "38 % used, 61 GiB free"),
        (r"200 in [\d.]+ (us|µs|ms|s)", "200 in 1.2 ms"),
        (r"[+-]\d+ ms", "+0 ms"),
    ];
    filters.iter().fold(text.to_owned(), |text, (pattern, to)| replace(&text, pattern, to))
}

fn replace(text: &str, pattern: &str, to: &str) -> String {
    regex::Regex::new(pattern).unwrap().replace_all(text, to).into_owned()
}

/// Ages differ by when the test ran; columns follow them.
fn without_ages(text: &str) -> String {
    let words = |line: &str| {
        line.split("  ").map(str::trim).filter(|word| !word.is_empty()).map(age).collect::<Vec<_>>().join("  ")
    };
    text.lines().map(words).collect::<Vec<_>>().join("\n")
}

fn age(word: &str) -> String {
    let digits = word.trim_end_matches(['s', 'm', 'h', 'd']);
    let is_age = digits.len() + 1 == word.len() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if is_age { "AGE".to_owned() } else { word.to_owned() }
}

#[test]
fn the_first_ten_minutes() {
    let (control_plane, site) = (ControlPlane::with_plugins(&["http", "disk"]), Site::started());
    control_plane.apply(&format!(
        "check:\n  disk: {{where: all, plugin: disk, every: 1s, with: {{mounts: [\"/\"], warn: 99%, critical: 100%}}}}\n  hello: {{where: all, plugin: http, every: 1s, with: {{url: \"{}\"}}}}\n",
        site.url()
    ));
    let _agent = Agent::joined(&control_plane, "dev1", &["role=web"]);
    let soon = Duration::from_secs(15);
    control_plane.wait_check("dev1", "disk", "passing", soon);
    control_plane.wait_check("dev1", "hello", "passing", soon);
    hostler_lab::wait_for("the clock to be compared", soon, || {
        let nodes = control_plane.ctl_json(&["node", "ls"]);
        if nodes[0]["clock_skew_ms"].is_null() { Err(nodes) } else { Ok(()) }
    });
    // One that other hosts can reach.
    let mut open = ControlPlane::new();
    open.advertise = Some("10.77.0.1:7443".into());
    open.start();
    let shown = |args: &[&str]| without_ages(&settled(&control_plane.ctl_ok(args)));
    let transcript = format!(
        "$ hostlerctl check ls\n{}\n\n$ hostlerctl token create --label role=web\n{}\n\n$ hostlerctl node ls\n{}\n",
        shown(&["check", "ls"]),
        settled(&open.ctl_ok(&["token", "create", "--label", "role=web"])).trim_end(),
        shown(&["node", "ls"]),
    );
    insta::assert_snapshot!(transcript);
}

#[test]
fn a_command_line_that_is_wrong_says_how_it_should_be() {
    let control_plane = ControlPlane::started();
    for (args, code, expect) in [
        (&["nod", "ls"][..], 2, "a similar subcommand exists: 'node'"),
        (&["token", "create", "--ttl", "15"], 2, "has no unit: write 15s"),
        (&["token", "create", "--label", "x"], 2, "write it as key=value"),
        (&["token", "create", "--uses", "0"], 2, "above zero"),
        (&["node", "show", "nobody"], 1, "there is no node \"nobody\""),
        (&["node", "ls", "-l", "role in (a"], 1, "no closing bracket"),
        (&["check", "show", "x"], 1, "there is no check \"x\""),
        (&["get", "chekc"], 2, "did you mean check?"),
        (&["get", "check", "x"], 1, "no check \"x\" is applied"),
        (&["delete", "check", "x", "--yes"], 1, "no check \"x\" is applied"),
        (&["delete", "check", "x"], 2, "Say --yes"),
        (&["node", "revoke", "x"], 2, "Say --yes"),
        (&["events", "--after", "zzz"], 1, "is no event's number"),
        (&["apply", "-f", "/nowhere.yaml"], 1, "read /nowhere.yaml"),
        (&["context", "use", "nowhere"], 1, "there is no context \"nowhere\""),
        (&["--context", "nowhere", "node", "ls"], 1, "there is no context \"nowhere\""),
        (&["--context-file", "/nowhere", "node", "ls"], 1, "there is no context file"),
        (&["token", "rm", "12"], 1, "no join code"),
        (&["explain", "servce"], 2, "did you mean service?"),
        (&["explain", "service.rolout"], 2, "did you mean rollout?"),
        (&["plan"], 2, "--file <FOLDER|FILE>"),
        (&["apply", "--plan", "/nowhere.json"], 1, "read the plan in /nowhere.json"),
        (&["apply", "--plan", "x", "-f", "y"], 2, "cannot be used with"),
        (&["system", "show", "shop"], 1, "there is no system \"shop\"; hostlerctl system ls"),
        (&["system", "show", "shop@x"], 2, "write NAME@N"),
        (&["system", "rollback", "shop", "--yes"], 2, "say which version"),
        (&["delete", "chekc", "x", "--yes"], 2, "did you mean check?"),
    ] {
        let ran = control_plane.ctl(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:#?}");
        assert!(ran.err.contains(expect), "{args:?}: {}", ran.err);
        assert!(!ran.err.contains("because: code"), "{}", ran.err);
    }
}
