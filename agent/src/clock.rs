//! The one place that reads clocks.

use hostler_types::{Now, Timestamp};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

static STARTED: OnceLock<Instant> = OnceLock::new();

fn started() -> Instant {
    *STARTED.get_or_init(Instant::now)
}

pub fn now() -> Now {
    Now { monotonic: started().elapsed(), wall: wall() }
}

pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(hostler_types::time::whole_millis(since))
}

/// For whoever sleeps most of the time: wakes the processor once, at its moment. The
/// runtime's own timers sort what is far off into slots of 64 ms and of 4 s, and wake
/// at the beginning of each slot on the way, which for a few small checks is a good
/// part of all that the agent does.
pub struct Alarm {
    /// Absent where the process has no descriptor left: then the runtime's will do.
    timer: Option<AsyncFd<OwnedFd>>,
    set: Option<Duration>,
}

impl Alarm {
    /// Within a runtime.
    #[allow(unsafe_code, reason = "the runtime takes descriptors on trust")]
    pub fn unset() -> Self {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(io::Error::from).and_then(|timer| {
            // SAFETY: an owned descriptor is the same one until it is dropped.
            let registered = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
            registered.map_err(io::Error::from)
        });
        if let Err(error) = &timer {
            tracing::warn!(%error, "no timer of the kernel's: the runtime's is used, which wakes more often");
        }
        Self { timer: timer.ok(), set: None }
    }

    /// Until [`now`]'s monotonic clock shows `deadline`; for ever without one. Who drops
    /// it half-way loses nothing.
    pub async fn until(&mut self, deadline: Option<Duration>) {
        let (Some(timer), Some(deadline)) = (&self.timer, deadline) else { return sleep_until(deadline).await };
        loop {
            let left = deadline.saturating_sub(now().monotonic);
            if left.is_zero() {
                return;
            }
            if self.set != Some(deadline) {
                if let Err(error) = set(timer.get_ref(), left) {
                    tracing::warn!(%error, "the kernel's timer cannot be set: the runtime's is used");
                    return sleep_until(Some(deadline)).await;
                }
                self.set = Some(deadline);
            }
            let Ok(mut ready) = timer.readable().await else { return sleep_until(Some(deadline)).await };
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?)) {
                Ok(Ok(_)) => {
                    ready.clear_ready();
                    self.set = None;
                }
                // It was set again since it rang.
                Err(_nothing_to_read) => {}
                Ok(Err(_)) => return sleep_until(Some(deadline)).await,
            }
        }
    }
}

fn set(timer: &OwnedFd, left: Duration) -> rustix::io::Result<()> {
    let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    let at = Timespec { tv_sec: seconds, tv_nsec: i64::from(left.subsec_nanos()) };
    let once = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: once, it_value: at }).map(drop)
}

/// Sleeps until [`now`]'s monotonic clock shows `deadline`; for ever without one.
pub async fn sleep_until(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until((started() + deadline).into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(millis: u64) -> Option<Duration> {
        Some(now().monotonic + Duration::from_millis(millis))
    }

    #[tokio::test]
    async fn it_rings_at_its_moment_and_not_before() {
        let mut alarm = Alarm::unset();
        assert!(alarm.timer.is_some());
        for millis in [3, 0, 5, 1] {
            let at = within(millis);
            alarm.until(at).await;
            assert!(Some(now().monotonic) >= at);
        }
        alarm.until(Some(Duration::ZERO)).await;
    }

    #[tokio::test]
    async fn who_gave_up_can_set_it_again() {
        let mut alarm = Alarm::unset();
        for _ in 0..3 {
            // Later, sooner, and one that rang while nobody listened.
            tokio::select! {
                biased;
                () = alarm.until(within(3_600_000)) => panic!("an hour"),
                () = std::future::ready(()) => {}
            }
            let soon = within(2);
            tokio::select! {
                biased;
                () = alarm.until(soon) => panic!("it was only begun"),
                () = std::future::ready(()) => {}
            }
            std::thread::sleep(Duration::from_millis(4));
            let at = within(5);
            alarm.until(at).await;
            assert!(Some(now().monotonic) >= at, "the old one rang");
            alarm.until(within(1)).await;
        }
        tokio::select! {
            () = alarm.until(None) => panic!("never"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test]
    async fn without_a_timer_of_the_kernels_it_rings_too() {
        let mut alarm = Alarm { timer: None, set: None };
        let at = within(3);
        alarm.until(at).await;
        assert!(Some(now().monotonic) >= at);
    }
}
