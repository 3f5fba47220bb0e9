//! The system itself, its nodes, plugins and secrets, and the rules for touching
//! them.

use super::{Interval, labels_only};
use crate::Name;
use crate::cron::Cron;
use crate::notifier::is_built_in;
use crate::plugin::{
    CommandPattern, Digest, Grants, HostPattern, HttpPattern, PathPattern, SocketPattern, WordPattern,
};
use crate::selector::{self, Labels, Selector};
use crate::spec::collections::Config;
use crate::spec::form::{Form, Scalar};
use crate::spec::scalars::{Amount, Setting, Zone, text_of};
use crate::spec::shape::{Reader, Shape, record};
use crate::spec::yaml::{Node, Value};
use serde_json::Value as Json;

record! {
    /// The system that a folder describes. Applying it owns what is in it: what is
    /// taken out of the folder is taken out of the fleet.
    ///
    /// It is written without a name of its own below it: system: {name: shop}.
    pub struct SystemSpec {
        /// How the system is called, on the command line and in plans.
        name "name": Name, required, "name: shop";
        /// The time zone that its cron lines mean.
        zone "zone": Zone, default(Zone::utc()), "zone: Europe/Berlin";
        /// The environment that was applied last; set by --env.
        env "env": Name, optional, "env: prod";
    }
}

record! {
    /// A host. It joins by a code; a spec only labels it.
    pub struct NodeSpec {
        /// What selectors choose it by. They are added to those of its join code, and win over them.
        labels "labels": LabelMap, default(LabelMap::default()), "labels: {role: app}";
    }
}

/// What selectors choose a node by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelMap(pub Labels);

impl Shape for LabelMap {
    fn form() -> Form {
        let key = Scalar::text("a label", Some("^[A-Za-z0-9_-]{1,63}$"));
        Form::Map { key, value: Box::new(Setting::form()) }
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            reader.wrong(node, "a map of labels");
            return None;
        };
        if entries.len() > selector::LABELS_MAX {
            reader.fault(node.at, format!("has more than {} labels", selector::LABELS_MAX), None);
            return None;
        }
        let mut labels = Vec::new();
        for (key, value) in entries {
            let Some(Setting(text)) = reader.inside(&key.text, None, |reader| Setting::read(value, reader)) else {
                labels.push(None);
                continue;
            };
            if let Err(error) = selector::check_label(&key.text, &text) {
                let at = if selector::check_label(&key.text, "x").is_ok() { value.at } else { key.at };
                let help = reader.example();
                reader.told(at, error, help);
                labels.push(None);
                continue;
            }
            labels.push(Some((key.text.clone(), text)));
        }
        labels.into_iter().collect::<Option<Labels>>().map(Self)
    }

    fn print(&self, _: bool) -> Json {
        Json::Object(self.0.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect())
    }
}

record! {
    /// Which version of a pushed plugin runs, and what it may do. Without one, the
    /// newest that was pushed runs with what its manifest asks for.
    pub struct PluginSpec {
        /// The version that runs, instead of the newest.
        version "version": String, optional, "version: 1.2.0";
        /// The component's SHA-256 in hex, or at least its first 32 digits: whatever else was pushed under that name does not run.
        digest "digest": Digest, optional, "digest: 8f434346648f6b96df89dda901c5176b";
        /// What it may reach, of what its manifest asks for.
        allow "allow": Allow, optional, "allow: {http: [\"https://*\"]}";
    }
}

record! {
    /// What a plugin may reach. What is absent is refused.
    pub struct Allow {
        /// Where it may send requests to.
        http "http": Vec<HttpPattern>, default(Vec::new()), "http: [\"http://127.0.0.1:*\"]";
        /// Where it may connect to, with TLS or without.
        tcp "tcp": Vec<SocketPattern>, default(Vec::new()), "tcp: [\"127.0.0.1:6379\"]";
        /// Which names it may ask the DNS for.
        dns "dns": Vec<HostPattern>, default(Vec::new()), "dns: [\"*.example.com\"]";
        /// Whom it may ping.
        icmp "icmp": Vec<HostPattern>, default(Vec::new()), "icmp: [gateway]";
        /// Which files it may read.
        files "files": Vec<PathPattern>, default(Vec::new()), "files: [\"/var/log/nginx/*.log\"]";
        /// Which programs it may run, by the name it calls them.
        commands "commands": Vec<CommandPattern>, default(Vec::new()), "commands: [\"ready: /usr/bin/pg_isready -h *\"]";
        /// Which units of systemd it may look at.
        units "units": Vec<WordPattern>, default(Vec::new()), "units: [\"nginx*\"]";
        /// Which containers it may look at.
        containers "containers": Vec<WordPattern>, default(Vec::new()), "containers: [web]";
        /// Which secrets it may send on, without seeing them.
        secrets "secrets": Vec<WordPattern>, default(Vec::new()), "secrets: [db-password]";
        /// Which of those it may see.
        reveal "reveal": Vec<WordPattern>, default(Vec::new()), "reveal: [db-password]";
        /// Whether it may read this host's processors, memory, disks and network.
        system "system": bool, default(false), "system: true";
        /// Whether it may see processes, with their command lines.
        processes "processes": bool, default(false), "processes: true";
        /// Whether private networks are refused to it, but for addresses written out above.
        public_only "public_only": bool, default(false), "public_only: true";
    }
}

impl Allow {
    pub fn grants(&self) -> Grants {
        Grants {
            http: self.http.clone(),
            tcp: self.tcp.clone(),
            dns: self.dns.clone(),
            icmp: self.icmp.clone(),
            files: self.files.clone(),
            commands: self.commands.clone(),
            units: self.units.clone(),
            containers: self.containers.clone(),
            secrets: self.secrets.clone(),
            reveal: self.reveal.clone(),
            system: self.system,
            processes: self.processes,
            public_only: self.public_only,
        }
    }
}

/// A grant's pattern in a spec: its noun, and what a schema can say of its text.
macro_rules! pattern_shape {
    ($pattern:ty, $noun:literal, $regex:expr) => {
        impl Shape for $pattern {
            fn form() -> Form {
                Form::Scalar(Scalar::text($noun, $regex))
            }

            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let text = String::read(node, reader)?;
                match text.parse::<$pattern>() {
                    Ok(pattern) => Some(pattern),
                    Err(error) => {
                        reader.unreadable(node, &error.to_string());
                        None
                    }
                }
            }

            fn print(&self, _: bool) -> Json {
                self.to_string().into()
            }
        }
    };
}

pattern_shape!(HttpPattern, "scheme, host and port like https://*.example.com", Some("^https?://[^/]+$"));
pattern_shape!(SocketPattern, "host and port like 127.0.0.1:6379, or unix:/path", Some("^(unix:/.+|.+:([0-9]+|\\*))$"));
pattern_shape!(HostPattern, "a name or an address like *.example.com", None);
pattern_shape!(PathPattern, "an absolute path like /var/log/*.log", Some("^/"));
pattern_shape!(CommandPattern, "a name and a program like ready: /usr/bin/pg_isready -h *", Some("^[a-z0-9._-]+: /"));
pattern_shape!(Digest, "a SHA-256 in hex", Some("^[0-9a-f]{32,64}$"));
pattern_shape!(WordPattern, "a name, perhaps with *", Some("^\\S+$"));

record! {
    /// A secret's name. Its value never stands in a spec: hostlerctl secret set NAME.
    pub struct SecretSpec {
    }
}

record! {
    /// Where notices go.
    pub struct NotifierSpec, rules notifier_rules {
        /// Whether it also gets what nobody asked for by name: lost nodes, late backups, failed runs.
        default "default": bool, default(false), "default: true";
        /// What delivers: smtp, webhook, slack, or a pushed plugin of world notifier.
        plugin "plugin": Name, required, "plugin: smtp";
        /// The nodes that its plugin may run on; any without it.
        where_ "where": Selector, optional, "where: role=ops";
        /// Where to: smtp takes server, to, tls, from, user and password; webhook takes url and secret; slack takes url; a plugin, what it says itself.
        with "with": Config, default(Config::default()), "with: {server: \"mail.example.com:587\", to: admin@example.com}";
    }
}

fn notifier_rules(spec: &NotifierSpec, node: &Node, reader: &mut Reader<'_>) {
    let Some(selector) = &spec.where_ else { return };
    if is_built_in(spec.plugin.as_str()) {
        let at = node.get("where").map_or(node.at, |found| found.at);
        let help = Some("leave it out: only plugins run on nodes".to_owned());
        reader.fault(at, format!("has where, and {} delivers from the control plane", spec.plugin), help);
    }
    labels_only(selector, "what a notifier is given", node, reader);
}

record! {
    /// How many of these nodes may be down by our hand at once, whatever the
    /// reason: healing, deploys, reboots, backups.
    pub struct BudgetSpec {
        /// The nodes that share the budget.
        where_ "where": Selector, required, "where: role=app";
        /// How many of them, or which share.
        max_down "max_down": Amount, required, "max_down: 1";
        /// The label by whose values they are counted: so many in each zone.
        per "per": LabelKey, optional, "per: zone";
    }
}

/// A label without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelKey(pub String);

impl Shape for LabelKey {
    fn form() -> Form {
        Form::Scalar(Scalar::text("the name of a label", Some("^[A-Za-z0-9_-]{1,63}$")))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = text_of(node, "the name of a label", reader)?;
        match selector::check_label_key(text) {
            Ok(()) => Some(Self(text.to_owned())),
            Err(error) => {
                let help = reader.example();
                reader.told(node.at, error, help);
                None
            }
        }
    }

    fn print(&self, _: bool) -> Json {
        self.0.as_str().into()
    }
}

record! {
    /// When something that disturbs may happen.
    pub struct WindowSpec, rules window_rules {
        /// When it opens.
        cron "cron": Cron, required, "cron: 0 20 * * mon-thu";
        /// The zone of its cron line.
        zone "zone": Zone, optional, "zone: Europe/Berlin";
        /// How long it stays open.
        for_ "for": Interval, required, "for: 4h";
        /// Nothing starts in its last part.
        cutoff "cutoff": Interval, optional, "cutoff: 45m";
    }
}

fn window_rules(spec: &WindowSpec, node: &Node, reader: &mut Reader<'_>) {
    let Some(cutoff) = spec.cutoff.filter(|cutoff| *cutoff >= spec.for_) else { return };
    let [cutoff, open] = [cutoff.0, spec.for_.0].map(crate::units::format_duration);
    let at = node.get("cutoff").map_or(node.at, |found| found.at);
    let help = format!("make cutoff shorter than {open}, or the window longer");
    reader.fault(at, format!("closes its last {cutoff}, and is open for only {open}: nothing could start"), Some(help));
}
