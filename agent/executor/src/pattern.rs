//! The patterns of a policy: `*` stands for anything within a part of a path, `**`
//! for any parts.

pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let text: Vec<&str> = text.split('/').collect();
    parts(&pattern, &text)
}

fn parts(pattern: &[&str], text: &[&str]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        // What it stands for is at least one part: `/etc/nginx/**` is not the folder itself.
        Some((&"**", [])) => !text.is_empty(),
        Some((&"**", rest)) => (0..=text.len()).any(|from| text.get(from..).is_some_and(|text| parts(rest, text))),
        Some((first, rest)) => text.split_first().is_some_and(|(part, text)| within(first, part) && parts(rest, text)),
    }
}

fn within(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(head) else { return false };
    let mut middle = rest;
    while let Some((next, after)) = middle.split_once('*') {
        let Some(at) = left.find(next) else { return false };
        left = left.get(at + next.len()..).unwrap_or("");
        middle = after;
    }
    left.len() >= middle.len() && left.ends_with(middle)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stay_within_a_part() {
        let yes = [
            ("hostler-*", "hostler-shop.service"),
            ("/etc/nginx/**", "/etc/nginx/a/b"),
            ("/opt/*/bin/*", "/opt/shop/bin/api"),
            ("/srv/**/log", "/srv/a/b/log"),
            ("a*b*c", "axxbyyc"),
            ("*", "x"),
        ];
        let no = [
            ("hostler-*", "nginx.service"),
            ("/etc/nginx/**", "/etc/nginx"),
            ("/etc/nginx/**", "/etc/nginx-evil/a"),
            ("/opt/*/bin/*", "/opt/a/b/bin/api"),
            ("/opt/shop/bin/*", "/opt/shop/bin/a/b"),
            ("ab*ba", "aba"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
