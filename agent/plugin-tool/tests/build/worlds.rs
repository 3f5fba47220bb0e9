//! Plugins that are no checks: built, tested and recorded.

use super::languages::{begin, built};
use super::{fails, succeeds};
use std::path::Path;

const OPTIONS: &str = "use hostler_plugin_sdk::*;\nuse serde::Deserialize;\n#[derive(Deserialize)]\n\
                       #[serde(deny_unknown_fields)]\npub struct Options {}\npub struct Plugin;\n";

const COLLECTOR: &str = r#"
impl Collector for Plugin {
    type Options = Options;
    fn collect(_: &Options, host: &impl Host) -> Result<(), String> {
        let memory = host.memory()?;
        host.report(&[Sample::gauge("memory_used_bytes", memory.used as f64).attr("of", "host")])?;
        Ok(())
    }
}
export_collector!(Plugin);
"#;

const NOTIFIER: &str = r#"
impl Notifier for Plugin {
    type Options = Options;
    fn notify(_: &Options, notice: &Notice, host: &impl Host) -> Outcome {
        let seen = host.kv_get("last").ok().flatten();
        if seen.as_deref() == Some(notice.id.as_bytes()) {
            return Outcome::Rejected(format!("{} was told", notice.title));
        }
        Outcome::Delivered(notice.id.clone())
    }
}
export_notifier!(Plugin);
"#;

const ACTION: &str = r#"
#[derive(Deserialize)]
pub struct Parameters { service: String }
impl Action for Plugin {
    type Options = Options;
    type Parameters = Parameters;
    fn plan(_: &Options, parameters: &Parameters, _: &impl Host) -> Result<Vec<Step>, String> {
        let summary = format!("restart {}", parameters.service);
        Ok(vec![Step { id: "restart".into(), summary, reversible: false }])
    }
    fn apply(_: &Options, _: &Parameters, _: &str, _: &str, _: &impl Host) -> Result<Vec<Attr>, String> { Ok(Vec::new()) }
    fn undo(_: &Options, _: &Parameters, _: &str, _: &str, _: &impl Host) -> Result<(), String> { Ok(()) }
}
export_action!(Plugin);
"#;

/// Another plugin in the folder of the one before, so that its SDK is built once.
fn becomes(folder: &Path, world: &str, code: &str, cases: &[(&str, &str)]) -> bool {
    let plugin = folder.join("memory-use");
    let manifest = format!(
        "name = \"memory-use\"\nversion = \"0.1.0\"\nworld = \"{world}\"\nsummary = \"for a test\"\n[grants]\nsystem = true\n"
    );
    std::fs::write(plugin.join("plugin.toml"), manifest).expect("write");
    // Built into the same place as the template is in another test: under a name of
    // its own, or one would read what the other wrote.
    let cargo = std::fs::read_to_string(plugin.join("Cargo.toml")).expect("read");
    std::fs::write(plugin.join("Cargo.toml"), cargo.replacen("name = \"check\"", "name = \"worlds\"", 1))
        .expect("write");
    let lock = plugin.join("Cargo.lock");
    let locked = std::fs::read_to_string(&lock).expect("read");
    std::fs::write(&lock, locked.replace("name = \"check\"", "name = \"worlds\"")).expect("write");
    std::fs::write(plugin.join("src/lib.rs"), format!("{OPTIONS}{code}")).expect("write");
    std::fs::remove_dir_all(plugin.join("testcases")).expect("removes");
    std::fs::create_dir(plugin.join("testcases")).expect("creates");
    for (name, text) in cases {
        std::fs::write(plugin.join(format!("testcases/{name}.yaml")), text).expect("write");
    }
    built(folder, "rust").is_some()
}

#[test]
fn the_other_worlds() {
    let folder = begin("rust");
    let folder = folder.path();
    let answer = "answers: [{call: system.get-memory, answer: {used: 5}}]\n";
    let right = format!("{answer}expect: {{metrics: [{{name: memory_used_bytes, attrs: {{of: host}}, value: 5}}]}}\n");
    if !becomes(folder, "collector", COLLECTOR, &[("five", &right)]) {
        return;
    }
    let said = succeeds(folder, &["test", "memory-use"]);
    assert!(said.ends_with("1 passed, 0 failed\n"), "{said}");
    let said = succeeds(folder, &["record", "memory-use"]);
    assert!(said.contains("system = true"), "{said}");
    let said = succeeds(folder, &["test", "memory-use"]);
    assert!(said.ends_with("2 passed, 0 failed\n"), "{said}");

    let notice = "notice: {id: \"7\", title: db is down, state: critical}\n";
    let told = format!("{notice}expect: {{outcome: {{delivered: \"7\"}}}}\n");
    let again = format!("state: {{last: \"7\"}}\n{notice}expect: {{outcome: {{rejected: db is down was told}}}}\n");
    assert!(becomes(folder, "notifier", NOTIFIER, &[("told", &told), ("again", &again)]));
    let said = fails(folder, &["record", "memory-use"]);
    assert!(said.contains("a notifier is recorded with --notice"), "{said}");
    succeeds(folder, &["record", "memory-use", "--notice", "{id: x, title: a test}"]);
    let said = succeeds(folder, &["test", "memory-use"]);
    assert!(said.ends_with("3 passed, 0 failed\n"), "{said}");
    let said = succeeds(folder, &["lint", "memory-use"]);
    assert!(said.contains("grant system: no test case needs it"), "{said}");

    let plan = "plan: {service: web}\nexpect: {steps: [{id: restart, summary: restart web, reversible: false}]}\n";
    let wrong = "plan: {}\nexpect: {fault: missing field}\n";
    assert!(becomes(folder, "action", ACTION, &[("web", plan), ("wrong", wrong)]));
    succeeds(folder, &["record", "memory-use", "--plan", "{service: db}"]);
    let said = succeeds(folder, &["test", "memory-use"]);
    assert!(said.ends_with("3 passed, 0 failed\n"), "{said}");
}
