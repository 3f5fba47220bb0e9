//! Work that may wait for a filesystem without end.
//!
//! On threads of its own: a runtime waits for its blocking threads when it ends,
//! and a hung network filesystem would keep the agent from stopping. Who asked
//! may stop waiting; the thread then ends alone, whenever the kernel lets it.
//!
//! One thread does what a turn of checks asks, one after the other, and is kept for
//! the next turn: waking one costs more than most of what is asked of it. Only what
//! waits for longer than it should gets another.

use crate::call::CallError;
use crate::limits;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Deep enough for a walk over folders.
const STACK_BYTES: usize = 512 << 10;
/// What has not begun by then is behind something slow.
const PATIENCE: Duration = Duration::from_millis(10);
/// Longer than checks usually pause.
const KEPT_FOR: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce() + Send>;

static ROOM: Semaphore = Semaphore::const_new(limits::BLOCKING_THREADS_MAX);
static CREW: Crew = Crew::new();

struct Crew {
    work: Mutex<Work>,
    more: Condvar,
}

struct Work {
    jobs: VecDeque<Job>,
    threads: usize,
    /// One thread at most waits for more; the others end.
    waits: bool,
}

pub(super) async fn run<T, F>(work: F) -> Result<T, CallError>
where
    F: FnOnce() -> Result<T, CallError> + Send + 'static,
    T: Send + 'static,
{
    run_within(&ROOM, &CREW, work).await
}

async fn run_within<T, F>(room: &'static Semaphore, crew: &'static Crew, work: F) -> Result<T, CallError>
where
    F: FnOnce() -> Result<T, CallError> + Send + 'static,
    T: Send + 'static,
{
    let failed = |why: &str| CallError::other("host", format!("could not begin to read: {why}"));
    // Held by the thread, not by who waits for it: threads that hang are counted.
    let room = room.acquire().await.map_err(|_| failed("it is stopping"))?;
    let (answer, mut answered) = oneshot::channel();
    let job: Job = Box::new(move || {
        let done = work();
        drop(room);
        let _ = answer.send(done);
    });
    let mut done = None;
    if crew.take(job).map_err(|error| failed(&error.to_string()))? == Begins::AfterOthers {
        done = tokio::time::timeout(PATIENCE, &mut answered).await.ok();
        if done.is_none() {
            // Perhaps behind one that hangs.
            let _ = crew.hire_if_behind();
        }
    }
    let done = match done {
        Some(done) => done,
        None => answered.await,
    };
    done.map_err(|_| failed("its thread ended"))?
}

#[derive(PartialEq)]
enum Begins {
    AtOnce,
    AfterOthers,
}

impl Crew {
    const fn new() -> Self {
        Self { work: Mutex::new(Work { jobs: VecDeque::new(), threads: 0, waits: false }), more: Condvar::new() }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, job: Job) -> std::io::Result<Begins> {
        let mut work = self.work();
        work.jobs.push_back(job);
        if work.threads > 0 {
            self.more.notify_one();
            let alone = work.waits && work.jobs.len() == 1;
            return Ok(if alone { Begins::AtOnce } else { Begins::AfterOthers });
        }
        if let Err(error) = self.hire(&mut work) {
            work.jobs.pop_back();
            return Err(error);
        }
        Ok(Begins::AtOnce)
    }

    fn hire_if_behind(&'static self) -> std::io::Result<()> {
        let mut work = self.work();
        if work.jobs.is_empty() { Ok(()) } else { self.hire(&mut work) }
    }

    fn hire(&'static self, work: &mut Work) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("plugin-files".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(|| self.serve())?;
        work.threads += 1;
        Ok(())
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            // Who waits for its answer learns that there is none.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// Nothing: another waits already, or nothing came for long.
    fn next(&self) -> Option<Job> {
        let mut work = self.work();
        let mut job = work.jobs.pop_front();
        if job.is_none() && !work.waits {
            work.waits = true;
            let idle = |work: &mut Work| work.jobs.is_empty();
            let woken = self.more.wait_timeout_while(work, KEPT_FOR, idle);
            (work, _) = woken.unwrap_or_else(PoisonError::into_inner);
            work.waits = false;
            job = work.jobs.pop_front();
        }
        if job.is_none() {
            work.threads -= 1;
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::eventually;

    static TWO: Semaphore = Semaphore::const_new(2);

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_thread_behind() {
        static FEW: Crew = Crew::new();
        let soon = Duration::from_millis(50);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hung = run_within(&TWO, &FEW, move || {
            let _ = held.recv();
            Ok(())
        });
        assert!(tokio::time::timeout(soon, hung).await.is_err());
        for turn in 0..10 {
            assert_eq!(run_within(&TWO, &FEW, move || Ok(turn)).await, Ok(turn), "the other place");
        }
        eventually("one is taken", || TWO.available_permits() == 1).await;
        drop(release);
        eventually("none is taken", || TWO.available_permits() == 2).await;
    }

    #[tokio::test]
    async fn a_thread_is_used_again_and_work_that_breaks_ends_only_itself() {
        static ONE: Crew = Crew::new();
        let thread = || Ok(std::thread::current().id());
        let mut threads = std::collections::BTreeSet::new();
        for turn in 0..40 {
            let id = run_within(&ROOM, &ONE, thread).await.expect("runs");
            threads.insert(format!("{id:?}"));
            if turn % 8 == 7 {
                let broken = run_within::<(), _>(&ROOM, &ONE, || panic!("broken")).await;
                assert!(broken.is_err_and(|error| format!("{error:?}").contains("its thread ended")));
            }
        }
        // On a busy machine one may be late, and another is hired.
        assert!(threads.len() < 20, "{threads:?}");
    }

    #[tokio::test]
    async fn what_is_behind_something_slow_gets_a_thread_and_that_ends() {
        static CREW: Crew = Crew::new();
        static MANY: Semaphore = Semaphore::const_new(8);
        let threads = || CREW.work().threads;
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let (mut releases, mut hung) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (release, held) = std::sync::mpsc::channel::<()>();
            releases.push(release);
            let begin = begin.clone();
            hung.push(tokio::spawn(run_within(&MANY, &CREW, move || {
                let _ = begin.send(());
                let _ = held.recv();
                Ok(())
            })));
        }
        for nth in ["first", "second", "third"] {
            eventually(&format!("the {nth} hangs"), || begun.try_recv().is_ok()).await;
        }
        assert_eq!(run_within(&MANY, &CREW, || Ok(7)).await, Ok(7));
        eventually("three hang and one is kept", || threads() == 4).await;
        drop(releases);
        for one in hung {
            assert_eq!(one.await.expect("it ends"), Ok(()));
        }
        eventually("one is kept", || threads() == 1).await;
    }
}
