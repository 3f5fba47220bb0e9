//! Which versions work together.

use std::cmp::Ordering;

/// `1.2.3` with anything behind a `-` or `+` left aside for compatibility, and
/// a pre-release sorting before its release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    pub pre_release: Option<String>,
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let (text, build) = text.split_once('+').unwrap_or((text, "0"));
        if !build.bytes().all(is_word) {
            return None;
        }
        let (numbers, pre_release) = match text.split_once('-') {
            Some((_, pre)) if pre.is_empty() || !pre.bytes().all(is_word) => return None,
            Some((numbers, pre)) => (numbers, Some(pre.to_owned())),
            None => (text, None),
        };
        let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()??, pre_release };
        parts.next().is_none().then_some(version)
    }
}

/// A version is a part of keys and of what people read.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |v: &Self| (v.major, v.minor, v.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| match (&self.pre_release, &other.pre_release) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(left), Some(right)) => left.cmp(right),
        })
    }
}

/// `None` if an agent may talk to a control plane; otherwise what to do.
/// Neighbouring minor versions work together, so that either can go first.
pub fn refuse_skew(agent: &str, control_plane: &str) -> Option<String> {
    let (Some(theirs), Some(ours)) = (Version::parse(agent), Version::parse(control_plane)) else {
        return Some(format!("the agent's version {agent:?} cannot be read"));
    };
    if theirs.major == ours.major && theirs.minor.abs_diff(ours.minor) <= 1 {
        return None;
    }
    let behind = (theirs.major, theirs.minor) < (ours.major, ours.minor);
    let advice = if behind { "upgrade the agent" } else { "upgrade the control plane first" };
    Some(format!("agent {agent} and control plane {control_plane} are more than one minor version apart: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_work_together_and_others_are_told_what_to_do() {
        assert_eq!(refuse_skew("0.1.0", "0.1.7"), None);
        assert_eq!(refuse_skew("0.1.0", "0.2.0"), None);
        assert_eq!(refuse_skew("0.3.0-rc1", "0.2.0"), None);
        assert!(refuse_skew("0.1.0", "0.3.0").is_some_and(|text| text.ends_with("upgrade the agent")));
        assert!(refuse_skew("1.0.0", "0.1.0").is_some_and(|text| text.ends_with("control plane first")));
        assert!(refuse_skew("new", "0.1.0").is_some());
    }

    #[test]
    fn versions_sort_as_people_count() {
        let mut versions: Vec<_> =
            ["1.10.0", "1.9.0", "1.10.0-rc1", "0.99.99"].iter().filter_map(|text| Version::parse(text)).collect();
        versions.sort();
        let shown: Vec<_> = versions.iter().map(|v| (v.major, v.minor, v.pre_release.is_some())).collect();
        assert_eq!(shown, [(0, 99, false), (1, 9, false), (1, 10, true), (1, 10, false)]);
        assert_eq!(Version::parse("1.2.3-\u{1b}[2J"), None);
        assert_eq!(Version::parse("1.2.3+a/b"), None);
        assert_eq!(Version::parse("1.2"), None);
        assert_eq!(Version::parse("1.2.3.4"), None);
    }
}
