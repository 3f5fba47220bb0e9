//! The texts of /proc about one process.

/// PF_KTHREAD, among the flags of `stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// `/proc/PID/stat`, in the kernel's units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// At most 15 bytes of a program's, as the kernel keeps it.
    pub(super) name: String,
    pub(super) state: char,
    pub(super) ppid: u32,
    /// A thread of the kernel's own.
    pub(super) is_kernel: bool,
    pub(super) cpu_ticks: u64,
    pub(super) threads: u32,
    pub(super) started_ticks: u64,
    pub(super) resident_pages: u64,
}

/// The name stands in parentheses and may have any of its own.
pub(super) fn stat(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(") ")?;
    let (_, name) = before.split_once(" (")?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let small = |index: usize| u32::try_from(number(index)?).ok();
    Some(Stat {
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        ppid: small(1)?,
        is_kernel: number(6)? & KERNEL_THREAD != 0,
        cpu_ticks: number(11)?.saturating_add(number(12)?),
        threads: small(17)?,
        started_ticks: number(19)?,
        resident_pages: number(21)?,
    })
}

/// In the words of `/proc/PID/status`.
pub(super) fn state(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk sleep",
        'T' => "stopped",
        't' => "tracing stop",
        'Z' => "zombie",
        'X' | 'x' => "dead",
        'I' => "idle",
        'P' => "parked",
        _ => "unknown",
    }
}

/// Whom it acts as: the effective one of four.
pub(super) fn user_id(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Each argument ends with a zero byte; one that was overwritten may have none.
pub(super) fn command(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    match bytes.is_empty() {
        true => Vec::new(),
        false => bytes.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect(),
    }
}

/// The one hierarchy, or the one of systemd where there are several.
pub(super) fn cgroup(text: &str) -> String {
    let path = |prefix: &str| text.lines().find_map(|line| line.split_once(prefix).map(|(_, path)| path));
    let one = text.lines().find_map(|line| line.strip_prefix("0::"));
    one.filter(|path| *path != "/").or_else(|| path(":name=systemd:")).or(one).unwrap_or_default().to_owned()
}

/// The name of a user, in the text of /etc/passwd.
pub(super) fn user_name(passwd: &str, id: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_anything() {
        let rest = "S 7 1 1 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 4242 1000 321 18446744073709551615 1";
        for name in ["nginx", "a b", "evil) R 1 (", "(sd-pam)", ")"] {
            let found = stat(&format!("12 ({name}) {rest}\n")).expect(name);
            let expect = Stat {
                name: name.to_owned(),
                state: 'S',
                ppid: 7,
                is_kernel: false,
                cpu_ticks: 200,
                threads: 9,
                started_ticks: 4242,
                resident_pages: 321,
            };
            assert_eq!(found, expect);
        }
        let worker = stat("44 (kworker/0:1H-kblockd) I 2 0 0 0 -1 69238880 0 0 0 0 0 13 0 0 0 -20 1 0 5 0 0 1");
        assert!(worker.is_some_and(|one| one.is_kernel && one.name == "kworker/0:1H-kblockd"));
        assert_eq!(stat(""), None);
        assert_eq!(stat("12 (x) S 7"), None);
    }

    #[test]
    fn commands_are_split_at_zeros() {
        for (bytes, expect) in [
            (b"a\0-b c\0\0".as_slice(), vec!["a", "-b c", ""]),
            (b"nginx: worker process", vec!["nginx: worker process"]),
            (b"\xff\0", vec!["\u{fffd}"]),
            (b"", vec![]),
        ] {
            assert_eq!(command(bytes), expect);
        }
    }

    #[test]
    fn users_are_named() {
        assert_eq!(user_id("Name:\tx\nUid:\t0\t33\t33\t33\n"), Some(33));
        assert_eq!(user_id("Name:\tx\n"), None);
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:33::/:\n";
        assert_eq!(
            (user_name(passwd, 33), user_name(passwd, 0), user_name(passwd, 5)),
            (Some("www"), Some("root"), None)
        );
    }

    #[test]
    fn the_cgroup_is_systemds() {
        assert_eq!(cgroup("0::/system.slice/nginx.service\n"), "/system.slice/nginx.service");
        assert_eq!(cgroup("12:cpu:/x\n1:name=systemd:/system.slice/a\n0::/\n"), "/system.slice/a");
        assert_eq!((cgroup("0::/\n"), cgroup("")), ("/".into(), String::new()));
    }
}
