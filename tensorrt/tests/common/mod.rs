//! What the tests share: the real library, and a small real model.

use std::io::Write;
use std::path::PathBuf;

use amis_tensorrt::{Flavor, Library};

pub(crate) mod onnx;

/// The folder of the TensorRT-RTX libraries. Without it the caller has nothing to test, and this says so.
pub(crate) fn rtx_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("AMIS_TENSORRT_RTX_LIB").map(PathBuf::from);
    if folder.is_none() {
        // Not `eprintln!`, which the test harness swallows when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: TensorRT-RTX libraries not there (set AMIS_TENSORRT_RTX_LIB)");
    }
    folder
}

/// TensorRT-RTX, opened; fails where the libraries are said to be there and are not.
pub(crate) fn rtx() -> Option<Library> {
    rtx_folder()?;
    Some(Library::find(Flavor::Rtx).expect("AMIS_TENSORRT_RTX_LIB is set, so TensorRT-RTX must open"))
}
