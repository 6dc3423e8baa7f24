#![allow(dead_code, missing_docs, clippy::unwrap_used, unreachable_pub)]
pub mod disk;
pub mod onnx;
pub mod release;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use amis_artifacts::bundle::{self, BundleManifest, FORMAT_VERSION, FileEntry, GraphEntry, Lineage};
use amis_artifacts::classes::ClassList;
use amis_artifacts::image_spec::{Fit, ImageSpec};
use amis_artifacts::model_spec::Groups;
use amis_runtime::backend::Backend;
use amis_runtime::model::Model;
use amis_runtime::pipeline::{self, Lane, Parts, Progress, RunOptions};
use amis_runtime::refine::RefineOptions;
use amis_runtime::sink::{self, Sink};
use amis_runtime::source::Source;
use amis_runtime::stats::{Journal, Monitor, Summary};
use amis_runtime::{Error, Result};

/// Whether ONNX Runtime is there; says so when a test is left out.
pub fn onnxruntime_present(test: &str) -> bool {
    let present = std::env::var_os("ORT_DYLIB_PATH").is_some();
    if !present {
        // Past the harness, which keeps what passing tests print.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: ORT_DYLIB_PATH is not set; `make test` sets it");
    }
    present
}

/// A bundle whose network calls pixels by their strongest colour: 1 red, 2 green, 3 blue, 0 grey. Input 64x96 pixels, patches of 8.
pub fn color_bundle(path: &Path) -> BundleManifest {
    write_bundle(path, 3, &["background", "red", "green", "blue"], &COLORS)
}

/// The next version of [`color_bundle`], with a class for white.
pub fn colors_and_one(path: &Path) -> BundleManifest {
    write_bundle(path, 4, &["background", "red", "green", "blue", "white"], &[COLORS.as_slice(), &[[1.0, 1.0, 1.0]]].concat())
}

const COLORS: [[f32; 3]; 4] = [[0.0, 0.0, 0.0], [2.0, -1.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]];

fn write_bundle(path: &Path, version: u64, classes: &[&str], weight: &[[f32; 3]]) -> BundleManifest {
    let bias: Vec<f32> = (0..weight.len()).map(|class| if class == 0 { 0.5 } else { 0.0 }).collect();
    let model = onnx::patch_model(64, 96, 8, weight, &bias);
    let manifest = manifest(version, classes);
    bundle::write(path, manifest, &BTreeMap::from([("model.fp32.onnx".to_owned(), model)])).unwrap()
}

pub fn manifest(version: u64, classes: &[&str]) -> BundleManifest {
    let entry = |target: &str, precision: &str, file: &str| GraphEntry {
        target: target.into(),
        precision: precision.into(),
        entry: FileEntry { file: file.into(), ..FileEntry::default() },
        quality: None,
    };
    BundleManifest {
        format_version: FORMAT_VERSION,
        name: "colors".into(),
        version,
        parent: None,
        minimum_runtime: "0.1.0".into(),
        classes: ClassList::from_names(classes).unwrap(),
        groups: Groups(if classes.len() == 4 { vec![1, 2, 1] } else { vec![1, 2, 1, 1] }),
        image_spec: ImageSpec { mean: [0.5; 3], std: [0.5; 3], ..ImageSpec::imagenet(64, 96, Fit::Stretch) },
        graphs: vec![entry("cpu", "fp32", "model.fp32.onnx")],
        calibration: None,
        self_test: None,
        lineage: Lineage {
            step: version as usize - 2,
            checkpoint_sha256: "00".into(),
            weights_sha256: "00".into(),
            parent_sha256: None,
            config_sha256: "00".into(),
            trainer_version: "0.1.0".into(),
        },
        miou_all: None,
        licence: None,
        notes: None,
    }
}

/// What every backend has to do, on the network of `patch_model(4, 8, 2, [[1, 0, 0], [0, 2, -1]], [0.5, 0])`.
pub fn conformance(backend: &mut dyn Backend) {
    assert_eq!((backend.input_shape(), backend.output_shape()), ([1, 3, 4, 8], [1, 2, 2, 4]));
    for shift in [0.0, -40.0, 0.0] {
        let input: Vec<f32> = (0..96).map(|i| i as f32 + shift).collect();
        let mean = |channel: usize, y: usize, x: usize| (0..4).map(|i| input[channel * 32 + (2 * y + i / 2) * 8 + 2 * x + i % 2]).sum::<f32>() / 4.0;
        let output = backend.infer(&input).unwrap();
        assert_eq!(output.len(), 16);
        for (at, (y, x)) in (0..8).map(|i| (i, (i / 4, i % 4))) {
            assert!((output[at] - mean(0, y, x) - 0.5).abs() < 1e-3);
            assert!((output[8 + at] - 2.0 * mean(1, y, x) + mean(2, y, x)).abs() < 1e-3);
        }
        for wrong in [&input[1..], &[], &[0.0; 97]] {
            assert!(matches!(backend.infer(wrong), Err(Error::Infer { .. })));
        }
    }
}

/// Options of a run of this bundle, one thread and nothing else asked for; source and sinks are named by those who open them by name.
pub fn options(bundle: &Path) -> RunOptions {
    RunOptions {
        bundle: bundle.into(),
        sources: Vec::new(),
        sinks: Vec::new(),
        frames: None,
        warmup_frames: 0,
        opacity: 0.5,
        threads: 1,
        precision: "fp32".into(),
        engine: None,
        token: None,
        refine: RefineOptions::default(),
        realtime: false,
    }
}

/// A run of one camera, put together by hand.
pub struct Alone {
    pub source: Box<dyn Source>,
    pub model: Model,
    pub journal: Arc<Journal>,
    pub monitor: Arc<Monitor>,
}

impl Alone {
    pub fn new(source: Box<dyn Source>, model: Model) -> Self {
        let journal = Journal::new(model.info());
        let monitor = Arc::new(Monitor::new(Arc::clone(&journal), None, source.faults()));
        Self { source, model, journal, monitor }
    }

    /// Opens a sink by its name.
    pub fn sink(&self, name: &str, token: Option<&str>) -> Box<dyn Sink> {
        let camera = sink::Camera { monitor: Arc::clone(&self.monitor), fps: self.source.fps(), realtime: self.source.realtime() };
        let run = sink::Run { cameras: vec![camera], journal: Arc::clone(&self.journal), token: token.map(str::to_owned) };
        sink::open(name, &run).unwrap().remove(0)
    }

    pub fn parts(self, sinks: Vec<Box<dyn Sink>>) -> Parts {
        let Self { source, model, journal, monitor } = self;
        Parts::new(model, vec![Lane { source, sinks, monitor }], journal)
    }
}

/// Statistics of a run of one camera.
pub fn run_alone(parts: Parts, options: &RunOptions, stop: &AtomicBool, progress: impl FnMut(Progress) + Send) -> Result<Summary> {
    pipeline::run_parts(parts, options, stop, progress).map(|mut cameras| cameras.remove(0))
}

/// Writes a picture whose left half has one colour and whose right half the other.
pub fn two_halves(path: &Path, width: u32, height: u32, left: [u8; 3], right: [u8; 3]) {
    image::RgbImage::from_fn(width, height, |x, _| image::Rgb(if x < width / 2 { left } else { right })).save(path).unwrap();
}

/// A network that calls the left half of every frame class 1 and the right half class 2, after a time.
#[derive(Default)]
pub struct Halves {
    pub time: std::time::Duration,
}

impl Backend for Halves {
    fn input_shape(&self) -> [usize; 4] {
        [1, 3, 64, 96]
    }

    fn output_shape(&self) -> [usize; 4] {
        [1, 4, 1, 2]
    }

    fn infer(&mut self, _: &[f32]) -> amis_runtime::Result<&[f32]> {
        std::thread::sleep(self.time);
        Ok(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    }
}

/// A model of four classes around it.
pub fn halves_model(halves: Halves) -> Model {
    Model::new(Path::new("halves.amis"), colors("halves.amis"), "fp32", Box::new(halves)).unwrap()
}

/// The manifest of [`color_bundle`].
pub fn colors(name: &str) -> BundleManifest {
    let dir = tempfile::tempdir().unwrap();
    color_bundle(&dir.path().join(name))
}
