//! A schedule as its spec says it.

use super::Schedule;
use hostler_types::Timestamp;
use hostler_types::calendar::{Recurrence, UnknownZone, Window};
use hostler_types::spec::{ScheduleSpec, WindowSpec, Zone};
use std::sync::Arc;
use std::time::Duration;

/// `zone` is its system's, for what names none; a window comes with its own system's.
pub fn read(
    spec: &ScheduleSpec,
    zone: &Zone,
    window: Option<(&WindowSpec, &Zone)>,
    since: Timestamp,
) -> Result<Schedule, UnknownZone> {
    let recurrence = Recurrence::new(spec.when(), spec.zone.as_ref().unwrap_or(zone))?;
    let window = match window {
        Some((spec, zone)) => {
            let opens = Recurrence::new(spec.cron.clone(), spec.zone.as_ref().unwrap_or(zone))?;
            let cutoff = spec.cutoff.map_or(Duration::ZERO, |cutoff| cutoff.0);
            Some(Arc::new(Window::new(opens, spec.for_.0, cutoff)))
        }
        None => None,
    };
    Ok(Schedule {
        recurrence,
        window,
        missed: spec.missed,
        deadline: spec.deadline.0,
        overlap: spec.overlap,
        hold: None,
        since,
    })
}
