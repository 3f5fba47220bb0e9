//! What a run gave against what its case expects.

use crate::case::{Attrs, Expect, ExpectedMetric, ExpectedOutcome, ExpectedStep};
use hostler_plugin_host::answer::Sample;
use hostler_plugin_host::{Done, NoticeOutcome, Report, Run, Step};

/// One thing that is not as expected, in a line or some.
pub type Difference = String;

pub fn differences(expect: &Expect, run: &Run) -> Vec<Difference> {
    let mut found = Vec::new();
    match (&run.outcome, &expect.fault) {
        (Err(fault), Some(want)) => {
            let text = fault.to_string();
            if !text.contains(want.as_str()) {
                found.push(format!("fault: expected one with {want:?}, got {text:?}"));
            }
        }
        (Err(fault), None) => return vec![fault.to_string()],
        (Ok(done), Some(want)) => {
            found.push(format!("fault: expected one with {want:?}, got {}", told(done)));
        }
        (Ok(Done::Report(report)), None) => compare_report(expect, report, &mut found),
        (Ok(Done::Notified(outcome)), None) => {
            found.extend(expect.outcome.as_ref().and_then(|want| compare_outcome(want, outcome)));
        }
        (Ok(Done::Planned(steps)), None) => {
            found.extend(expect.steps.as_ref().and_then(|want| compare_steps(want, steps)));
        }
        (Ok(Done::Collected | Done::Applied(_) | Done::Undone), None) => {}
    }
    for want in &expect.metrics {
        compare_metric(want, &run.samples, &mut found);
    }
    found
}

fn told(done: &Done) -> String {
    match done {
        Done::Report(report) => format!("{}: {:?}", report.status, report.summary),
        Done::Collected => "its metrics".to_owned(),
        Done::Notified(outcome) => outcome_words(outcome).0.to_owned(),
        Done::Planned(_) => "a plan".to_owned(),
        Done::Applied(_) | Done::Undone => "a step done".to_owned(),
    }
}

fn compare_report(expect: &Expect, report: &Report, found: &mut Vec<Difference>) {
    if let Some(want) = expect.status.filter(|want| *want != report.status) {
        found.push(format!("status: expected {want}, got {}", report.status));
    }
    compare_text("summary", expect.summary.as_deref(), &report.summary, found);
    compare_text("details", expect.details.as_deref(), &report.details, found);
    compare_attrs("attrs", &expect.attrs, &report.attrs, found);
}

fn compare_text(key: &str, want: Option<&str>, got: &str, found: &mut Vec<Difference>) {
    // A block of YAML ends with a line's end, which is not meant.
    let same = |want: &str| want.trim_end_matches('\n') == got.trim_end_matches('\n');
    let Some(want) = want.filter(|want| !same(want)) else { return };
    if want.contains('\n') || got.contains('\n') {
        found.push(format!("{key}:{}", lines(want, got)));
    } else {
        found.push(format!("{key}: expected {want:?}, got {got:?}"));
    }
}

/// The lines of both, without those that both begin and end with.
fn lines(want: &str, got: &str) -> String {
    let (want, got): (Vec<&str>, Vec<&str>) = (want.lines().collect(), got.lines().collect());
    let head = want.iter().zip(&got).take_while(|(a, b)| a == b).count();
    let left = want.len().min(got.len()).saturating_sub(head);
    let tail = want.iter().rev().zip(got.iter().rev()).take(left).take_while(|(a, b)| a == b).count();
    let middle = |list: &[&str], sign: char| -> String {
        let kept = list.get(head..list.len().saturating_sub(tail)).unwrap_or_default();
        kept.iter().map(|line| format!("\n    {sign} {line}")).collect()
    };
    let skipped = if head > 0 { format!("\n      ({head} as expected)") } else { String::new() };
    format!("{skipped}{}{}", middle(&want, '-'), middle(&got, '+'))
}

fn compare_attrs(key: &str, want: &Attrs, got: &Attrs, found: &mut Vec<Difference>) {
    for (name, value) in want {
        match got.iter().find(|(known, _)| known == name) {
            Some((_, there)) if there == value => {}
            Some((_, there)) => found.push(format!("{key}.{name}: expected {value:?}, got {there:?}")),
            None => {
                let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                found.push(format!("{key}.{name}: expected {value:?}, and there are {names}"));
            }
        }
    }
}

fn compare_outcome(want: &ExpectedOutcome, got: &NoticeOutcome) -> Option<Difference> {
    let (word, value) = outcome_words(got);
    let same = want.word == word && want.value.as_ref().is_none_or(|want| *want == value);
    let shown = match &want.value {
        Some(value) => format!("{} {value:?}", want.word),
        None => want.word.clone(),
    };
    (!same).then(|| format!("outcome: expected {shown}, got {word} {value:?}"))
}

pub fn outcome_words(outcome: &NoticeOutcome) -> (&'static str, String) {
    match outcome {
        NoticeOutcome::Delivered(receipt) => ("delivered", receipt.clone()),
        NoticeOutcome::RetryAfter(after) => ("retry-after", after.as_secs().to_string()),
        NoticeOutcome::Rejected(why) => ("rejected", why.clone()),
    }
}

fn compare_steps(want: &[ExpectedStep], got: &[Step]) -> Option<Difference> {
    let same = |(want, got): (&ExpectedStep, &Step)| {
        want.id == got.id
            && want.summary.as_ref().is_none_or(|summary| *summary == got.summary)
            && want.reversible.is_none_or(|reversible| reversible == got.reversible)
    };
    if want.len() == got.len() && want.iter().zip(got).all(same) {
        return None;
    }
    let reversible = |reversible: bool| if reversible { ", reversible" } else { ", not reversible" };
    let wanted = want.iter().map(|step| {
        let summary = step.summary.as_ref().map_or_else(String::new, |summary| format!(": {summary}"));
        format!("{}{summary}{}", step.id, step.reversible.map_or("", reversible))
    });
    let given = got.iter().map(|step| format!("{}: {}{}", step.id, step.summary, reversible(step.reversible)));
    let (wanted, given): (Vec<String>, Vec<String>) = (wanted.collect(), given.collect());
    let show = |list: &[String], sign: char| list.iter().map(|line| format!("\n    {sign} {line}")).collect::<String>();
    Some(format!("steps:{}{}", show(&wanted, '-'), show(&given, '+')))
}

fn compare_metric(want: &ExpectedMetric, samples: &[Sample], found: &mut Vec<Difference>) {
    let has = |sample: &Sample| want.attrs.iter().all(|attr| sample.attrs.contains(attr));
    let attrs: Vec<String> = want.attrs.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    let shown = if attrs.is_empty() { want.name.clone() } else { format!("{}{{{}}}", want.name, attrs.join(",")) };
    let there: Vec<&Sample> = samples.iter().filter(|sample| sample.name == want.name && has(sample)).collect();
    match (there.as_slice(), want.value) {
        ([], _) => {
            let mut names: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            found.push(format!("metrics: expected {shown}, and there are {names}"));
        }
        (_, None) => {}
        (some, Some(value)) => {
            if !some.iter().any(|sample| close(sample.value, value)) {
                let values: Vec<String> = some.iter().map(|sample| sample.value.to_string()).collect();
                found.push(format!("metrics: expected {shown} = {value}, got {}", values.join(" and ")));
            }
        }
    }
}

/// What prints the same to nine digits is the same: thirds are written so.
fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-9 * left.abs().max(right.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::read;
    use hostler_plugin_host::answer::SampleKind;
    use hostler_plugin_host::{Bill, Fault};
    use hostler_types::Status;

    fn check(expect: &str, world: &str, outcome: Result<Done, Fault>, want: &[&str]) {
        let given = match world {
            "notifier" => "notice: {id: 1}\n",
            "action" => "plan: {}\n",
            _ => "",
        };
        let case = read("x", "x.yaml", &format!("{given}expect: {expect}"), world).expect(expect);
        let sample = |value, disk: &str| Sample {
            name: "used".into(),
            kind: SampleKind::Gauge,
            attrs: vec![("disk".into(), disk.into())],
            value,
        };
        let run = Run { outcome, samples: vec![sample(0.1 + 0.2, "sda"), sample(7.0, "sdb")], bill: Bill::default() };
        assert_eq!(differences(&case.expect, &run), want, "{expect}");
    }

    fn report() -> Result<Done, Fault> {
        Ok(Done::Report(Report {
            status: Status::Warning,
            summary: "85 % used".into(),
            details: "a\nb\nc".into(),
            attrs: vec![("used".into(), "85".into()), ("of".into(), "100".into())],
            truncated: false,
        }))
    }

    #[test]
    fn only_what_is_written_is_compared() {
        let same = "{status: warning, summary: 85 % used, details: \"a\\nb\\nc\\n\", attrs: {used: 85}}";
        check(same, "check", report(), &[]);
        check("{metrics: [{name: used, value: 0.3, attrs: {disk: sda}}, {name: used}]}", "check", report(), &[]);
        check(
            "{status: ok, summary: fine, details: \"a\\nx\\nc\", attrs: {used: 8, free: 1}}",
            "check",
            report(),
            &[
                "status: expected ok, got warning",
                "summary: expected \"fine\", got \"85 % used\"",
                "details:\n      (1 as expected)\n    - x\n    + b",
                "attrs.used: expected \"8\", got \"85\"",
                "attrs.free: expected \"1\", and there are used, of",
            ],
        );
        check(
            "{metrics: [{name: used, value: 6, attrs: {disk: sdb}}, {name: free}, {name: used, attrs: {disk: sdc}}]}",
            "collector",
            Ok(Done::Collected),
            &[
                "metrics: expected used{disk=\"sdb\"} = 6, got 7",
                "metrics: expected free, and there are used",
                "metrics: expected used{disk=\"sdc\"}, and there are used",
            ],
        );
    }

    #[test]
    fn a_fault_is_expected_or_told() {
        let broke = || Err(Fault::Broke("no meminfo".into()));
        check("{fault: no meminfo}", "check", broke(), &[]);
        check("{status: ok}", "check", broke(), &["the check broke: no meminfo"]);
        check(
            "{fault: other}",
            "check",
            broke(),
            &["fault: expected one with \"other\", got \"the check broke: no meminfo\""],
        );
        check("{fault: other}", "check", report(), &["fault: expected one with \"other\", got warning: \"85 % used\""]);
    }

    #[test]
    fn notices_and_plans_are_compared() {
        let rejected = || Ok(Done::Notified(NoticeOutcome::Rejected("no such channel".into())));
        check("{outcome: rejected}", "notifier", rejected(), &[]);
        check("{outcome: {rejected: no such channel}}", "notifier", rejected(), &[]);
        check(
            "{outcome: delivered}",
            "notifier",
            rejected(),
            &["outcome: expected delivered, got rejected \"no such channel\""],
        );
        let plan = || Ok(Done::Planned(vec![Step { id: "a".into(), summary: "stop".into(), reversible: true }]));
        check("{steps: [a]}", "action", plan(), &[]);
        check("{steps: [{id: a, summary: stop, reversible: true}]}", "action", plan(), &[]);
        check("{steps: [a, b]}", "action", plan(), &["steps:\n    - a\n    - b\n    + a: stop, reversible"]);
    }
}
