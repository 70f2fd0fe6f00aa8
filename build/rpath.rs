//! Build script shared by the crates that link libtorch: binaries and tests find it without `LD_LIBRARY_PATH`.
//! The link `.libtorch` is followed here, and `$ORIGIN/lib` lets a packed folder carry its own copy.

/// Tells the linker where libtorch lies.
pub fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=../build/rpath.rs");
    let Some(root) = std::env::var_os("LIBTORCH") else {
        return;
    };
    let lib = std::path::Path::new(&root).join("lib");
    let lib = lib.canonicalize().unwrap_or(lib);
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/lib");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
