//! What a task does on a node, step by step.

use super::Wait;
use super::care::BackupSpec;
use super::service::{Beside, ServiceSpec, absolute, permissions, places};
use super::watch::CheckSpec;
use crate::Name;
use crate::spec::collections::Config;
use crate::spec::form::{Form, Word};
use crate::spec::scalars::{Ref, Setting, Span, Template};
use crate::spec::shape::{Reader, Shape, record};
use crate::spec::words::words;
use crate::spec::yaml::{Node, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::Duration;

words! {
    /// Which packages are upgraded.
    pub enum Packages {
        /// Only those that mend a hole.
        Security "security",
        /// All of them.
        All "all",
    }
}

words! {
    /// When a node is rebooted.
    pub enum Reboot {
        /// Only where something asks for it.
        IfNeeded "if-needed",
        /// In any case.
        Always "always",
    }
}

record! {
    /// A check that has to pass.
    pub struct CheckStep, short "name" {
        /// The check by its name.
        name "name": Ref<CheckSpec>, required, "name: health";
        /// How long it may take until it does; 5m without it.
        within "within": Wait, optional, "within: 10m";
    }
}

record! {
    /// A command, for the shell.
    pub struct RunStep, short "command" {
        /// The line, for the shell.
        command "command": Template, required, "command: bin/tidy";
        /// The user that it runs as; one without rights without it.
        user "user": String, optional, "user: postgres";
        /// Variables of its environment, where a secret stands that nobody else is to read.
        env "env": BTreeMap<String, Setting>, default(BTreeMap::new()), "env: {PGPASSWORD: \"${secret:db}\"}";
    }
}

record! {
    /// A user of the system, with a group of its own and without a shell; one that is there stays as it is.
    pub struct UserStep, short "name", rules user_rules {
        /// Its name on the host.
        name "name": String, required, "name: shop";
        /// Its home; the folder is made where it does not exist.
        home "home": String, optional, "home: /opt/shop";
        /// Groups that it is put into; they must exist.
        groups "groups": Vec<String>, default(Vec::new()), "groups: [adm]";
    }
}

fn user_rules(spec: &UserStep, node: &Node, reader: &mut Reader<'_>) {
    absolute(spec.home.as_ref(), "home", node, reader);
}

record! {
    /// A file on the host, put in place where it is another.
    pub struct FileStep, rules file_rules {
        /// Where it goes on the host.
        path "path": String, required, "path: /etc/redis/redis.conf";
        /// The file beside the spec that it comes from.
        from "from": Beside, required, "from: files/redis.conf";
        /// Run on the new file before it takes its place; ${file} is where it lies.
        validate "validate": Template<true>, optional, "validate: nginx -t -c ${file}";
        /// What the file says, by name: ${name} in it stands for the value.
        with "with": BTreeMap<String, Setting>, default(BTreeMap::new()), "with: {password: \"${secret:db}\"}";
        /// Who owns it; root without it.
        owner "owner": String, optional, "owner: redis";
        /// Its permissions; 0644 without it, or 0640 where a secret stands in it.
        mode "mode": String, optional, "mode: \"0640\"";
    }
}

fn file_rules(spec: &FileStep, node: &Node, reader: &mut Reader<'_>) {
    absolute(Some(&spec.path), "path", node, reader);
    permissions(spec.mode.as_ref(), node, reader);
    places(&spec.from.file, &spec.with, node, reader);
}

/// Shorter than a host takes to say that it is there, or longer than anybody waits.
pub type Trial = Span<5_000, 600_000>;
const TRIAL: Trial = Span(Duration::from_secs(60));

record! {
    /// Rules of nftables. They stay only if the host reaches its control plane under them; else those before are put back.
    pub struct FirewallStep, short "from" {
        /// The file beside the spec that they come from, as nft reads it; `flush ruleset` in it takes the old ones away.
        from "from": Beside, required, "from: files/firewall.nft";
        /// How long the host has for that.
        revert "revert": Trial, default(TRIAL), "revert: 2m";
    }
}

record! {
    /// What a plugin of world action does: its plan first, then that, step by step. Where a step fails, those before it are undone.
    pub struct ActionStep {
        /// The plugin.
        plugin "plugin": Name, required, "plugin: haproxy-server";
        /// The plugin's own fields, as it is configured and as it plans.
        with "with": Config, default(Config::default()), "with: {backend: shop, server: web1}";
    }
}

/// One thing that a task does on a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Drain,
    Undrain,
    Packages(Packages),
    Reboot(Reboot),
    Check(CheckStep),
    Start(Ref<ServiceSpec>),
    Stop(Ref<ServiceSpec>),
    Restart(Ref<ServiceSpec>),
    Reload(Ref<ServiceSpec>),
    Wait(Wait),
    Backup(Ref<BackupSpec>),
    Run(RunStep),
    User(UserStep),
    File(FileStep),
    Firewall(FirewallStep),
    Action(ActionStep),
}

record! {
    /// A step that says what with.
    pub struct StepFields {
        /// Upgrade packages.
        packages "packages": Packages, optional, "packages: security";
        /// Reboot the node, and wait until it is ready again.
        reboot "reboot": Reboot, optional, "reboot: if-needed";
        /// Go on only when this check passes.
        check "check": CheckStep, optional, "check: health";
        /// Start a service.
        start "start": Ref<ServiceSpec>, optional, "start: shop";
        /// Stop a service; it stays stopped.
        stop "stop": Ref<ServiceSpec>, optional, "stop: shop";
        /// Restart a service.
        restart "restart": Ref<ServiceSpec>, optional, "restart: shop";
        /// Have a service read its configuration again.
        reload "reload": Ref<ServiceSpec>, optional, "reload: shop";
        /// Do nothing for a time.
        wait "wait": Wait, optional, "wait: 30s";
        /// Make a backup.
        backup "backup": Ref<BackupSpec>, optional, "backup: shop";
        /// Run a command.
        run "run": RunStep, optional, "run: bin/tidy";
        /// Make a user of the system.
        user "user": UserStep, optional, "user: {name: shop, home: /opt/shop}";
        /// Put a file in place.
        file "file": FileStep, optional, "file: {path: /etc/redis/redis.conf, from: files/redis.conf}";
        /// Load rules of nftables, for a trial first.
        firewall "firewall": FirewallStep, optional, "firewall: files/firewall.nft";
        /// Have a plugin do what it does.
        action "action": ActionStep, optional, "action: {plugin: haproxy-server, with: {backend: shop, server: web1}}";
    }
}

impl StepFields {
    /// The one that is written.
    fn step(self) -> Option<Step> {
        let host = self.packages.map(Step::Packages).or(self.reboot.map(Step::Reboot));
        let service = self.start.map(Step::Start).or(self.stop.map(Step::Stop));
        let service = service.or(self.restart.map(Step::Restart)).or(self.reload.map(Step::Reload));
        let pause = self.check.map(Step::Check).or(self.wait.map(Step::Wait));
        let other = self.backup.map(Step::Backup).or(self.run.map(Step::Run));
        let other = other.or(self.user.map(Step::User)).or(self.file.map(Step::File));
        let other = other.or(self.firewall.map(Step::Firewall)).or(self.action.map(Step::Action));
        host.or(service).or(pause).or(other)
    }
}

const STEP_WORDS: &[Word] = &[
    Word { word: "drain", doc: "Take the node out of its load balancers." },
    Word { word: "undrain", doc: "Put the node back into its load balancers." },
];

/// `a step: drain, undrain, or one of {packages: ..}, ...`
fn noun() -> String {
    let kinds: Vec<String> = StepFields::record().fields.iter().map(|one| format!("{{{}: ..}}", one.key)).collect();
    format!("a step: drain, undrain, or one of {}", kinds.join(", "))
}

impl Shape for Step {
    fn form() -> Form {
        Form::Either(vec![Form::Words(STEP_WORDS), StepFields::form()])
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(word) if word == "drain" => Some(Self::Drain),
            Value::Text(word) if word == "undrain" => Some(Self::Undrain),
            Value::Text(word) => {
                if let Some(field) = StepFields::record().fields.iter().find(|field| field.key == word) {
                    let help = format!("write it like this: {{{}}}", field.example);
                    reader.fault(node.at, format!("is {word:?} alone, and must say of what"), Some(help));
                    return None;
                }
                let help = match crate::spec::problem::nearest(word, ["drain", "undrain"]) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("a command is written {{run: {word}}}"),
                };
                reader.fault(node.at, format!("is {word:?}, and there is no such step"), Some(help));
                None
            }
            Value::Map(entries) if entries.len() == 1 => StepFields::read(node, reader)?.step(),
            Value::Map(entries) if entries.len() > 1 => {
                let help = several(entries.iter().map(|(key, _)| key.text.as_str()));
                reader.fault(node.at, "is several steps in one", Some(help));
                None
            }
            _ => {
                reader.wrong(node, &noun());
                None
            }
        }
    }

    fn print(&self, full: bool) -> Json {
        let one = |key: &str, value: Json| Json::Object([(key.to_owned(), value)].into_iter().collect());
        match self {
            Self::Drain => "drain".into(),
            Self::Undrain => "undrain".into(),
            Self::Packages(which) => one("packages", which.print(full)),
            Self::Reboot(when) => one("reboot", when.print(full)),
            Self::Check(check) => one("check", check.print(full)),
            Self::Start(service) => one("start", service.print(full)),
            Self::Stop(service) => one("stop", service.print(full)),
            Self::Restart(service) => one("restart", service.print(full)),
            Self::Reload(service) => one("reload", service.print(full)),
            Self::Wait(time) => one("wait", time.print(full)),
            Self::Backup(backup) => one("backup", backup.print(full)),
            Self::Run(command) => one("run", command.print(full)),
            Self::User(user) => one("user", user.print(full)),
            Self::File(file) => one("file", file.print(full)),
            Self::Firewall(rules) => one("firewall", rules.print(full)),
            Self::Action(action) => one("action", action.print(full)),
        }
    }
}

/// What is meant by fields side by side: a step with more to say of it, or a step each.
fn several<'a>(keys: impl Iterator<Item = &'a str> + Clone) -> String {
    let of = |key: &str| StepFields::record().fields.iter().find(|field| field.key == key);
    let more = |step: &'static str| match of(step).map(|field| &field.form) {
        Some(Form::Record(record)) => Some(record()),
        _ => None,
    };
    let steps: Vec<&'static str> = keys.clone().filter_map(|key| of(key).map(|field| field.key)).collect();
    if let [step] = steps.as_slice()
        && let Some(record) = more(step)
        && keys.clone().all(|key| key == *step || record.fields.iter().any(|field| field.key == key))
    {
        let short = record.short.unwrap_or("name");
        let rest: Vec<String> = keys.filter(|key| key != step).map(|key| format!("{key}: ..")).collect();
        return format!("write what belongs to it below it: {{{step}: {{{short}: .., {}}}}}", rest.join(", "));
    }
    let parts: Vec<String> = keys.map(|key| format!("{{{key}: ..}}")).collect();
    format!("make a step of each: [{}]", parts.join(", "))
}
