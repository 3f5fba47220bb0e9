//! What is not as it should be, and how to mend it: facts in, findings out.
//!
//! A fact that nobody knows is absent, and nothing is found of it. Every finding
//! has its entry in `deploy/docs/doctor.md`, which a test compares.

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;

use hostler_types::Timestamp;
use hostler_types::units::{format_age, format_size};
use hostler_types::version::Version;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Beyond this, fires and certificates are judged by the wrong time.
const SKEW_MAX_MS: u64 = 2_000;
/// A working day's certificate is renewed at its end.
const OWN_CREDENTIAL_LEFT: Duration = HOUR;
/// Made anew every six hours for 90 days: with so little left that has failed for long.
const SERVER_CERTIFICATE_LEFT: Duration = Duration::from_secs(30 * 86_400);
/// All nodes have to be given another authority before.
const AUTHORITY_LEFT: Duration = Duration::from_secs(365 * 86_400);
/// A node's lasts 7 days and is renewed at half of that: this late it has failed for
/// more than a day.
const NODE_CERTIFICATE_LEFT: Duration = Duration::from_secs(2 * 86_400);
/// What lasts for longer was given to somebody who does not come by each day.
const LASTING_CREDENTIAL: Duration = Duration::from_secs(14 * 86_400);
const CREDENTIAL_LEFT: Duration = Duration::from_secs(7 * 86_400);
const BACKUP_AGE_MAX: Duration = DAY;
const LOST_FOR_LONG: Duration = DAY;
/// The store needs room for a checkpoint of itself and for the audit log.
const DISK_FREE_BAD: u64 = 512 << 20;
const DISK_FREE_WARN: u64 = 2 << 30;
/// Names in one line; the rest is counted.
const NAMED_MAX: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work, or would be lost.
    Bad,
    /// It will be so, if nobody does something.
    Warn,
    /// It could be better.
    Hint,
}

impl Severity {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Hint => "hint",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub name: &'static str,
    pub severity: Severity,
    pub text: String,
    /// What to do; empty where the text says it.
    pub help: String,
}

/// Of whoever asks, and their machine.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    pub operator: String,
    pub version: String,
    pub credential_ends: Timestamp,
    pub by_token: bool,
    pub clock_ahead_ms: Option<i64>,
    /// Address, and why not.
    pub unreachable: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub name: String,
    pub is_connected: bool,
    pub lost_since: Option<Timestamp>,
    pub version: String,
    pub skew_ms: Option<i64>,
    pub certificate_ends: Timestamp,
}

/// A certificate or a token of an operator who is let in.
#[derive(Clone, Debug, Default)]
pub struct Credential {
    pub operator: String,
    /// Empty: the certificate.
    pub token: String,
    pub made_at: Timestamp,
    pub ends_at: Timestamp,
}

/// Where the key lies that secrets are sealed under.
#[derive(Clone, Debug, Default)]
pub struct KeyFile {
    pub path: String,
    pub mode: u32,
    /// Absent: it is the control plane's.
    pub other_owner: Option<u32>,
}

#[derive(Clone, Debug, Default)]
pub struct Notifier {
    pub name: String,
    pub is_default: bool,
    pub was_taken: bool,
    /// What waits for it and was tried, and the last error.
    pub failing: Option<(usize, String)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Backup {
    pub at: Timestamp,
    pub is_sealed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Audit {
    pub failing: Option<String>,
    pub wished_days: u32,
    /// Set where older records were there and are not any more.
    pub begins_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub now: Timestamp,
    pub version: String,
    pub asker: Asker,
    pub server_certificate_ends: Option<Timestamp>,
    pub authority_ends: Option<Timestamp>,
    pub advertises_loopback: bool,
    pub data_folder: String,
    /// Free and whole.
    pub disk: Option<(u64, u64)>,
    pub backup: Option<Backup>,
    pub nodes: Vec<Node>,
    pub secrets_without_value: Vec<String>,
    pub secrets_under_older_key: Vec<String>,
    pub secrets: usize,
    /// Absent: the key is not kept in the data folder.
    pub key_file: Option<KeyFile>,
    pub notifiers: Vec<Notifier>,
    pub has_heartbeat: bool,
    pub admins: Vec<String>,
    pub credentials: Vec<Credential>,
    pub audit: Audit,
    pub checks_nowhere: Vec<String>,
    /// Name and version.
    pub plugins_waiting: Vec<(String, String)>,
    /// Who could say yes; absent: nothing waits for a second person.
    pub approvers: Option<Vec<String>>,
}

/// The names of all findings there are, in the order of the page about them.
pub const NAMES: [&str; 33] = [
    "own-credential-ends",
    "server-certificate-ends",
    "authority-ends",
    "node-not-renewed",
    "own-clock",
    "node-clock",
    "disk-full",
    "disk-filling",
    "backup-never",
    "backup-old",
    "own-version",
    "agent-older",
    "agent-newer",
    "unreachable",
    "advertise-loopback",
    "secret-without-value",
    "secret-older-key",
    "secrets-key-open",
    "secrets-key-owner",
    "secrets-key-not-saved",
    "notifier-no-default",
    "notifier-never-taken",
    "notifier-failing",
    "no-heartbeat",
    "one-admin",
    "credential-ends",
    "audit-failing",
    "audit-short",
    "node-lost",
    "check-nowhere",
    "plugin-waiting",
    "one-approver",
    "no-nodes",
];

/// The worst first, and else as they stand on their page.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Found::default();
    certificates(facts, &mut found);
    clocks(facts, &mut found);
    keeping(facts, &mut found);
    versions(facts, &mut found);
    ports(facts, &mut found);
    secrets(facts, &mut found);
    notifiers(facts, &mut found);
    operators(facts, &mut found);
    audit(facts, &mut found);
    fleet(facts, &mut found);
    let place = |name: &str| NAMES.iter().position(|known| *known == name);
    found.0.sort_by_key(|one| (one.severity, place(one.name)));
    found.0
}

#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, severity: Severity, name: &'static str, text: String, help: impl Into<String>) {
        self.0.push(Finding { name, severity, text, help: help.into() });
    }
    fn bad(&mut self, name: &'static str, text: String, help: impl Into<String>) {
        self.add(Severity::Bad, name, text, help);
    }
    fn warn(&mut self, name: &'static str, text: String, help: impl Into<String>) {
        self.add(Severity::Warn, name, text, help);
    }
    fn hint(&mut self, name: &'static str, text: String, help: impl Into<String>) {
        self.add(Severity::Hint, name, text, help);
    }
}

/// `a, b, c and 4 more`
fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn first(names: &[&str]) -> String {
    names.first().copied().unwrap_or_default().to_owned()
}

/// `in 3d`, `5h ago`
fn when(at: Timestamp, now: Timestamp) -> String {
    if at <= now { format!("{} ago", format_age(now.since(at))) } else { format!("in {}", format_age(at.since(now))) }
}

fn ends_within(at: Timestamp, now: Timestamp, left: Duration) -> bool {
    at <= now.plus(left)
}

fn end(at: Timestamp, now: Timestamp) -> String {
    let word = if at <= now { "ended" } else { "ends" };
    format!("{word} {}", when(at, now))
}

fn certificates(facts: &Facts, found: &mut Found) {
    let (now, asker) = (facts.now, &facts.asker);
    if ends_within(asker.credential_ends, now, OWN_CREDENTIAL_LEFT) {
        let (what, help) = if asker.by_token {
            ("token", format!("hostlerctl operator token create {}", asker.operator))
        } else {
            ("certificate", "hostlerctl operator renew".to_owned())
        };
        found.warn("own-credential-ends", format!("your {what} {}", end(asker.credential_ends, now)), help);
    }
    if let Some(at) = facts.server_certificate_ends.filter(|at| ends_within(*at, now, SERVER_CERTIFICATE_LEFT)) {
        let text = format!("the control plane's own certificate {}, and making a new one has failed", end(at, now));
        found.bad("server-certificate-ends", text, "its log says why: journalctl -u hostler-control-plane");
    }
    if let Some(at) = facts.authority_ends.filter(|at| ends_within(*at, now, AUTHORITY_LEFT)) {
        let text = format!("the authority that all trust {}", end(at, now));
        let help = "plan for a new control plane that all nodes join, before then; look for an upgrade that can \
                    change it in place";
        found.warn("authority-ends", text, help);
    }
    let late = |node: &&Node| node.is_connected && ends_within(node.certificate_ends, now, NODE_CERTIFICATE_LEFT);
    for node in facts.nodes.iter().filter(late) {
        let text =
            format!("node {} could not renew its certificate, which {}", node.name, end(node.certificate_ends, now));
        found.bad("node-not-renewed", text, "there: journalctl -u hostler-agent");
    }
}

fn skew(ms: i64) -> String {
    let size = format_age(Duration::from_millis(ms.unsigned_abs()));
    if ms > 0 { format!("{size} ahead of") } else { format!("{size} behind") }
}

fn clocks(facts: &Facts, found: &mut Found) {
    let off = |ms: &i64| ms.unsigned_abs() > SKEW_MAX_MS;
    const HELP: &str = "timedatectl set-ntp true";
    if let Some(ms) = facts.asker.clock_ahead_ms.filter(off) {
        let text = format!("this machine's clock is {} the control plane's", skew(ms));
        found.warn("own-clock", text, format!("on the one that is wrong: {HELP}"));
    }
    for node in &facts.nodes {
        if let Some(ms) = node.skew_ms.filter(off) {
            let text = format!("the clock of node {} is {} the control plane's", node.name, skew(ms));
            found.warn("node-clock", text, format!("there: {HELP}"));
        }
    }
}

fn keeping(facts: &Facts, found: &mut Found) {
    if let Some((free, whole)) = facts.disk.filter(|(free, _)| *free < DISK_FREE_WARN) {
        let text = format!("{} of {} are free for {}", format_size(free), format_size(whole), facts.data_folder);
        let help = "make room: du -x --max-depth=1 /var | sort -n";
        if free < DISK_FREE_BAD {
            found.bad("disk-full", text, help);
        } else {
            found.warn("disk-filling", text, help);
        }
    }
    const HELP: &str =
        "hostlerctl system backup FILE --passphrase-file KEY, each day, and the file kept on another machine";
    match facts.backup {
        None => found.bad("backup-never", "the control plane was never saved".to_owned(), HELP),
        Some(backup) if facts.now.since(backup.at) > BACKUP_AGE_MAX => {
            let text = format!("the control plane was last saved {}", when(backup.at, facts.now));
            found.warn("backup-old", text, HELP);
        }
        Some(_) => {}
    }
}

fn versions(facts: &Facts, found: &mut Found) {
    let Some(ours) = Version::parse(&facts.version) else { return };
    let theirs = &facts.asker.version;
    if Version::parse(theirs).is_some_and(|theirs| theirs != ours) {
        let text = format!("hostlerctl is {theirs}, and the control plane {}", facts.version);
        found.hint("own-version", text, "install the same version of both");
    }
    let of = |is_other: fn(&Version, &Version) -> bool| -> Vec<&Node> {
        let other = |node: &&Node| Version::parse(&node.version).is_some_and(|version| is_other(&version, &ours));
        facts.nodes.iter().filter(other).collect()
    };
    for (name, nodes, word, help) in [
        (
            "agent-older",
            of(|version, ours| version < ours),
            "older",
            "upgrade the agents: install the control plane's version there",
        ),
        (
            "agent-newer",
            of(|version, ours| version > ours),
            "newer",
            "upgrade the control plane first, then its agents",
        ),
    ] {
        if let Some(first) = nodes.first() {
            let names = named(nodes.iter().map(|node| node.name.as_str()));
            let agents = count(nodes.len(), "agent");
            let verb = if nodes.len() == 1 { "is" } else { "are" };
            let text = format!(
                "{agents} {verb} {word} than the control plane ({}), such as {}: {names}",
                facts.version, first.version
            );
            found.warn(name, text, help);
        }
    }
}

fn ports(facts: &Facts, found: &mut Found) {
    for (address, why) in &facts.asker.unreachable {
        let text = format!("agents are told to connect to {address}, which can't be reached from here: {why}");
        found.warn(
            "unreachable",
            text,
            "open the port, or set `advertise` in control-plane.toml to where it is reached",
        );
    }
    if facts.advertises_loopback {
        let text =
            "agents are told to connect to a loopback address, which only this machine's own agent can".to_owned();
        found.hint("advertise-loopback", text, "set `advertise = [\"HOST:PORT\"]` in control-plane.toml");
    }
}

fn secrets(facts: &Facts, found: &mut Found) {
    for name in &facts.secrets_without_value {
        let text = format!("a spec names secret {name}, and it has no value");
        found.bad("secret-without-value", text, format!("hostlerctl secret set {name}"));
    }
    let older: Vec<&str> = facts.secrets_under_older_key.iter().map(String::as_str).collect();
    if !older.is_empty() {
        let verb = if older.len() == 1 { "is" } else { "are" };
        let text = format!("{} {verb} sealed under an older key: {}", count(older.len(), "secret"), named(older));
        found.warn("secret-older-key", text, "hostlerctl secret rekey");
    }
    let Some(file) = &facts.key_file else { return };
    if file.mode & 0o077 != 0 {
        let text = format!("{}, which opens all secrets, is open to others (mode {:o})", file.path, file.mode & 0o777);
        found.bad("secrets-key-open", text, format!("chmod 600 {}", file.path));
    }
    if let Some(owner) = file.other_owner {
        let text = format!("{} belongs to user {owner}, and not to the control plane", file.path);
        found.warn("secrets-key-owner", text, format!("chown --reference={} {}", facts.data_folder, file.path));
    }
    if facts.secrets > 0 && facts.backup.is_some_and(|backup| !backup.is_sealed) {
        let text = format!("the last backup was not sealed, so {} is not in it", file.path);
        let help =
            "hostlerctl system backup FILE --passphrase-file KEY; or keep a copy of the key apart from the backups";
        found.warn("secrets-key-not-saved", text, help);
    }
}

fn notifiers(facts: &Facts, found: &mut Found) {
    if !facts.notifiers.iter().any(|one| one.is_default) {
        let text = match facts.notifiers.is_empty() {
            true => "there is no notifier: nobody is told when something is wrong".to_owned(),
            false => "no notifier is a default one: only what an alert object names is told to anybody".to_owned(),
        };
        found.warn("notifier-no-default", text, "write one with `default: true`: hostlerctl explain notifier");
    }
    for one in &facts.notifiers {
        let test = format!("hostlerctl alert test {}", one.name);
        if let Some((waiting, why)) = &one.failing {
            let text = format!(
                "notifier {} fails, and {} for it: {why}",
                one.name,
                match waiting {
                    1 => "1 notice waits".to_owned(),
                    more => format!("{more} notices wait"),
                }
            );
            found.bad("notifier-failing", text, test);
        } else if !one.was_taken {
            let text = format!("notifier {} never took anything, so nobody knows whether it works", one.name);
            found.hint("notifier-never-taken", text, test);
        }
    }
    if !facts.has_heartbeat {
        let text = "nobody elsewhere is told when this control plane is gone".to_owned();
        found.hint("no-heartbeat", text, "set `heartbeat_url` in control-plane.toml to a dead man's switch");
    }
}

fn operators(facts: &Facts, found: &mut Found) {
    if let [only] = facts.admins.as_slice() {
        let text = format!("{only} is the only admin who is let in");
        found.hint("one-admin", text, "hostlerctl operator create NAME --role admin --ttl 30d");
    }
    for one in &facts.credentials {
        let is_lasting = one.ends_at.since(one.made_at) >= LASTING_CREDENTIAL;
        if !is_lasting || !ends_within(one.ends_at, facts.now, CREDENTIAL_LEFT) {
            continue;
        }
        let (what, help) = if one.token.is_empty() {
            ("the certificate".to_owned(), format!("hostlerctl operator renew {} --ttl 90d", one.operator))
        } else {
            (format!("token {}", one.token), format!("hostlerctl operator token create {}", one.operator))
        };
        let text = format!("{what} of operator {} {}", one.operator, end(one.ends_at, facts.now));
        found.warn("credential-ends", text, help);
    }
    if let Some([] | [_]) = facts.approvers.as_deref() {
        let approvers = facts.approvers.as_deref().unwrap_or_default();
        let text = match approvers.first() {
            Some(only) => format!("a second approval is asked for, and {only} is the only one who could give any"),
            None => "a second approval is asked for, and nobody is let in who could give it".to_owned(),
        };
        found.bad("one-approver", text, "hostlerctl operator create NAME --role operator");
    }
}

fn audit(facts: &Facts, found: &mut Found) {
    let audit = &facts.audit;
    if let Some(why) = &audit.failing {
        let text = format!("the audit log can't be written, and so nothing can be changed: {why}");
        found.bad("audit-failing", text, format!("look at the disk below {}: df -h, dmesg", facts.data_folder));
    }
    if let Some(at) = audit.begins_at {
        let text = format!(
            "the audit log goes back to {at} only, and {} are wished: older records were removed",
            count(audit.wished_days as usize, "day")
        );
        found.hint("audit-short", text, "hostlerctl audit verify");
    }
}

fn fleet(facts: &Facts, found: &mut Found) {
    let for_long = |node: &&Node| node.lost_since.is_some_and(|since| facts.now.since(since) > LOST_FOR_LONG);
    for node in facts.nodes.iter().filter(for_long) {
        let since = node.lost_since.unwrap_or_default();
        let text = format!("node {} was lost {}", node.name, when(since, facts.now));
        found.warn("node-lost", text, format!("bring it back, or forget it: hostlerctl node rm {}", node.name));
    }
    if facts.nodes.is_empty() {
        found.hint("no-nodes", "no host has joined".to_owned(), "hostlerctl token create");
    } else if !facts.checks_nowhere.is_empty() {
        let checks: Vec<&str> = facts.checks_nowhere.iter().map(String::as_str).collect();
        let help = format!("hostlerctl get check {}; hostlerctl node ls shows labels", first(&checks));
        let verb = if checks.len() == 1 { "runs" } else { "run" };
        let text = format!("{} {verb} on no node: {}", count(checks.len(), "check"), named(checks));
        found.hint("check-nowhere", text, help);
    }
    for (name, version) in &facts.plugins_waiting {
        let text = format!("plugin {name} {version} asks for more than was approved, and waits");
        found.warn("plugin-waiting", text, format!("hostlerctl plugin approve {name} {version}"));
    }
}
