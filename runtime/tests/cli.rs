//! The program as a user sees it: output, exit codes, messages.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{color_bundle, onnxruntime_present};
use serde_json::Value;

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amis-run"));
    command.args(args);
    command
}

fn failure(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn run_and_bench_print_one_json_object() {
    if !onnxruntime_present("run_and_bench_print_one_json_object") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("colors-3.amis");
    color_bundle(&bundle);
    let (bundle, video) = (bundle.to_str().unwrap(), dir.path().join("run.avi"));
    let sink = format!("video:{}", video.display());
    let run = program(&["run", "--bundle", bundle, "--source", "synthetic:?frames=5", "--sink", &sink, "--sink", "null:", "--json"]).output().unwrap();
    let summary = json(&run);
    assert_eq!((summary["frames"].as_u64(), summary["dropped"].as_u64()), (Some(5), Some(0)));
    assert!(video.metadata().unwrap().len() > 1000);

    let bench = program(&["bench", "--bundle", bundle, "--frames", "7", "--json"]).output().unwrap();
    let summary = json(&bench);
    assert_eq!(summary["frames"].as_u64(), Some(7));
    assert!(summary["board"]["power_w"].is_object() && summary["board"]["temperature_c"].is_object());
    assert!(summary["stages"]["infer"]["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert!(json(&program(&["doctor", "--json"]).output().unwrap())["onnxruntime"]["build"].as_str().is_some_and(|b| b.contains("ORT")));

    let (code, text) = failure(&mut program(&["run", "--bundle", bundle, "--source", "webcam:", "--sink", "null:"]));
    assert!(code == 2 && text.contains("webcam") && text.contains("for example"), "{text}");
    let (code, text) = failure(&mut program(&["bench", "--bundle", bundle, "--source", "synthetic:?frames=3"]));
    assert!(code == 3 && text.contains("no frame came through") && text.contains("ten frames more"), "{text}");
}

#[test]
fn a_bundle_that_is_not_there_is_wrong_input() {
    let (code, text) = failure(&mut program(&["run", "--bundle", "missing.amis", "--source", "synthetic:", "--sink", "null:"]));
    assert!(code == 3 && text.contains("missing.amis"), "{code}: {text}");
    assert_eq!(failure(&mut program(&["run", "--opacity", "2"])).0, 2);
}

#[test]
fn a_missing_or_foreign_library_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let text_file = dir.path().join("libonnxruntime.so");
    std::fs::write(&text_file, "not a library").unwrap();
    // A real library without ONNX Runtime in it: the C library that this test itself runs on.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let foreign = maps.split_whitespace().find(|w| w.contains("/libc.so") || w.contains("/libc-")).unwrap().to_owned();
    for library in [Path::new("/nonexistent/libonnxruntime.so"), &text_file, Path::new(&foreign), &old_library(dir.path())] {
        let (code, text) = failure(program(&["doctor"]).env("ORT_DYLIB_PATH", library));
        assert_eq!(code, 4, "{text}");
        assert!(text.contains(library.to_str().unwrap()) && text.contains("ORT_DYLIB_PATH") && text.contains("pip install onnxruntime"), "{text}");
    }
    let (code, text) = failure(program(&["doctor"]).env_remove("ORT_DYLIB_PATH").env_remove("LD_LIBRARY_PATH"));
    assert!(code == 0 || (code == 4 && text.contains("ORT_DYLIB_PATH is not set")), "{text}");
}

/// A library that says it is ONNX Runtime 1.10.
fn old_library(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("old.c"), dir.join("libonnxruntime.so.1.10.0"));
    let code = r#"
        struct base { const void *(*api)(unsigned); const char *(*version)(void); };
        static const void *api(unsigned version) { return 0; }
        static const char *version(void) { return "1.10.0"; }
        static const struct base base = { api, version };
        const struct base *OrtGetApiBase(void) { return &base; }
    "#;
    std::fs::write(&source, code).unwrap();
    assert!(Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap().success());
    library
}
