//! The shim compiles without warnings against every TensorRT whose headers the crate `trtx-sys` carries.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../build/headers.rs"]
mod headers;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

fn compile(compiler: &str, arguments: &[&str], includes: &[OsString]) {
    let mut command = Command::new(compiler);
    command.args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]).args(arguments).args(includes);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn against_every_version() {
    let folder = headers::download(&Path::new(SOURCES).join("headers/Cargo.toml")).unwrap();
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let versions: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    for name in ["TRT-Enterprise-11.4", headers::DOWNLOADED_RTX] {
        assert!(versions.iter().any(|path| path.ends_with(name)), "{name} in {versions:?}");
    }
    for version in &versions {
        let found = headers::inspect(version).unwrap();
        assert_eq!(found.is_rtx, version.to_string_lossy().contains("RTX"), "{version:?}");
        let files = ["library", "build", "engine"].map(|name| format!("{SOURCES}/shim/{name}.cpp"));
        compile("c++", &["-std=c++17", &files[0], &files[1], &files[2]], &found.include_arguments());
    }
}

#[test]
fn the_interface_is_plain_c() {
    compile("cc", &["-std=c11", "-x", "c", &format!("{SOURCES}/shim/amis_trt.h")], &[]);
}

#[test]
fn a_folder_without_headers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let reason = headers::search(Some(folder.path().as_os_str()), Path::new("unused")).err().unwrap();
    assert!(reason.contains(folder.path().to_str().unwrap()) && reason.contains("NvInfer.h"), "{reason}");
}

#[test]
fn headers_of_the_two_products_are_told_apart() {
    let all = headers::download(&Path::new(SOURCES).join("headers/Cargo.toml")).unwrap();
    let given = all.join("TRT-Enterprise-11.4");
    let search = headers::search(Some(given.as_os_str()), &Path::new(SOURCES).join("headers/Cargo.toml")).unwrap();
    assert_eq!(search.found[0].tensorrt, given);
    assert!(!search.found[0].is_rtx && search.missing.is_empty());
    // The other product's come from the download, where it exists for this processor.
    assert_eq!(search.found.get(1).map(|headers| headers.is_rtx), cfg!(target_arch = "x86_64").then_some(true));
}
