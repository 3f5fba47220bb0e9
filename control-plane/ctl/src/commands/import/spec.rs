//! Writes the spec down, with what there is to say about it.

use super::own::{Own, own};
use super::unit::{Setting, Unit};
use super::words::{name, split};
use hostler_types::terminal::sanitize;
use std::fmt::Write;

/// Units that are the system's own; no executor touches them.
const SYSTEM: [&str; 6] = ["systemd-", "dbus", "getty@", "user@", "polkit", "init"];
/// A line of a comment, of which there may be many.
const COMMENT_CHARACTERS_MAX: usize = 160;

/// The whole file; `read` gives what is in a file of the unit's host.
pub fn write(
    unit: &Unit,
    selector: &str,
    is_own: bool,
    read: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    if let Some(ending) = [".socket", ".timer", ".path", ".target"].iter().find(|ending| unit.name.ends_with(*ending)) {
        return Err(format!("{} is a {}, and only services are imported", unit.name, &ending[1..]));
    }
    if unit.name.contains("@.") {
        let example = unit.name.replace("@.", "@NAME.");
        return Err(format!("{} is a template: name what runs of it, like {example}", unit.name));
    }
    if !unit.settings.iter().any(|one| one.section == "Service") {
        return Err(format!("{} has no [Service] section, so it is no service: is it a whole unit?", unit.name));
    }
    let service = name(unit.stem());
    let (needs, not_needed) = needs(unit);
    let mut text = Text::default();
    if is_own {
        let own = own(unit, &service, read)?;
        text.own(unit, &service, selector, &needs, own);
    } else {
        text.comment(0, &format!("{} as it is: its unit stays, and says how it runs.", unit.name));
        text.comment(0, "What it runs, in place of the unit's name: hostlerctl import systemd NAME --own");
        text.line(0, "service:");
        text.adopted(&service, &unit.name, selector, &needs);
    }
    for need in &needs {
        text.adopted(&name(stem(need)), need, selector, &[]);
    }
    for (setting, other) in not_needed {
        text.comment(2, &format!("{}={other} ({}): no need; only services are waited for", setting.key, setting.at));
    }
    Ok(text.0)
}

fn stem(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}

/// The services that it needs, and those units that are none. What only comes before it
/// is not needed.
fn needs(unit: &Unit) -> (Vec<String>, Vec<(&Setting, String)>) {
    let (mut needs, mut others) = (Vec::new(), Vec::new());
    for setting in ["Requires", "Requisite", "BindsTo", "Wants"].into_iter().flat_map(|key| unit.all(key)) {
        for word in split(&setting.value) {
            let (other, _) = super::words::specified(&word.text, unit.stem());
            let system = SYSTEM.iter().any(|head| other.starts_with(head));
            if other.ends_with(".service") && !system && !other.contains("@.") && other != unit.name {
                if !needs.contains(&other) {
                    needs.push(other);
                }
            } else if !other.ends_with(".target") && !other.ends_with(".slice") && !other.ends_with(".mount") {
                others.push((setting, other));
            }
        }
    }
    (needs, others)
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.0, "{:indent$}{}", "", sanitize(text));
    }

    /// One line, whatever is in it.
    fn comment(&mut self, indent: usize, text: &str) {
        let words: String = sanitize(text).replace(['\n', '\r'], " ").chars().take(COMMENT_CHARACTERS_MAX).collect();
        self.line(indent, &format!("# {words}"));
    }

    fn field(&mut self, indent: usize, key: &str, value: &str) {
        self.line(indent, &format!("{key}: {value}"));
    }

    fn fields(&mut self, key: &str, fields: &[(&'static str, String)]) {
        if !fields.is_empty() {
            let all: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            self.field(4, key, &format!("{{{}}}", all.join(", ")));
        }
    }

    fn needs(&mut self, needs: &[String]) {
        if !needs.is_empty() {
            let names: Vec<String> = needs.iter().map(|need| name(stem(need))).collect();
            self.field(4, "needs", &format!("[{}]", names.join(", ")));
        }
    }

    fn adopted(&mut self, service: &str, unit: &str, selector: &str, needs: &[String]) {
        self.line(2, &format!("{service}:"));
        self.field(4, "where", &scalar(selector));
        self.field(4, "type", "systemd");
        self.field(4, "unit", &scalar(unit));
        self.needs(needs);
    }

    fn own(&mut self, unit: &Unit, service: &str, selector: &str, needs: &[String], own: Own) {
        self.comment(
            0,
            &format!("What {} runs. Before this is applied: systemctl disable --now {}", unit.name, unit.name),
        );
        if !own.secrets.is_empty() {
            self.line(0, "secret:");
            for (secret, at) in &own.secrets {
                self.comment(2, &format!("The unit has it on {at}: hostlerctl secret set {secret}"));
                self.line(2, &format!("{secret}: {{}}"));
            }
        }
        self.line(0, "service:");
        self.line(2, &format!("{service}:"));
        self.field(4, "where", &scalar(selector));
        self.field(4, "command", &scalar(&own.command));
        for (key, value) in [("user", &own.user), ("home", &own.home)] {
            if let Some(value) = value {
                self.field(4, key, &scalar(value));
            }
        }
        if own.user.is_none() {
            self.comment(4, "The unit runs it as root; without user: it runs as hostler-run here.");
        }
        if !own.env.is_empty() {
            self.line(4, "env:");
            for (key, value) in &own.env {
                self.field(6, &scalar(key), &scalar(value));
            }
        }
        self.fields("limits", &own.limits);
        self.needs(needs);
        self.fields("restart", &own.restart);
        self.fields("stop", &own.stop);
        for note in &own.notes {
            self.comment(4, note);
        }
    }
}

/// As YAML reads it back: quoted where it could mean something else.
fn scalar(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || " /._=-+@".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = !matches!(
        text.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
    );
    if begins && word && text.chars().all(safe) && !text.ends_with(' ') {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
