//! Health by component, as Spring's actuator and many others report it.

use hostler_plugin_sdk::{Report, Status};
use serde_json::Value;

fn is_well(word: &str) -> bool {
    ["ok", "up", "pass", "passing", "healthy", "green"].iter().any(|well| word.eq_ignore_ascii_case(well))
}

/// Words for "some of it does not work", as opposed to "none of it does".
fn is_partly(word: &str) -> bool {
    ["degraded", "warn", "warning", "partial", "yellow"].iter().any(|partly| word.eq_ignore_ascii_case(partly))
}

struct Health {
    status: Option<String>,
    /// Names and words of those that are not well.
    unwell: Vec<String>,
}

fn read(body: &str) -> Option<Health> {
    let value: Value = serde_json::from_str(body).ok()?;
    let whole = value.as_object()?;
    let status = whole.get("status").and_then(Value::as_str).map(str::to_owned);
    let mut unwell = Vec::new();
    match whole.get("components") {
        Some(Value::Object(components)) => {
            for (name, component) in components {
                let word = component.as_str().or_else(|| component.get("status").and_then(Value::as_str));
                match word {
                    Some(word) if is_well(word) => {}
                    Some(word) => unwell.push(format!("{name} {word}")),
                    None => unwell.push(format!("{name} without a status")),
                }
            }
        }
        None if status.is_some() => {}
        _ => return None,
    }
    Some(Health { status, unwell })
}

/// The report so far, with what the body says about the parts.
pub fn judge(report: Report, http_status: u16, body: &str, truncated: bool) -> Report {
    let Some(health) = read(body) else {
        if report.status != Status::Ok {
            return report;
        }
        let why = if truncated { "too long to be read as" } else { "is" };
        let no = if truncated { "" } else { "no " };
        return Report::critical(format!("{http_status}, the body {why} {no}component health"));
    };
    let mut status = report.status;
    let mut parts = Vec::new();
    match health.status.as_deref().filter(|word| !is_well(word)) {
        Some(word) if status == Status::Ok => {
            status = if is_partly(word) { Status::Warning } else { Status::Critical };
            parts.push(format!("status {word}"));
        }
        _ => {}
    }
    if !health.unwell.is_empty() && status == Status::Ok {
        status = Status::Warning;
    }
    parts.extend(health.unwell);
    if parts.is_empty() {
        return report;
    }
    // "200 in 1.2 ms" would read as praise before what is wrong.
    let before = if report.status == Status::Ok { http_status.to_string() } else { report.summary };
    Report::new(status, format!("{before}, {}", parts.join(", "))).details(parts.join("\n"))
}
