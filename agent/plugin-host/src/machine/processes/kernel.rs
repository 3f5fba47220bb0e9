//! The names of the kernel's own threads, of which a server has hundreds.
//!
//! None of them ever becomes another program, so the name of each is read once, while
//! that of any other process is read at every look. One is known by its number and by
//! that of its folder in /proc: a later process of the same number has another folder.

use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Threads(BTreeMap<u32, Seen>);

struct Seen {
    folder: u64,
    /// Absent of what is none of the kernel's.
    name: Option<String>,
}

impl Threads {
    /// Of `all`, which are processes by their numbers with those of their folders.
    /// `read` gives a name and whether it is a thread of the kernel's, as far as the
    /// process is there.
    pub(super) fn names<K>(
        &mut self,
        all: &[(u32, u64)],
        read: impl Fn(u32) -> Option<(String, K)>,
    ) -> Vec<(u32, String)>
    where
        K: FnOnce() -> Option<bool>,
    {
        let mut before = std::mem::take(&mut self.0);
        let mut names = Vec::with_capacity(all.len());
        for &(pid, folder) in all {
            let name = match before.remove(&pid).filter(|seen| seen.folder == folder) {
                Some(seen) => {
                    let name = seen.name.clone().or_else(|| Some(read(pid)?.0));
                    self.0.insert(pid, seen);
                    name
                }
                None => read(pid).and_then(|(name, is_kernel)| {
                    let kept = is_kernel()?.then(|| name.clone());
                    self.0.insert(pid, Seen { folder, name: kept });
                    Some(name)
                }),
            };
            names.extend(name.map(|name| (pid, name)));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn a_thread_of_the_kernels_is_read_once_and_others_each_time() {
        let mut threads = Threads::default();
        let read = RefCell::new(Vec::new());
        let mut look = |all: &[(u32, u64)], round: u32| {
            let names = threads.names(all, |pid| {
                read.borrow_mut().push(pid);
                // 9 ended meanwhile.
                (pid != 9).then(|| (format!("{pid}.{round}"), move || Some(pid < 5)))
            });
            let names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
            (names.join(" "), read.take())
        };
        assert_eq!(look(&[(2, 20), (3, 30), (7, 70), (9, 90)], 1), ("2.1 3.1 7.1".into(), vec![2, 3, 7, 9]));
        assert_eq!(look(&[(2, 20), (3, 30), (7, 70)], 2), ("2.1 3.1 7.2".into(), vec![7]));
        // 3 is another one now, 2 is gone, and comes back as another.
        assert_eq!(look(&[(3, 31), (7, 70)], 3), ("3.3 7.3".into(), vec![3, 7]));
        assert_eq!(look(&[(2, 21), (3, 31)], 4), ("2.4 3.3".into(), vec![2]));
    }

    #[test]
    fn what_cannot_be_told_apart_yet_is_left_out() {
        let mut threads = Threads::default();
        let names = threads.names(&[(2, 20)], |_| Some(("a".to_owned(), || None)));
        assert!(names.is_empty() && threads.0.is_empty());
    }
}
