//! Which units are ours to write again and to remove: those that begin as ours do, and
//! those that nobody has.

use crate::files::Place;
use crate::protocol::WRITTEN;
use std::borrow::Cow;
use std::path::Path;

/// Where systemd finds units, besides where ours are.
const OTHERS: [&str; 7] = [
    "/run/systemd/system",
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

pub fn ours_or_new(place: &Place, unit: &str) -> Result<(), String> {
    judge(place.read(WRITTEN.len() as u64)?, OTHERS.into_iter().find(|folder| Path::new(folder).join(unit).exists()))
        .map_err(|words| format!("unit {unit} {words}: adopt it as it is with unit: {unit}, or take another name"))
}

fn judge(begins: Option<Vec<u8>>, elsewhere: Option<&str>) -> Result<(), String> {
    match (begins, elsewhere) {
        (Some(begins), _) if begins == WRITTEN.as_bytes() => Ok(()),
        (Some(_), _) => Err("is there, and was not written by Hostler".to_owned()),
        (None, Some(folder)) => Err(format!("is there, in {folder}")),
        (None, None) => Ok(()),
    }
}

pub fn marked(text: &str) -> Cow<'_, str> {
    if text.starts_with(WRITTEN) { text.into() } else { format!("{WRITTEN}.\n{text}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_written_again() {
        let begins = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(judge(None, None), Ok(()));
        assert_eq!(judge(begins(WRITTEN), None), Ok(()));
        assert_eq!(judge(begins(WRITTEN), Some("/lib")), Ok(()));
        assert!(judge(begins("[Unit]"), None).is_err());
        assert!(judge(begins(""), None).is_err());
        assert!(judge(None, Some("/lib/systemd/system")).is_err());
    }

    #[test]
    fn the_mark_is_there_once() {
        assert_eq!(marked("[Unit]"), format!("{WRITTEN}.\n[Unit]"));
        assert_eq!(marked(&marked("[Unit]")), format!("{WRITTEN}.\n[Unit]"));
    }
}
