//! Calibration of the golden network on pictures, with the program and the library.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use amis_artifacts::calibration::{CalibrationTable, Method};
use amis_artifacts::onnx::{self, TensorProto};
use amis_artifacts::preprocess::Preprocessor;
use amis_calib::{Images, Subject};
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::OnnxRuntime;
use common::{amax, golden_checkpoint, golden_manifest};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// The golden network as `step-1` and `model.cpu-fp32.onnx`, and pictures `images/0.png` and on, in a folder that is gone afterwards.
struct Yard(tempfile::TempDir);

impl Yard {
    fn new(pictures: u64) -> Self {
        let yard = Self(tempfile::tempdir().unwrap());
        golden_checkpoint(&yard.path("step-1"));
        yard.ok("onnx --checkpoint step-1");
        std::fs::create_dir(yard.path("images")).unwrap();
        (0..pictures).for_each(|index| picture(&yard.path(&format!("images/{index}.png")), index));
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exit code and all text of `amis-export`.
    fn run(&self, arguments: &str) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_amis-export")).current_dir(self.0.path()).args(arguments.split(' ')).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    fn ok(&self, arguments: &str) -> String {
        let (code, text) = self.run(arguments);
        assert_eq!(code, 0, "{arguments}: {text}");
        text
    }

    /// Calibrates through the program.
    fn table(&self, options: &str) -> CalibrationTable {
        self.ok(&format!("calibrate --checkpoint step-1 --onnx model.cpu-fp32.onnx --threads 1 {options}"));
        CalibrationTable::read(&self.path("calibration.json")).unwrap()
    }

    /// Writes `changed.onnx`, the graph with some constants changed.
    fn change(&self, change: impl Fn(&str, &mut [f32])) -> PathBuf {
        let mut model = onnx::read(&self.path("model.cpu-fp32.onnx")).unwrap();
        for TensorProto { name, raw_data, .. } in &mut model.graph.as_mut().unwrap().initializer {
            let raw = raw_data.as_mut().unwrap();
            let mut values: Vec<f32> = raw.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let before = values.clone();
            change(name.as_ref().unwrap(), &mut values);
            if values != before {
                *raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            }
        }
        let path = self.path("changed.onnx");
        onnx::write(&path, &model).unwrap();
        path
    }

    /// Calibrates by the largest value, with some constants of the graph changed.
    fn changed(&self, change: impl Fn(&str, &mut [f32])) -> amis_calib::Result<CalibrationTable> {
        let path = self.change(change);
        let manifest = golden_manifest();
        let subject = Subject { onnx: &path, image_spec: &manifest.image_spec, classes: &manifest.classes };
        let candidates = [self.path("images/0.png"), self.path("images/1.png")];
        let images = Images { candidates: &candidates, kept: &[], count: 100, seed: 0 };
        amis_calib::calibrate(subject, images, Method::Max, 1, &mut |_, _, _| ())
    }

    /// Network inputs of the first pictures.
    fn inputs(&self, pictures: u64) -> Vec<f32> {
        let spec = golden_manifest().image_spec;
        let mut preprocessor = Preprocessor::new(spec.clone());
        let input = |index| {
            let rgb = image::open(self.path(&format!("images/{index}.png"))).unwrap().into_rgb8();
            let mut input = vec![0.0; spec.input_len()];
            preprocessor.run(&rgb, 64, 64, &mut input).unwrap();
            input
        };
        (0..pictures).flat_map(input).collect()
    }

    /// Masks of a graph on the first two pictures.
    fn masks(&self, graph: &str) -> Vec<f32> {
        let mut backend = OnnxRuntime::open(&self.path(graph), &amis_runtime::backend::onnxruntime::Options { threads: 1 }).unwrap();
        self.inputs(2).chunks(3 * 64 * 64).flat_map(|input| backend.infer(input).unwrap().to_vec()).collect()
    }
}

/// A picture of the input's size: coloured noise on a slope.
fn picture(path: &Path, seed: u64) {
    let mut rng = Pcg64::seed_from_u64(seed);
    let [red, green, blue]: [u8; 3] = rng.random();
    let mut pixel = |x: u32, y: u32| {
        let noise: u8 = rng.random_range(0..64);
        image::Rgb([red.saturating_add(x as u8), green.saturating_sub(y as u8), blue].map(|v| v.saturating_add(noise)))
    };
    image::RgbImage::from_fn(64, 64, &mut pixel).save(path).unwrap();
}

#[test]
fn max_is_what_onnx_runtime_sees_and_every_method_stays_below() {
    let yard = Yard::new(3);
    let max = yard.table("--images images --method max");
    let model = onnx::read(&yard.path("model.cpu-fp32.onnx")).unwrap();
    let expected = amax(&model, &yard.inputs(3), yard.0.path());
    assert_eq!(max.tensors.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, range) in &max.tensors {
        assert!((range.amax / expected[name] - 1.0).abs() < 1e-4, "{name}: {} and {}", range.amax, expected[name]);
        assert_eq!(range.samples % 3, 0, "{name}");
    }
    for method in ["auto", "entropy", "mse", "percentile:99"] {
        let table = yard.table(&format!("--images images --method {method}"));
        let below = table.tensors.iter().filter(|(name, range)| range.amax < max.tensors[*name].amax * 0.999).count();
        assert!(below > 5, "{method}: {below}");
        for (name, range) in table.tensors {
            assert!(range.amax > 0.0 && range.amax <= max.tensors[&name].amax * 1.0001, "{method} {name}");
            assert!((range.method == method.parse().unwrap()) != (method == "auto"), "{method} {name}");
        }
    }
}

#[test]
fn a_graph_with_a_dynamic_batch_is_calibrated_and_quantized_as_that_for_one_image() {
    let yard = Yard::new(2);
    let one = yard.table("--images images --method max");
    yard.ok("quantize --onnx model.cpu-fp32.onnx --calibration calibration.json --target cpu --out one.onnx");
    yard.ok("onnx --checkpoint step-1 --batch 1..2 --out batches.onnx");
    yard.ok("calibrate --checkpoint step-1 --onnx batches.onnx --images images --method max --threads 1 --out batches.json");
    let batches = CalibrationTable::read(&yard.path("batches.json")).unwrap();
    assert_eq!((batches.tensors.len(), batches.images.len(), &batches.coverage), (one.tensors.len(), 2, &one.coverage));
    for (name, range) in &batches.tensors {
        let expected = &one.tensors[name];
        assert!((range.amax / expected.amax - 1.0).abs() < 1e-4 && range.samples == expected.samples, "{name}: {range:?}, expected {expected:?}");
    }
    yard.ok("quantize --onnx batches.onnx --calibration batches.json --target cpu --out two.onnx");
    let mut backend = OnnxRuntime::open_batch(&yard.path("two.onnx"), &amis_runtime::backend::onnxruntime::Options { threads: 1 }, 2).unwrap();
    let (found, expected) = (backend.infer(&yard.inputs(2)).unwrap().to_vec(), yard.masks("one.onnx"));
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>();
    let error = squares(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / squares(&mut expected.iter().copied());
    assert!(found.len() == expected.len() && error < 1e-4, "{error}");

    yard.ok("onnx --checkpoint step-1 --batch 2 --out fixed.onnx");
    let (code, text) = yard.run("calibrate --checkpoint step-1 --onnx fixed.onnx --images images");
    let words = "its input is [2, 3, 64, 64], expected [1, 3, 64, 64] or a dynamic batch, as `amis-export onnx --batch 1..2` writes";
    assert!(code == 3 && text.contains(words), "{text}");
    let (code, text) = yard.run("quantize --onnx fixed.onnx --calibration calibration.json --target cpu");
    assert!(code == 3 && text.contains("graph"), "{text}");
}

#[test]
fn quantize_takes_the_table_and_refuses_it_for_another_graph() {
    let yard = Yard::new(2);
    yard.table("--images images");
    let text = yard.ok("quantize --onnx model.cpu-fp32.onnx --calibration calibration.json --target cpu");
    assert!(text.contains("22 Linears in int8"), "{text}");
    yard.ok("onnx --checkpoint step-1 --full-logits --out other.onnx");
    let (code, text) = yard.run("quantize --onnx other.onnx --calibration calibration.json --target cpu");
    assert!(code == 3 && text.contains("calibration.json does not hold here: its graph_sha256 is"), "{text}");

    let mut table = CalibrationTable::read(&yard.path("calibration.json")).unwrap();
    table.key.tool_version = "0.0.1".into();
    table.write(&yard.path("old.json")).unwrap();
    let (code, text) = yard.run("quantize --onnx model.cpu-fp32.onnx --calibration old.json --target cpu");
    assert!(code == 3 && text.contains("old.json does not hold here: its tool_version is 0.0.1, expected"), "{text}");
}

#[test]
fn neither_names_nor_order_of_images_matter() {
    let yard = Yard::new(12);
    let first = yard.table("--images images --count 4 --seed 5");
    assert_eq!(first.images.len(), 4);
    std::fs::create_dir(yard.path("renamed")).unwrap();
    for index in 0..12 {
        std::fs::copy(yard.path(&format!("images/{index}.png")), yard.path(&format!("renamed/x{}.png", 11 - index))).unwrap();
    }
    let renamed = yard.table("--images renamed --count 4 --seed 5");
    assert_eq!((&first.key, &first.tensors), (&renamed.key, &renamed.tensors));
    let other = yard.table("--images images --count 4 --seed 6");
    assert_ne!(first.key.images_sha256, other.key.images_sha256);

    // Kept images are used whatever there is beside them, and an image that comes twice counts once.
    std::fs::create_dir(yard.path("kept")).unwrap();
    picture(&yard.path("kept/old.png"), 99);
    std::fs::copy(yard.path("images/0.png"), yard.path("kept/again.png")).unwrap();
    let kept = yard.table("--images images --kept kept --count 3");
    let names: Vec<&str> = kept.images.iter().map(|i| i.name.as_str()).collect();
    assert!(names.len() == 3 && names.contains(&"old.png") && names.contains(&"again.png"), "{names:?}");
    assert!(kept.warnings.iter().any(|w| w.starts_with("1 images repeat")), "{:?}", kept.warnings);
}

#[test]
fn few_images_and_classes_without_coverage_are_warned_about() {
    let yard = Yard::new(2);
    let table = yard.table("--images images --method max");
    assert_eq!(table.coverage.len(), 6);
    assert!(table.warnings[0].starts_with("only 2 images"), "{:?}", table.warnings);
    for class in &table.coverage {
        let warned = table.warnings.iter().any(|w| w.contains(&format!("no image shows {},", class.class)));
        assert_eq!(warned, class.images == 0, "{}: {:?}", class.class, table.warnings);
    }
    assert_eq!(table.coverage.iter().map(|c| c.positions).sum::<u64>(), 2 * 16);
}

#[test]
fn values_that_make_no_range_are_named_with_their_image() {
    let yard = Yard::new(2);
    let gain = "encoder.blocks.1.norm2.weight";
    let error = yard
        .changed(|name, values| {
            if name == gain {
                values.fill(3e38)
            }
        })
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("tensor encoder.blocks.1.norm2 has the value ") && error.contains(".png"), "{error}");
    let error = yard
        .changed(|name, values| {
            if name == "decoder.proj_dec.weight" {
                values[5] = f32::NAN
            }
        })
        .unwrap_err()
        .to_string();
    assert!(error.contains("weight decoder.proj_dec.weight of") && error.contains("NaN in output channel 5"), "{error}");
}

#[test]
fn tensors_of_one_value_and_dead_channels_are_warned_about_and_get_a_range() {
    let yard = Yard::new(2);
    let norm = "encoder.blocks.1.norm2";
    let table = yard.changed(|name, values| match name {
        "encoder.blocks.1.norm2.weight" => values.fill(0.0),
        "encoder.blocks.1.norm2.bias" => values.fill(0.0),
        "decoder.proj_dec.weight" => values.iter_mut().step_by(64).for_each(|v| *v = 0.0),
        _ => (),
    });
    let table = table.unwrap();
    assert_eq!(table.tensors[norm].amax, 1.0);
    table.write(&yard.path("calibration.json")).unwrap();
    let warned = |text: &str| table.warnings.iter().any(|w| w.contains(text));
    assert!(warned(&format!("{norm} is 0 on all images")), "{:?}", table.warnings);
    assert!(warned("decoder.proj_dec.weight: 1 output channels are all 0, the first is 0"), "{:?}", table.warnings);
    let bias = |name: &str, values: &mut [f32]| match name {
        "encoder.blocks.1.norm2.weight" => values.fill(0.0),
        "encoder.blocks.1.norm2.bias" => values.fill(0.25),
        _ => (),
    };
    let table = yard.changed(bias).unwrap();
    assert_eq!(table.tensors[norm].amax, 0.25);
    assert!(table.warnings.iter().any(|w| w.starts_with(&format!("{norm} has one and the same value in all places on 2 of 2 images, the first is "))));
}

#[test]
fn without_usable_images_nothing_is_written() {
    let yard = Yard::new(1);
    std::fs::create_dir(yard.path("empty")).unwrap();
    std::fs::create_dir(yard.path("damaged")).unwrap();
    let bytes = std::fs::read(yard.path("images/0.png")).unwrap();
    std::fs::write(yard.path("damaged/cut.png"), &bytes[..bytes.len() / 2]).unwrap();
    let calibrate = "calibrate --checkpoint step-1 --onnx model.cpu-fp32.onnx";
    for (options, says) in [
        ("--images empty", "empty: no pictures"),
        ("--images images --count 0", "no image to calibrate with"),
        ("--images damaged", "damaged/cut.png"),
        ("--images nowhere", "cannot list nowhere"),
    ] {
        let (code, text) = yard.run(&format!("{calibrate} {options}"));
        assert!(code == 3 && text.contains(says), "{options}: exit code {code}\n{text}");
    }
    let (code, text) = yard.run(&format!("{calibrate} --images images --method median"));
    assert!(code == 2 && text.contains("expected max, entropy, mse, auto or percentile:P"), "{text}");
    assert!(!yard.path("calibration.json").exists());
}

#[test]
fn a_graph_that_does_not_fit_says_what_was_expected() {
    let yard = Yard::new(1);
    let manifest = golden_manifest();
    let calibrate = |path: &Path, spec| {
        let subject = Subject { onnx: path, image_spec: spec, classes: &manifest.classes };
        let images = Images { candidates: &[yard.path("images/0.png")], kept: &[], count: 1, seed: 0 };
        amis_calib::calibrate(subject, images, Method::Max, 1, &mut |_, _, _| ()).unwrap_err().to_string()
    };
    let mut wide = manifest.image_spec.clone();
    wide.width_px = 128;
    let error = calibrate(&yard.path("model.cpu-fp32.onnx"), &wide);
    assert!(error.contains("expected float32 [1, 3, 64, 128] as the checkpoint's image spec says"), "{error}");
    yard.table("--images images");
    yard.ok("quantize --onnx model.cpu-fp32.onnx --calibration calibration.json --target cpu --out int8.onnx");
    let error = calibrate(&yard.path("int8.onnx"), &manifest.image_spec);
    assert!(error.contains("int8.onnx cannot be calibrated: it has no Linear layer"), "{error}");
    assert_eq!(BTreeMap::from_iter(yard.table("--images images").tensors).len(), 22);
}

#[test]
fn smoothing_changes_no_result_and_saves_outlier_channels_in_int8() {
    let yard = Yard::new(4);
    // Three channels far larger than the others, in every norm in front of qkv and fc1.
    yard.change(|name, values| {
        if name.contains(".norm") && name.ends_with(".weight") {
            [3, 17, 40].into_iter().for_each(|channel| values[channel] *= 50.0);
        }
    });
    let graph = "--checkpoint step-1 --images images --threads 1";
    let text = yard.ok(&format!("smooth {graph} --onnx changed.onnx"));
    assert!(text.contains("smooth.cpu-fp32.onnx: 10 tensors smoothed, encoder.blocks.0.norm1, encoder.blocks.0.norm2"), "{text}");
    let expected = yard.masks("changed.onnx");
    let distance = |other: &[f32]| expected.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let smooth = distance(&yard.masks("smooth.cpu-fp32.onnx"));
    assert!(smooth < 1e-5, "{smooth}");
    assert_ne!(std::fs::read(yard.path("changed.onnx")).unwrap(), std::fs::read(yard.path("smooth.cpu-fp32.onnx")).unwrap());

    let error = |fp32: &str| {
        yard.ok(&format!("calibrate {graph} --onnx {fp32} --method max"));
        yard.ok(&format!("quantize --onnx {fp32} --calibration calibration.json --target cpu --out int8.onnx"));
        yard.masks("int8.onnx").iter().zip(&expected).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let (careless, smoothed) = (error("changed.onnx"), error("smooth.cpu-fp32.onnx"));
    assert!(smoothed < careless / 4.0, "squared error {careless} without smoothing, {smoothed} with it");

    let (code, text) = yard.run(&format!("smooth {graph} --onnx changed.onnx --strength 1.5"));
    assert!(code == 2 && text.contains("expected a number from 0 to 1"), "{text}");
}
