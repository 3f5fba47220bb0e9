//! From a check's transitions, a service's acts and how both stand to what happened, line
//! by line. Times are the node's, counted from the break.
//!
//! Transitions are events, never looked for in how the check stands: it is critical for
//! less time than a look takes.

use hostler_proto::admin as wire;
use hostler_proto::agent::Act;
use hostler_types::time::whole_millis;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// What a broken demo answers.
const BROKEN: &str = "503";

/// For so long after a start, a failing check counts for nothing; the agent's own.
pub const START_GRACE: Duration = Duration::from_secs(30);

/// After the healing, what became of the rest is waited for so many looks.
const LOOKS_AFTER: u32 = 10;

/// How things stand at one moment, and what is new; the oldest act and event first.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub check: wire::Check,
    pub row: wire::ServiceRow,
    pub acts: Vec<Act>,
    /// The check's.
    pub events: Vec<wire::Event>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub after_ms: u64,
    pub kind: &'static str,
    pub name: String,
    pub words: String,
}

/// `  +1.4s  check   hello  503, want 200 (1 of 3)`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = format!("+{:.1}s", self.after_ms as f64 / 1_000.0);
        write!(f, "{after:>7}  {:<7} {}  {}", self.kind, self.name, self.words)
    }
}

pub struct Watch {
    began_ms: u64,
    last_run_ms: u64,
    pid: u32,
    is_another: bool,
    /// From then on, failing runs count.
    counts_ms: u64,
    told_of_grace: bool,
    /// With what they came to, which is known later.
    acts: BTreeSet<String>,
    /// Each run before something was done about it fails.
    acted: bool,
    critical_ms: Option<u64>,
    healed: Option<Duration>,
    looks_after: u32,
}

impl Watch {
    pub fn new(began_ms: u64, before: &Seen) -> Self {
        Self {
            began_ms,
            last_run_ms: before.check.last_run_ms,
            pid: before.row.pid,
            is_another: false,
            counts_ms: before.row.started_ms.saturating_add(whole_millis(START_GRACE)).max(began_ms),
            told_of_grace: false,
            acts: before.acts.iter().map(|act| act.id.clone()).collect(),
            acted: false,
            critical_ms: None,
            healed: None,
            looks_after: 0,
        }
    }

    /// From critical to passing again, once all that belongs to it was told.
    pub fn healed(&self) -> Option<Duration> {
        let is_all = self.acted && self.is_another || self.looks_after > LOOKS_AFTER;
        self.healed.filter(|_| is_all)
    }

    pub fn see(&mut self, seen: &Seen) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for event in &seen.events {
            lines.push(self.transition(event));
        }
        for act in &seen.acts {
            if self.acts.insert(act.id.clone()) {
                lines.push(self.line(act.at_ms, act_words(act)));
                self.acted = true;
            }
        }
        lines.extend(self.service(&seen.row));
        lines.extend(self.run(&seen.check));
        lines.sort_by_key(|line| line.after_ms);
        self.looks_after += u32::from(self.healed.is_some());
        lines
    }

    fn line(&self, at_ms: u64, (kind, name, words): (&'static str, &str, String)) -> Line {
        Line { after_ms: at_ms.saturating_sub(self.began_ms), kind, name: name.to_owned(), words }
    }

    /// `passing -> critical: 503, want 200 (3 of 3)`; what is well again says no more.
    fn transition(&mut self, event: &wire::Event) -> Line {
        let (states, rest) = event.message.split_once(": ").unwrap_or((&event.message, ""));
        let well = states.ends_with("-> passing");
        let words = match rest.rfind(" (").and_then(|at| rest.get(at..)).filter(|_| well) {
            Some(count) => format!("{states}{count}"),
            None => event.message.clone(),
        };
        match self.critical_ms {
            _ if states.ends_with("-> critical") => self.critical_ms = Some(event.at_ms),
            Some(critical_ms) if well => {
                self.healed = Some(Duration::from_millis(event.at_ms.saturating_sub(critical_ms)));
            }
            _ => {}
        }
        self.line(event.at_ms, ("check", &event.subject, words))
    }

    /// One that failed, and changed nothing yet.
    fn run(&mut self, check: &wire::Check) -> Option<Line> {
        let is_news = check.last_run_ms > self.last_run_ms.max(self.began_ms);
        self.last_run_ms = self.last_run_ms.max(check.last_run_ms);
        let failed =
            is_news && check.summary.contains(BROKEN) && check.state == "passing" && self.critical_ms.is_none();
        let counts = check.last_run_ms >= self.counts_ms;
        // Of those that do not count, one is enough.
        if !failed || !counts && std::mem::replace(&mut self.told_of_grace, true) {
            return None;
        }
        let words = if counts {
            format!("{} ({} of {})", check.summary, self.runs(check), check.fails)
        } else {
            format!("{} (not counted yet: it was just started)", check.summary)
        };
        Some(self.line(check.last_run_ms, ("check", &check.check, words)))
    }

    /// How many have failed by now: not each of them is heard of.
    fn runs(&self, check: &wire::Check) -> u64 {
        let before = check.last_run_ms.saturating_sub(self.counts_ms) / check.every_ms.max(1);
        (before + 1).min(u64::from(check.fails))
    }

    fn service(&mut self, row: &wire::ServiceRow) -> Option<Line> {
        if row.pid == 0 || row.pid == self.pid {
            return None;
        }
        let old = std::mem::replace(&mut self.pid, row.pid);
        self.is_another = true;
        let words = format!("{}, pid {}; old pid {old} ended", row.state, row.pid);
        Some(self.line(row.started_ms, ("service", &row.service, words)))
    }
}

/// `restart, attempt 1 of 3 in 10m -> taken`
fn act_words(act: &Act) -> (&'static str, &str, String) {
    let name = act.service.as_str();
    let Some((_, step)) = act.rule.split_once(" = ").filter(|(rule, _)| rule.starts_with("heal")) else {
        return (
            "service",
            name,
            act.saw.first().map_or_else(|| act.deed.clone(), |saw| format!("{}: {saw}", act.deed)),
        );
    };
    let mut words = step.to_owned();
    if let Some(attempt) = act.allowed.iter().find_map(|one| attempt(one)) {
        words.push_str(&format!(", {attempt}"));
    }
    match (act.deed.as_str(), act.refused.first()) {
        ("held", Some(why)) => words.push_str(&format!(" -> held: {why}")),
        ("held", None) => words.push_str(" -> held"),
        _ => words.push_str(" -> taken"),
    }
    ("heal", name, words)
}

/// `attempts 0 of 3 in 10m`, of those before, as `attempt 1 of 3 in 10m`.
fn attempt(allowed: &str) -> Option<String> {
    let (count, rest) = allowed.strip_prefix("attempts ")?.split_once(' ')?;
    Some(format!("attempt {} {rest}", count.parse::<u32>().ok()? + 1))
}
