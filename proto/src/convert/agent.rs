//! `hostler.agent.v1` and the domain.

use super::{WireError, schedules};
use crate::agent as wire;
use hostler_types::desired::SCHEDULES_MAX;
use hostler_types::facts::{Address, Disk};
use hostler_types::plugin::{Grants, PatternError};
use hostler_types::time::whole_millis;
use hostler_types::{
    CheckAssignment, CheckState, DesiredState, Facts, Name, NodeId, NotifierAssignment, PluginAssignment, SealedSecret,
    Timestamp, Transition, WatchAssignment,
};
use std::str::FromStr;
use std::time::Duration;

/// What a host says of itself is kept in one value of the store, which takes
/// 64 KiB. JSON at most doubles these: 10 words, 48 disks and 64 addresses at
/// their longest are below 63 KiB. No kernel's or distribution's word is longer.
const WORD_BYTES_MAX: usize = 256;
const DISKS_MAX: usize = 48;
/// A longer mount point is still known by how it begins.
const DISK_TEXT_BYTES_MAX: usize = 128;
const ADDRESSES_MAX: usize = 64;
/// An interface's name has 15 bytes, an IPv6 address with a zone fewer than 64.
const ADDRESS_TEXT_BYTES_MAX: usize = 64;
/// As long as an agent's own limits make a summary or details.
const PROSE_BYTES_MAX: usize = 4096;

fn name(field: &'static str, text: &str) -> Result<Name, WireError> {
    Name::new(text).map_err(|error| WireError::new(field, error))
}

fn state(field: &'static str, text: &str) -> Result<CheckState, WireError> {
    text.parse().map_err(|error| WireError::new(field, error))
}

impl From<&Transition> for wire::Transition {
    fn from(one: &Transition) -> Self {
        Self {
            check: one.check.to_string(),
            from: one.from.word().to_owned(),
            to: one.to.word().to_owned(),
            at_ms: one.at.as_millis(),
            summary: one.summary.clone(),
            streak: one.streak,
            needed: one.needed,
        }
    }
}

impl TryFrom<wire::Transition> for Transition {
    type Error = WireError;
    fn try_from(one: wire::Transition) -> Result<Self, WireError> {
        Ok(Self {
            check: name("transition.check", &one.check)?,
            from: state("transition.from", &one.from)?,
            to: state("transition.to", &one.to)?,
            at: Timestamp::from_millis(one.at_ms),
            summary: one.summary,
            streak: one.streak,
            needed: one.needed,
        })
    }
}

fn texts<T: ToString>(patterns: &[T]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

fn patterns<T: FromStr<Err = PatternError>>(field: &'static str, texts: &[String]) -> Result<Vec<T>, WireError> {
    texts.iter().map(|text| text.parse().map_err(|error| WireError::new(field, error))).collect()
}

impl From<&Grants> for wire::Grants {
    fn from(grants: &Grants) -> Self {
        Self {
            http: texts(&grants.http),
            tcp: texts(&grants.tcp),
            dns: texts(&grants.dns),
            icmp: texts(&grants.icmp),
            files: texts(&grants.files),
            commands: texts(&grants.commands),
            units: texts(&grants.units),
            containers: texts(&grants.containers),
            secrets: texts(&grants.secrets),
            reveal: texts(&grants.reveal),
            system: grants.system,
            processes: grants.processes,
            public_only: grants.public_only,
        }
    }
}

impl TryFrom<wire::Grants> for Grants {
    type Error = WireError;
    fn try_from(grants: wire::Grants) -> Result<Self, WireError> {
        Ok(Self {
            http: patterns("grants.http", &grants.http)?,
            tcp: patterns("grants.tcp", &grants.tcp)?,
            dns: patterns("grants.dns", &grants.dns)?,
            icmp: patterns("grants.icmp", &grants.icmp)?,
            files: patterns("grants.files", &grants.files)?,
            commands: patterns("grants.commands", &grants.commands)?,
            units: patterns("grants.units", &grants.units)?,
            containers: patterns("grants.containers", &grants.containers)?,
            secrets: patterns("grants.secrets", &grants.secrets)?,
            reveal: patterns("grants.reveal", &grants.reveal)?,
            system: grants.system,
            processes: grants.processes,
            public_only: grants.public_only,
        })
    }
}

impl From<&DesiredState> for wire::DesiredState {
    fn from(desired: &DesiredState) -> Self {
        Self {
            node_id: desired.node.to_string(),
            node_name: desired.node_name.to_string(),
            plugins: desired.plugins.iter().map(Into::into).collect(),
            checks: desired.checks.iter().map(Into::into).collect(),
            secrets: desired.secrets.iter().map(Into::into).collect(),
            notifiers: desired.notifiers.iter().map(Into::into).collect(),
            watch: desired.watch.as_ref().map(Into::into),
            services: desired.services.iter().map(Into::into).collect(),
            brakes: desired.brakes.iter().map(Into::into).collect(),
            // More are refused where they are applied; a node that gets them by a new label
            // is to have all the rest of its orders.
            schedules: desired.schedules.iter().take(SCHEDULES_MAX).map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::DesiredState> for DesiredState {
    type Error = WireError;
    fn try_from(desired: wire::DesiredState) -> Result<Self, WireError> {
        Ok(Self {
            node: NodeId::parse(&desired.node_id).map_err(|error| WireError::new("desired_state.node_id", error))?,
            node_name: name("desired_state.node_name", &desired.node_name)?,
            plugins: desired.plugins.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            checks: desired.checks.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            secrets: desired.secrets.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            notifiers: desired.notifiers.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            watch: desired.watch.map(TryInto::try_into).transpose()?,
            services: desired.services.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            brakes: desired.brakes.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            schedules: schedules(desired.schedules)?,
        })
    }
}

impl From<&NotifierAssignment> for wire::NotifierAssignment {
    fn from(one: &NotifierAssignment) -> Self {
        Self { name: one.name.to_string(), plugin: one.plugin.to_string(), config_json: one.config_json.clone() }
    }
}

impl TryFrom<wire::NotifierAssignment> for NotifierAssignment {
    type Error = WireError;
    fn try_from(one: wire::NotifierAssignment) -> Result<Self, WireError> {
        let (plugin, config_json) = (name("notifier.plugin", &one.plugin)?, one.config_json);
        Ok(Self { name: name("notifier.name", &one.name)?, plugin, config_json })
    }
}

impl From<&WatchAssignment> for wire::Watch {
    fn from(one: &WatchAssignment) -> Self {
        Self { gone_after_ms: whole_millis(one.gone_after), tell: texts(&one.tell) }
    }
}

impl TryFrom<wire::Watch> for WatchAssignment {
    type Error = WireError;
    fn try_from(one: wire::Watch) -> Result<Self, WireError> {
        if one.gone_after_ms == 0 {
            return Err(WireError::new("watch.gone_after_ms", "is zero"));
        }
        let tell = one.tell.iter().map(|text| name("watch.tell", text)).collect::<Result<_, _>>()?;
        Ok(Self { gone_after: Duration::from_millis(one.gone_after_ms), tell })
    }
}

impl From<&SealedSecret> for wire::SealedSecret {
    fn from(one: &SealedSecret) -> Self {
        Self { name: one.name.to_string(), version: one.version, sealed: one.sealed.clone() }
    }
}

impl TryFrom<wire::SealedSecret> for SealedSecret {
    type Error = WireError;
    fn try_from(one: wire::SealedSecret) -> Result<Self, WireError> {
        Ok(Self { name: name("secret.name", &one.name)?, version: one.version, sealed: one.sealed })
    }
}

impl From<&PluginAssignment> for wire::PluginAssignment {
    fn from(one: &PluginAssignment) -> Self {
        Self {
            name: one.name.to_string(),
            version: one.version.clone(),
            digest: one.digest.clone(),
            size_bytes: one.size_bytes,
            grants: Some((&one.grants).into()),
        }
    }
}

impl TryFrom<wire::PluginAssignment> for PluginAssignment {
    type Error = WireError;
    fn try_from(one: wire::PluginAssignment) -> Result<Self, WireError> {
        Ok(Self {
            name: name("plugin.name", &one.name)?,
            version: one.version,
            digest: checked_digest(one.digest)?,
            size_bytes: one.size_bytes,
            grants: one.grants.unwrap_or_default().try_into()?,
        })
    }
}

/// A digest becomes a file's name on both sides, so it is nothing but hex.
pub fn checked_digest(digest: String) -> Result<String, WireError> {
    let hex = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex { Ok(digest) } else { Err(WireError::new("digest", "should be 64 lower-case hex digits")) }
}

impl From<&CheckAssignment> for wire::CheckAssignment {
    fn from(one: &CheckAssignment) -> Self {
        Self {
            name: one.name.to_string(),
            plugin: one.plugin.to_string(),
            every_ms: whole_millis(one.every),
            timeout_ms: whole_millis(one.timeout),
            config_json: one.config_json.clone(),
            fails: one.fails,
            passes: one.passes,
            grace_ms: whole_millis(one.grace),
        }
    }
}

impl TryFrom<wire::CheckAssignment> for CheckAssignment {
    type Error = WireError;
    fn try_from(one: wire::CheckAssignment) -> Result<Self, WireError> {
        if one.every_ms == 0 {
            return Err(WireError::new("check.every_ms", "is zero"));
        }
        Ok(Self {
            name: name("check.name", &one.name)?,
            plugin: name("check.plugin", &one.plugin)?,
            every: Duration::from_millis(one.every_ms),
            timeout: Duration::from_millis(one.timeout_ms),
            config_json: one.config_json,
            fails: one.fails.max(1),
            passes: one.passes.max(1),
            grace: Duration::from_millis(one.grace_ms),
        })
    }
}

impl From<&Facts> for wire::Facts {
    fn from(facts: &Facts) -> Self {
        let facts = facts.clone();
        Self {
            hostname: facts.hostname,
            os_id: facts.os_id,
            os_version: facts.os_version,
            os_name: facts.os_name,
            kernel: facts.kernel,
            arch: facts.arch,
            cpu_model: facts.cpu_model,
            cpu_count: facts.cpu_count,
            memory_bytes: facts.memory_bytes,
            swap_bytes: facts.swap_bytes,
            disks: facts.disks.into_iter().map(Into::into).collect(),
            addresses: facts
                .addresses
                .into_iter()
                .map(|one| wire::Address { interface: one.interface, address: one.address })
                .collect(),
            machine_id: facts.machine_id,
            boot_id: facts.boot_id,
            booted_at_ms: facts.booted_at_ms,
        }
    }
}

impl From<Disk> for wire::Disk {
    fn from(one: Disk) -> Self {
        Self { mount: one.mount, device: one.device, filesystem: one.filesystem, size_bytes: one.size_bytes }
    }
}

impl From<wire::Facts> for Facts {
    fn from(facts: wire::Facts) -> Self {
        let disk = |one: wire::Disk| Disk {
            mount: clipped(one.mount, DISK_TEXT_BYTES_MAX),
            device: clipped(one.device, DISK_TEXT_BYTES_MAX),
            filesystem: clipped(one.filesystem, DISK_TEXT_BYTES_MAX),
            size_bytes: one.size_bytes,
        };
        let address = |one: wire::Address| Address {
            interface: clipped(one.interface, ADDRESS_TEXT_BYTES_MAX),
            address: clipped(one.address, ADDRESS_TEXT_BYTES_MAX),
        };
        Self {
            hostname: word(facts.hostname),
            os_id: word(facts.os_id),
            os_version: word(facts.os_version),
            os_name: word(facts.os_name),
            kernel: word(facts.kernel),
            arch: word(facts.arch),
            cpu_model: word(facts.cpu_model),
            cpu_count: facts.cpu_count,
            memory_bytes: facts.memory_bytes,
            swap_bytes: facts.swap_bytes,
            disks: facts.disks.into_iter().take(DISKS_MAX).map(disk).collect(),
            addresses: facts.addresses.into_iter().take(ADDRESSES_MAX).map(address).collect(),
            machine_id: word(facts.machine_id),
            boot_id: word(facts.boot_id),
            booted_at_ms: facts.booted_at_ms,
        }
    }
}

/// What an agent says, cut to what is kept of it: the host is not trusted to be
/// brief.
impl wire::Hello {
    #[must_use]
    pub fn clipped(mut self) -> Self {
        self.agent_version = word(self.agent_version);
        self.boot_id = word(self.boot_id);
        self.policy = word(self.policy);
        self
    }
}

impl wire::CheckReport {
    #[must_use]
    pub fn clipped(mut self) -> Self {
        self.check = word(self.check);
        self.state = word(self.state);
        self.status = word(self.status);
        self.summary = prose(self.summary);
        self.details = prose(self.details);
        self
    }
}

impl wire::PluginReport {
    #[must_use]
    pub fn clipped(mut self) -> Self {
        self.name = word(self.name);
        self.version = word(self.version);
        self.digest = word(self.digest);
        self.state = word(self.state);
        self.message = prose(self.message);
        self
    }
}

impl wire::PluginBill {
    #[must_use]
    pub fn clipped(mut self) -> Self {
        self.plugin = word(self.plugin);
        self
    }
}

/// A name, a version, an id.
fn word(text: String) -> String {
    clipped(text, WORD_BYTES_MAX)
}

/// Its line ends are its own.
fn prose(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(PROSE_BYTES_MAX));
    text
}

/// Control characters say nothing in a name, and are six times as long in JSON.
fn clipped(mut text: String, bytes_max: usize) -> String {
    text.retain(|c| !c.is_control());
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_cut_between_characters() {
        let report = wire::CheckReport { summary: "\u{20AC}".repeat(5_000), ..Default::default() }.clipped();
        assert_eq!(report.summary.len(), PROSE_BYTES_MAX / 3 * 3);
    }

    #[test]
    fn a_desired_state_from_before_watches_reads_back_and_a_new_one_does() {
        use prost::Message;
        let node_id = NodeId::from_random([1; 10]).to_string();
        let old = wire::DesiredState { node_id, node_name: "web1".into(), ..Default::default() };
        let mut desired = DesiredState::try_from(old).expect("reads");
        assert_eq!((desired.watch.as_ref(), desired.notifiers.len()), (None, 0));
        let ops = Name::new("ops").expect("a name");
        let config_json = r#"{"url":"${secret:hook}"}"#.to_owned();
        desired.notifiers = vec![NotifierAssignment { name: ops.clone(), plugin: ops.clone(), config_json }];
        desired.watch = Some(WatchAssignment { gone_after: Duration::from_secs(300), tell: vec![ops] });
        let bytes = wire::DesiredState::from(&desired).encode_to_vec();
        let wire = wire::DesiredState::decode(bytes.as_slice()).expect("decodes");
        assert_eq!(DesiredState::try_from(wire).expect("reads"), desired);
    }
}
