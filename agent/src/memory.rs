//! What the allocator is told. The agent's budget is a few megabytes, and glibc
//! would rather keep memory than give it back.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// One arena: each further one keeps freed memory of its own. To be called
/// before there is a second thread.
#[allow(unsafe_code, reason = "the C library's own switch; there is no safe one")]
pub fn one_arena() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes plain numbers and is called before any other thread exists.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// After something large that does not come again soon: joining, loading. Freed
/// memory goes, and so do the program's own code and constants, of which what is
/// needed on comes back from the page cache: the rest was for the start alone.
pub fn give_back() {
    trim();
    forget_program();
}

#[allow(unsafe_code, reason = "the C library's own call; there is no safe one")]
fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `malloc_trim` takes a plain number and may be called at any time from any thread.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

/// The kernel maps the 64 KiB around the page that is needed, as far as they are one
/// mapping, and of a program's code most is never needed again: so it is cut.
const STRIPE_BYTES: usize = 16 << 10;

fn forget_program() {
    static CUT: AtomicBool = AtomicBool::new(false);
    let Ok(program) = std::env::current_exe() else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for range in unwritten(&maps, &program) {
        if !CUT.load(Ordering::Relaxed) {
            // What tells a stripe from its neighbours has no other effect: no core dump
            // has a program's code in it, only its first page, and that is left out.
            let every_other = range.clone().step_by(2 * STRIPE_BYTES).map(|from| from + STRIPE_BYTES);
            for from in every_other.take_while(|from| *from < range.end) {
                advise(from..range.end.min(from + STRIPE_BYTES), libc::MADV_DONTDUMP);
            }
        }
        advise(range, libc::MADV_DONTNEED);
    }
    CUT.store(true, Ordering::Relaxed);
}

/// Only of what [`unwritten`] gives.
#[allow(unsafe_code, reason = "the kernel's own call; there is no safe one")]
fn advise(range: Range<usize>, advice: libc::c_int) {
    // SAFETY: the range is of private mappings of this program's file that are never
    // written, so each page of it is the file's and comes back when it is next
    // executed; what fails leaves everything as it was.
    let _ = unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(range.start), range.len(), advice) };
}

/// What no start changes, by its addresses: the program's code, and the constants at
/// the beginning of its file. What was cut is one range again.
fn unwritten(maps: &str, program: &Path) -> Vec<Range<usize>> {
    let mut found: Vec<Mapping> = Vec::new();
    for next in maps.lines().filter_map(|line| Mapping::of(line, program)) {
        match found.last_mut().filter(|last| next.follows(last)) {
            Some(last) => last.range.end = next.range.end,
            None if next.is_code || next.offset == 0 => found.push(next),
            None => {}
        }
    }
    found.into_iter().map(|one| one.range).collect()
}

/// Of a file, and never written since it was mapped.
struct Mapping {
    range: Range<usize>,
    offset: usize,
    is_code: bool,
}

impl Mapping {
    fn of(line: &str, program: &Path) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (range, permissions, offset) = (words.next()?, words.next()?, words.next()?);
        // Device and inode come between.
        let path = words.nth(2)?;
        let is_code = permissions == "r-xp";
        if !(is_code || permissions == "r--p") || Path::new(path) != program {
            return None;
        }
        let (from, to) = range.split_once('-')?;
        let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
        Some(Self { range: from..to, offset: usize::from_str_radix(offset, 16).ok()?, is_code })
    }

    fn follows(&self, last: &Self) -> bool {
        self.is_code == last.is_code
            && self.range.start == last.range.end
            && self.offset == last.offset + last.range.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/usr/bin/hostler-agent";

    fn line(range: &str, permissions: &str, offset: &str, path: &str) -> String {
        format!("{range} {permissions} {offset} fe:00 1311       {path}\n")
    }

    #[test]
    fn only_what_no_start_changes_is_let_go() {
        let of = |permissions, offset, path| {
            unwritten(&line("5581a000-5581c000", permissions, offset, path), Path::new(PROGRAM))
        };
        let place = 0x5581_a000..0x5581_c000;
        assert_eq!(of("r-xp", "00021000", PROGRAM), std::slice::from_ref(&place));
        assert_eq!(of("r--p", "00000000", PROGRAM), std::slice::from_ref(&place));
        // What was relocated is not the file's any more.
        for (permissions, path) in [("r--p", PROGRAM), ("rw-p", PROGRAM), ("r-xp", "/usr/lib/libc.so.6"), ("r-xp", "")]
        {
            assert!(of(permissions, "00021000", path).is_empty());
        }
        assert!(unwritten("\n", Path::new(PROGRAM)).is_empty());
    }

    #[test]
    fn what_was_cut_is_one_again() {
        let maps: String = [
            ("5000-9000", "r--p", "0"),
            ("9000-a000", "r--p", "4000"),
            // As the file goes on: code, then what was relocated.
            ("a000-e000", "r-xp", "5000"),
            ("e000-f000", "r-xp", "9000"),
            ("f000-10000", "r--p", "a000"),
            // Of the same file, elsewhere.
            ("20000-24000", "r-xp", "a000"),
        ]
        .map(|(range, permissions, offset)| line(range, permissions, offset, PROGRAM))
        .concat();
        assert_eq!(unwritten(&maps, Path::new(PROGRAM)), [0x5000..0xa000, 0xa000..0xf000, 0x20000..0x24000]);
    }

    #[test]
    fn it_goes_on_running_in_stripes() {
        let own = || {
            let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
            let program = std::env::current_exe().expect("a path");
            let code = maps.lines().filter_map(|line| Mapping::of(line, &program)).filter(|one| one.is_code).count();
            (code, unwritten(&maps, &program))
        };
        let (whole, before) = own();
        give_back();
        let (cut, after) = own();
        assert_eq!(before, after);
        let code: usize = before.iter().map(ExactSizeIterator::len).max().unwrap_or_default();
        assert!(cut >= whole + code / STRIPE_BYTES - 1, "{whole} {cut}");
        give_back();
        assert_eq!(own(), (cut, before));
    }
}
