//! Which ports are free, and who holds the others.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

/// Where a control plane and its agent listen, all on loopback.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ports {
    pub agents: u16,
    pub operators: u16,
    /// Health and metrics of the control plane, and of the agent.
    pub http: u16,
    pub agent_http: u16,
    /// The demo's service.
    pub demo: u16,
}

pub const DEFAULT: Ports = Ports { agents: 7443, operators: 7480, http: 7482, agent_http: 7481, demo: 7484 };

const COUNT: usize = 5;
const NAMES: [&str; COUNT] = ["agents", "operators", "http", "agent_http", "demo"];

impl Ports {
    fn list(self) -> [u16; COUNT] {
        [self.agents, self.operators, self.http, self.agent_http, self.demo]
    }

    fn from_list([agents, operators, http, agent_http, demo]: [u16; COUNT]) -> Self {
        Self { agents, operators, http, agent_http, demo }
    }

    /// These ports where they are free; for the others any that is, and a line
    /// that says who is in the way.
    pub fn or_free(self) -> Result<(Self, Vec<String>)> {
        let mut notes = Vec::new();
        let mut chosen = self.list();
        for port in &mut chosen {
            if !is_free(*port) {
                let other = free_port()?;
                notes.push(format!("port {port} is taken by {}: using {other}", holder(*port)));
                *port = other;
            }
        }
        Ok((Self::from_list(chosen), notes))
    }

    pub fn any() -> Result<Self> {
        let (mut list, mut held) = ([0; COUNT], Vec::new());
        for port in &mut list {
            // Held until all are found: one after the other may be the same.
            let listener = listen()?;
            *port = port_of(&listener)?;
            held.push(listener);
        }
        Ok(Self::from_list(list))
    }

    pub fn save(self, file: &Path) -> Result<()> {
        let lines: Vec<String> = NAMES.iter().zip(self.list()).map(|(name, port)| format!("{name}={port}\n")).collect();
        std::fs::write(file, lines.concat()).with_context(|| format!("write {}", file.display()))
    }

    pub fn load(file: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(file).ok()?;
        // The demo's is younger than the others.
        let mut list = DEFAULT.list();
        for (slot, name) in list.iter_mut().zip(NAMES) {
            match text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')) {
                Some(port) => *slot = port.parse().ok()?,
                None if name == "demo" => {}
                None => return None,
            }
        }
        Some(Self::from_list(list))
    }
}

impl Ports {
    /// It need not stay: the spec that names it is written anew.
    pub fn with_free_demo(self) -> Result<Self> {
        Ok(if is_free(self.demo) { self } else { Self { demo: free_port()?, ..self } })
    }
}

pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn listen() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")
}

fn port_of(listener: &TcpListener) -> Result<u16> {
    Ok(listener.local_addr().context("find a free port")?.port())
}

fn free_port() -> Result<u16> {
    port_of(&listen()?)
}

/// `nginx (pid 812)`, as far as this user may know.
pub fn holder(port: u16) -> String {
    let found = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| listening_inode(&std::fs::read_to_string(file).ok()?, port))
        .find_map(|inode| owner(&format!("socket:[{inode}]")));
    found.map_or_else(|| "another process".to_owned(), |(name, pid)| format!("{name} (pid {pid})"))
}

/// The inode of the socket that listens on a port, in the kernel's table.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (_, hex) = local.rsplit_once(':')?;
        (*state == LISTEN && u16::from_str_radix(hex, 16) == Ok(port)).then(|| inode.parse().ok())?
    })
}

fn owner(socket: &str) -> Option<(String, u32)> {
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        let holds =
            files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == socket));
        if holds {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((name.trim().to_owned(), pid));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder_and_gives_way() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert!(holder(taken).ends_with(&format!("(pid {})", std::process::id())), "{}", holder(taken));

        let wanted = Ports { agents: taken, ..Ports::any().unwrap() };
        let (chosen, notes) = wanted.or_free().unwrap();
        assert_ne!(chosen.agents, taken);
        assert_eq!(chosen.operators, wanted.operators);
        assert!(notes.len() == 1 && notes[0].starts_with(&format!("port {taken} is taken by")), "{notes:?}");
    }

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address st ...\n\
            0: 0100007F:1D13 00000000:0000 01 00000000:00000000 00:00000000 00000000 0 0 41 1\n\
            1: 0100007F:1D13 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 42 1\n";
        assert_eq!(listening_inode(table, 7443), Some(42));
        assert_eq!(listening_inode(table, 7444), None);
    }

    #[test]
    fn ports_survive_a_round_trip() {
        let file = std::env::temp_dir().join(format!("xtask-ports-{}", std::process::id()));
        DEFAULT.save(&file).unwrap();
        assert_eq!(Ports::load(&file), Some(DEFAULT));
        std::fs::write(&file, "agents=1\noperators=2\nhttp=3\nagent_http=4\n").unwrap();
        assert_eq!(Ports::load(&file).map(|ports| (ports.http, ports.demo)), Some((3, DEFAULT.demo)));
        std::fs::write(&file, "agents=1\n").unwrap();
        assert_eq!(Ports::load(&file), None);
        std::fs::remove_file(&file).unwrap();
    }
}
