//! What acts say.

use super::{End, How};
use hostler_types::units::format_size;
use std::fmt;
use std::time::Duration;

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "ended with exit code {code}"),
            Self::PortTaken { code, port, by } => {
                write!(f, "ended with exit code {code}: port {port} is taken by {by}")
            }
            Self::Signal(signal) => write!(f, "ended by {}", signal_word(*signal)),
            Self::OutOfMemory { limit_bytes, peak_bytes } => {
                f.write_str("ended for want of memory")?;
                let said = [("limit", limit_bytes), ("peak", peak_bytes)];
                let said =
                    said.into_iter().filter_map(|(what, bytes)| Some(format!("{what} {}", format_size((*bytes)?))));
                let said: Vec<String> = said.collect();
                if said.is_empty() { Ok(()) } else { write!(f, " ({})", said.join(", ")) }
            }
            Self::Stopped => f.write_str("stopped by somebody on the host"),
            Self::Never(words) => write!(f, "could not be started: {words}"),
            Self::Unknown => f.write_str("ended, and nobody knows how"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.how.fmt(f)
    }
}

fn signal_word(signal: i32) -> String {
    let word = match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        _ => return format!("signal {signal}"),
    };
    word.to_owned()
}

/// `23 ms`, `4.3 s`, `12m`: as short as it is exact enough.
pub(super) fn span(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => hostler_types::units::format_age(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_say_how() {
        let said = |how: How| End { how, tail: Vec::new() }.to_string();
        assert_eq!(said(How::Exit(1)), "ended with exit code 1");
        let taken = How::PortTaken { code: 1, port: 8080, by: "nginx (pid 71)".to_owned() };
        assert_eq!(said(taken), "ended with exit code 1: port 8080 is taken by nginx (pid 71)");
        assert_eq!(said(How::Signal(9)), "ended by KILL");
        assert_eq!(said(How::Signal(40)), "ended by signal 40");
        let hog = How::OutOfMemory { limit_bytes: Some(64 << 20), peak_bytes: Some(64 << 20) };
        assert_eq!(said(hog), "ended for want of memory (limit 64 MiB, peak 64 MiB)");
        assert_eq!(said(How::OutOfMemory { limit_bytes: None, peak_bytes: None }), "ended for want of memory");
        assert_eq!(span(Duration::from_millis(23)), "23 ms");
        assert_eq!(span(Duration::from_millis(4_321)), "4.3 s");
    }
}
