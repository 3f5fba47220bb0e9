//! What a check answers.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Status {
    /// Of a value of which less is better: what is reached counts, an absent
    /// threshold never is.
    pub fn reached<T: PartialOrd>(value: T, warn: Option<T>, critical: Option<T>) -> Status {
        if critical.is_some_and(|critical| value >= critical) {
            Status::Critical
        } else if warn.is_some_and(|warn| value >= warn) {
            Status::Warning
        } else {
            Status::Ok
        }
    }

    /// Which of two speaks for a check: what is known to be broken before what
    /// is not known.
    #[must_use]
    pub fn worst(self, other: Status) -> Status {
        let rank = |status| match status {
            Status::Ok => 0,
            Status::Warning => 1,
            Status::Unknown => 2,
            Status::Critical => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
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

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn what_is_reached_counts() {
        for (value, expect) in [(79, Status::Ok), (80, Status::Warning), (90, Status::Critical)] {
            assert_eq!(Status::reached(value, Some(80), Some(90)), expect);
            assert_eq!(Status::reached(value, None, None), Status::Ok);
        }
    }

    #[test]
    fn the_worst_speaks() {
        assert_eq!(Status::Ok.worst(Status::Warning), Status::Warning);
        assert_eq!(Status::Unknown.worst(Status::Warning), Status::Unknown);
        assert_eq!(Status::Unknown.worst(Status::Critical), Status::Critical);
    }
}
