//! Giving memory back.
#![expect(unsafe_code, reason = "glibc's call has no safe wrapper")]

/// Returns freed memory to the kernel. aya's model of the kernel's types takes 24 MB in small pieces,
/// which glibc would keep for the rest of the agent's life.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches the allocator's own state, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
