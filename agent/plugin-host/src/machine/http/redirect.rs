//! Where a redirect leads, as text only: whether the plugin may follow it is
//! decided for the result like for any other address.

/// Resolves `location` against the address that answered with it.
pub(crate) fn resolve(scheme: &str, authority: &str, path: &str, location: &str) -> String {
    let location = location.split('#').next().unwrap_or_default();
    let starts_with_scheme = location.find(':').is_some_and(|colon| {
        let before = location.get(..colon).unwrap_or_default();
        before.starts_with(|c: char| c.is_ascii_alphabetic())
            && before.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    if starts_with_scheme {
        return location.to_owned();
    }
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}");
    }
    let base = path.split('?').next().unwrap_or_default();
    let target = if location.is_empty() {
        path.to_owned()
    } else if location.starts_with('/') {
        location.to_owned()
    } else if location.starts_with('?') {
        format!("{base}{location}")
    } else {
        let folder = base.rfind('/').and_then(|slash| base.get(..=slash)).unwrap_or("/");
        format!("{folder}{location}")
    };
    format!("{scheme}://{authority}{}", without_dots(&target))
}

/// `/a/./b/../c` is `/a/c`.
fn without_dots(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let last_is_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut out = format!("/{}", kept.join("/"));
    if last_is_folder && !out.ends_with('/') {
        out.push('/');
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn resolves_as_a_browser_does() {
        for (location, expect) in [
            ("https://other/x", "https://other/x"),
            ("//other/x", "http://other/x"),
            ("/x?y#z", "http://h:8/x?y"),
            ("x", "http://h:8/a/x"),
            ("?q=1", "http://h:8/a/b?q=1"),
            ("", "http://h:8/a/b?c"),
            ("../x/./y", "http://h:8/x/y"),
            ("../../../..", "http://h:8/"),
            ("x:y/z", "x:y/z"),
            ("./x:y", "http://h:8/a/x:y"),
        ] {
            assert_eq!(resolve("http", "h:8", "/a/b?c", location), expect, "{location:?}");
        }
    }
}
