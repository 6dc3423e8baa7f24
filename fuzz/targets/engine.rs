#![no_main]
//! Containers of TensorRT engines.

use std::path::Path;

use amis_artifacts::engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((header, plan)) = engine::decode(bytes.to_vec(), Path::new("x.engine")) {
        engine::encode(&header, &plan, Path::new("x.engine")).expect("what was read can be written");
    }
});
