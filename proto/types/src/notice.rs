//! A notice, and its words: for mail, for programs, and for chats.
//!
//! Whatever comes from hosts passes the sanitizer here, so that no notice carries
//! what would be dangerous to show.

use crate::spec::Severity;
use crate::terminal::sanitize;
use crate::{Event, EventKind, Name, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a phone shows of a subject without cutting it, and then some.
const TITLE_CHARACTERS_MAX: usize = 160;
/// A summary is one line; more of it is in `hostlerctl check show`.
pub const SUMMARY_CHARACTERS_MAX: usize = 500;
/// Of a storm: what fits on a screen. The rest is counted.
pub const TITLES_MAX: usize = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    Opened,
    /// It is worse than people know, or more urgent.
    Worse,
    /// Nobody said that they see to it.
    Still,
    Closed,
    /// What it was about is no longer looked at.
    Gone,
    /// Something that happened, and is not a state.
    Event,
    /// Many at once.
    Storm,
    Test,
}

impl What {
    pub const ALL: [Self; 8] =
        [Self::Opened, Self::Worse, Self::Still, Self::Closed, Self::Gone, Self::Event, Self::Storm, Self::Test];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worse => "worse",
            Self::Still => "still",
            Self::Closed => "closed",
            Self::Gone => "gone",
            Self::Event => "event",
            Self::Storm => "storm",
            Self::Test => "test",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }
}

pub fn parse_severity(word: &str) -> Severity {
    [Severity::Info, Severity::Page].into_iter().find(|one| one.word() == word).unwrap_or(Severity::Warn)
}

mod severity_word {
    use super::{Severity, parse_severity};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(severity: &Severity, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(severity.word())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Severity, D::Error> {
        Ok(parse_severity(&String::deserialize(from)?))
    }
}

/// What is told to people, as it is kept until it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same on each try, so that whoever gets it twice can tell.
    pub id: String,
    pub what: What,
    #[serde(with = "severity_word")]
    pub severity: Severity,
    pub node: String,
    pub check: String,
    pub state: String,
    pub title: String,
    pub summary: String,
    pub since: Timestamp,
    pub at: Timestamp,
    pub events: Vec<String>,
    /// What to type next.
    pub next: Vec<String>,
    /// Of a storm: the first of those in it, and how many there are.
    pub titles: Vec<String>,
    pub count: u32,
}

/// Safe to show, and no longer than that.
pub fn clip(text: &str, most: usize) -> String {
    let safe = sanitize(text);
    if safe.chars().count() <= most {
        return safe.into_owned();
    }
    safe.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

impl Notice {
    pub fn new(id: String, what: What, severity: Severity, title: &str, at: Timestamp) -> Self {
        Self {
            id,
            what,
            severity,
            node: String::new(),
            check: String::new(),
            state: String::new(),
            title: clip(title, TITLE_CHARACTERS_MAX),
            summary: String::new(),
            since: at,
            at,
            events: Vec::new(),
            next: Vec::new(),
            titles: Vec::new(),
            count: 0,
        }
    }

    /// Of something that happened.
    pub fn of_event(event: &Event) -> Self {
        let id = format!("event:{}", event.seq);
        let about = if event.subject.is_empty() { event.node.as_str() } else { &event.subject };
        let title = format!("{about}: {}", event.message);
        Self {
            node: sanitize(&event.node).into_owned(),
            summary: clip(&event.message, SUMMARY_CHARACTERS_MAX),
            next: vec![match event.kind.word() {
                EventKind::SERVICE => format!("hostlerctl why service/{}", sanitize(&event.subject)),
                kind => format!("hostlerctl events --kind {kind}"),
            }],
            ..Self::new(id, What::Event, Severity::Warn, &title, event.at)
        }
    }

    pub fn test(id: String, notifier: &Name, by: &str, at: Timestamp) -> Self {
        let title = format!("a test of notifier {notifier}");
        let summary = format!("{by} asked for it; nothing is wrong");
        Self {
            summary: clip(&summary, SUMMARY_CHARACTERS_MAX),
            ..Self::new(id, What::Test, Severity::Info, &title, at)
        }
    }

    /// The first of many, that the others are added to.
    pub fn storm(first: &Self) -> Self {
        let mut storm = Self::new(format!("storm:{}", first.id), What::Storm, Severity::Info, "", first.at);
        storm.next = vec!["hostlerctl alert ls".to_owned()];
        storm.add(first);
        storm
    }

    pub fn add(&mut self, other: &Self) {
        self.count += 1;
        self.severity = self.severity.max(other.severity);
        self.at = self.at.max(other.at);
        if self.titles.len() < TITLES_MAX {
            self.titles.push(other.title.clone());
        }
        self.title = format!("{} notices at once", self.count);
    }
}

/// As people read it.
pub fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let (head, _) = text.split_at(text.find('.').unwrap_or(text.len()));
    format!("{} UTC", head.replace('T', " "))
}

/// The text of a mail.
pub fn mail_text(notice: &Notice) -> String {
    let mut text = format!("{}\n", notice.title);
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("\n{name:<9}{value}"));
        }
    };
    if notice.what == What::Storm {
        field("urgency", notice.severity.word());
    } else {
        field("summary", &notice.summary);
        field("node", &notice.node);
        field("check", &notice.check);
        field("state", &notice.state);
        field("since", &time(notice.since));
        field("urgency", notice.severity.word());
    }
    text.push('\n');
    let mut block = |head: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push_str(&format!("\n{head}\n"));
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
    };
    block("lately:", &notice.events);
    block("these:", &notice.titles);
    let more = u64::from(notice.count).saturating_sub(notice.titles.len() as u64);
    if more > 0 {
        block("and:", &[format!("{more} more")]);
    }
    block("next:", &notice.next);
    text
}

/// For programs: fields are only ever added.
pub fn json(notice: &Notice) -> Value {
    json!({
        "id": notice.id,
        "what": notice.what.word(),
        "severity": notice.severity.word(),
        "node": notice.node,
        "check": notice.check,
        "state": notice.state,
        "title": notice.title,
        "summary": notice.summary,
        "since": notice.since.to_string(),
        "at": notice.at.to_string(),
        "events": notice.events,
        "next": notice.next,
        "titles": notice.titles,
        "count": notice.count,
    })
}

/// As Slack takes it, and what is compatible to it.
pub fn slack(notice: &Notice) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut text = format!("*{}*", escape(&notice.title));
    if !notice.summary.is_empty() {
        text.push_str(&format!("\n{}", escape(&notice.summary)));
    }
    for title in &notice.titles {
        text.push_str(&format!("\n• {}", escape(title)));
    }
    let more = u64::from(notice.count).saturating_sub(notice.titles.len() as u64);
    if more > 0 {
        text.push_str(&format!("\nand {more} more"));
    }
    for line in &notice.next {
        text.push_str(&format!("\n`{}`", escape(line)));
    }
    json!({ "text": text })
}
