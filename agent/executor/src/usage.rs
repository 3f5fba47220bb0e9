//! Which processes belong together, what files and connections they have open, and who
//! listens on a port: as only root may see of others.

use crate::protocol::Open;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A fork bomb is not counted to its end.
const PROCESSES_MAX: usize = 1024;
/// Of one process; whoever has more has far too many.
const FILES_MAX: usize = 100_000;
/// A host with as many connections has other ways to count them.
const TABLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// All processes of the unit, or of the container, that one is in.
pub fn processes_with(pid: u32) -> Vec<u32> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let pids = group_of(&groups).and_then(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
    match pids {
        Some(pids) => pids.lines().filter_map(|line| line.parse().ok()).take(PROCESSES_MAX).collect(),
        None => vec![pid],
    }
}

/// Where systemd keeps the unit's processes, on either kind of control groups.
fn group_of(groups: &str) -> Option<PathBuf> {
    let named = groups.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
    let (roots, path) = match named {
        Some(path) => (["/sys/fs/cgroup/systemd"].as_slice(), path),
        None => (
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].as_slice(),
            groups.lines().find_map(|line| line.strip_prefix("0::"))?,
        ),
    };
    // The root of all holds every process of the host.
    let below = path.trim_start_matches('/');
    let folders = roots.iter().map(|root| Path::new(root).join(below));
    folders.filter(|_| !below.is_empty()).find(|folder| folder.join("cgroup.procs").exists())
}

/// Of each, with all the processes that belong to it.
pub fn open(pids: &[u32]) -> Vec<Open> {
    // Hosts have one table of connections, and containers others.
    let mut tables: BTreeMap<PathBuf, BTreeSet<u64>> = BTreeMap::new();
    let mut open = |main: u32| {
        let mut one = Open { pid: main, ..Open::default() };
        let net = fs::read_link(format!("/proc/{main}/ns/net")).ok()?;
        let connected = tables.entry(net).or_insert_with(|| connected(main));
        for pid in processes_with(main) {
            for inode in descriptors(pid) {
                one.files += 1;
                one.connections += u32::from(inode.is_some_and(|inode| connected.contains(&inode)));
            }
        }
        Some(one)
    };
    pids.iter().filter_map(|pid| open(*pid)).collect()
}

/// What a process has open: of sockets, which.
fn descriptors(pid: u32) -> impl Iterator<Item = Option<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().take(FILES_MAX);
    entries.map(|entry| socket(fs::read_link(entry.path()).ok()?.to_str()?))
}

fn socket(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn connected(pid: u32) -> BTreeSet<u64> {
    sockets(pid).into_iter().filter(|socket| socket.state == ESTABLISHED).map(|socket| socket.inode).collect()
}

/// Who listens on a port of the host: a program, and its pid.
pub fn listener(port: u16) -> Option<(String, u32)> {
    // Whatever this process itself sees of the network, the first one sees the host's.
    let listening = sockets(1).into_iter().filter(|socket| socket.state == LISTENING && socket.port == port);
    let inodes: BTreeSet<u64> = listening.map(|socket| socket.inode).collect();
    if inodes.is_empty() {
        return None;
    }
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holds = |pid: &u32| descriptors(*pid).any(|inode| inode.is_some_and(|inode| inodes.contains(&inode)));
    let pid = pids.into_iter().find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((name.trim_end().to_owned(), pid))
}

const ESTABLISHED: u8 = 0x01;
const LISTENING: u8 = 0x0a;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Socket {
    state: u8,
    port: u16,
    inode: u64,
}

fn sockets(pid: u32) -> Vec<Socket> {
    let tables = ["tcp", "tcp6"].map(|table| fs::read(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    let small = tables.iter().filter(|table| table.len() <= TABLE_BYTES_MAX);
    small.flat_map(|table| parse(&String::from_utf8_lossy(table))).collect()
}

/// The kernel's table: `sl local_address rem_address st ... inode`.
fn parse(table: &str) -> Vec<Socket> {
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        Some(Socket {
            state: u8::from_str_radix(fields.get(3)?, 16).ok()?,
            port: u16::from_str_radix(port, 16).ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
             1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 20 4 30 10 -1\n\
             2: broken\n";
        let socket = |state, inode| Socket { state, port: 8080, inode };
        assert_eq!(parse(table), [socket(LISTENING, 4711), socket(ESTABLISHED, 4712)]);
        assert_eq!((super::socket("socket:[4711]"), super::socket("/dev/null")), (Some(4711), None));
    }

    #[test]
    fn what_this_process_has_open_is_counted() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let _served = server.accept().unwrap();
        let me = std::process::id();
        let connected = connected(me);
        let open: Vec<_> = descriptors(me).flatten().filter(|inode| connected.contains(inode)).collect();
        assert!(open.len() >= 2, "{open:?}");
        assert!(descriptors(me).count() > open.len());
        assert_eq!(super::open(&[u32::MAX]), []);
    }
}
