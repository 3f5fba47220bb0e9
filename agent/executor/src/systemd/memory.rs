//! Whether a unit ran out of memory, where the kernel counts it the old way (cgroup
//! v1) and systemd does not say.
//!
//! The kernel signals an event when a group has no memory left, and one more when the
//! group goes. So an event while the group is there means that it ran out; and if
//! that was looked at too late, so do two.

use crate::wait::readable;
use rustix::event::{EventfdFlags, eventfd};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

const ROOT: &str = "/sys/fs/cgroup/memory";

#[derive(Default)]
pub(super) struct Watch {
    units: RefCell<BTreeMap<String, Rc<Watched>>>,
}

struct Watched {
    pid: u32,
    events: OwnedFd,
    count: Cell<u64>,
    ran_out: Cell<bool>,
    folder: PathBuf,
    peak: Cell<Option<u64>>,
}

impl Watch {
    /// Of what is watched already, the most that it took is looked at again.
    pub fn watch(&self, unit: &str, pid: u32) {
        let known = self.units.borrow().get(unit).filter(|watched| watched.pid == pid).cloned();
        if let Some(watched) = known {
            watched.look();
            return;
        }
        let Some(watched) = Watched::of(pid).map(Rc::new) else { return };
        watched.look();
        self.units.borrow_mut().insert(unit.to_owned(), Rc::clone(&watched));
        tokio::task::spawn_local(async move {
            let Ok(events) = watched.events.try_clone() else { return };
            readable(events).await;
            watched.look();
        });
    }

    pub fn forget(&self, unit: &str) {
        self.units.borrow_mut().remove(unit);
    }

    pub fn ran_out(&self, unit: &str) -> bool {
        let units = self.units.borrow();
        units.get(unit).is_some_and(|watched| {
            watched.look();
            watched.ran_out.get()
        })
    }

    pub fn peak(&self, unit: &str) -> Option<u64> {
        self.units.borrow().get(unit).and_then(|watched| watched.peak.get())
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
        Some(Self { pid, events, count: Cell::new(0), ran_out: Cell::new(false), folder, peak: Cell::new(None) })
    }

    fn look(&self) {
        let mut count = [0; 8];
        if rustix::io::read(&self.events, &mut count).is_ok() {
            self.count.set(self.count.get() + u64::from_ne_bytes(count));
        }
        let of_the_end = u64::from(!self.folder.exists());
        self.ran_out.set(self.ran_out.get() || self.count.get() > of_the_end);
        let peak = fs::read_to_string(self.folder.join("memory.max_usage_in_bytes")).ok();
        let peak = peak.and_then(|text| text.trim().parse().ok());
        self.peak.set(peak.or_else(|| self.peak.get()));
    }
}
