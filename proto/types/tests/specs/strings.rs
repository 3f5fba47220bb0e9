//! Any text survives being printed and read, whatever YAML makes of it.

use hostler_types::spec::{Detail, Object, Source, SourceFile, compile, read_json, write_yaml};
use proptest::prelude::*;
use serde_json::{Value, json};

pub const TRICKY: &[&str] = &[
    "",
    " ",
    " a",
    "a ",
    "\ta",
    "a\t",
    "\n",
    "a\n",
    "a\nb",
    "a\r\nb",
    "no",
    "No",
    "NO",
    "n",
    "y",
    "yes",
    "on",
    "off",
    "On",
    "null",
    "Null",
    "NULL",
    "true",
    "True",
    "false",
    "1",
    "-1",
    "+1",
    "1e3",
    "1E3",
    ".5",
    "5.",
    "1_000",
    "0x1F",
    "0b1",
    "0o17",
    "010",
    "08",
    "12:30:45",
    "1:30",
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    ".inf",
    "-.INF",
    ".nan",
    ".NaN",
    "~",
    "<<",
    "=",
    "-",
    "--",
    "---",
    "...",
    "--- a",
    "... a",
    "- a",
    "-a",
    "? a",
    "?",
    ": a",
    ":",
    "a:",
    "a: ",
    ":a",
    "key: value",
    "a:b",
    "a:\tb",
    "a #b",
    "#a",
    "a# b",
    "\u{7f}",
    "\u{0}",
    "\u{1b}[31m",
    "\u{80}",
    "\u{85}",
    "a\u{85}b",
    "\u{a0}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "a\u{feff}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10ffff}",
    "\u{202e}abc",
    "$",
    "${",
    "$${x}",
    "$$${x}",
    "$${",
    "${x}",
    "${env:HOME}",
    "$${env:HOME}",
    "${node.name}",
    "${secret:s}",
    "%",
    "%a",
    "%YAML 1.2",
    "@x",
    "`x",
    "*a",
    "&a",
    "!a",
    "!!str a",
    "|",
    ">",
    "|-",
    "'",
    "''",
    "\"",
    "\"\"",
    "\\",
    "\\n",
    "\\u0041",
    "{",
    "}",
    "[",
    "]",
    "[a]",
    "{a: b}",
    "a,b",
    ",",
    "a, b",
    "ünïcödé",
    "日本語",
    "😀",
    "a'b",
    "a\"b",
    "1.10",
    "1.2.3",
    "127.0.0.1",
    "::1",
    "1..2",
    "/",
    "/a b",
    "a;b",
    "a&b",
    "a!b",
    "a|b",
    "a>b",
    "e",
    "1e",
    "0x",
    "0.",
    "inf",
    "nan",
    "-0",
    "00",
    "1,000",
    "1 000",
    "١٢٣",
    "version",
    "default",
];

fn read_back(text: &str) -> Vec<Object> {
    let files = vec![SourceFile { path: "printed.yaml".into(), text: text.to_owned() }];
    compile(&Source { files, ..Source::default() })
        .unwrap_or_else(|error| panic!("{error:.3000}\n{text:.3000}"))
        .objects
}

/// Whether the reader took it.
fn survives(kind: &str, body: &Value) -> bool {
    let Ok(object) = read_json(kind, "a", &body.to_string(), "") else { return false };
    for detail in [Detail::Short, Detail::Full] {
        let text = write_yaml(std::slice::from_ref(&object), detail);
        let again = read_back(&text);
        assert_eq!(again.len(), 1, "{text}");
        assert_eq!(again[0].body, object.body, "{text}");
    }
    true
}

fn env(value: &str) -> Value {
    json!({ "where": "all", "command": "a", "env": { "A": value } })
}

fn with(config: &Value) -> Value {
    json!({ "where": "all", "plugin": "a", "with": config })
}

/// Every place where text may stand.
fn everywhere(text: &str) -> usize {
    let places = [
        ("service", env(text)),
        ("service", json!({ "where": "all", "command": text, "env": { text: "a" } })),
        ("check", with(&json!({ "a": text, "b": [text, { "c": text }] }))),
        ("check", with(&json!({ text: 1, "b": { text: [text] } }))),
        ("check", with(&json!({ text: { "x": "a".repeat(120), text: text } }))),
        // Text without references is not looked at for them, and `${env:X}` is put in place in any.
        ("service", json!({ "where": "all", "command": "a", "dirs": [text.replace("${env:", "${:")] })),
        ("plugin", json!({ "version": text.replace("${env:", "${:") })),
    ];
    places.iter().filter(|(kind, body)| survives(kind, body)).count()
}

#[test]
fn tricky_text_survives() {
    let mut taken = 0;
    for text in TRICKY {
        taken += everywhere(text);
    }
    assert!(taken > TRICKY.len() * 5, "{taken} of {} were taken at all", TRICKY.len() * 7);
}

#[test]
fn every_tricky_key_is_a_check_field() {
    for key in TRICKY {
        assert!(survives("check", &with(&json!({ *key: "a" }))), "{key:?}");
    }
}

#[test]
fn long_text_survives() {
    for length in [99, 1_000, 1_024, 1_025, 10_000] {
        for piece in ["a", "\"", "é", "\u{0}", "a b "] {
            let text: String = piece.chars().cycle().take(length).collect();
            everywhere(&text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_survives(text in any::<String>()) {
        everywhere(&text);
    }

    #[test]
    fn text_of_what_yaml_knows_survives(text in "[-?:,\\[\\]{}#&*!|>'\"%@`~ \\t\\n0-9aexo_.+=<$]{0,8}") {
        everywhere(&text);
    }
}

/// Nested as deep as a file may be, and no deeper.
#[test]
fn what_is_taken_as_json_is_not_too_deep_for_a_file() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let taken: Vec<usize> = (1..60).filter(|depth| survives("check", &with(&json!({ "a": nested(*depth) })))).collect();
    assert_eq!(taken, (1..=28).collect::<Vec<_>>());
}

#[test]
fn keys_have_no_anchors_and_no_tags() {
    for key in ["&a secret", "!!str secret", "<<"] {
        let files = vec![SourceFile { path: "a.yaml".into(), text: format!("{key}: {{}}\n") }];
        assert!(compile(&Source { files, ..Source::default() }).is_err(), "{key}");
    }
}
