//! A reading of this host that several runs share.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// With when it was made.
pub(super) struct Kept<T> {
    slot: Mutex<Option<(Instant, T)>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept { slot: Mutex::new(None) }
    }
}

impl<T: Clone> Kept<T> {
    pub fn younger_than(&self, age: Duration) -> Option<T> {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|(at, _)| at.elapsed() < age).map(|(_, value)| value.clone())
    }

    /// Made at that time: what changed while it was read may be in it or not.
    pub fn keep(&self, made: Instant, value: &T) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((made, value.clone()));
    }

    pub fn or_read<E>(&self, age: Duration, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if let Some(value) = self.younger_than(age) {
            return Ok(value);
        }
        let made = Instant::now();
        let value = read()?;
        self.keep(made, &value);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_again_once_it_is_too_old() {
        let kept = Kept::default();
        let read = |value: u32| move || Ok::<u32, ()>(value);
        assert_eq!(kept.or_read(Duration::MAX, read(1)), Ok(1));
        assert_eq!(kept.or_read(Duration::MAX, read(2)), Ok(1), "what was read is shared");
        assert_eq!(kept.or_read(Duration::ZERO, read(3)), Ok(3));
        assert_eq!(kept.or_read(Duration::ZERO, || Err(())), Err(()));
        assert_eq!(kept.younger_than(Duration::MAX), Some(3), "what failed changes nothing");
    }
}
