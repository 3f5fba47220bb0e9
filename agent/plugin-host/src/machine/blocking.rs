//! Work that may wait for a filesystem without end.
//!
//! On threads of its own: a runtime waits for its blocking threads when it ends,
//! and a hung network filesystem would keep the agent from stopping. Who asked
//! may stop waiting; the thread then ends alone, whenever the kernel lets it.

use crate::call::CallError;
use crate::limits;
use tokio::sync::{Semaphore, oneshot};

/// Deep enough for a walk over folders.
const STACK_BYTES: usize = 512 << 10;

static ROOM: Semaphore = Semaphore::const_new(limits::BLOCKING_THREADS_MAX);

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
    let thread = std::thread::Builder::new().name("plugin-files".to_owned()).stack_size(STACK_BYTES);
    let work = move || {
        let _ = answer.send(work());
        drop(room);
    };
    thread.spawn(work).map_err(|error| failed(&error.to_string()))?;
    answered.await.map_err(|_| failed("its thread ended"))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::eventually;
    use std::time::Duration;

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
}
