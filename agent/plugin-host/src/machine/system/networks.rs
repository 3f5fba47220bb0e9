//! Network interfaces and what went over them.

use super::{SystemError, read_file};
use crate::answer::Network;
use crate::limits;
use std::path::Path;

const DEV: &str = "/proc/net/dev";
const CLASS: &str = "/sys/class/net";

/// No state is known of a loopback, nor of some tunnels; the flag tells.
const IFF_UP: u32 = 1;

pub(super) fn read() -> Result<Vec<Network>, SystemError> {
    let mut list = parse(&read_file(DEV)?).ok_or(SystemError::Format { path: DEV })?;
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list.truncate(limits::NETWORKS_MAX);
    for one in &mut list {
        let folder = Path::new(CLASS).join(&one.name);
        let said = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        one.up = is_up(&said("operstate"), &said("flags"));
    }
    Ok(list)
}

/// Two lines of titles, then `name: ` and sixteen numbers.
fn parse(text: &str) -> Option<Vec<Network>> {
    text.lines().skip(2).filter(|line| !line.trim().is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Network> {
    // A name may have a colon of its own: `eth0:1`.
    let (name, numbers) = line.rsplit_once(':')?;
    let numbers: Vec<u64> = numbers.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let at = |index: usize| numbers.get(index).copied();
    Some(Network {
        name: name.trim().to_owned(),
        up: false,
        received_bytes: at(0)?,
        received_packets: at(1)?,
        received_errors: at(2)?,
        received_dropped: at(3)?,
        sent_bytes: at(8)?,
        sent_packets: at(9)?,
        sent_errors: at(10)?,
        sent_dropped: at(11)?,
    })
}

fn is_up(operstate: &str, flags: &str) -> bool {
    match operstate.trim() {
        "up" => true,
        "unknown" => {
            let digits = flags.trim().trim_start_matches("0x");
            u32::from_str_radix(digits, 16).is_ok_and(|flags| flags & IFF_UP != 0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
 eth0:1: 18446744073709551615 9 1 2 0 0 0 0 5 6 7 8 0 0 0 0
";

    #[test]
    fn reads_counters() {
        let list = parse(TEXT).expect("counters");
        let names: Vec<&str> = list.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["lo", "eth0:1"]);
        let one = &list[1];
        assert_eq!((one.received_bytes, one.received_errors, one.received_dropped), (u64::MAX, 1, 2));
        assert_eq!((one.sent_bytes, one.sent_packets, one.sent_errors, one.sent_dropped), (5, 6, 7, 8));
        assert_eq!(parse("a\nb\nlo: 1 2\n"), None);
        assert_eq!(parse(""), Some(Vec::new()));
    }

    #[test]
    fn what_has_no_state_is_up_by_its_flag() {
        for (state, flags, expect) in [
            ("up\n", "0x1003", true),
            ("down\n", "0x1003", false),
            ("unknown\n", "0x9\n", true),
            ("unknown", "0x8", false),
        ] {
            assert_eq!(is_up(state, flags), expect, "{state} {flags}");
        }
        assert!(!is_up("", ""));
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let list = read().expect("counters");
        assert!(list.iter().any(|one| one.name == "lo" && one.up), "{list:?}");
    }
}
