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
    let failed = |why: &str| CallError::other("host", format!("could not begin to read: {why}"));
    // Held by the thread, not by who waits for it: threads that hang are counted.
    let room = ROOM.acquire().await.map_err(|_| failed("it is stopping"))?;
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
    use std::time::Duration;

    /// A thread answers a moment before it is gone.
    async fn free(wanted: usize) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while ROOM.available_permits() != wanted {
            assert!(std::time::Instant::now() < deadline, "{} of the threads are free", ROOM.available_permits());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_thread_behind() {
        assert_eq!(run(|| Ok(1)).await, Ok(1));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hung = run(move || {
            let _ = held.recv();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), hung).await.is_err());
        assert_eq!(run(|| Ok(2)).await, Ok(2));
        free(limits::BLOCKING_THREADS_MAX - 1).await;
        drop(release);
        free(limits::BLOCKING_THREADS_MAX).await;
    }
}
