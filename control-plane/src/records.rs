//! What is in the store, and under which keys: the only place where domain
//! values become bytes at rest and come back.
//!
//! Every value begins with a format byte and a version, so that a later release
//! can tell what it reads.

mod acts;
pub mod brakes;
mod notices;
pub mod runs;
pub mod schedules;

pub use acts::{act_id, act_key, acts_prefix, decode_act, encode_act};
pub use notices::{
    alert_key, decode_alert, decode_silence, decode_waiting, encode_alert, encode_silence, encode_waiting, silence_key,
    waiting_key,
};

use bytes::Bytes;
use hostler_core::access::{Many, Noun, Role, Rule, Verb, Within, WordError};
use hostler_core::catalogue::Artifact;
use hostler_core::enrol::Token;
use hostler_proto::store as rest;
use hostler_types::{
    CheckState, Event, EventKind, Facts, Labels, Name, NodeId, NodeState, Policy, Selector, Timestamp,
};
use prost::Message;

const FORMAT: u8 = 1;
const VERSION: u16 = 1;

pub const META: &str = "/meta/lineage";
pub const TERM: &str = "/meta/term";
pub const MEMBERS: &str = "/member/";
pub const MEMBER_NAMES: &str = "/member-name/";
pub const LIVENESS: &str = "/liveness/";
pub const TOKENS: &str = "/token/";
pub const OPERATORS: &str = "/operator/";
pub const OPERATOR_TOKENS: &str = "/operator-token/";
/// When each was last used: beside it, since a use must never bring it back.
pub const OPERATOR_TOKEN_USES: &str = "/operator-token-use/";
pub const ROLES: &str = "/role/";
pub const ARTIFACTS: &str = "/artifact/";
/// The highest version of each plugin that was ever pushed.
pub const HIGHEST: &str = "/plugin-highest/";
pub const TRUSTED_KEYS: &str = "/trusted-key/";
pub const SECRETS: &str = "/secret/";
pub const SYSTEMS: &str = "/system/";
pub const SYSTEM_VERSIONS: &str = "/system-version/";
/// Written with every change of any system: two at once can't both happen.
pub const SPECS: &str = "/meta/specs";
pub const HEALTH: &str = "/health/";
pub const SPOOL_MARKS: &str = "/spool/";
pub const EVENTS: &str = "/event/";
/// The number of the newest event that was dropped.
pub const EVENTS_FORGOTTEN: &str = "/meta/events-forgotten";
/// The newest checkpoint of the audit log.
pub const AUDIT_HEAD: &str = "/meta/audit-head";
/// What is wrong, or lately was.
pub const ALERTS: &str = "/alert/";
pub const SILENCES: &str = "/silence/";
/// Notices on their way.
pub const WAITING: &str = "/waiting-notice/";
/// What was done to services, and what was held back.
pub const ACTS: &str = "/act/";
/// Acts that wait for a second person, and those that did.
pub const APPROVALS: &str = "/approval/";
/// The last backup of the control plane itself.
pub const LAST_BACKUP: &str = "/meta/last-backup";
/// When each notifier's server last took something.
pub const NOTIFIERS_TAKEN: &str = "/notifier-taken/";
/// The number of the newest event that was made a notice.
pub const EVENTS_TOLD: &str = "/meta/events-told";

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the record {key} is damaged: {problem}")]
    Damaged { key: String, problem: String },
    #[error("the record {key} was written by a newer version (format {format}, version {version}): upgrade")]
    Newer { key: String, format: u8, version: u16 },
}

pub fn member_key(id: &NodeId) -> String {
    format!("{MEMBERS}{id}")
}
pub fn member_name_key(name: &Name) -> String {
    format!("{MEMBER_NAMES}{name}")
}
pub fn liveness_key(id: &NodeId) -> String {
    format!("{LIVENESS}{id}")
}
pub fn token_key(secret_hash: &str) -> String {
    format!("{TOKENS}{secret_hash}")
}
pub fn operator_key(name: &str) -> String {
    format!("{OPERATORS}{name}")
}
pub fn operator_token_key(id: &str) -> String {
    format!("{OPERATOR_TOKENS}{id}")
}
pub fn operator_token_use_key(id: &str) -> String {
    format!("{OPERATOR_TOKEN_USES}{id}")
}
pub fn approval_key(id: &str) -> String {
    format!("{APPROVALS}{id}")
}
pub fn notifier_taken_key(name: &Name) -> String {
    format!("{NOTIFIERS_TAKEN}{name}")
}
pub fn role_key(name: &str) -> String {
    format!("{ROLES}{name}")
}
pub fn artifact_key(plugin: &Name, version: &str) -> String {
    format!("{ARTIFACTS}{plugin}/{version}")
}
pub fn highest_key(plugin: &Name) -> String {
    format!("{HIGHEST}{plugin}")
}
pub fn trusted_key_key(name: &Name) -> String {
    format!("{TRUSTED_KEYS}{name}")
}
pub fn secret_key(name: &Name) -> String {
    format!("{SECRETS}{name}")
}
pub fn system_key(system: &Name) -> String {
    format!("{SYSTEMS}{system}")
}
pub fn system_version_key(system: &Name, number: u64) -> String {
    // Sorted as numbers are.
    format!("{SYSTEM_VERSIONS}{system}/{number:020}")
}
pub fn health_key(id: &NodeId, check: &Name) -> String {
    format!("{HEALTH}{id}/{check}")
}
pub fn spool_key(id: &NodeId) -> String {
    format!("{SPOOL_MARKS}{id}")
}

pub fn encode(message: &impl Message) -> Bytes {
    let mut bytes = Vec::with_capacity(3 + message.encoded_len());
    bytes.push(FORMAT);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.into()
}

pub fn decode<M: Message + Default>(key: &str, bytes: &[u8]) -> Result<M, RecordError> {
    let damaged =
        |problem: &dyn std::fmt::Display| RecordError::Damaged { key: key.to_owned(), problem: problem.to_string() };
    let (head, body) = bytes.split_first_chunk::<3>().ok_or_else(|| damaged(&"it is too short"))?;
    let (format, version) = (head[0], u16::from_be_bytes([head[1], head[2]]));
    if format != FORMAT || version > VERSION {
        return Err(RecordError::Newer { key: key.to_owned(), format, version });
    }
    M::decode(body).map_err(|error| damaged(&error))
}

/// That a notifier's server has just taken something.
pub fn taken(notifier: &Name, at: Timestamp) -> (String, Bytes) {
    (notifier_taken_key(notifier), encode(&rest::NotifierTaken { at_ms: at.as_millis() }))
}

/// A host that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    pub name: Name,
    /// From its join; specs add to them.
    pub labels: Labels,
    pub policy: Policy,
    pub agent_version: String,
    pub joined_at: Timestamp,
    pub machine_id: String,
    pub certificate_not_after: Timestamp,
    pub revoked: Option<Revocation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

impl Member {
    pub fn encode(&self) -> Bytes {
        let revoked = self.revoked.clone();
        encode(&rest::Member {
            id: self.id.to_string(),
            name: self.name.to_string(),
            labels: self.labels.clone().into_iter().collect(),
            policy: self.policy.word().to_owned(),
            agent_version: self.agent_version.clone(),
            joined_at_ms: self.joined_at.as_millis(),
            revoked_at_ms: revoked.as_ref().map_or(0, |revoked| revoked.at.as_millis()),
            revoked_by: revoked.as_ref().map(|revoked| revoked.by.clone()).unwrap_or_default(),
            revoked_reason: revoked.map(|revoked| revoked.reason).unwrap_or_default(),
            machine_id: self.machine_id.clone(),
            certificate_not_after_ms: self.certificate_not_after.as_millis(),
            first_connected_at_ms: 0,
        })
    }

    pub fn decode(key: &str, bytes: &[u8]) -> Result<Self, RecordError> {
        let one: rest::Member = decode(key, bytes)?;
        let damaged = |problem: String| RecordError::Damaged { key: key.to_owned(), problem };
        Ok(Self {
            id: NodeId::parse(&one.id).map_err(|error| damaged(error.to_string()))?,
            name: Name::new(one.name).map_err(|error| damaged(error.to_string()))?,
            labels: one.labels.into_iter().collect(),
            policy: one
                .policy
                .parse()
                .map_err(|error: hostler_types::state::UnknownWord| damaged(error.to_string()))?,
            agent_version: one.agent_version,
            joined_at: Timestamp::from_millis(one.joined_at_ms),
            machine_id: one.machine_id,
            certificate_not_after: Timestamp::from_millis(one.certificate_not_after_ms),
            revoked: (one.revoked_at_ms != 0).then_some(Revocation {
                at: Timestamp::from_millis(one.revoked_at_ms),
                by: one.revoked_by,
                reason: one.revoked_reason,
            }),
        })
    }
}

/// The newest connection state that was news, and the facts of that time.
#[derive(Clone, Debug, PartialEq)]
pub struct LivenessRecord {
    pub state: NodeState,
    pub since: Timestamp,
    pub facts: Option<Facts>,
}

impl LivenessRecord {
    pub fn encode(&self) -> Bytes {
        let facts_json = self.facts.as_ref().and_then(|facts| serde_json::to_vec(facts).ok()).unwrap_or_default();
        encode(&rest::Liveness {
            state: self.state.word().to_owned(),
            since_ms: self.since.as_millis(),
            last_seen_ms: 0,
            facts_json,
        })
    }

    pub fn decode(key: &str, bytes: &[u8]) -> Result<Self, RecordError> {
        let one: rest::Liveness = decode(key, bytes)?;
        Ok(Self {
            state: one.state.parse().unwrap_or(NodeState::Disconnected),
            since: Timestamp::from_millis(one.since_ms),
            facts: serde_json::from_slice(&one.facts_json).ok(),
        })
    }
}

pub fn encode_token(token: &Token) -> Bytes {
    encode(&rest::Token {
        created_at_ms: token.created_at.as_millis(),
        expires_at_ms: token.expires_at.as_millis(),
        uses_left: token.uses_left,
        labels: token.labels.clone().into_iter().collect(),
        created_by: token.created_by.clone(),
    })
}

pub fn decode_token(key: &str, bytes: &[u8]) -> Result<Token, RecordError> {
    let one: rest::Token = decode(key, bytes)?;
    Ok(Token {
        created_at: Timestamp::from_millis(one.created_at_ms),
        expires_at: Timestamp::from_millis(one.expires_at_ms),
        uses_left: one.uses_left,
        labels: one.labels.into_iter().collect(),
        created_by: one.created_by,
    })
}

pub fn encode_role(role: &Role, at: Timestamp, by: &str) -> Bytes {
    let rules = role.rules.iter().map(|rule| rest::RoleRule {
        verbs: rule.verbs.words(Verb::word),
        nouns: rule.nouns.words(Noun::word),
        systems: match &rule.within {
            Within::Systems(systems) => systems.iter().cloned().collect(),
            Within::Everywhere | Within::Limit => Vec::new(),
        },
        r#where: rule.nodes.as_ref().map(ToString::to_string).unwrap_or_default(),
    });
    encode(&rest::Role { rules: rules.collect(), set_at_ms: at.as_millis(), set_by: by.to_owned() })
}

pub fn role(name: &str, record: &rest::Role) -> Result<Role, RecordError> {
    let rules = record.rules.iter().map(|rule| read_rule(&rule.verbs, &rule.nouns, &rule.systems, &rule.r#where));
    let rules = rules.collect::<Result<_, _>>();
    let damaged = |problem| RecordError::Damaged { key: role_key(name), problem };
    Ok(Role { name: name.to_owned(), rules: rules.map_err(damaged)? })
}

/// A rule's words, wherever they come from.
pub fn read_rule(verbs: &[String], nouns: &[String], systems: &[String], nodes: &str) -> Result<Rule, String> {
    let words = |error: WordError| error.to_string();
    let nodes = match nodes {
        "" => None,
        text => Some(Selector::parse(text).map_err(|error| error.to_string())?),
    };
    let within = match systems {
        [] => Within::Everywhere,
        systems => Within::Systems(systems.iter().cloned().collect()),
    };
    Ok(Rule {
        verbs: Many::parse(verbs, Verb::parse).map_err(words)?,
        nouns: Many::parse(nouns, Noun::parse).map_err(words)?,
        within,
        nodes,
    })
}

/// A pushed plugin, and who pushed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    pub artifact: Artifact,
    pub at: Timestamp,
    pub by: String,
    /// The trusted key's name; empty: none.
    pub signed_by: String,
}

impl Pushed {
    pub fn encode(&self) -> Bytes {
        let manifest = &self.artifact.manifest;
        encode(&rest::Artifact {
            plugin: manifest.name.to_string(),
            version: manifest.version.clone(),
            digest: self.artifact.digest.clone(),
            size_bytes: self.artifact.size_bytes,
            manifest_json: serde_json::to_string(manifest).unwrap_or_default(),
            pushed_at_ms: self.at.as_millis(),
            pushed_by: self.by.clone(),
            waiting: self.artifact.waiting,
            signed_by: self.signed_by.clone(),
        })
    }

    pub fn decode(key: &str, bytes: &[u8]) -> Result<Self, RecordError> {
        let one: rest::Artifact = decode(key, bytes)?;
        let manifest = serde_json::from_str(&one.manifest_json)
            .map_err(|error| RecordError::Damaged { key: key.to_owned(), problem: error.to_string() })?;
        Ok(Self {
            artifact: Artifact { manifest, digest: one.digest, size_bytes: one.size_bytes, waiting: one.waiting },
            at: Timestamp::from_millis(one.pushed_at_ms),
            by: one.pushed_by,
            signed_by: one.signed_by,
        })
    }
}

/// Where a check stands on a node, by its last transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub check: Name,
    pub state: CheckState,
    pub since: Timestamp,
    pub summary: String,
}

impl Health {
    pub fn encode(&self) -> Bytes {
        encode(&rest::Health {
            check: self.check.to_string(),
            state: self.state.word().to_owned(),
            since_ms: self.since.as_millis(),
            summary: self.summary.clone(),
        })
    }

    pub fn decode(key: &str, bytes: &[u8]) -> Result<Self, RecordError> {
        let one: rest::Health = decode(key, bytes)?;
        let damaged = |problem: String| RecordError::Damaged { key: key.to_owned(), problem };
        Ok(Self {
            check: Name::new(one.check).map_err(|error| damaged(error.to_string()))?,
            state: one.state.parse().unwrap_or(CheckState::Unknown),
            since: Timestamp::from_millis(one.since_ms),
            summary: one.summary,
        })
    }
}

/// An event that has no number yet: its commit gives it one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub at: Timestamp,
    pub kind: &'static str,
    pub node: String,
    pub subject: String,
    pub message: String,
}

pub fn encode_events(events: &[NewEvent]) -> Bytes {
    let events = events
        .iter()
        .map(|event| rest::Event {
            at_ms: event.at.as_millis(),
            kind: event.kind.to_owned(),
            node: event.node.clone(),
            subject: event.subject.clone(),
            message: event.message.clone(),
        })
        .collect();
    encode(&rest::Events { events })
}

/// With their numbers: where in history, then which place in the commit.
pub fn decode_events(key: &str, bytes: &[u8], lineage: u64, revision: u64) -> Result<Vec<Event>, RecordError> {
    let one: rest::Events = decode(key, bytes)?;
    let number = |(index, event): (usize, rest::Event)| Event {
        seq: format!("{lineage}.{revision}.{index}"),
        at: Timestamp::from_millis(event.at_ms),
        kind: EventKind::new(&event.kind),
        node: event.node,
        subject: event.subject,
        message: event.message,
    };
    Ok(one.events.into_iter().enumerate().map(number).collect())
}

/// The numbers inside an event's `seq`.
pub fn parse_seq(seq: &str) -> Option<(u64, u64, u64)> {
    let mut parts = seq.split('.').map(|part| part.parse().ok());
    let parsed = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_proto::agent as wire;

    #[test]
    fn what_a_newer_version_wrote_is_not_misread() {
        let bytes = encode(&rest::Meta { lineage: 7, created_at_ms: 1 });
        let meta: rest::Meta = decode("/meta", &bytes).expect("reads back");
        assert_eq!(meta.lineage, 7);
        let mut newer = bytes.to_vec();
        newer[2] = 9;
        assert!(matches!(decode::<rest::Meta>("/meta", &newer), Err(RecordError::Newer { version: 9, .. })));
        assert!(matches!(decode::<rest::Meta>("/meta", &[1]), Err(RecordError::Damaged { .. })));
    }

    #[test]
    fn the_longest_facts_fit_into_a_value_of_the_store() {
        // What JSON doubles, and what it makes six times as long.
        for filler in ["\"", "\u{1}", "\u{1F600}"] {
            let text = || filler.repeat(10_000);
            let disk = wire::Disk { mount: text(), device: text(), filesystem: text(), size_bytes: u64::MAX };
            let facts = wire::Facts {
                hostname: text(),
                os_id: text(),
                os_version: text(),
                os_name: text(),
                kernel: text(),
                arch: text(),
                cpu_model: text(),
                cpu_count: u32::MAX,
                memory_bytes: u64::MAX,
                swap_bytes: u64::MAX,
                disks: vec![disk; 1_000],
                addresses: vec![wire::Address { interface: text(), address: text() }; 1_000],
                machine_id: text(),
                boot_id: text(),
                booted_at_ms: u64::MAX,
            };
            let record =
                LivenessRecord { state: NodeState::Ready, since: Timestamp::default(), facts: Some(facts.into()) };
            let size = record.encode().len();
            assert!(size < hostler_store::VALUE_BYTES_MAX, "{size} bytes");
        }
    }

    #[test]
    fn roles_read_back_and_operators_from_before_roles_do_too() {
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let rules = vec![
            read_rule(&words(&["all"]), &words(&["node", "token"]), &[], "role=web").expect("a rule"),
            read_rule(&words(&["read", "push"]), &words(&["all"]), &words(&["shop"]), "").expect("a rule"),
        ];
        let kept = Role { name: "own".into(), rules };
        let bytes = encode_role(&kept, Timestamp::from_millis(7), "kim");
        let record = decode(&role_key("own"), &bytes).expect("reads");
        assert_eq!(role("own", &record).expect("reads"), kept);
        let damaged =
            rest::Role { rules: vec![rest::RoleRule { verbs: words(&["fly"]), ..Default::default() }], ..record };
        assert!(matches!(role("own", &damaged), Err(RecordError::Damaged { .. })));
        // Name and creator, as the first release wrote them.
        let old = [&[FORMAT, 0, 1][..], b"\x0a\x04jane\x22\x05admin"].concat();
        let operator: rest::Operator = decode("/operator/jane", &old).expect("reads");
        assert_eq!(crate::access::grant_of(&operator).roles, ["admin"]);
    }

    #[test]
    fn event_numbers_read_back() {
        assert_eq!(parse_seq("17.42.3"), Some((17, 42, 3)));
        assert_eq!(parse_seq("17.42"), None);
        assert_eq!(parse_seq("a.b.c"), None);
        assert_eq!(parse_seq("1.2.3.4"), None);
    }
}
