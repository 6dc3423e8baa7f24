//! Decoding and augmenting on one core, beside the same in PIL and torchvision: milliseconds of CPU time an image.
//!
//! Photo-like pictures of 500x375 pixels (street scenes with sensor noise, JPEG of quality 90) become crops of 512x512 by the published recipe. CPU time
//! of the whole process is counted, so that other work on the machine disturbs little. `AMIS_PYTHON` names a Python with torch, torchvision and Pillow;
//! without it, or with `AMIS_PYTHON` not able to run the peer, our own figure stands alone.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use amis_artifacts::image_spec::{Fit, ImageSpec};
use amis_data::augment::Augment;
use amis_data::folder::DataFolder;
use amis_data::layout::Layout;
use amis_data::loader::{Loader, LoaderOptions};
use amis_data::scene::Scene;
use image::codecs::jpeg::JpegEncoder;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rustix::time::{ClockId, clock_gettime};

const IMAGES: usize = 128;
const WIDTH: u32 = 500;
const HEIGHT: u32 = 375;
const BATCH: usize = 16;
const PASSES: usize = 8;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let names = write_pictures(dir.path());
    let folder = DataFolder::open(Layout::Folder, dir.path(), "labels").unwrap();
    let batches = PASSES * IMAGES / BATCH;
    let options = LoaderOptions {
        folder,
        names,
        mapping: std::array::from_fn(|value| value as u8),
        spec: ImageSpec::imagenet(512, 512, Fit::Crop),
        augment: Some(Augment::default()),
        batch: BATCH,
        own: 0..BATCH,
        seed: 1,
        first_iteration: 0,
        end_iteration: Some(batches),
        workers: 1,
        cache_bytes: 0,
    };
    let start = cpu_time();
    let mut loader = Loader::start(options).unwrap();
    while let Some(batch) = loader.next() {
        loader.give_back(batch.unwrap());
    }
    let ms = (cpu_time() - start).as_secs_f64() * 1e3 / (batches * BATCH) as f64;
    println!("500x375 JPEG to 512x512 crop, one core, CPU time an image:");
    println!("  this project        {ms:6.2} ms  {:6.0} images/s", 1e3 / ms);
    match peer(dir.path()) {
        Ok(peer) => {
            println!("  PIL and torchvision {peer:6.2} ms  {:6.0} images/s", 1e3 / peer);
            println!("  ratio               {:6.2}     (to reach: 3)", peer / ms);
        }
        Err(reason) => println!("  PIL and torchvision: not measured, {reason}"),
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn write_pictures(root: &Path) -> Vec<String> {
    for folder in ["images", "labels"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    let (mut rgb, mut labels) = (Vec::new(), Vec::new());
    let one = |number: usize| {
        let name = format!("{number:04}");
        Scene::new(WIDTH, HEIGHT, number as u64).unwrap().frame(number as f64, &mut rgb, &mut labels);
        let mut rng = Pcg64Mcg::seed_from_u64(number as u64);
        // Twelve uniform numbers are close to a normal one: grain as of a camera, without which JPEG has too little to decode.
        let mut noise = || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() * 6.0 - 36.0;
        for pixel in rgb.as_chunks_mut::<3>().0 {
            let grain = noise();
            pixel.iter_mut().for_each(|value| *value = (f32::from(*value) + grain) as u8);
        }
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90).encode(&rgb, WIDTH, HEIGHT, image::ExtendedColorType::Rgb8).unwrap();
        fs::write(root.join(format!("images/{name}.jpg")), bytes).unwrap();
        image::GrayImage::from_raw(WIDTH, HEIGHT, labels.clone()).unwrap().save(root.join(format!("labels/{name}.png"))).unwrap();
        name
    };
    (0..IMAGES).map(one).collect()
}

/// Milliseconds of CPU time an image in Python.
fn peer(root: &Path) -> Result<f64, String> {
    let python = std::env::var("AMIS_PYTHON").map_err(|_| "AMIS_PYTHON is not set".to_owned())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/pil_pipeline.py");
    let output = Command::new(&python).arg(script).arg(root).env("OMP_NUM_THREADS", "1").output().map_err(|e| format!("{python}: {e}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(text.trim().lines().last().unwrap_or("it failed").to_owned());
    }
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    result["ms"].as_f64().ok_or_else(|| "it gave no number".into())
}
