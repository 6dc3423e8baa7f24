//! Makes the binaries find libtorch, and NCCL beside it, without settings of the user.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Ok(libtorch) = std::env::var("LIBTORCH") else { return };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib");
    // The linker leaves out a library of which it sees no symbol in use, but this one announces CUDA to libtorch when it is loaded.
    let cuda = format!("{libtorch}/lib/libtorch_cuda.so");
    if Path::new(&cuda).exists() {
        println!("cargo:rustc-link-arg=-Wl,--push-state,--no-as-needed,{cuda},--pop-state");
    }
    // Opened at run time.
    if std::env::var_os("CARGO_FEATURE_DISTRIBUTED").is_some() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/../nvidia/nccl/lib");
    }
}
