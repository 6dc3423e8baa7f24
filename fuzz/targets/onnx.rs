#![no_main]
//! ONNX models.

use std::path::Path;

use amis_artifacts::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = onnx::parse(bytes, Path::new("x.onnx")) {
        let _ = model.precision();
        if let Some(graph) = &model.graph {
            let _ = onnx::linears(graph);
            for value in graph.input.iter().chain(&graph.output) {
                let _ = value.fixed_tensor();
            }
        }
    }
});
