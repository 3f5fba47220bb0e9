//! Files with places in them for what the spec says: `${name}`, for the names that
//! it gives values. All else passes through as it is, such as a shell's `${X}`.

use std::collections::{BTreeMap, BTreeSet};

const OPEN: &[u8] = b"${";
/// What is longer is no name, but two braces far apart.
const NAME_BYTES_MAX: usize = 100;

/// A name, and where its place begins and ends.
fn places(content: &[u8]) -> impl Iterator<Item = (&str, usize, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = content.get(from..)?;
            let at = from + rest.windows(OPEN.len()).position(|two| two == OPEN)?;
            from = at + OPEN.len();
            let body = content.get(from..)?;
            let body = body.get(..NAME_BYTES_MAX.min(body.len()))?;
            let Some(length) = body.iter().position(|byte| matches!(byte, b'}' | b'{' | b'$' | b'\n')) else {
                continue;
            };
            let name = body.get(..length).and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = name.filter(|name| !name.is_empty() && body.get(length) == Some(&b'}')) {
                from += length + 1;
                return Some((name, at, from));
            }
        }
    })
}

/// The names that stand in it like a place: `x` where it says `${x}`.
pub fn names_in(content: &[u8]) -> BTreeSet<String> {
    places(content).map(|(name, ..)| name.to_owned()).collect()
}

/// Its places filled; an error is a name that it has no place for. What a value says
/// is not looked at again.
pub fn filled(content: &[u8], values: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let mut whole = Vec::with_capacity(content.len());
    let mut open: BTreeSet<&str> = values.keys().map(String::as_str).collect();
    let mut from = 0;
    for (name, at, end) in places(content) {
        let Some(value) = values.get(name) else { continue };
        whole.extend_from_slice(content.get(from..at).unwrap_or_default());
        whole.extend_from_slice(value.as_bytes());
        open.remove(name);
        from = end;
    }
    whole.extend_from_slice(content.get(from..).unwrap_or_default());
    match open.first() {
        Some(name) => Err((*name).to_owned()),
        None => Ok(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_named_places_are_filled() {
        let text = b"a ${host} $host ${HOST} $${host} ${ho\nst} ${h${host}} \xff ${host}";
        let new = filled(text, &values(&[("host", "${HOST}")])).expect("filled");
        let want = b"a ${HOST} $host ${HOST} $${HOST} ${ho\nst} ${h${HOST}} \xff ${HOST}";
        assert_eq!(String::from_utf8_lossy(&new), String::from_utf8_lossy(want));
        assert_eq!(filled(text, &values(&[])).as_deref(), Ok(text.as_slice()));
        assert_eq!(filled(text, &values(&[("host", ""), ("port", "1")])), Err("port".to_owned()));
        assert_eq!(names_in(text), ["HOST", "host"].map(str::to_owned).into());
        assert_eq!(names_in(b"${} ${ ${a"), BTreeSet::new());
        assert_eq!(names_in(b"${secret:db}${node.label.a}").len(), 2);
    }
}
