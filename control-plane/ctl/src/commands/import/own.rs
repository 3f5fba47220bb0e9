//! What of a unit a service of Hostler's own is made of, and what has no equivalent.

use super::unit::{Setting, Unit};
use super::words::{Word, has_secret, is_secret, name, size, span, specified, split};
use hostler_types::units::{format_duration, write_size};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longer is not written in specs.
const SPAN_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Times and counts that specs take.
const FILES: std::ops::RangeInclusive<u64> = 16..=10_000_000;
const PROCESSES: std::ops::RangeInclusive<u64> = 1..=4_000_000;
const ATTEMPTS: std::ops::RangeInclusive<u64> = 1..=1_000;
const SIGNALS: [&str; 7] = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"];
/// What says something that is so anyway, or that `needs` and the fleet say.
const SILENT: [&str; 36] = [
    "After",
    "AllowIsolate",
    "Before",
    "BindsTo",
    "CPUAccounting",
    "DefaultDependencies",
    "Description",
    "Documentation",
    "Environment",
    "EnvironmentFile",
    "ExecStart",
    "IOAccounting",
    "KillSignal",
    "LimitNOFILE",
    "MemoryAccounting",
    "MemoryLimit",
    "MemoryMax",
    "NotifyAccess",
    "PIDFile",
    "RemainAfterExit",
    "Requires",
    "Requisite",
    "RestartSec",
    "SendSIGKILL",
    "SourcePath",
    "StartLimitBurst",
    "StartLimitInterval",
    "StartLimitIntervalSec",
    "SyslogIdentifier",
    "TasksAccounting",
    "TasksMax",
    "TimeoutSec",
    "TimeoutStopSec",
    "User",
    "Wants",
    "WorkingDirectory",
];

/// How an amount is written in specs, if it is one.
type Reading<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The fields of a service, and what is told beside them.
#[derive(Debug, Default)]
pub struct Own {
    pub command: String,
    pub user: Option<String>,
    pub home: Option<String>,
    pub env: BTreeMap<String, String>,
    /// By name: where the unit has it.
    pub secrets: BTreeMap<String, String>,
    pub restart: Vec<(&'static str, String)>,
    pub stop: Vec<(&'static str, String)>,
    pub limits: Vec<(&'static str, String)>,
    pub notes: Vec<String>,
}

pub fn own(unit: &Unit, service: &str, read: &dyn Fn(&str) -> Option<String>) -> Result<Own, String> {
    let mut own = Own::default();
    own.environment(unit, service, read);
    own.command(unit, service)?;
    own.place(unit);
    own.times(unit);
    own.limits(unit);
    own.rest(unit);
    Ok(own)
}

impl Own {
    fn note(&mut self, setting: &Setting, words: &str) {
        // A value that is long or that may be a secret is no use to anybody here.
        let hide = setting.key.contains("Credential") || has_secret(&setting.value);
        let value: String = if hide { "...".to_owned() } else { setting.value.chars().take(60).collect() };
        let value = if value.len() < setting.value.len() && !hide { format!("{value}...") } else { value };
        self.notes.push(format!("{}={value} ({}): {words}", setting.key, setting.at));
    }

    fn filled(&mut self, unit: &Unit, setting: &Setting, text: &str) -> String {
        let (filled, unknown) = specified(text, unit.stem());
        if let Some(letter) = unknown.first() {
            self.note(setting, &format!("{letter} is known to systemd only; write what it stands for"));
        }
        filled
    }

    fn secret(&mut self, service: &str, what: &str, at: String) -> String {
        let secret = secret_name(service, what);
        self.secrets.insert(secret.clone(), at);
        format!("${{secret:{secret}}}")
    }

    fn environment(&mut self, unit: &Unit, service: &str, read: &dyn Fn(&str) -> Option<String>) {
        for setting in unit.all("Environment") {
            for word in split(&setting.value) {
                let text = self.filled(unit, setting, &escaped(&word.text));
                if let Some((key, value)) = text.split_once('=') {
                    self.variable(service, key, value, setting.at.to_string());
                }
            }
        }
        // Files win over what the unit says itself.
        for setting in unit.all("EnvironmentFile") {
            let path = self.filled(unit, setting, setting.value.trim_start_matches('-'));
            let Some(text) = read(&path) else {
                self.note(setting, "it is not read here; put what is in it below env");
                continue;
            };
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                let assigned = line.split_once('=').filter(|_| !line.starts_with(['#', ';']));
                let Some((key, value)) = assigned else { continue };
                let value: Vec<String> = split(value).into_iter().map(|word| word.text).collect();
                let at = format!("line {} of {path}", number + 1);
                self.variable(service, key.trim(), &escaped(&value.join(" ")), at);
            }
        }
    }

    fn variable(&mut self, service: &str, key: &str, value: &str, at: String) {
        let key = key.trim_start_matches("export ").to_owned();
        let value = if is_secret(&key, value) { self.secret(service, &key, at) } else { value.to_owned() };
        self.env.insert(key, value);
    }

    fn command(&mut self, unit: &Unit, service: &str) -> Result<(), String> {
        let all: Vec<&Setting> = unit.all("ExecStart").collect();
        let Some(setting) = all.last() else {
            return Err(format!("{} has no ExecStart=, so there is nothing to run: is it a whole unit?", unit.name));
        };
        if all.len() > 1 {
            self.note(setting, "only this one of several is taken; a service runs one program");
        }
        let signs = setting.value.trim_start_matches(['@', '-', ':', '+', '!', '|']);
        if setting.value.starts_with('@') {
            self.note(setting, "the program is called by its own name");
        }
        let mut words = split(signs);
        if setting.value.starts_with('@') && words.len() > 1 {
            words.remove(1);
        }
        let mut shown = Vec::new();
        let mut flag: Option<String> = None;
        for word in words {
            let text = self.filled(unit, setting, &word.text);
            let hidden = self.hidden(service, &text, flag.take(), &setting.at.to_string());
            if text.starts_with('-') && !text.contains('=') {
                flag = Some(text.clone());
            }
            shown.push(match hidden {
                Some(text) => text,
                None => shell(&Word { text, ..word }),
            });
        }
        let command = shown.join(" ");
        // A shell steps aside, so that signals reach the program.
        let needs_shell = command.contains(['$', '\\']) && !only_references(&command);
        self.command = if needs_shell { format!("exec {command}") } else { command };
        Ok(())
    }

    /// `--password=x`, or the word behind `--password`.
    fn hidden(&mut self, service: &str, text: &str, flag: Option<String>, at: &str) -> Option<String> {
        // Whatever is in them, but for such a quote, each is one word.
        if let Some((flag, value)) = text.split_once('=').filter(|_| text.starts_with('-'))
            && has_secret(&format!("{flag} {value}"))
        {
            return Some(format!("'{flag}={}'", self.argument(service, flag, at)));
        }
        let flag = flag.unwrap_or_default();
        if has_secret(&format!("{flag} {text}")) {
            let what = if flag.is_empty() { "argument" } else { flag.as_str() };
            return Some(format!("'{}'", self.argument(service, what, at)));
        }
        None
    }

    /// One of its own, whatever others are called.
    fn argument(&mut self, service: &str, what: &str, at: &str) -> String {
        let taken = |what: &str| self.secrets.contains_key(&secret_name(service, what));
        let mut names = (1_u32..).map(|n| if n == 1 { what.to_owned() } else { format!("{what}-{n}") });
        let what = names.find(|name| !taken(name)).unwrap_or_else(|| what.to_owned());
        self.secret(service, &what, at.to_owned())
    }

    fn place(&mut self, unit: &Unit) {
        if let Some(setting) = unit.last("User") {
            let user = self.filled(unit, setting, &setting.value);
            self.user = Some(user);
        }
        if let Some(setting) = unit.last("WorkingDirectory") {
            let home = self.filled(unit, setting, setting.value.trim_start_matches('-'));
            match home.starts_with('/') {
                true => self.home = Some(home),
                false => self.note(setting, "a home is an absolute path; write home: /..."),
            }
        }
    }

    fn times(&mut self, unit: &Unit) {
        let told = |own: &mut Self, key: &str| -> Option<String> {
            let setting = unit.last(key)?;
            // No time at all is none at all to systemd, in these as in all that it waits for.
            let forever = key.starts_with("Timeout") && setting.value.trim_end_matches('s') == "0";
            match span(&setting.value).filter(|span| *span <= SPAN_MAX && !forever) {
                Some(span) => Some(format_duration(span)),
                None => {
                    own.note(setting, "no equivalent; it is a time, of a week at most");
                    None
                }
            }
        };
        let delay = told(self, "RestartSec");
        let within = told(self, "StartLimitIntervalSec").or_else(|| told(self, "StartLimitInterval"));
        let grace = told(self, "TimeoutStopSec").or_else(|| told(self, "TimeoutSec"));
        self.restart.extend(delay.map(|text| ("delay", text)));
        if let Some(setting) = unit.last("StartLimitBurst") {
            match setting.value.parse().ok().filter(|count| ATTEMPTS.contains(count)) {
                Some(count) => self.restart.push(("attempts", u64::to_string(&count))),
                None => self.note(setting, "no equivalent; attempts are 1 to 1000"),
            }
        }
        match within.as_deref() {
            // systemd's word for no limit; a spec counts whole seconds.
            Some(text) if text.ends_with("ms") || text == "0s" => {
                self.notes.push(format!("StartLimitIntervalSec={text}: no equivalent; attempts are always counted"));
            }
            Some(text) => self.restart.push(("within", text.to_owned())),
            None => {}
        }
        if let Some(setting) = unit.last("KillSignal") {
            let signal = setting.value.trim_start_matches("SIG").to_owned();
            match signal.as_str() {
                "TERM" => {}
                word if SIGNALS.contains(&word) => self.stop.push(("signal", signal)),
                _ => self.note(setting, "no equivalent; a service is stopped by TERM, INT, QUIT, HUP, USR1 or USR2"),
            }
        }
        self.stop.extend(grace.map(|text| ("grace", text)));
    }

    fn limits(&mut self, unit: &Unit) {
        let number = |text: &str, range: &std::ops::RangeInclusive<u64>| {
            text.parse::<u64>().ok().filter(|number| range.contains(number)).map(|number| number.to_string())
        };
        let processors = |text: &str| {
            let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
            Some(format!("{}", percent / 100.0)).filter(|_| percent >= 1.0)
        };
        let memory = if unit.last("MemoryMax").is_some() { "MemoryMax" } else { "MemoryLimit" };
        // Of the soft and the hard limit, what the program sees first.
        let soft = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
        let read: [(&str, &'static str, Reading<'_>); 4] = [
            (memory, "memory", &|text| size(text).map(write_size)),
            ("CPUQuota", "cpu", &processors),
            ("LimitNOFILE", "files", &|text| number(&soft(text), &FILES)),
            ("TasksMax", "processes", &|text| number(text, &PROCESSES)),
        ];
        for (key, field, read) in read {
            let Some(setting) = unit.last(key) else { continue };
            match read(&setting.value) {
                Some(value) => self.limits.push((field, value)),
                None if setting.value == "infinity" => {}
                None => self.note(setting, &format!("no equivalent; limits.{field} is an amount")),
            }
        }
    }

    fn rest(&mut self, unit: &Unit) {
        let told = unit.settings.iter().filter(|one| one.section != "Install" && !one.key.starts_with("X-"));
        for setting in told {
            let words = match (setting.key.as_str(), setting.value.as_str()) {
                ("Group", group) if self.user.as_deref() == Some(group) => continue,
                ("Type", "simple" | "exec" | "idle") | ("Restart", "always" | "on-failure" | "on-abnormal") => continue,
                ("StandardOutput" | "StandardError", "journal" | "inherit" | "null") => continue,
                ("StandardInput", "null") | ("KillMode", "control-group" | "mixed") | ("CPUQuota", _) => continue,
                ("ExecReload", how) if how.ends_with("-HUP $MAINPID") || how.ends_with("HUP $MAINPID") => continue,
                ("Type", "notify" | "notify-reload") => {
                    "it runs once it is started; a ready: check says when it is well"
                }
                ("Type", "forking") => {
                    "it has to stay in the foreground here: give its command the flag that does that"
                }
                ("Type", "oneshot") => "what ends is started again here; this is no service",
                ("Type", _) => "no equivalent; it runs once it is started",
                ("Restart", _) => "a service that ends is started again; see restart:",
                ("Group" | "SupplementaryGroups", _) => "no equivalent; it runs with the groups of its user",
                ("DynamicUser", _) => "no equivalent; give it a user:, which is made where it does not exist",
                ("StateDirectory" | "RuntimeDirectory" | "LogsDirectory" | "CacheDirectory", _) => {
                    "no equivalent; folders are made below home by dirs:"
                }
                ("ExecStartPre" | "ExecCondition", _) => "no equivalent; nothing is run before it",
                ("ExecStartPost" | "ExecStop" | "ExecStopPost", _) => "no equivalent; it is stopped by a signal",
                ("ExecReload", _) => "no equivalent; it is reloaded by HUP",
                ("StandardOutput" | "StandardError", _) => "no equivalent; what it prints is kept by Hostler",
                ("OnFailure" | "OnSuccess", _) => "no equivalent; heal: and notifiers tell people",
                ("LoadCredential" | "SetCredential", _) => "no equivalent; name it as ${secret:...} in env",
                ("Sockets", _) => "no equivalent; it has to listen by itself",
                (key, _) if SILENT.contains(&key) => continue,
                _ => "no equivalent; it runs without",
            };
            self.note(setting, words);
        }
    }
}

fn secret_name(service: &str, what: &str) -> String {
    name(&format!("{service}-{}", what.trim_start_matches('-').replace('_', "-")))
}

/// What is text to systemd stays text here: `${X}` names nothing of the fleet.
fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// As a shell reads it back; variables stay, as systemd would fill them in.
fn shell(word: &Word) -> String {
    // What was filled in here is no variable.
    let own = word.text.replace("${node.name}", "\u{1}");
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-\u{1}".contains(c);
    let variable = own.replace("$$", "").contains('$');
    let text = if own.chars().all(plain) && !own.is_empty() {
        own
    } else if variable {
        let inside = own.replace("$$", "\\$").replace('"', "\\\"").replace('`', "\\`");
        let bare =
            !word.quoted && own.starts_with('$') && own.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || c == '_');
        escaped(&if bare { inside } else { format!("\"{inside}\"") })
    } else {
        let literal = own.replace("$$", "$");
        escaped(&if literal.contains('\'') {
            format!("'{}'", literal.replace('\'', "'\\''"))
        } else {
            format!("'{literal}'")
        })
    };
    text.replace('\u{1}', "${node.name}")
}

/// Nothing that a shell would have to resolve.
fn only_references(command: &str) -> bool {
    let rest = command.replace("${secret:", "").replace("${node.name}", "");
    !rest.contains(['\\', '$'])
}
