//! Services on the wire and in the domain.

use super::{WireError, checked_digest};
use crate::agent as wire;
use hostler_types::service::{FileAssignment, Limits, LogPolicy, Program, RestartPolicy, Runs, StopPolicy};
use hostler_types::spec::{Drift, HealStep, OnChange, OnNeeds, Restarter, Signal};
use hostler_types::time::whole_millis;
use hostler_types::{Act, Brake, Name, ServiceAssignment, Timestamp};
use std::time::Duration;

/// A line of a reason: as long as a check's summary.
const LINE_BYTES_MAX: usize = 400;
/// Reasons of one act: what was seen, allowed and refused.
const LINES_MAX: usize = 8;
/// The last lines that a service printed: with them an act stays below the 16 KiB of
/// a spool's record.
pub const TAIL_LINES_MAX: usize = 50;
pub const TAIL_BYTES_MAX: usize = 8 * 1024;

pub(super) fn name(field: &'static str, text: &str) -> Result<Name, WireError> {
    Name::new(text).map_err(|error| WireError::new(field, error))
}

fn names(field: &'static str, texts: &[String]) -> Result<Vec<Name>, WireError> {
    texts.iter().map(|text| name(field, text)).collect()
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

pub(super) fn word<T>(field: &'static str, text: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, WireError> {
    read(text).ok_or_else(|| WireError::new(field, format!("{text:?} is no word that is known here")))
}

pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, WireError> {
    text.parse().map_err(|error| WireError::new(field, error))
}

pub(super) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn above_zero(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

impl From<&Program> for wire::Program {
    fn from(one: &Program) -> Self {
        Self {
            command: one.command.clone(),
            user: one.user.clone().unwrap_or_default(),
            home: one.home.clone().unwrap_or_default(),
            dirs: one.dirs.clone(),
            env: one.env.clone(),
            port: one.port.map_or(0, u32::from),
            memory_bytes: one.limits.memory_bytes.unwrap_or(0),
            cpu: one.limits.cpu.unwrap_or(0.0),
            files: one.limits.files.unwrap_or(0),
            processes: one.limits.processes.unwrap_or(0),
            log_path: one.logs.path.clone().unwrap_or_default(),
            log_rotate_bytes: one.logs.rotate_bytes.unwrap_or(0),
            log_every_ms: one.logs.every.map_or(0, whole_millis),
            log_keep: one.logs.keep,
            log_compress: one.logs.compress,
        }
    }
}

impl From<wire::Program> for Program {
    fn from(one: wire::Program) -> Self {
        Self {
            command: one.command,
            user: some(one.user),
            home: some(one.home),
            dirs: one.dirs,
            env: one.env,
            port: u16::try_from(one.port).ok().filter(|port| *port > 0),
            limits: Limits {
                memory_bytes: above_zero(one.memory_bytes),
                cpu: (one.cpu > 0.0).then_some(one.cpu),
                files: above_zero(one.files),
                processes: above_zero(one.processes),
            },
            logs: LogPolicy {
                path: some(one.log_path),
                rotate_bytes: above_zero(one.log_rotate_bytes),
                every: above_zero(one.log_every_ms).map(millis),
                keep: one.log_keep,
                compress: one.log_compress,
            },
        }
    }
}

impl From<&RestartPolicy> for wire::RestartPolicy {
    fn from(one: &RestartPolicy) -> Self {
        Self {
            first_ms: whole_millis(one.first),
            delay_ms: whole_millis(one.delay),
            factor: one.factor,
            cap_ms: whole_millis(one.cap),
            attempts: one.attempts,
            within_ms: whole_millis(one.within),
            reset_ms: whole_millis(one.reset),
        }
    }
}

impl From<wire::RestartPolicy> for RestartPolicy {
    fn from(one: wire::RestartPolicy) -> Self {
        Self {
            first: millis(one.first_ms),
            delay: millis(one.delay_ms),
            factor: if one.factor.is_finite() { one.factor.max(1.0) } else { 1.0 },
            cap: millis(one.cap_ms),
            attempts: one.attempts.max(1),
            within: millis(one.within_ms),
            reset: millis(one.reset_ms),
        }
    }
}

impl From<&FileAssignment> for wire::FileAssignment {
    fn from(one: &FileAssignment) -> Self {
        Self {
            path: one.path.clone(),
            digest: one.digest.clone(),
            size_bytes: one.size_bytes,
            validate: one.validate.clone().unwrap_or_default(),
            change: one.change.word().to_owned(),
            with: one.with.clone().into_iter().collect(),
            owner: one.owner.clone().unwrap_or_default(),
            mode: one.mode,
        }
    }
}

impl TryFrom<wire::FileAssignment> for FileAssignment {
    type Error = WireError;
    fn try_from(one: wire::FileAssignment) -> Result<Self, WireError> {
        Ok(Self {
            path: one.path,
            digest: checked_digest(one.digest)?,
            size_bytes: one.size_bytes,
            validate: some(one.validate),
            change: word("file.change", &one.change, OnChange::from_word)?,
            with: one.with.into_iter().collect(),
            owner: some(one.owner),
            mode: one.mode,
        })
    }
}

impl From<&Runs> for wire::service_assignment::Runs {
    fn from(runs: &Runs) -> Self {
        match runs {
            Runs::Process(program) => Self::Process(program.into()),
            Runs::Unit { name, restarter } => {
                Self::Unit(wire::Unit { name: name.clone(), restarter: restarter.word().to_owned() })
            }
            Runs::Written { name, program } => {
                Self::Written(wire::WrittenUnit { name: name.clone(), program: Some(program.into()) })
            }
            Runs::Container { image, program } => {
                Self::Container(wire::Container { image: image.clone(), program: Some(program.into()) })
            }
        }
    }
}

impl TryFrom<wire::service_assignment::Runs> for Runs {
    type Error = WireError;
    fn try_from(runs: wire::service_assignment::Runs) -> Result<Self, WireError> {
        use wire::service_assignment::Runs as Wire;
        Ok(match runs {
            Wire::Process(program) => Self::Process(program.into()),
            Wire::Unit(unit) => Self::Unit {
                restarter: word("unit.restarter", &unit.restarter, Restarter::from_word)?,
                name: unit.name,
            },
            Wire::Written(unit) => Self::Written { name: unit.name, program: unit.program.unwrap_or_default().into() },
            Wire::Container(one) => {
                Self::Container { image: one.image, program: one.program.unwrap_or_default().into() }
            }
        })
    }
}

impl From<&ServiceAssignment> for wire::ServiceAssignment {
    fn from(one: &ServiceAssignment) -> Self {
        Self {
            name: one.name.to_string(),
            runs: Some((&one.runs).into()),
            replicas: one.replicas,
            needs: texts(&one.needs),
            on_needs: one.on_needs.word().to_owned(),
            restart: Some((&one.restart).into()),
            stop_signal: one.stop.signal.word().to_owned(),
            stop_grace_ms: whole_millis(one.stop.grace),
            live: texts(&one.live),
            ready: texts(&one.ready),
            heal: one.heal.iter().map(|step| step.word().to_owned()).collect(),
            files: one.files.iter().map(Into::into).collect(),
            packages: one.packages.clone(),
            drift: one.drift.word().to_owned(),
            origins: one.origins.clone(),
        }
    }
}

impl TryFrom<wire::ServiceAssignment> for ServiceAssignment {
    type Error = WireError;
    fn try_from(one: wire::ServiceAssignment) -> Result<Self, WireError> {
        let runs = one.runs.ok_or_else(|| WireError::new("service.runs", "is of a type that is not known here"))?;
        let step = |text: &String| word("service.heal", text, HealStep::from_word);
        Ok(Self {
            name: name("service.name", &one.name)?,
            runs: runs.try_into()?,
            replicas: one.replicas,
            needs: names("service.needs", &one.needs)?,
            on_needs: word("service.on_needs", &one.on_needs, OnNeeds::from_word)?,
            restart: one.restart.map_or_else(RestartPolicy::default, Into::into),
            stop: StopPolicy {
                signal: word("service.stop_signal", &one.stop_signal, Signal::from_word)?,
                grace: millis(one.stop_grace_ms),
            },
            live: names("service.live", &one.live)?,
            ready: names("service.ready", &one.ready)?,
            heal: one.heal.iter().map(step).collect::<Result<_, _>>()?,
            files: one.files.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            packages: one.packages,
            // Of before there was this: nobody asked for more than to be told.
            drift: match one.drift.as_str() {
                "" => Drift::Alarm,
                text => word("service.drift", text, Drift::from_word)?,
            },
            origins: one.origins,
        })
    }
}

impl From<&Brake> for wire::Brake {
    fn from(one: &Brake) -> Self {
        Self {
            kind: one.kind.word().to_owned(),
            check: one.check.as_ref().map(ToString::to_string).unwrap_or_default(),
            until_ms: one.until.map_or(0, Timestamp::as_millis),
            words: one.words.clone(),
        }
    }
}

impl TryFrom<wire::Brake> for Brake {
    type Error = WireError;
    fn try_from(one: wire::Brake) -> Result<Self, WireError> {
        Ok(Self {
            kind: parsed("brake.kind", &one.kind)?,
            check: some(one.check).map(|text| name("brake.check", &text)).transpose()?,
            until: above_zero(one.until_ms).map(Timestamp::from_millis),
            words: one.words,
        })
    }
}

impl From<&Act> for wire::Act {
    fn from(one: &Act) -> Self {
        Self {
            id: one.id.clone(),
            at_ms: one.at.as_millis(),
            service: one.service.to_string(),
            replica: one.replica,
            deed: one.deed.word().to_owned(),
            by: one.by.clone(),
            saw: one.saw.clone(),
            rule: one.rule.clone(),
            origin: one.origin.clone(),
            allowed: one.allowed.clone(),
            refused: one.refused.clone(),
            result: one.result.clone().unwrap_or_default(),
            tail: one.tail.clone(),
        }
        .clipped()
    }
}

impl TryFrom<wire::Act> for Act {
    type Error = WireError;
    fn try_from(one: wire::Act) -> Result<Self, WireError> {
        let one = one.clipped();
        Ok(Self {
            id: one.id,
            at: Timestamp::from_millis(one.at_ms),
            service: name("act.service", &one.service)?,
            replica: one.replica,
            deed: parsed("act.deed", &one.deed)?,
            by: one.by,
            saw: one.saw,
            rule: one.rule,
            origin: one.origin,
            allowed: one.allowed,
            refused: one.refused,
            result: some(one.result),
            tail: one.tail,
        })
    }
}

pub(super) fn line(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
    text
}

fn lines(all: Vec<String>) -> Vec<String> {
    all.into_iter().take(LINES_MAX).map(line).collect()
}

/// The last of them, as many as fit.
pub fn clipped_tail(all: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let fits = |one: &String| {
        bytes += one.len() + 1;
        bytes <= TAIL_BYTES_MAX
    };
    let mut tail: Vec<String> = all.into_iter().rev().map(line).take(TAIL_LINES_MAX).take_while(fits).collect();
    tail.reverse();
    tail
}

impl wire::Act {
    #[must_use]
    pub fn clipped(self) -> Self {
        Self {
            id: line(self.id),
            by: line(self.by),
            saw: lines(self.saw),
            rule: line(self.rule),
            origin: line(self.origin),
            allowed: lines(self.allowed),
            refused: lines(self.refused),
            result: line(self.result),
            tail: clipped_tail(self.tail),
            ..self
        }
    }
}

impl wire::ServiceReport {
    #[must_use]
    pub fn clipped(self) -> Self {
        Self { service: line(self.service), state: line(self.state), words: line(self.words), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::{BrakeKind, Deed};
    use prost::Message;

    fn named(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn assignment(runs: Runs) -> ServiceAssignment {
        ServiceAssignment {
            name: named("api"),
            runs,
            replicas: 2,
            needs: vec![named("db")],
            on_needs: OnNeeds::Restart,
            restart: RestartPolicy::default(),
            stop: StopPolicy::default(),
            live: vec![named("health")],
            ready: vec![named("warm")],
            heal: vec![HealStep::Restart, HealStep::Page],
            files: vec![FileAssignment {
                path: "/etc/api.conf".into(),
                digest: "0".repeat(64),
                size_bytes: 5,
                validate: None,
                change: OnChange::Reload,
                with: [("password".to_owned(), "${secret:db}".to_owned())].into(),
                owner: None,
                mode: Some(0o640),
            }],
            packages: vec!["jq".into()],
            drift: Drift::Repair,
            origins: [("heal".to_owned(), "api.yaml:9".to_owned())].into(),
        }
    }

    #[test]
    fn services_come_back_as_they_went() {
        let program = Program {
            command: "bin/api --key ${secret:key}".into(),
            user: Some("api".into()),
            env: [("A".to_owned(), "b".to_owned())].into(),
            port: Some(8080),
            limits: Limits { memory_bytes: Some(1 << 20), cpu: Some(0.5), files: None, processes: Some(64) },
            ..Program::default()
        };
        let all = [
            Runs::Process(program.clone()),
            Runs::Unit { name: "nginx.service".into(), restarter: Restarter::Unit },
            Runs::Written { name: "api.service".into(), program: program.clone() },
            Runs::Container { image: "api:1".into(), program },
        ];
        for runs in all {
            let one = assignment(runs);
            let bytes = wire::ServiceAssignment::from(&one).encode_to_vec();
            let wire = wire::ServiceAssignment::decode(bytes.as_slice()).expect("decodes");
            assert_eq!(ServiceAssignment::try_from(wire).expect("reads"), one);
        }
        let unknown = wire::ServiceAssignment { name: "api".into(), ..Default::default() };
        let error = ServiceAssignment::try_from(unknown).expect_err("no runner").to_string();
        assert_eq!(error, "service.runs: is of a type that is not known here");
        let brake = Brake {
            kind: BrakeKind::CommonCause,
            check: Some(named("health")),
            until: None,
            words: "fails on 6 of 6 nodes".into(),
        };
        assert_eq!(Brake::try_from(wire::Brake::from(&brake)), Ok(brake));
    }

    #[test]
    fn an_act_keeps_its_last_lines_and_stays_small() {
        let act = Act {
            id: "a1".into(),
            at: Timestamp::from_millis(7),
            service: named("api"),
            replica: 0,
            deed: Deed::Restarted,
            by: String::new(),
            saw: vec!["s".repeat(10_000); 40],
            rule: "restart".into(),
            origin: "api.yaml:3".into(),
            allowed: Vec::new(),
            refused: Vec::new(),
            result: None,
            tail: (0..200).map(|n| format!("line {n} {}", "\u{20AC}".repeat(60))).collect(),
        };
        let wire = wire::Act::from(&act);
        assert!(wire.encoded_len() < 19 * 1024, "{}", wire.encoded_len());
        let back = Act::try_from(wire).expect("reads");
        assert!(back.tail.last().is_some_and(|last| last.starts_with("line 199 ")));
        assert!(back.tail.len() > 20 && back.tail.len() <= TAIL_LINES_MAX);
    }
}
