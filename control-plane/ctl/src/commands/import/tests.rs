use super::*;
use hostler_types::spec::{Source, SourceFile, compile};

const UNITS: [(&str, &str); 6] = [
    ("nginx.service", include_str!("units/nginx.service")),
    ("postgresql@15-main.service", include_str!("units/postgresql@15-main.service")),
    ("redis-server.service", include_str!("units/redis-server.service")),
    ("ssh.service", include_str!("units/ssh.service")),
    ("cron.service", include_str!("units/cron.service")),
    ("gunicorn.service", include_str!("units/gunicorn.service")),
];

fn file(path: &str) -> Option<String> {
    match path {
        "/etc/default/shop" => {
            Some("# Where\nBIND=\"unix:/run/shop.sock\"\nSMTP_PASSWORD=hunter2\nexport DEBUG=file\n".into())
        }
        "/etc/default/cron" => Some("# EXTRA_OPTS=\"-L 2\"\n".into()),
        _ => None,
    }
}

fn written(name: &str, text: &str, own: bool) -> Result<String, String> {
    spec::write(&unit::parse(name, text)?, "role=app", own, &file)
}

fn compiles(text: &str) {
    let text = text.to_owned();
    let files = vec![SourceFile { path: "unit.yaml".into(), text: text.clone() }];
    let source = Source { files, ..Source::default() };
    if let Err(problems) = compile(&source) {
        panic!("{problems}\n{text}");
    }
}

#[test]
fn real_units_become_specs_that_compile() {
    let mut all = String::new();
    for (name, text) in UNITS {
        for own in [false, true] {
            let spec = written(name, text, own).expect(name);
            compiles(&spec);
            // A whole system of it, with all that it names.
            compiles(&format!("system: {{name: x}}\nnode: {{a: {{labels: {{role: app}}}}}}\n{spec}"));
            for secret in ["tr0ub4dor", "correct-horse", "hunter2", "zzz"] {
                assert!(!spec.contains(secret), "{secret} is printed:\n{spec}");
            }
            all.push_str(&format!("--- {name}{}\n{spec}", if own { " --own" } else { "" }));
        }
    }
    insta::assert_snapshot!("units", all);
}

/// A service with this in it, of its own.
fn own(lines: &str) -> String {
    let spec = written("a.service", &format!("[Service]\n{lines}\n"), true).expect(lines);
    compiles(&spec);
    spec
}

fn field(lines: &str, key: &str) -> String {
    let spec = own(lines);
    let found = spec.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
    found.unwrap_or(&spec).to_owned()
}

#[test]
fn commands_mean_to_a_shell_what_they_mean_to_systemd() {
    let command = |text: &str| field(&format!("ExecStart={text}"), "command");
    assert_eq!(command("/bin/a -b c"), "/bin/a -b c");
    assert_eq!(command("-+/bin/a 'b c' \"d\\\"e\""), r#""/bin/a 'b c' 'd\"e'""#);
    assert_eq!(command("/bin/a $B ${C} x${D}"), r#""exec /bin/a $B \"$${C}\" \"x$${D}\"""#);
    assert_eq!(command("/bin/a cost$$5 it's"), r#""exec /bin/a 'cost$5' 'it'\\''s'""#);
    assert_eq!(command("@/bin/a called -b"), "/bin/a -b");
    assert_eq!(
        command("/bin/a %p %i %n %%"),
        "/bin/a a '' a.service %".replace("/bin/a a '' a.service %", r#""/bin/a a '' a.service %""#)
    );
    assert_eq!(
        command("/bin/a --password hunter2 --token-file /etc/x"),
        r#""/bin/a --password '${secret:a-password}' --token-file /etc/x""#
    );
    assert_eq!(command("/bin/a ;\nExecStart=\nExecStart=/bin/b"), "/bin/b");
}

#[test]
fn what_counts_last_wins_and_what_is_odd_is_told() {
    assert_eq!(field("ExecStart=/bin/a\nUser=web\nUser=shop", "user"), "shop");
    assert_eq!(
        field("ExecStart=/bin/a\nMemoryMax=1G\nTasksMax=infinity\nCPUQuota=20%", "limits"),
        "{memory: 1GiB, cpu: 0.2}"
    );
    assert_eq!(
        field("ExecStart=/bin/a\nRestartSec=1min 500ms\nStartLimitBurst=3", "restart"),
        "{delay: 1m500ms, attempts: 3}"
    );
    let odd = own(
        "ExecStart=/bin/a\nMemoryMax=40%\nStartLimitInterval=0\nKillSignal=SIGWINCH\nTimeoutStopSec=infinity\nWorkingDirectory=~",
    );
    for note in [
        "MemoryMax=40% (line 3)",
        "StartLimitIntervalSec=0s",
        "KillSignal=SIGWINCH (line 5)",
        "TimeoutStopSec=infinity",
        "WorkingDirectory=~ (line 7)",
    ] {
        assert!(odd.contains(note), "{note} is not in\n{odd}");
    }
    // Wherever it stands, and whatever is said about the line.
    let lines = "ExecStartPre=/bin/a --token=hunter2\nExecStartPre=/bin/sh -c 'DB_PASSWORD=hunter2 b'\n\
        ExecStop=/bin/c --password hunter2\n\
        ExecStart=/bin/a --opt=TOKEN=hunter2 --token one-hunter2 -k http://u:hunter2@h/ -c 'A_KEY=hunter2 x' --token=$T %Z";
    let hidden = own(lines);
    assert!(!hidden.contains("hunter2"), "{hidden}");
    assert!(hidden.contains("'--opt=${secret:a-opt}' --token '${secret:a-token}' -k '${secret:a-k}'"), "{hidden}");
    let hidden = own("ExecStart=/bin/a\nSetCredential=db:hunter2\nEnvironment=\"A=b c\\n\\x\" 'K=${X}'");
    assert!(!hidden.contains("hunter2") && hidden.contains(r#"K: "$${X}""#), "{hidden}");
}

#[test]
fn what_is_no_service_says_so() {
    let wrong = |name: &str, text: &str| written(name, text, true).expect_err(name);
    assert!(wrong("a.timer", "[Timer]\nOnCalendar=daily").contains("only services are imported"));
    assert!(wrong("a@.service", "[Service]\nExecStart=/bin/a").contains("a@NAME.service"));
    assert!(wrong("a.service", "").contains("has no [Service] section"));
    assert!(wrong("a.service", "[Service]\nUser=x").contains("has no ExecStart="));
    assert!(wrong("a.service", "hello").contains("line 1: \"hello\" is no KEY=VALUE"));
    assert!(wrong("a.service", "A=b").contains("stands in no [Section]"));
}

#[test]
fn nothing_that_a_unit_may_hold_breaks_the_spec() {
    // Quotes that never close, escapes at the end, controls, and letters of all kinds.
    let pieces = [
        "\"",
        "'",
        "\\",
        "$",
        "${",
        "}",
        "%",
        "%z",
        "#",
        ":",
        "\u{1b}[2J",
        "é",
        "=",
        " ",
        "x",
        "${secret:",
        "\t",
        "-",
        "@",
        "|",
    ];
    let mut random = 7_u64;
    let mut next = |count: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap_or(0) % count
    };
    for _ in 0..2_000 {
        let mut value = || (0..next(12)).map(|_| pieces[next(pieces.len())]).collect::<String>();
        let text = format!(
            "[Unit]\nWants={}\n[Service]\nExecStart=/bin/a {}\nEnvironment=A={}\nUser=u{}\nWorkingDirectory=/{}\nNice={}\n",
            value(),
            value(),
            value(),
            value(),
            value(),
            value()
        );
        match written("a@b.service", &text, true) {
            Ok(spec) => compiles(&spec),
            Err(words) => assert!(words.contains("a@b.service"), "{words}"),
        }
    }
}
