//! Compiles the C++ shim into a shared library of its own, once for each TensorRT product whose headers are found.
//!
//! The crate builds without headers too: opening TensorRT is then an error at run time that says what was looked for.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod headers;

/// The shims of TensorRT and TensorRT-RTX; `src/flavor.rs` knows them by the same names.
const SHIMS: [&str; 2] = ["libamis_trt.so", "libamis_trt_rtx.so"];

/// In the folder `shim`.
const SOURCES: [&str; 3] = ["library.cpp", "build.cpp", "engine.cpp"];

fn main() -> ExitCode {
    for variable in ["AMIS_TENSORRT_INCLUDE", "CUDA_HOME"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    for path in ["build", "shim", "headers/Cargo.toml"] {
        println!("cargo:rerun-if-changed={path}");
    }
    match build_shims() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            for line in reason.lines() {
                println!("cargo:error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build_shims() -> Result<(), String> {
    let explicit = env::var_os("AMIS_TENSORRT_INCLUDE").filter(|folder| !folder.is_empty());
    // The headers of this machine say nothing about the one that the program is for: there the shim is compiled.
    let is_cross = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch != env::consts::ARCH);
    let search = if is_cross && explicit.is_none() {
        headers::Search { found: vec![], missing: vec!["for another processor than that of the machine that built it".into()] }
    } else {
        headers::search(explicit.as_deref(), &folder_in("CARGO_MANIFEST_DIR").join("headers/Cargo.toml"))?
    };
    let out = folder_in("OUT_DIR");
    for name in SHIMS {
        // A shim of an earlier build, with other headers, must not be found at run time.
        let _ = std::fs::remove_file(out.join(name));
    }
    for headers in &search.found {
        compile_shim(headers, &out.join(SHIMS[usize::from(headers.is_rtx)]))?;
        println!("cargo:rerun-if-changed={}", headers.tensorrt.join("NvInferVersion.h").display());
    }
    let missing = search.missing.join("; ").replace('\n', " ");
    if search.found.is_empty() {
        // Cargo runs the script again as long as this file is missing, so that headers that appear are seen.
        println!("cargo:rerun-if-changed=headers/none-found");
        println!("cargo:warning=no TensorRT headers found, built without the shim: {missing}");
    }
    // A program for other machines must not look there in a folder that anybody could make.
    let folder = if search.found.is_empty() { String::new() } else { out.display().to_string() };
    println!("cargo:rustc-env=AMIS_TRT_SHIM_FOLDER={folder}");
    println!("cargo:rustc-env=AMIS_TRT_HEADERS_MISSING={missing}");
    Ok(())
}

fn folder_in(variable: &str) -> PathBuf {
    env::var_os(variable).unwrap_or_default().into()
}

/// Compiles and links in one command: `cc` itself makes static libraries only.
fn compile_shim(headers: &headers::Headers, library: &Path) -> Result<(), String> {
    let compiler = cc::Build::new().cpp(true).std("c++17").pic(true).flag("-fvisibility=hidden").try_get_compiler().map_err(|error| error.to_string())?;
    let output = compiler
        .to_command()
        .args(["-shared", "-Wl,--no-undefined"])
        .args(headers.include_arguments())
        .args(SOURCES.map(|name| folder_in("CARGO_MANIFEST_DIR").join("shim").join(name)))
        .arg("-o")
        .arg(library)
        .arg("-ldl")
        .output()
        .map_err(|error| format!("C++ compiler {}: {error}", compiler.path().display()))?;
    if output.status.success() {
        Ok(())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("the TensorRT shim does not compile against {}:\n{text}", headers.tensorrt.display()))
    }
}
