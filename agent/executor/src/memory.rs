//! What the allocator is told: the executor is to be forgotten while nothing is asked
//! of it.

/// To be called before there is a second thread.
#[allow(unsafe_code, reason = "the C library's own switch; there is no safe one")]
pub fn one_arena() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes plain numbers and is called before any other thread exists.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

#[allow(unsafe_code, reason = "the C library's own call; there is no safe one")]
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `malloc_trim` takes a plain number and may be called at any time from any thread.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}
