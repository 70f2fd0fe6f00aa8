//! Allocator settings.

use std::ffi::c_int;

unsafe extern "C" {
    fn rlhf_arena_begin() -> c_int;
    fn rlhf_arena_release();
}

/// Lets memory stay. Large tensors on the CPU come from an arena of huge pages (`cpp/arena.cpp`), and glibc keeps what else is freed, instead of returning it to the system after
/// every large piece. A training step frees and allocates the same sizes again; without this each of them is mapped, zeroed page by page, and unmapped. Call it once, first
/// thing in `main`. Where the system has no range of addresses for the arena, tensors come from malloc.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers; both are called before tensors and threads exist.
    unsafe {
        // Blocks up to 1 GiB come from the heap, not from their own mapping (glibc's largest accepted value is smaller on 32 bit).
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
    // SAFETY: before tensors and threads exist.
    _ = unsafe { rlhf_arena_begin() };
}

/// Gives back what has been freed so far, once: set-up takes memory that training does not need in the same pieces, and [`keep_freed_pages`] would keep it.
pub fn release_freed_pages() {
    // SAFETY: tells the system that pages which nobody has may go.
    unsafe { rlhf_arena_release() };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes a number of bytes to keep and touches only what nobody has.
    unsafe {
        _ = libc::malloc_trim(0);
    }
}
