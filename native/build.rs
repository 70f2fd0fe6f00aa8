//! Compiles the C++ shim against libtorch's headers. Only the headers of what is used are included, so this takes seconds.

#[path = "../build/rpath.rs"]
mod rpath;

fn main() {
    rpath::main();
    println!("cargo:rerun-if-changed=src/cpp");
    let Some(root) = std::env::var_os("LIBTORCH") else {
        println!("cargo:warning=LIBTORCH is not set: run scripts/setup.sh, which prepares .libtorch");
        return;
    };
    let include = std::path::Path::new(&root).join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .pic(true)
        .warnings(false)
        .opt_level(1)
        .define("_GLIBCXX_USE_CXX11_ABI", std::env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        .include(&include)
        .file("src/cpp/shim.cpp")
        .file("src/cpp/arena.cpp")
        .file("src/cpp/functions.cpp")
        .file("src/cpp/lora.cpp")
        .file("src/cpp/recompute.cpp")
        .file("src/cpp/carry.cpp")
        .file("src/cpp/profile.cpp")
        .compile("rlhf_shim");
    c10d(&include);
    kernels();
}

/// Several processes: c10d with Gloo's declarations of our own, and NCCL where the feature asks for it.
fn c10d(include: &std::path::Path) {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        .pic(true)
        .warnings(false)
        .opt_level(1)
        .flag("-fvisibility=hidden")
        .define("_GLIBCXX_USE_CXX11_ABI", std::env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D_GLOO", None)
        .include(include)
        .include(include.join("torch/csrc/api/include"))
        .include("src/cpp");
    if std::env::var_os("CARGO_FEATURE_NCCL").is_some() {
        // nccl.h, CUDA's headers and, where they are not among them, those of cublas and its like: wherever NCCL_INCLUDE says, separated by colons.
        println!("cargo:rerun-if-env-changed=NCCL_INCLUDE");
        build.define("USE_C10D_NCCL", None).define("RLHF_NCCL", None);
        build.includes(std::env::split_paths(&std::env::var_os("NCCL_INCLUDE").unwrap_or_default()));
        println!("cargo:rustc-link-lib=torch_cuda");
        println!("cargo:rustc-link-lib=c10_cuda");
    }
    build.file("src/cpp/c10d.cpp").file("src/cpp/sharded.cpp").file("src/cpp/units.cpp").compile("rlhf_c10d");
}

/// Our own kernels: no torch headers, and the flags that let loops become vector instructions. The OpenMP is libtorch's own at run time.
fn kernels() {
    let build = || {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++20").pic(true).opt_level(3).flag("-fopenmp").flag("-fno-math-errno").flag("-fno-trapping-math");
        build
    };
    println!("cargo:rerun-if-env-changed=RLHF_EMULATE_BF16");
    println!("cargo:rustc-check-cfg=cfg(emulated)");
    let emulated = std::env::var_os("RLHF_EMULATE_BF16").is_some(); // slow, for tests on processors that lack these instructions: emulated.h
    if emulated {
        println!("cargo:rustc-cfg=emulated");
    }
    let mut plain = build();
    if emulated {
        plain.define("RLHF_EMULATED", None);
    }
    plain.file("src/cpp/kernels.cpp").file("src/cpp/layer_norm.cpp").file("src/cpp/choice.cpp").compile("rlhf_kernels");
    // Sums of whole numbers stay in the order in which they are written: in another, GCC runs out of registers. And GCC 12 warns of its own headers.
    let mut quantised = build();
    quantised.flag_if_supported("-fno-tree-reassoc").flag_if_supported("-Wno-maybe-uninitialized");
    quantised.file("src/cpp/quantised.cpp").file("src/cpp/eights.cpp").file("src/cpp/adamw8.cpp").compile("rlhf_quantised");
    // For activations of bfloat16 with AMX's tiles and without, and of float32 for AVX2 and for AVX-512; the program asks before it calls (`dense::supported`). No C++ library: see vectors.h. Words are
    // written as one type and read as another.
    let rows = || {
        let mut rows = build();
        rows.flag("-fno-exceptions").flag("-fno-rtti").flag("-fno-strict-aliasing");
        rows.flag("-Wno-maybe-uninitialized").flag("-Wno-uninitialized"); // GCC 12 warns of its own headers
        for file in ["matmul", "attention", "decode", "rows"] {
            rows.file(format!("src/cpp/{file}.cpp"));
        }
        rows
    };
    let x86 = std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64");
    for (tiles, name) in [(false, "rlhf_bf16_avx512"), (true, "rlhf_bf16_amx")] {
        let mut bf16 = rows();
        if tiles {
            bf16.define("RLHF_AMX", None);
        }
        if emulated {
            bf16.opt_level(1).define("RLHF_EMULATED", None).flag("-Wno-psabi").flag("-Wno-ignored-attributes");
        } else if x86 {
            bf16.flag("-march=x86-64-v4").flag("-mavx512bf16");
            if tiles {
                bf16.flag("-mamx-tile").flag("-mamx-bf16");
            }
        }
        bf16.compile(name);
    }
    for (bits, march) in [("256", "-march=x86-64-v3"), ("512", "-march=x86-64-v4")] {
        let mut f32 = rows();
        f32.define("RLHF_F32", bits);
        if x86 {
            f32.flag(march);
        }
        f32.compile(&format!("rlhf_f32_{bits}"));
    }
    println!("cargo:rustc-link-lib=gomp");
}
