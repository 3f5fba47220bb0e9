//! Schedules on the wire and in the domain.

use super::WireError;
use super::service::{line, millis, name};
use super::task::STEPS_MAX;
use crate::agent as wire;
use hostler_types::calendar::When;
use hostler_types::cron::Cron;
use hostler_types::desired::SCHEDULES_MAX;
use hostler_types::spec::Zone;
use hostler_types::time::whole_millis;
use hostler_types::{ScheduleAssignment, Timestamp, WindowAssignment};

/// All of one node's; of those that can't be read, the first is named.
pub fn schedules(all: Vec<wire::ScheduleAssignment>) -> Result<Vec<ScheduleAssignment>, WireError> {
    if all.len() > SCHEDULES_MAX {
        let problem = format!("are {}: a node holds at most {SCHEDULES_MAX}", all.len());
        return Err(WireError::new("desired_state.schedules", problem));
    }
    all.into_iter().map(TryInto::try_into).collect()
}

/// Whether this version knows the zone is seen where it is used: one that it does not
/// know takes nothing else from the node.
fn zone(text: String) -> Result<Zone, WireError> {
    if text.is_empty() { Err(WireError::new("schedule.zone", "is missing")) } else { Ok(Zone(text)) }
}

impl From<&ScheduleAssignment> for wire::ScheduleAssignment {
    fn from(one: &ScheduleAssignment) -> Self {
        Self {
            name: one.name.to_string(),
            when: one.when.to_string(),
            zone: one.zone.0.clone(),
            jitter_ms: whole_millis(one.jitter),
            since_ms: one.since.as_millis(),
            window: one.window.as_ref().map(Into::into),
            steps: one.steps.iter().map(Into::into).collect(),
            timeout_ms: whole_millis(one.timeout),
            origin: one.origin.clone(),
        }
    }
}

impl TryFrom<wire::ScheduleAssignment> for ScheduleAssignment {
    type Error = WireError;
    fn try_from(one: wire::ScheduleAssignment) -> Result<Self, WireError> {
        let of = one.name.clone();
        assignment(one).map_err(|error| WireError::new(error.field, format!("of schedule {of:?} {}", error.problem)))
    }
}

fn assignment(one: wire::ScheduleAssignment) -> Result<ScheduleAssignment, WireError> {
    if one.steps.is_empty() || one.steps.len() > STEPS_MAX {
        let problem = format!("are {}: 1 to {STEPS_MAX} are allowed", one.steps.len());
        return Err(WireError::new("schedule.steps", problem));
    }
    Ok(ScheduleAssignment {
        name: name("schedule.name", &one.name)?,
        when: When::parse(&one.when).map_err(|error| WireError::new("schedule.when", error))?,
        zone: zone(one.zone)?,
        jitter: millis(one.jitter_ms),
        since: Timestamp::from_millis(one.since_ms),
        window: one.window.map(TryInto::try_into).transpose()?,
        steps: one.steps.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        timeout: millis(one.timeout_ms),
        origin: line(one.origin),
    })
}

impl From<&WindowAssignment> for wire::ScheduleWindow {
    fn from(one: &WindowAssignment) -> Self {
        Self {
            cron: one.cron.to_string(),
            zone: one.zone.0.clone(),
            for_ms: whole_millis(one.lasts),
            cutoff_ms: whole_millis(one.cutoff),
        }
    }
}

impl TryFrom<wire::ScheduleWindow> for WindowAssignment {
    type Error = WireError;
    fn try_from(one: wire::ScheduleWindow) -> Result<Self, WireError> {
        let cron = Cron::parse(&one.cron).map_err(|error| WireError::new("schedule.window", error))?;
        let zone = zone(one.zone)?;
        Ok(Self { cron, zone, lasts: millis(one.for_ms), cutoff: millis(one.cutoff_ms) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::task::Command;
    use hostler_types::{Name, TaskStep};
    use std::time::Duration;

    fn patch() -> ScheduleAssignment {
        let command = Command { argv: vec!["/bin/sh".into(), "-c".into(), "bin/tidy".into()], ..Command::default() };
        ScheduleAssignment {
            name: Name::new("patch").expect("a name"),
            when: When::parse("0 20 * * tue").expect("a line"),
            zone: Zone("Europe/Berlin".into()),
            jitter: Duration::from_secs(600),
            since: Timestamp::from_millis(7),
            window: Some(WindowAssignment {
                cron: Cron::parse("0 19 * * *").expect("a line"),
                zone: Zone::utc(),
                lasts: Duration::from_secs(14_400),
                cutoff: Duration::from_secs(60),
            }),
            steps: vec![TaskStep::Command(command), TaskStep::Wait(Duration::from_secs(5))],
            timeout: Duration::from_secs(30),
            origin: "care.yaml:7".into(),
        }
    }

    fn read(one: wire::ScheduleAssignment) -> Result<ScheduleAssignment, String> {
        one.try_into().map_err(|error: WireError| error.to_string())
    }

    #[test]
    fn a_schedule_comes_back_as_it_went() {
        let plain = ScheduleAssignment { window: None, ..patch() };
        for one in [patch(), plain] {
            assert_eq!(read((&one).into()), Ok(one));
        }
    }

    #[test]
    fn a_schedule_that_cannot_be_read_is_named() {
        let wire = || wire::ScheduleAssignment::from(&patch());
        let newer = vec![wire::TaskStep { does: None }];
        let wrong = [
            (wire::ScheduleAssignment { when: "often".into(), ..wire() }, "schedule.when: of schedule \"patch\""),
            (wire::ScheduleAssignment { zone: String::new(), ..wire() }, "schedule.zone: of schedule \"patch\""),
            (wire::ScheduleAssignment { steps: Vec::new(), ..wire() }, "schedule.steps: of schedule \"patch\" are 0"),
            (wire::ScheduleAssignment { steps: newer, ..wire() }, "task.step: of schedule \"patch\" is of a kind"),
            (wire::ScheduleAssignment { name: "No".into(), ..wire() }, "schedule.name: of schedule \"No\""),
        ];
        for (one, begins) in wrong {
            let error = read(one).expect_err(begins);
            assert!(error.starts_with(begins), "{error}");
        }
        let many = vec![wire(); SCHEDULES_MAX + 1];
        assert!(schedules(many).is_err_and(|error| error.to_string().contains("at most 200")));
        assert!(schedules(vec![wire(); SCHEDULES_MAX]).is_ok());
    }
}
