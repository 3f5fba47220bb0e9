//! What the allocator is told. The agent's budget is a few megabytes, and glibc
//! would rather keep memory than give it back.

use std::path::Path;

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

#[allow(unsafe_code, reason = "the kernel's own call; there is no safe one")]
fn forget_program() {
    let Ok(program) = std::env::current_exe() else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (from, length) in maps.lines().filter_map(|line| unwritten(line, &program)) {
        // SAFETY: the range is a private mapping of this program's file that is never
        // written, so each page of it is the file's and comes back when it is next
        // executed; what fails leaves everything as it was.
        let _ = unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(from), length, libc::MADV_DONTNEED) };
    }
}

/// Where a line of `maps` is what no start changes: the program's code, or the
/// constants at the beginning of its file. Its address and length.
fn unwritten(line: &str, program: &Path) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions, offset) = (words.next()?, words.next()?, words.next()?);
    // Device and inode come between.
    let path = words.nth(2)?;
    let constants = permissions == "r--p" && usize::from_str_radix(offset, 16) == Ok(0);
    if !(permissions == "r-xp" || constants) || Path::new(path) != program {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    Some((from, to.checked_sub(from)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_start_changes_is_let_go() {
        let program = Path::new("/usr/bin/hostler-agent");
        let at =
            |offset, permissions, path| format!("5581a000-5581c000 {permissions} {offset} fe:00 1311       {path}");
        let line = |permissions, path| at("00021000", permissions, path);
        let place = Some((0x5581_a000, 0x2000));
        assert_eq!(unwritten(&line("r-xp", "/usr/bin/hostler-agent"), program), place);
        assert_eq!(unwritten(&at("00000000", "r--p", "/usr/bin/hostler-agent"), program), place);
        // What was relocated is not the file's any more.
        for (permissions, path) in [
            ("r--p", "/usr/bin/hostler-agent"),
            ("rw-p", "/usr/bin/hostler-agent"),
            ("r-xp", "/usr/lib/libc.so.6"),
            ("r-xp", ""),
        ] {
            assert_eq!(unwritten(&line(permissions, path), program), None);
        }
        // And it goes on running.
        give_back();
        assert_eq!(unwritten("", program), None);
    }
}
