//! Allocator settings.

/// Lets memory stay: glibc keeps freed memory instead of returning it to the system after every large tensor, and libtorch asks for huge pages. A training
/// step frees and allocates the same sizes again; without this each of them is mapped, zeroed page by page, and unmapped. Call it once, first thing in
/// `main`; it does nothing on other systems. A user's own `THP_MEM_ALLOC_ENABLE` stands.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers; both are called before tensors and threads exist.
    unsafe {
        // Blocks up to 1 GiB come from the heap, not from their own mapping (glibc's largest accepted value is smaller on 32 bit).
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::setenv(c"THP_MEM_ALLOC_ENABLE".as_ptr(), c"1".as_ptr(), 0);
    }
}

/// Gives back what has been freed so far, once: set-up takes memory that training does not need in the same pieces, and [`keep_freed_pages`] would keep it.
/// Does nothing on other systems.
pub fn release_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes a number of bytes to keep and touches only what nobody has.
    unsafe {
        _ = libc::malloc_trim(0);
    }
}
