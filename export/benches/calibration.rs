//! `amis-export calibrate` beside `onnxruntime.quantization`: time and memory on 200 images of 256 px, and the search for thresholds alone.
//!
//! A ViT-tiny Segmenter of random weights on street scenes. `AMIS_PYTHON` names a Python with onnxruntime, onnx, numpy and Pillow; `benches/calibration.py`
//! starts and measures both sides.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_calib::threshold;
use amis_data::scene::Scene;
use amis_export::graph::{self, Output};
use common::{manifest, random_weights, write};

const IMAGES: u64 = 200;
const SIDE_PX: u32 = 256;
/// Searches that are timed together, because one takes a millisecond.
const REPEATS: u32 = 20;

fn main() -> ExitCode {
    let Some(python) = std::env::var_os("AMIS_PYTHON") else {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"AMIS_PYTHON is not set: `make bench-calibration` sets it\n");
        return ExitCode::from(4);
    };
    let dir = tempfile::tempdir().unwrap();
    let model = ModelSpec { patch_px: 16, dim: 192, depth: 12, heads: 3, decoder_depth: 2, decoder_heads: 3, gab: false };
    let manifest = manifest(model, Groups(vec![1, 15]), [SIDE_PX; 2], [16, 16]);
    let weights = random_weights(&manifest, 1);
    let checkpoint = write(&dir.path().join("step-0"), manifest, &weights, &Default::default());
    graph::export(&checkpoint, Output::Masks, &dir.path().join("model.onnx")).unwrap();
    pictures(&dir.path().join("images"));
    search(dir.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/calibration.py");
    let status = Command::new(python).arg(script).arg(dir.path()).arg(env!("CARGO_BIN_EXE_amis-export")).status().unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn pictures(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let (mut rgb, mut labels) = (Vec::new(), Vec::new());
    for number in 0..IMAGES {
        Scene::new(SIDE_PX, SIDE_PX, number).unwrap().frame(number as f64, &mut rgb, &mut labels);
        image::RgbImage::from_raw(SIDE_PX, SIDE_PX, rgb.clone()).unwrap().save(folder.join(format!("{number:03}.jpg"))).unwrap();
    }
}

/// Times our search on the histograms of the golden test, and leaves them with its results for the peer.
fn search(folder: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../calib/tests/fixtures/calibration_histograms.safetensors");
    let bytes = fs::read(fixture).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let names = tensors.names();
    let histograms: Vec<Vec<u64>> = names
        .iter()
        .filter(|name| name.ends_with(".hist"))
        .map(|name| tensors.tensor(name).unwrap().data().as_chunks::<8>().0.iter().map(|&b| u64::from_le_bytes(b)).collect())
        .collect();
    let start = Instant::now();
    let mut thresholds = Vec::new();
    for _ in 0..REPEATS {
        thresholds = histograms.iter().map(|bins| threshold::entropy(bins, 1.0)).collect::<Vec<f64>>();
    }
    let seconds = start.elapsed().as_secs_f64() / f64::from(REPEATS);
    let left = serde_json::json!({ "bins": histograms, "seconds": seconds, "thresholds": thresholds });
    fs::write(folder.join("histograms.json"), left.to_string()).unwrap();
}
