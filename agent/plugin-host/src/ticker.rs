//! The epoch ticker: looks at a guest every 10 ms while one is on the
//! processor, and costs nothing while none is.
//!
//! A timer of the kernel's is set when a run is polled and unset when the poll
//! returns: two system calls of well under a microsecond, and the thread behind
//! it wakes only for guests that stay on the processor beyond one epoch.

use crate::limits;
use rustix::fd::{AsFd, OwnedFd};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use wasmtime::Engine;

/// The thread reads eight bytes and adds one: the smallest stack there is.
const THREAD_STACK_BYTES: usize = 64 << 10;

pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    timer: OwnedFd,
    /// How many threads have a guest on the processor.
    active: Mutex<u32>,
    stop: AtomicBool,
    ticks: AtomicU64,
}

const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(span.subsec_nanos()) }
}

impl Shared {
    fn set(&self, first: Timespec, every: Timespec) {
        // With a valid descriptor and valid times this call has no way to fail.
        let setting = Itimerspec { it_interval: every, it_value: first };
        if let Err(error) = timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &setting) {
            tracing::error!(%error, "could not set the epoch timer");
        }
    }
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Ticker> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let shared =
            Arc::new(Shared { timer, active: Mutex::new(0), stop: AtomicBool::new(false), ticks: AtomicU64::new(0) });
        let engine = engine.weak();
        let of_thread = shared.clone();
        let thread =
            std::thread::Builder::new().name("epoch".to_owned()).stack_size(THREAD_STACK_BYTES).spawn(move || {
                let mut expirations = [0u8; 8];
                loop {
                    match rustix::io::read(&of_thread.timer, &mut expirations) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(_) => return,
                    }
                    of_thread.ticks.fetch_add(1, Ordering::Relaxed);
                    if of_thread.stop.load(Ordering::Acquire) {
                        return;
                    }
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                }
            })?;
        Ok(Ticker { shared, thread: Some(thread) })
    }

    fn enter(&self) {
        let mut active = self.shared.active.lock().unwrap_or_else(PoisonError::into_inner);
        *active += 1;
        if *active == 1 {
            self.shared.set(timespec(limits::EPOCH), timespec(limits::EPOCH));
        }
    }

    fn leave(&self) {
        let mut active = self.shared.active.lock().unwrap_or_else(PoisonError::into_inner);
        *active = active.saturating_sub(1);
        if *active == 0 {
            self.shared.set(NEVER, NEVER);
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.set(timespec(Duration::from_nanos(1)), NEVER);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Processor time of one run, read from within and from outside it; and its
/// time on the thread, which is longer where the processor is shared.
#[derive(Default)]
pub(crate) struct CpuClock {
    used_nanos: AtomicU64,
    poll_began_nanos: AtomicU64,
    on_thread_nanos: AtomicU64,
    poll_began_at: Mutex<Option<Instant>>,
}

fn thread_cpu_nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

impl CpuClock {
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos.load(Ordering::Relaxed))
    }

    /// Within a poll, on its thread.
    pub(crate) fn used_by_now(&self) -> Duration {
        let this_poll = thread_cpu_nanos().saturating_sub(self.poll_began_nanos.load(Ordering::Relaxed));
        self.used() + Duration::from_nanos(this_poll)
    }

    /// Within a poll.
    pub(crate) fn on_thread_by_now(&self) -> Duration {
        let began = *self.poll_began_at.lock().unwrap_or_else(PoisonError::into_inner);
        let this_poll = began.map(|began| began.elapsed()).unwrap_or_default();
        Duration::from_nanos(self.on_thread_nanos.load(Ordering::Relaxed)) + this_poll
    }

    fn poll_begins(&self) {
        self.poll_began_nanos.store(thread_cpu_nanos(), Ordering::Relaxed);
        *self.poll_began_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn poll_ends(&self) {
        let cpu = thread_cpu_nanos().saturating_sub(self.poll_began_nanos.load(Ordering::Relaxed));
        self.used_nanos.fetch_add(cpu, Ordering::Relaxed);
        let began = self.poll_began_at.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wall = began.map(|began| began.elapsed()).unwrap_or_default();
        self.on_thread_nanos.fetch_add(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A run, with the ticker going while it is polled and its processor time
/// counted.
pub(crate) struct OnCpu<'a, F> {
    pub(crate) run: Pin<Box<F>>,
    pub(crate) ticker: &'a Ticker,
    pub(crate) clock: Arc<CpuClock>,
}

struct Entered<'a>(&'a Ticker);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<F: Future> Future for OnCpu<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.clock.poll_begins();
        let ticker = self.ticker;
        ticker.enter();
        let entered = Entered(ticker);
        let polled = self.run.as_mut().poll(cx);
        drop(entered);
        self.clock.poll_ends();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_cpu<F: Future>(ticker: &Ticker, run: F) -> (OnCpu<'_, F>, Arc<CpuClock>) {
        let clock = Arc::new(CpuClock::default());
        (OnCpu { run: Box::pin(run), ticker, clock: clock.clone() }, clock)
    }

    fn busy(span: Duration) {
        let began = Instant::now();
        while began.elapsed() < span {
            std::hint::spin_loop();
        }
    }

    /// A bare ticker would tick 30 times in the first part.
    #[tokio::test]
    async fn ticks_only_while_a_guest_stays_on_the_processor() {
        let engine = Engine::new(&crate::engine_config()).expect("engine");
        let ticker = Ticker::start(&engine).expect("ticker");
        let ticks = || ticker.shared.ticks.load(Ordering::Relaxed);
        for _ in 0..30 {
            on_cpu(&ticker, async {}).0.await;
            let waits = on_cpu(&ticker, tokio::time::sleep(Duration::from_millis(10)));
            waits.0.await;
            assert!(waits.1.used() < Duration::from_millis(5), "waiting was counted: {:?}", waits.1.used());
        }
        // Preempted for 10 ms, even a short poll meets a tick.
        assert!(ticks() <= 10, "{} ticks in 30 short runs", ticks());
        let before = ticks();
        let (run, _) = on_cpu(&ticker, async {
            let began = Instant::now();
            while ticks() < before + 10 && began.elapsed() < Duration::from_millis(500) {
                std::hint::spin_loop();
            }
            began.elapsed()
        });
        // A busy machine may hold a tick back, and never sends one early.
        let took = run.await;
        assert!(ticks() >= before + 10 && took >= Duration::from_millis(80), "{} ticks in {took:?}", ticks() - before);
    }

    #[tokio::test]
    async fn counts_processor_time_from_within_and_from_outside() {
        let engine = Engine::new(&crate::engine_config()).expect("engine");
        let ticker = Ticker::start(&engine).expect("ticker");
        let clock = Arc::new(CpuClock::default());
        let inner = clock.clone();
        let run = Box::pin(async move {
            busy(Duration::from_millis(20));
            let first = inner.used_by_now();
            tokio::task::yield_now().await;
            busy(Duration::from_millis(20));
            (first, inner.used_by_now())
        });
        let (first, second) = OnCpu { run, ticker: &ticker, clock: clock.clone() }.await;
        assert!(first > Duration::ZERO && second > first && clock.used() >= second, "{first:?} {second:?}");
    }
}
