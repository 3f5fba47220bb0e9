//! Work that may wait for a filesystem without end.
//!
//! On threads of its own: a runtime waits for its blocking threads when it ends,
//! and a hung network filesystem would keep the agent from stopping. Who asked
//! may stop waiting; the thread then ends alone, whenever the kernel lets it.
//!
//! One thread that is done is kept for a while: to begin and to end one costs more
//! than most of what is asked of it.

use crate::call::CallError;
use crate::limits;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Deep enough for a walk over folders.
const STACK_BYTES: usize = 512 << 10;
/// Longer than checks usually pause.
const KEPT_FOR: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce() + Send>;

static ROOM: Semaphore = Semaphore::const_new(limits::BLOCKING_THREADS_MAX);
/// The thread that has nothing to do, if there is one.
static IDLE: Mutex<Option<Idle>> = Mutex::new(None);

struct Idle {
    thread: ThreadId,
    jobs: SyncSender<Job>,
}

fn idle() -> MutexGuard<'static, Option<Idle>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn run<T, F>(work: F) -> Result<T, CallError>
where
    F: FnOnce() -> Result<T, CallError> + Send + 'static,
    T: Send + 'static,
{
    run_within(&ROOM, work).await
}

async fn run_within<T, F>(room: &'static Semaphore, work: F) -> Result<T, CallError>
where
    F: FnOnce() -> Result<T, CallError> + Send + 'static,
    T: Send + 'static,
{
    let failed = |why: &str| CallError::other("host", format!("could not begin to read: {why}"));
    // Held by the thread, not by who waits for it: threads that hang are counted.
    let room = room.acquire().await.map_err(|_| failed("it is stopping"))?;
    let (answer, answered) = oneshot::channel();
    let job: Job = Box::new(move || {
        let done = work();
        drop(room);
        let _ = answer.send(done);
    });
    start(job).map_err(|error| failed(&error.to_string()))?;
    answered.await.map_err(|_| failed("its thread ended"))?
}

fn start(job: Job) -> std::io::Result<()> {
    let kept = idle().take();
    let job = match kept {
        None => job,
        // It waits until it gets something.
        Some(kept) => match kept.jobs.send(job) {
            Ok(()) => return Ok(()),
            Err(refused) => refused.0,
        },
    };
    let thread = std::thread::Builder::new().name("plugin-files".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || serve(job)).map(drop)
}

fn serve(job: Job) {
    let (sender, jobs) = sync_channel(1);
    let mut next = Some(job);
    while let Some(job) = next {
        job();
        next = wait(&sender, &jobs);
    }
}

/// What to do next, unless another thread waits already or nothing comes for long.
fn wait(sender: &SyncSender<Job>, jobs: &Receiver<Job>) -> Option<Job> {
    let thread = std::thread::current().id();
    {
        let mut idle = idle();
        if idle.is_some() {
            return None;
        }
        *idle = Some(Idle { thread, jobs: sender.clone() });
    }
    if let Ok(job) = jobs.recv_timeout(KEPT_FOR) {
        return Some(job);
    }
    if idle().take_if(|idle| idle.thread == thread).is_some() {
        return None;
    }
    // Somebody is about to send.
    jobs.recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::eventually;

    static TWO: Semaphore = Semaphore::const_new(2);

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_thread_behind() {
        let soon = Duration::from_millis(50);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hung = run_within(&TWO, move || {
            let _ = held.recv();
            Ok(())
        });
        assert!(tokio::time::timeout(soon, hung).await.is_err());
        for turn in 0..10 {
            assert_eq!(run_within(&TWO, move || Ok(turn)).await, Ok(turn), "the other place");
        }
        eventually("one is taken", || TWO.available_permits() == 1).await;
        drop(release);
        eventually("none is taken", || TWO.available_permits() == 2).await;
    }

    #[tokio::test]
    async fn a_thread_is_used_again_and_work_that_breaks_ends_only_itself() {
        let thread = || Ok(std::thread::current().id());
        let mut threads = std::collections::BTreeSet::new();
        for turn in 0..40 {
            let id = run(thread).await.expect("runs");
            threads.insert(format!("{id:?}"));
            if turn % 8 == 7 {
                let broken = run::<(), _>(|| panic!("broken")).await;
                assert!(broken.is_err_and(|error| format!("{error:?}").contains("its thread ended")));
            }
        }
        assert!(threads.len() < 40, "{threads:?}");
    }
}
