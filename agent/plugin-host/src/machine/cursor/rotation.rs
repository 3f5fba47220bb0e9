//! Names that rotation gives: which files came after which.

/// Of these names, those that were written after `old`, oldest first. All begin
/// with `base`, the name of the file that is still written.
pub(super) fn since<'a>(names: &'a [String], base: &str, old: &str) -> Vec<&'a str> {
    let number = |name: &str| name.strip_prefix(base)?.strip_prefix('.')?.parse::<u32>().ok();
    if let Some(old) = number(old) {
        let mut newer: Vec<(u32, &str)> =
            names.iter().filter_map(|name| number(name).map(|number| (number, name.as_str()))).collect();
        newer.retain(|(number, _)| *number < old);
        newer.sort_by(|a, b| b.cmp(a));
        return newer.into_iter().map(|(_, name)| name).collect();
    }
    // With dates in them: as long, digits where there were digits, and later.
    let mut newer: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| *name > old && *name != base && same_shape(name, old)).collect();
    newer.sort_unstable();
    newer
}

fn same_shape(a: &str, b: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == b || a.is_ascii_digit() && b.is_ascii_digit();
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &str, base: &str, old: &str, expect: &str) {
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        assert_eq!(since(&names, base, old).join(" "), expect, "{names:?} since {old}");
    }

    #[test]
    fn numbers_count_down() {
        let names = "a.log a.log.1 a.log.2 a.log.10 a.log.3.gz a.log.bak a.log.9";
        check(names, "a.log", "a.log.10", "a.log.9 a.log.2 a.log.1");
        check(names, "a.log", "a.log.1", "");
        check(names, "a.log", "a.log.2", "a.log.1");
    }

    #[test]
    fn dates_count_up() {
        let names = "a.log a.log-20260102 a.log-20260103 a.log-20260101.gz a.log-20260101 a.log-old";
        check(names, "a.log", "a.log-20260101", "a.log-20260102 a.log-20260103");
        check(names, "a.log", "a.log-20260103", "");
        check(names, "a.log", "a.log-old", "");
    }
}
