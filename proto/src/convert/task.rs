//! Tasks on the wire and in the domain.

use super::service::{above_zero, line, millis, name, parsed, some, word};
use super::{WireError, checked_digest};
use crate::agent as wire;
use crate::agent::task_step::Does;
use hostler_types::fetch::{FILES_MAX, Taken};
use hostler_types::spec::{Packages, Reboot};
use hostler_types::task::{Action, Command, SystemUser, TaskId, TaskOffer, TaskReport, TaskStep};
use hostler_types::time::whole_millis;
use hostler_types::{FetchPath, Stamp, TaskFile, Timestamp};
use std::collections::BTreeMap;

/// The last of what a task printed: with it a report stays below the 16 KiB of a
/// spool's record.
pub const OUTPUT_BYTES_MAX: usize = 8 * 1024;
/// More are a program of their own, which a script would be.
pub const STEPS_MAX: usize = 64;
const ARGUMENTS_MAX: usize = 256;
const ARGUMENT_BYTES_MAX: usize = 64 * 1024;
/// A spec's 16 KiB, with what a node knows about itself in place.
const WITH_BYTES_MAX: usize = 64 * 1024;
/// The kernel's are far more; nobody's are.
const GROUPS_MAX: usize = 32;
/// Why one file does not come; with all of them a report stays below its limit.
const FILE_WORDS_BYTES_MAX: usize = 200;

impl From<&TaskStep> for wire::TaskStep {
    fn from(step: &TaskStep) -> Self {
        let does = match step {
            TaskStep::Command(one) => Does::Command(wire::TaskCommand {
                argv: one.argv.clone(),
                script: one.script.clone().unwrap_or_default(),
                user: one.user.clone().unwrap_or_default(),
                free: one.free,
                env: one.env.clone().into_iter().collect(),
                fetch: one.fetch.iter().map(ToString::to_string).collect(),
            }),
            TaskStep::Service { service, verb } => {
                Does::Service(wire::TaskService { service: service.to_string(), verb: verb.word().to_owned() })
            }
            TaskStep::Packages(which) => Does::Packages(which.word().to_owned()),
            TaskStep::Reboot(when) => Does::Reboot(when.word().to_owned()),
            TaskStep::Check { check, within } => {
                Does::Check(wire::TaskCheck { check: check.to_string(), within_ms: whole_millis(*within) })
            }
            TaskStep::Wait(time) => Does::WaitMs(whole_millis(*time)),
            TaskStep::Drain => Does::Drain(wire::TaskNothing {}),
            TaskStep::Undrain => Does::Undrain(wire::TaskNothing {}),
            TaskStep::User(one) => Does::User(wire::TaskUser {
                name: one.name.clone(),
                home: one.home.clone().unwrap_or_default(),
                groups: one.groups.clone(),
            }),
            TaskStep::File(one) => Does::File((&**one).into()),
            TaskStep::Firewall { rules, revert } => {
                Does::Firewall(wire::TaskFirewall { rules: rules.clone(), revert_ms: whole_millis(*revert) })
            }
            TaskStep::Action(one) => {
                Does::Action(wire::TaskAction { plugin: one.plugin.to_string(), with_json: one.with_json.clone() })
            }
        };
        Self { does: Some(does) }
    }
}

impl TryFrom<wire::TaskStep> for TaskStep {
    type Error = WireError;
    fn try_from(step: wire::TaskStep) -> Result<Self, WireError> {
        // A newer control plane's: to leave it out would do half of what was asked.
        let unknown = || WireError::new("task.step", "is of a kind that this agent does not know: upgrade it");
        Ok(match step.does.ok_or_else(unknown)? {
            Does::Command(one) => Self::Command(command(one)?),
            Does::Service(one) => {
                Self::Service { service: name("task.service", &one.service)?, verb: parsed("task.verb", &one.verb)? }
            }
            Does::Packages(text) => Self::Packages(word("task.packages", &text, Packages::from_word)?),
            Does::Reboot(text) => Self::Reboot(word("task.reboot", &text, Reboot::from_word)?),
            Does::Check(one) => Self::Check { check: name("task.check", &one.check)?, within: millis(one.within_ms) },
            Does::WaitMs(ms) => Self::Wait(millis(ms)),
            Does::Drain(_) => Self::Drain,
            Does::Undrain(_) => Self::Undrain,
            Does::User(one) if one.name.is_empty() || one.groups.len() > GROUPS_MAX => {
                return Err(WireError::new("task.user", format!("has a name, and up to {GROUPS_MAX} groups")));
            }
            Does::User(one) => Self::User(SystemUser { name: one.name, home: some(one.home), groups: one.groups }),
            Does::File(one) => Self::File(Box::new(one.try_into()?)),
            Does::Firewall(one) => Self::Firewall { rules: checked_digest(one.rules)?, revert: millis(one.revert_ms) },
            Does::Action(one) => Self::Action(Box::new(action(one)?)),
        })
    }
}

fn action(one: wire::TaskAction) -> Result<Action, WireError> {
    if one.with_json.len() > WITH_BYTES_MAX {
        return Err(WireError::new("task.action", "is given more than a plugin takes"));
    }
    Ok(Action { plugin: name("task.plugin", &one.plugin)?, with_json: one.with_json })
}

fn command(one: wire::TaskCommand) -> Result<Command, WireError> {
    let bytes: usize = one.argv.iter().map(String::len).sum();
    if one.argv.len() > ARGUMENTS_MAX || bytes > ARGUMENT_BYTES_MAX {
        return Err(WireError::new("task.command", "has more arguments than a command takes: make it a script"));
    }
    let script = some(one.script).map(checked_digest).transpose()?;
    if one.argv.first().is_none_or(String::is_empty) && script.is_none() {
        return Err(WireError::new("task.command", "names no program"));
    }
    let env: BTreeMap<String, String> = one.env.into_iter().collect();
    if env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > ARGUMENT_BYTES_MAX {
        return Err(WireError::new("task.command", "has a larger environment than a command takes"));
    }
    let fetch = FetchPath::all(one.fetch.iter().map(String::as_str));
    let fetch = fetch.map_err(|error| WireError::new("task.fetch", error))?;
    Ok(Command { argv: one.argv, script, user: some(one.user), env, free: one.free, fetch })
}

impl From<&TaskOffer> for wire::TaskOffer {
    fn from(one: &TaskOffer) -> Self {
        Self {
            id: one.id.to_string(),
            stamp: Some(one.stamp.into()),
            title: one.title.clone(),
            by: one.by.clone(),
            reason: one.reason.clone(),
            steps: one.steps.iter().map(Into::into).collect(),
            timeout_ms: whole_millis(one.timeout),
            begin_by_ms: one.begin_by.as_millis(),
        }
    }
}

impl TryFrom<wire::TaskOffer> for TaskOffer {
    type Error = WireError;
    fn try_from(one: wire::TaskOffer) -> Result<Self, WireError> {
        if one.steps.is_empty() || one.steps.len() > STEPS_MAX {
            return Err(WireError::new("task.steps", format!("are {}: 1 to {STEPS_MAX} are allowed", one.steps.len())));
        }
        Ok(Self {
            id: TaskId::parse(&one.id).map_err(|error| WireError::new("task.id", error))?,
            stamp: one.stamp.map(Stamp::from).unwrap_or_default(),
            title: line(one.title),
            by: line(one.by),
            reason: line(one.reason),
            steps: one.steps.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            timeout: millis(one.timeout_ms),
            begin_by: Timestamp::from_millis(one.begin_by_ms),
        })
    }
}

impl From<&TaskReport> for wire::TaskReport {
    fn from(one: &TaskReport) -> Self {
        Self {
            id: one.id.to_string(),
            state: one.state.word().to_owned(),
            at_ms: one.at.as_millis(),
            began_ms: one.began.map_or(0, Timestamp::as_millis),
            done: one.done,
            words: one.words.clone(),
            exit: one.exit,
            output: one.output.clone(),
            output_cut_bytes: one.output_cut_bytes,
            changed: one.changed,
            files: one.files.iter().map(Into::into).collect(),
        }
        .clipped()
    }
}

impl wire::TaskReport {
    /// With no more words and output than there may be: the last of it.
    #[must_use]
    pub fn clipped(mut self) -> Self {
        self.words = line(self.words);
        self.files.truncate(FILES_MAX);
        for file in &mut self.files {
            file.words.truncate(file.words.floor_char_boundary(FILE_WORDS_BYTES_MAX));
        }
        if self.output.len() > OUTPUT_BYTES_MAX {
            let from = self.output.ceil_char_boundary(self.output.len() - OUTPUT_BYTES_MAX);
            self.output_cut_bytes += from as u64;
            self.output = self.output.split_off(from);
        }
        self
    }
}

impl TryFrom<wire::TaskReport> for TaskReport {
    type Error = WireError;
    fn try_from(one: wire::TaskReport) -> Result<Self, WireError> {
        let one = one.clipped();
        Ok(Self {
            id: TaskId::parse(&one.id).map_err(|error| WireError::new("task.id", error))?,
            state: parsed("task.state", &one.state)?,
            at: Timestamp::from_millis(one.at_ms),
            began: above_zero(one.began_ms).map(Timestamp::from_millis),
            done: one.done,
            words: one.words,
            exit: one.exit,
            output: one.output,
            output_cut_bytes: one.output_cut_bytes,
            changed: one.changed,
            files: one.files.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&TaskFile> for wire::TaskFile {
    fn from(one: &TaskFile) -> Self {
        let path = one.path.to_string();
        match &one.taken {
            Ok(Taken { bytes, digest }) => {
                Self { path, size_bytes: *bytes, digest: digest.clone(), words: String::new() }
            }
            Err(words) => Self { path, words: words.clone(), ..Self::default() },
        }
    }
}

impl TryFrom<wire::TaskFile> for TaskFile {
    type Error = WireError;
    fn try_from(one: wire::TaskFile) -> Result<Self, WireError> {
        let path = FetchPath::new(&one.path).map_err(|error| WireError::new("task.files", error))?;
        let taken = match one.digest.as_str() {
            "" => Err(one.words),
            _ => Ok(Taken { bytes: one.size_bytes, digest: checked_digest(one.digest)? }),
        };
        Ok(Self { path, taken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::service::FileAssignment;
    use hostler_types::spec::OnChange;
    use hostler_types::{Name, ServiceVerb, TaskState};
    use std::time::Duration;

    fn hello() -> Name {
        Name::new("hello").expect("a name")
    }

    #[test]
    fn an_offer_comes_back_as_it_was() {
        let steps = vec![
            TaskStep::Drain,
            TaskStep::Command(Command {
                argv: vec!["/bin/sh".into(), "-c".into(), "df".into()],
                script: None,
                user: Some("shop".into()),
                env: BTreeMap::from([("KEY".to_owned(), "${secret:key}".to_owned())]),
                free: true,
                fetch: vec![FetchPath::new("out/report.txt").expect("a path")],
            }),
            TaskStep::Service { service: hello(), verb: ServiceVerb::Restart },
            TaskStep::Packages(Packages::Security),
            TaskStep::Reboot(Reboot::IfNeeded),
            TaskStep::Check { check: hello(), within: Duration::from_secs(60) },
            TaskStep::Wait(Duration::from_secs(5)),
            TaskStep::Undrain,
            TaskStep::User(SystemUser {
                name: "shop".into(),
                home: Some("/opt/shop".into()),
                groups: vec!["adm".into()],
            }),
            TaskStep::File(Box::new(FileAssignment {
                path: "/etc/shop.conf".into(),
                digest: "0".repeat(64),
                size_bytes: 0,
                validate: None,
                change: OnChange::Nothing,
                with: BTreeMap::new(),
                owner: Some("shop".into()),
                mode: Some(0o600),
            })),
            TaskStep::Firewall { rules: "1".repeat(64), revert: Duration::from_secs(60) },
            TaskStep::Action(Box::new(Action { plugin: hello(), with_json: r#"{"a":["${secret:key}"]}"#.into() })),
        ];
        let offer = TaskOffer {
            id: TaskId::of_run(5, 7),
            stamp: Stamp { lineage: 5, term: 2, generation: 0 },
            title: "run/7".into(),
            by: "ada".into(),
            reason: "storage".into(),
            steps,
            timeout: Duration::from_secs(30),
            begin_by: Timestamp::from_millis(99),
        };
        assert_eq!(TaskOffer::try_from(wire::TaskOffer::from(&offer)), Ok(offer.clone()));
        let none = wire::TaskOffer { steps: Vec::new(), ..(&offer).into() };
        assert!(TaskOffer::try_from(none).is_err_and(|error| error.to_string().contains("task.steps")));
        let above =
            wire::TaskCommand { argv: vec!["df".into()], fetch: vec!["../x".into()], ..wire::TaskCommand::default() };
        let steps = vec![wire::TaskStep { does: Some(Does::Command(above)) }];
        let above = wire::TaskOffer { steps, ..(&offer).into() };
        assert!(TaskOffer::try_from(above).is_err_and(|error| error.to_string().contains("leads out")));
        let newer = wire::TaskOffer { steps: vec![wire::TaskStep { does: None }], ..(&offer).into() };
        assert!(TaskOffer::try_from(newer).is_err_and(|error| error.to_string().contains("upgrade")));
    }

    #[test]
    fn a_report_keeps_the_last_of_its_output() {
        let mut report = TaskReport::new(TaskId::of_run(5, 7), TaskState::Failed, Timestamp::from_millis(3), "exit 2");
        report.output = "ä".repeat(OUTPUT_BYTES_MAX) + "end";
        let read = TaskReport::try_from(wire::TaskReport::from(&report)).expect("readable");
        assert!(read.output.ends_with("end") && read.output.len() <= OUTPUT_BYTES_MAX);
        assert_eq!(read.output.len() as u64 + read.output_cut_bytes, report.output.len() as u64);
    }

    #[test]
    fn a_report_with_all_its_files_fits_a_record() {
        /// A spool's.
        const RECORD_BYTES_MAX: usize = 16 * 1024;
        let mut report = TaskReport::new(TaskId::of_run(5, 7), TaskState::Failed, Timestamp::from_millis(3), "exit 2");
        (report.output, report.words) = ("x".repeat(OUTPUT_BYTES_MAX), "ä".repeat(9_000));
        let path = |number: usize| FetchPath::new(&format!("{number}{}", "x".repeat(511))).expect("a path");
        let there = Ok(Taken { bytes: 7, digest: "0".repeat(64) });
        report.files =
            (0..FILES_MAX).map(|number| TaskFile { path: path(number), taken: Err("ö".repeat(999)) }).collect();
        report.files[0].taken = there;
        let wire = wire::TaskReport::from(&report);
        assert!(prost::Message::encoded_len(&wire) < RECORD_BYTES_MAX, "{}", prost::Message::encoded_len(&wire));
        let read = TaskReport::try_from(wire).expect("readable");
        assert_eq!(read.files[0], report.files[0]);
        assert!(read.files[7].taken.as_ref().is_err_and(|words| words.len() <= FILE_WORDS_BYTES_MAX));
    }
}
