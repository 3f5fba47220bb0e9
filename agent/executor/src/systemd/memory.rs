//! Whether a unit ran out of memory, where the kernel counts it the old way (cgroup
//! v1) and systemd does not say.
//!
//! The kernel signals an event for every process that it kills for want of memory,
//! and one more when the group goes. So as soon as the group is gone, more than one
//! event means that it ran out.

use rustix::event::{EventfdFlags, eventfd};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

const ROOT: &str = "/sys/fs/cgroup/memory";

#[derive(Default)]
pub(super) struct Watch {
    units: RefCell<BTreeMap<String, Watched>>,
}

struct Watched {
    pid: u32,
    events: OwnedFd,
    count: u64,
    folder: PathBuf,
    peak: Option<u64>,
}

impl Watch {
    /// Of what is watched already, the most that it took is looked at again.
    pub fn watch(&self, unit: &str, pid: u32) {
        let mut units = self.units.borrow_mut();
        if let Some(watched) = units.get_mut(unit).filter(|watched| watched.pid == pid) {
            watched.look();
            return;
        }
        if let Some(mut watched) = Watched::of(pid) {
            watched.look();
            units.insert(unit.to_owned(), watched);
        }
    }

    pub fn forget(&self, unit: &str) {
        self.units.borrow_mut().remove(unit);
    }

    pub fn ran_out(&self, unit: &str) -> bool {
        let mut units = self.units.borrow_mut();
        let Some(watched) = units.get_mut(unit) else { return false };
        watched.look();
        let of_the_end = u64::from(!watched.folder.exists());
        watched.count > of_the_end
    }

    pub fn peak(&self, unit: &str) -> Option<u64> {
        self.units.borrow().get(unit).and_then(|watched| watched.peak)
    }
}

impl Watched {
    fn of(pid: u32) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let group = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, group) = rest.split_once(':')?;
            controllers.split(',').any(|one| one == "memory").then(|| group.trim_start_matches('/').to_owned())
        })?;
        let folder = PathBuf::from(ROOT).join(group);
        let events = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        let control = fs::File::open(folder.join("memory.oom_control")).ok()?;
        let line = format!("{} {}", events.as_raw_fd(), control.as_raw_fd());
        fs::write(folder.join("cgroup.event_control"), line).ok()?;
        Some(Self { pid, events, count: 0, folder, peak: None })
    }

    fn look(&mut self) {
        let mut count = [0; 8];
        if rustix::io::read(&self.events, &mut count).is_ok() {
            self.count += u64::from_ne_bytes(count);
        }
        let peak = fs::read_to_string(self.folder.join("memory.max_usage_in_bytes")).ok();
        self.peak = peak.and_then(|text| text.trim().parse().ok()).or(self.peak);
    }
}
