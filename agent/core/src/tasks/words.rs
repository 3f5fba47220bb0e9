//! What reports say.

use super::Record;
use hostler_types::{TaskOffer, TaskStep};

/// A longer command is in the run itself.
const STEP_CHARACTERS_MAX: usize = 80;

fn step(step: &TaskStep) -> String {
    let text = match step {
        TaskStep::Command(_) => format!("run {step}"),
        step => step.to_string(),
    };
    match text.char_indices().nth(STEP_CHARACTERS_MAX) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// `step 2 of 4, run bin/tidy`.
pub fn at_step(offer: &TaskOffer, index: u32) -> String {
    let steps = &offer.steps;
    let text = usize::try_from(index).ok().and_then(|index| steps.get(index)).map(step).unwrap_or_default();
    if steps.len() == 1 { text } else { format!("step {} of {}, {text}", index + 1, steps.len()) }
}

/// `step 2 of 4, run bin/tidy: exit 3`.
pub fn said(record: &Record, why: &str) -> String {
    format!("{}: {why}", at_step(&record.offer, record.report.done))
}

/// `stop web1: exit 1; undone: drain web1; not undone: mark web1 (it can't be)`.
pub fn went_back(record: &Record) -> String {
    let Some(back) = record.acting.as_ref().and_then(|acting| acting.back.as_ref()) else { return String::new() };
    let mut words = back.why.clone();
    for (what, parts) in [("undone", &back.undone), ("not undone", &back.stays)] {
        if !parts.is_empty() {
            words.push_str(&format!("; {what}: {}", parts.join(", ")));
        }
    }
    words
}

pub fn cancelled(words: &str) -> String {
    if words.is_empty() { "cancelled".to_owned() } else { format!("cancelled: {words}") }
}
