//! The TensorRT backend on the fake of `tensorrt/tests/fake`: the same numbers as ONNX Runtime's, every refusal before the library
//! sees a byte, and the program with an engine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "../../tensorrt/tests/common/fake.rs"]
mod fake;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use amis_artifacts::bundle::BundleManifest;
use amis_artifacts::engine::{self, BuiltFor, EngineHeader, EngineKey, Gpu};
use amis_runtime::backend::tensorrt::TensorRt;
use amis_runtime::{Error, Result};
use amis_tensorrt::Flavor;
use common::{color_bundle, conformance};

/// The network of [`color_bundle`] as a plan of the fake.
const COLORS: &str = "input image 0 1 3 64 96\noutput masks 0 1 4 8 12\npatch 8\nclass 0.5 0 0 0\nclass 0 2 -1 -1\nclass 0 -1 2 -1\nclass 0 -1 -1 2\n";

/// The key of an engine for the only graph of a bundle, on the fake's GPU.
fn key(manifest: &BundleManifest) -> EngineKey {
    EngineKey {
        tensorrt: "TensorRT 10.3.0".into(),
        built_for: BuiltFor::Gpu(Gpu { name: "Fake Orin".into(), compute_capability: "8.7".into(), cores: 8 }),
        precision: "fp32".into(),
        graph_sha256: manifest.graphs[0].entry.sha256.clone(),
        options: BTreeMap::from([("workspace_bytes".into(), "1048576".into())]),
    }
}

fn write_engine(path: &Path, key: EngineKey, plan: &str) {
    engine::write(path, &EngineHeader { key, layers: 1, tool_version: "test".into() }, plan.as_bytes()).unwrap();
}

struct Place {
    dir: tempfile::TempDir,
    manifest: BundleManifest,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifest = color_bundle(&dir.path().join("colors-3.amis"));
        Self { dir, manifest }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens this plan in an engine with the right key.
    fn open(&self, plan: &str) -> Result<TensorRt> {
        self.open_as(key(&self.manifest), plan)
    }

    fn open_as(&self, key: EngineKey, plan: &str) -> Result<TensorRt> {
        write_engine(&self.file("x.engine"), key, plan);
        TensorRt::open(&self.file("x.engine"), &self.manifest, "fp32", fake::find)
    }

    fn program(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amis-run"));
        // The fake does not ask for libraries; the folder is searched for their names all the same.
        std::fs::write(self.file("libnvinfer.so.10"), "").unwrap();
        std::fs::write(self.file("libnvonnxparser.so.10"), "").unwrap();
        command.args(arguments).current_dir(self.dir.path()).env("AMIS_TRT_SHIM", fake::shim()).env("AMIS_TENSORRT_LIB", self.dir.path());
        // The fake is NVRTC too. A link, so that the loader sees that it has the file already.
        let _ = std::os::unix::fs::symlink(fake::shim(), self.file("libnvrtc.so.12"));
        command.env("AMIS_NVRTC_LIB", self.dir.path());
        command
    }

    /// Class maps of the pictures in the folder `in`, by file, and what was said; `settings` are of the environment.
    fn masks(&self, arguments: &[&str], settings: &[(&str, &str)]) -> (BTreeMap<String, image::RgbImage>, String) {
        let out = tempfile::tempdir().unwrap();
        let sink = format!("dir:{}?what=mask", out.path().display());
        let run = ["run", "--bundle", "colors-3.amis", "--source", "dir:in", "--sink", &sink];
        let output = self.command(&[&run[..], arguments].concat()).env("RUST_LOG", "debug").envs(settings.iter().copied()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?} {settings:?}: {text}");
        let masks = std::fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap());
        let masks = masks.map(|entry| (entry.file_name().into_string().unwrap(), image::open(entry.path()).unwrap().to_rgb8()));
        (masks.collect(), text)
    }
}

#[test]
fn it_conforms() {
    let place = Place::new();
    conformance(&mut place.open("input image 0 1 3 4 8\noutput masks 0 1 2 2 4\npatch 2\nclass 0.5 1 0 0\nclass 0 0 2 -1\n").unwrap());
}

#[test]
fn an_engine_for_something_else_is_refused_with_the_field_and_never_loaded() {
    let place = Place::new();
    let good = key(&place.manifest);
    let gpu = |name: &str, capability: &str, cores| BuiltFor::Gpu(Gpu { name: name.into(), compute_capability: capability.into(), cores });
    for (key, words) in [
        (EngineKey { tensorrt: "TensorRT 10.7.0".into(), ..good.clone() }, "its TensorRT version is TensorRT 10.7.0, expected TensorRT 10.3.0"),
        (EngineKey { built_for: gpu("Orin", "8.7", 8), ..good.clone() }, "its GPU name is Orin, expected Fake Orin"),
        (EngineKey { built_for: gpu("Fake Orin", "8.7", 16), ..good.clone() }, "its core count is 16, expected 8"),
        (EngineKey { built_for: BuiltFor::ComputeCapabilities(vec!["8.6".into()]), ..good.clone() }, "its compute capability is 8.6, expected 8.7"),
        (EngineKey { precision: "int8".into(), ..good.clone() }, "its precision is int8, expected fp32"),
        (EngineKey { graph_sha256: "00".into(), ..good.clone() }, "its graph is 00, expected"),
    ] {
        // The fake would complain about this plan.
        let error = place.open_as(key, "never read").err().unwrap();
        assert!(matches!(error, Error::Artifact(amis_artifacts::Error::ForeignEngine { .. })) && error.to_string().contains(words), "{error}");
    }
    assert!(matches!(place.open("never read").err().unwrap(), Error::TensorRt(amis_tensorrt::Error::Plan { .. })));
    let error = TensorRt::open(&place.file("x.engine"), &place.manifest, "fp16", fake::find).err().unwrap();
    assert!(error.to_string().contains("its precision is fp32, expected fp16"), "{error}");
}

#[test]
fn a_raw_or_damaged_file_is_refused_before_tensorrt_is_looked_for() {
    let place = Place::new();
    let path = place.file("x.engine");
    write_engine(&path, key(&place.manifest), COLORS);
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bytes in [COLORS.as_bytes(), &whole[..whole.len() - 1], &flipped, b""] {
        std::fs::write(&path, bytes).unwrap();
        let error = TensorRt::open(&path, &place.manifest, "fp32", |_| panic!("TensorRT was looked for")).err().unwrap();
        assert!(matches!(error, Error::Artifact(_)) && error.to_string().contains("x.engine"), "{error}");
    }
}

#[test]
fn an_engine_of_tensorrt_rtx_looks_for_that() {
    let place = Place::new();
    write_engine(&place.file("x.engine"), EngineKey { tensorrt: "TensorRT-RTX 1.7.1".into(), ..key(&place.manifest) }, COLORS);
    let error = TensorRt::open(&place.file("x.engine"), &place.manifest, "fp32", fake::find).err().unwrap();
    assert!(matches!(error, Error::TensorRt(amis_tensorrt::Error::ShimFlavor { expected: Flavor::Rtx, .. })), "{error:?}");
}

#[test]
fn shapes_that_are_no_networks_are_told() {
    let place = Place::new();
    for (plan, words) in [
        ("input image 0 1 4 8 8\noutput masks 0 1 2 4 4", "its input is [1, 4, 8, 8]"),
        ("input image 0 2 3 8 8\noutput masks 0 2 2 4 4", "its input is [2, 3, 8, 8]"),
        ("input image 0 1 3 8 8\noutput masks 0 1 2 4", "its output is [1, 2, 4]"),
    ] {
        let error = place.open(plan).err().unwrap();
        assert!(matches!(error, Error::Graph { .. }) && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn the_program_runs_an_engine() {
    let place = Place::new();
    write_engine(&place.file("colors.engine"), key(&place.manifest), COLORS);
    common::two_halves(&place.file("halves.png"), 192, 128, [200, 10, 10], [10, 200, 10]);
    let arguments = ["--bundle", "colors-3.amis", "--engine", "colors.engine"];
    let run = place.program(&[&["run", "--source", "image:halves.png", "--sink", "dir:out?what=mask", "--json"], &arguments[..]].concat());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let map = image::open(place.file("out/halves.png")).unwrap().to_rgb8();
    assert_ne!(map.get_pixel(20, 60), map.get_pixel(170, 60));

    let bench = place.program(&[&["bench", "--frames", "5", "--json"], &arguments[..]].concat());
    let summary: serde_json::Value = serde_json::from_slice(&bench.stdout).unwrap();
    assert_eq!(summary["frames"], 5);

    let layers = place.program(&[&["layers", "--json"], &arguments[..]].concat());
    let report: serde_json::Value = serde_json::from_slice(&layers.stdout).unwrap();
    assert_eq!((&report["layers"][0]["name"], &report["layers"][1]["ms"]), (&"patches".into(), &0.25.into()));
    assert_eq!(report["inspector"]["Layers"][1], "classes");
}

/// A picture of smooth colours, a little noisy.
fn picture(path: &Path, width_px: u32, height_px: u32) {
    let level = |at: u32, of: u32, x: u32, y: u32| (at * 230 / of + (x * 7919 + y * 104_729) % 23) as u8;
    let pixel = |x, y| image::Rgb([level(x, width_px, x, y), level(y, height_px, x, y), level(width_px - x, width_px, y, x)]);
    image::RgbImage::from_fn(width_px, height_px, pixel).save(path).unwrap();
}

#[test]
fn frames_of_any_size_go_all_the_way_on_the_gpu_and_their_class_maps_are_the_cpus() {
    let place = Place::new();
    std::fs::create_dir(place.file("in")).unwrap();
    // Twice the same size: the second one goes the way that is there.
    for (number, (width_px, height_px)) in [(96, 64), (192, 128), (192, 128), (123, 77), (30, 200)].into_iter().enumerate() {
        picture(&place.file(&format!("in/{number}.png")), width_px, height_px);
    }
    let (cpu, _) = place.masks(&[], &[]);
    assert_eq!(cpu.len(), 5);
    let colors: std::collections::HashSet<_> = cpu["0.png"].pixels().collect();
    assert!(colors.len() > 2, "{colors:?}");

    let (way, graph, warning) = ("go through kernels on the GPU", "on the GPU, as a CUDA graph", "frames are prepared and class maps made on the CPU");
    let engine = ["--engine", "colors.engine"];
    for (plan, arguments, settings, said, unsaid) in [
        (COLORS.to_owned(), &engine[..], &[][..], &[way, graph][..], &[warning][..]),
        (format!("{COLORS}fail capture"), &engine, &[], &[way, "on the GPU, without a CUDA graph"], &[graph, warning]),
        // Smoothing wants input and masks on the CPU.
        (COLORS.to_owned(), &["--engine", "colors.engine", "--smooth", "0.0001"], &[], &[], &[way, warning]),
        // Every NVRTC is too new for this driver.
        (
            COLORS.to_owned(),
            &engine,
            &[("FAKE_CUDA_DRIVER", "10020")],
            &[warning, "cannot load NVRTC", "is of CUDA 12, the driver of CUDA 10", "sudo apt-get install cuda-nvrtc"],
            &[way],
        ),
    ] {
        write_engine(&place.file("colors.engine"), key(&place.manifest), &plan);
        let (gpu, text) = place.masks(arguments, settings);
        let case = format!("{plan} {arguments:?} {settings:?}: {text}");
        assert!(said.iter().all(|words| text.contains(words)) && !unsaid.iter().any(|words| text.contains(words)), "{case}");
        // Four ways for five pictures.
        assert_eq!(text.matches(way).count(), if said.contains(&way) { 4 } else { 0 }, "{case}");
        for (name, expected) in &cpu {
            let other = gpu[name].pixels().zip(expected.pixels()).filter(|(a, b)| a != b).count();
            // Input levels may differ by one where the frame is resized.
            assert!(other * 200 <= expected.pixels().len(), "{name}: {other} pixels have another class; {case}");
        }
    }
}

#[test]
fn masks_that_are_no_numbers_end_a_run_on_the_gpu_too() {
    let place = Place::new();
    write_engine(&place.file("colors.engine"), key(&place.manifest), &COLORS.replace("class 0 2 -1 -1", "class 3e38 3e38 3e38 3e38"));
    for driver in ["12060", "10020"] {
        let arguments = ["run", "--bundle", "colors-3.amis", "--engine", "colors.engine", "--source", "synthetic:?frames=3", "--sink", "null:"];
        let output = place.command(&arguments).env("FAKE_CUDA_DRIVER", driver).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains("it holds values that are not finite numbers"), "{driver}: {text}");
    }
}

#[test]
fn failures_on_the_gpu_end_a_run_in_order() {
    let place = Place::new();
    let big = COLORS.replace("1 4 8 12", "1 4 3000 3000");
    for (plan, code, words) in [
        (format!("{COLORS}fail lost 4"), 1, "CUDA could not finish the engine's work"),
        (format!("{COLORS}fail capture\nfail enqueue 4"), 1, "did not run the engine"),
        (big, 4, "no room for the 144000000 bytes of tensor masks"),
        ("gibberish".into(), 1, "does not take the engine"),
    ] {
        write_engine(&place.file("colors.engine"), key(&place.manifest), &plan);
        let arguments = ["run", "--bundle", "colors-3.amis", "--engine", "colors.engine", "--source", "synthetic:?frames=9", "--sink", "null:"];
        // With kernels around the engine, and without.
        for driver in ["12060", "10020"] {
            let output = place.command(&arguments).env("FAKE_CUDA_DRIVER", driver).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(code) && text.contains(words), "{plan}: {text}");
        }
    }
}
