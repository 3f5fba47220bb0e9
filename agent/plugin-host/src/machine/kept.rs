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
