//! Missing, foreign and mismatched libraries are errors that say what was found where.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "common/fake.rs"]
mod fake;

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use amis_tensorrt::{Error, Flavor, Library, Locations};
use tempfile::{TempDir, tempdir};

/// File names of TensorRT-RTX 1 and its parser.
const NAMES: [&str; 2] = ["libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"];

/// The C library that this test itself runs with: a real shared library that is nothing of TensorRT.
fn c_library() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps.split_whitespace().find(|word| word.contains("/libc.so") || word.contains("/libc-"));
    PathBuf::from(path.expect("the C library is mapped"))
}

/// A folder in which TensorRT and its parser are links to `targets`.
fn folder_of(targets: [&Path; 2]) -> TempDir {
    let folder = tempdir().unwrap();
    for (name, target) in NAMES.iter().zip(targets) {
        symlink(target, folder.path().join(name)).unwrap();
    }
    folder
}

fn compile(source: &str, library: &Path) {
    let file = library.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(library).arg(&file).status().unwrap();
    assert!(status.success());
}

fn open_libraries(folder: &Path) -> Error {
    Library::open(Flavor::Rtx, &Locations { shim: None, libraries: Some(folder.to_owned()) }).unwrap_err()
}

fn open_shim(path: &Path) -> Error {
    Library::open(Flavor::Rtx, &Locations { shim: Some(path.to_owned()), libraries: None }).unwrap_err()
}

#[test]
fn missing_libraries_list_every_place() {
    let folder = tempdir().unwrap();
    let error = open_libraries(folder.path());
    assert!(matches!(error, Error::LibraryMissing { .. }), "{error:?}");
    for name in NAMES {
        assert!(error.to_string().contains(folder.path().join(name).to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_missing_parser_is_missed_though_tensorrt_is_there() {
    let folder = tempdir().unwrap();
    symlink(c_library(), folder.path().join(NAMES[0])).unwrap();
    let text = open_libraries(folder.path()).to_string();
    assert!(text.contains("libtensorrt_rtx.so.1: found") && text.contains("libtensorrt_onnxparser_rtx.so.1: no such file"), "{text}");
}

#[test]
fn another_library_under_tensorrts_name_is_foreign() {
    let folder = folder_of([&c_library(), &c_library()]);
    let error = open_libraries(folder.path());
    assert!(matches!(error, Error::LibraryForeign { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(NAMES[0]) && text.contains("createInferBuilder_INTERNAL"), "{text}");
}

#[test]
fn a_file_that_is_no_library_is_foreign() {
    let folder = tempdir().unwrap();
    for name in NAMES {
        std::fs::write(folder.path().join(name), "not ELF").unwrap();
    }
    let error = open_libraries(folder.path());
    assert!(matches!(error, Error::LibraryForeign { .. }) && error.to_string().contains(NAMES[0]), "{error:?}");
}

#[test]
fn another_library_under_the_parsers_name_is_foreign() {
    let Some(real) = std::env::var_os("AMIS_TENSORRT_RTX_LIB").map(PathBuf::from) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: TensorRT-RTX libraries not there (set AMIS_TENSORRT_RTX_LIB)");
        return;
    };
    let folder = folder_of([&real.join(NAMES[0]), &c_library()]);
    let error = open_libraries(folder.path());
    assert!(matches!(error, Error::LibraryForeign { .. }), "{error:?}");
    assert!(error.to_string().contains(NAMES[1]) && error.to_string().contains("createNvOnnxParser_INTERNAL"), "{error}");
}

#[test]
fn another_version_of_tensorrt_is_refused_before_it_is_used() {
    // As TensorRT counts: 10.3.0, 8.5.1, and a TensorRT-RTX that is older than the shim's headers.
    for (number, version) in [(100_300, "10.3.0"), (8501, "8.5.1"), (10_300, "1.3.0")] {
        let folder = tempdir().unwrap();
        let functions = [
            "#include <stdlib.h>".to_owned(),
            format!("int getInferLibVersion(void) {{ return {number}; }}"),
            "void* createInferBuilder_INTERNAL(void* logger, int version) { abort(); }".to_owned(),
        ];
        compile(&functions.join("\n"), &folder.path().join(NAMES[0]));
        symlink(c_library(), folder.path().join(NAMES[1])).unwrap();
        let error = open_libraries(folder.path());
        assert!(matches!(error, Error::LibraryVersion { .. }), "{error:?}");
        assert!(error.to_string().contains(version), "{error}");
    }
}

#[test]
fn a_missing_shim_lists_its_place() {
    let error = open_shim(Path::new("/nowhere/libamis_trt_rtx.so"));
    assert!(matches!(error, Error::ShimMissing { .. }), "{error:?}");
    assert!(error.to_string().contains("/nowhere/libamis_trt_rtx.so: no such file"), "{error}");
}

#[test]
fn another_library_is_no_shim() {
    let error = open_shim(&c_library());
    assert!(matches!(error, Error::ShimForeign { .. }) && error.to_string().contains("amis_trt_abi"), "{error:?}");
}

#[test]
fn a_shim_of_another_interface_version_is_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("libold.so");
    compile("unsigned amis_trt_abi(void) { return 999; }", &path);
    let error = open_shim(&path);
    assert!(matches!(error, Error::ShimAbi { found: 999, expected: 3, .. }), "{error:?}");
}

#[test]
fn the_shim_of_the_other_product_is_refused() {
    let error = open_shim(&fake::shim());
    assert!(matches!(error, Error::ShimFlavor { expected: Flavor::Rtx, .. }), "{error:?}");
    assert!(error.to_string().contains("TensorRT 10.3.0"), "{error}");
}

#[test]
fn without_a_folder_the_loader_is_asked() {
    match Library::open(Flavor::Rtx, &Locations::default()) {
        Ok(library) => assert_eq!(library.version().flavor, Flavor::Rtx),
        Err(error) => {
            assert!(matches!(error, Error::LibraryMissing { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("libtensorrt_") && text.contains("AMIS_TENSORRT_RTX_LIB"), "{text}");
        }
    }
}
