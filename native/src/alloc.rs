//! Allocator settings.

/// Tells glibc to keep freed memory instead of returning it to the system after every large tensor. A training step frees and
/// allocates the same sizes again; without this each of them is mapped, zeroed page by page, and unmapped. Call it once, first thing
/// in `main`; it does nothing on other C libraries.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers; it is called before tensors exist, and glibc locks its own state.
    unsafe {
        // Blocks up to 1 GiB come from the heap, not from their own mapping (glibc's largest accepted value is smaller on 32 bit).
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}
