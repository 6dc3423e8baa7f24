//! The ONNX Runtime backend on small graphs made here.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use amis_artifacts::onnx::DataType;
use amis_runtime::Error;
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
use common::onnx::{identity_model, patch_model};
use common::{conformance, onnxruntime_present};

fn open(bytes: &[u8]) -> amis_runtime::Result<OnnxRuntime> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    OnnxRuntime::open(&path, &Options { threads: 1 })
}

fn refusal(bytes: &[u8]) -> String {
    match open(bytes) {
        Err(error @ Error::Graph { .. }) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[test]
fn a_graph_gives_the_numbers_that_it_should() {
    if !onnxruntime_present("a_graph_gives_the_numbers_that_it_should") {
        return;
    }
    let model = patch_model(4, 8, 2, &[[1.0, 0.0, 0.0], [0.0, 2.0, -1.0]], &[0.5, 0.0]);
    conformance(&mut open(&model).unwrap());
}

#[test]
fn graphs_of_another_shape_are_refused_with_what_was_found() {
    if !onnxruntime_present("graphs_of_another_shape_are_refused_with_what_was_found") {
        return;
    }
    assert!(refusal(&identity_model(&[1, 3, -1, 8], DataType::Float)).contains("[1, 3, -1, 8]"));
    assert!(refusal(&identity_model(&[1, 3, 8], DataType::Float)).contains("expected four fixed sizes"));
    assert!(refusal(&identity_model(&[2, 3, 8, 8], DataType::Float)).contains("[2, 3, 8, 8]"));
    assert_eq!(open(&identity_model(&[-1, 3, 8, 8], DataType::Float)).unwrap().input_shape(), [1, 3, 8, 8]);
    assert!(refusal(&identity_model(&[1, 4, 8, 8], DataType::Float)).contains("expected [1, 3, H, W]"));
    assert!(refusal(&identity_model(&[1, 3, 8, 8], DataType::Uint8)).contains("expected a float32 tensor"));
}

#[test]
fn damaged_graphs_are_errors() {
    if !onnxruntime_present("damaged_graphs_are_errors") {
        return;
    }
    let model = patch_model(4, 4, 2, &[[1.0, 0.0, 0.0]], &[0.0]);
    refusal(b"");
    refusal(b"not a graph");
    refusal(&[0xff; 4096]);
    for cut in (1..model.len()).step_by(7) {
        refusal(&model[..cut]);
    }
    assert!(matches!(OnnxRuntime::open(Path::new("/nonexistent/model.onnx"), &Options::default()), Err(Error::Graph { .. })));
}
