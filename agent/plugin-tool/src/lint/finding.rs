//! What was found, in the order of how bad it is.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Note,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        }
    }
}

struct Finding {
    level: Level,
    file: String,
    line: Option<usize>,
    message: String,
}

#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn add(&mut self, level: Level, file: &str, line: Option<usize>, message: String) {
        self.0.push(Finding { level, file: file.to_owned(), line, message });
    }

    pub fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|one| one.level == level).count()
    }

    /// `plugin.toml:12: warning: ...`
    pub fn lines(&self) -> Vec<String> {
        let mut sorted: Vec<&Finding> = self.0.iter().collect();
        sorted.sort_by_key(|one| one.level);
        let told = |one: &Finding| {
            let line = one.line.map_or_else(String::new, |line| format!("{line}:"));
            let text = format!("{}:{line} {}: {}", one.file, one.level.word(), one.message);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        sorted.into_iter().flat_map(told).collect()
    }

    pub fn sum(&self) -> String {
        let counted = |level: Level| match self.count(level) {
            1 => format!("1 {}", level.word()),
            count => format!("{count} {}s", level.word()),
        };
        [Level::Error, Level::Warning, Level::Note].map(counted).join(", ")
    }
}
