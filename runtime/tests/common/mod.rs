#![allow(dead_code, missing_docs, clippy::unwrap_used, unreachable_pub)]
pub mod onnx;

/// Whether ONNX Runtime is there; says so when a test is left out.
pub fn onnxruntime_present(test: &str) -> bool {
    let present = std::env::var_os("ORT_DYLIB_PATH").is_some();
    if !present {
        eprintln!("SKIPPED {test}: ORT_DYLIB_PATH is not set; `make test` sets it");
    }
    present
}
