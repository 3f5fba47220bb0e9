//! Names that a pattern stands for.

use super::beneath::{Root, failed};
use crate::call::CallError;
use crate::limits;
use hostler_types::plugin::PathPattern;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;

/// One name of a path, as a pattern has it.
enum Part {
    Name(String),
    /// A path of one name only, so that `*` means the same everywhere.
    Star(PathPattern),
    AnyFolders,
}

fn part(text: &str) -> Option<Part> {
    Some(match text {
        "**" => Part::AnyFolders,
        text if text.contains('*') => Part::Star(format!("/{text}").parse().ok()?),
        text => Part::Name(text.to_owned()),
    })
}

/// Looks at so many files and then gives up.
pub(super) fn glob(
    pattern: &PathPattern,
    granted: &[PathPattern],
    entries_max: usize,
) -> Result<BTreeSet<String>, CallError> {
    let mut found = BTreeSet::new();
    // A grant that covers the pattern covers its text.
    let text = pattern.to_string();
    let Some(grant) = granted.iter().find(|grant| grant.matches(&text)) else { return Ok(found) };
    let root = match Root::open(&grant.root()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(found),
        opened => opened.map_err(failed)?,
    };
    let base = pattern.root();
    let rest = text.strip_prefix(&base).unwrap_or_default();
    let parts: Option<Vec<Part>> = rest.split('/').filter(|part| !part.is_empty()).map(part).collect();
    let mut walk = Walk { root, granted, left: entries_max, seen: BTreeSet::new(), found: &mut found };
    walk.folder(base.trim_end_matches('/'), parts.as_deref().unwrap_or_default())?;
    Ok(found)
}

/// Granted paths beside this one whose names begin with its own, sorted.
pub(in crate::machine) fn names_like(path: &str, granted: &[PathPattern]) -> Result<Vec<String>, CallError> {
    let mut found = BTreeSet::new();
    let Some((folder, base)) = path.rsplit_once('/') else { return Ok(Vec::new()) };
    for grant in granted.iter().filter(|grant| grant.matches(path)) {
        let Ok(root) = Root::open(&grant.root()) else { continue };
        let mut walk = Walk { root, granted, left: limits::GLOB_ENTRIES_MAX, seen: BTreeSet::new(), found: &mut found };
        let Some((fd, real)) = walk.open(folder)? else { continue };
        for (name, _) in walk.entries(fd)? {
            if name.starts_with(base) {
                walk.keep(folder, &real, &name);
            }
        }
    }
    Ok(found.into_iter().filter(|name| granted.iter().any(|pattern| pattern.matches(name))).collect())
}

struct Walk<'a> {
    root: Root,
    granted: &'a [PathPattern],
    /// Files that may still be looked at.
    left: usize,
    /// Folders, with what of the pattern was left there: two `**` come by twice.
    seen: BTreeSet<(String, usize)>,
    found: &'a mut BTreeSet<String>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &str, parts: &[Part]) -> Result<(), CallError> {
        let Some((first, rest)) = parts.split_first() else { return Ok(()) };
        if !self.seen.insert((path.to_owned(), parts.len())) {
            return Ok(());
        }
        let Some((fd, real)) = self.open(path)? else { return Ok(()) };
        match first {
            Part::Name(name) => {
                self.look()?;
                match rustix::fs::statat(&fd, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) if rest.is_empty() => self.keep(path, &real, name),
                    Ok(_) => self.folder(&format!("{path}/{name}"), rest)?,
                    Err(_) => {}
                }
            }
            Part::Star(pattern) => {
                for (name, kind) in self.entries(fd)? {
                    if !pattern.matches(&format!("/{name}")) {
                        continue;
                    }
                    if rest.is_empty() {
                        self.keep(path, &real, &name);
                    } else if !matches!(kind, FileType::RegularFile) {
                        self.folder(&format!("{path}/{name}"), rest)?;
                    }
                }
            }
            Part::AnyFolders => {
                self.folder(path, rest)?;
                for (name, kind) in self.entries(fd)? {
                    if rest.is_empty() {
                        self.keep(path, &real, &name);
                    }
                    // Through no link: it could lead back up.
                    if kind == FileType::Directory {
                        self.folder(&format!("{path}/{name}"), parts)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// With where it really is. What can't be opened has nothing in it, as in a
    /// shell.
    fn open(&mut self, path: &str) -> Result<Option<(OwnedFd, String)>, CallError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        let opened = self.root.open_below(path, flags).and_then(|fd| {
            let real = self.root.name(&fd)?;
            Ok((fd, real))
        });
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(Errno::NOSYS) => Err(failed(Errno::NOSYS)),
            Err(_) => Ok(None),
        }
    }

    /// Names that are no text can't be asked for, and are left out.
    fn entries(&mut self, fd: OwnedFd) -> Result<Vec<(String, FileType)>, CallError> {
        let mut entries = Vec::new();
        for entry in Dir::new(fd).map_err(failed)? {
            let Ok(entry) = entry else { break };
            self.look()?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => entries.push((name.to_owned(), entry.file_type())),
            }
        }
        Ok(entries)
    }

    /// A link within the granted folders may have led to where nothing is granted.
    fn keep(&mut self, path: &str, real: &str, name: &str) {
        let real = format!("{}/{name}", real.trim_end_matches('/'));
        if self.granted.iter().any(|pattern| pattern.matches(&real)) {
            self.found.insert(format!("{path}/{name}"));
        }
    }

    fn look(&mut self) -> Result<(), CallError> {
        let too_many = || CallError::Limit("too many files to look at: name fewer folders in the pattern".to_owned());
        self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }
}
