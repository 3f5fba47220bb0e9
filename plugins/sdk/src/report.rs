//! What a check answers.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Ok,
    Warning,
    Critical,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub status: Status,
    /// One line: what is the case, with its figures.
    pub summary: String,
    pub details: String,
    pub attrs: Vec<Attr>,
}

impl Report {
    pub fn new(status: Status, summary: impl Into<String>) -> Report {
        Report { status, summary: summary.into(), details: String::new(), attrs: Vec::new() }
    }

    pub fn ok(summary: impl Into<String>) -> Report {
        Report::new(Status::Ok, summary)
    }

    pub fn warning(summary: impl Into<String>) -> Report {
        Report::new(Status::Warning, summary)
    }

    pub fn critical(summary: impl Into<String>) -> Report {
        Report::new(Status::Critical, summary)
    }

    pub fn unknown(summary: impl Into<String>) -> Report {
        Report::new(Status::Unknown, summary)
    }

    #[must_use]
    pub fn details(mut self, text: impl Into<String>) -> Report {
        self.details = text.into();
        self
    }

    #[must_use]
    pub fn attr(mut self, key: impl Into<String>, value: impl ToString) -> Report {
        self.attrs.push(Attr { key: key.into(), value: value.to_string() });
        self
    }
}
