//! Names that are looked for, with `*` for anything in them.

pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, expect) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("kworker/*", "kworker/0:1", true),
            ("tmux: *", "tmux: server", true),
            ("*ab*ab", "ab", false),
            ("*ab*ab", "abab", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*\u{e9}*", "a\u{e9}", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
    }
}
