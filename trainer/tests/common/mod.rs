#![allow(clippy::unwrap_used, missing_docs, dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use amis_data::synth::{self, SynthOptions};
use amis_trainer::config::Config;
use amis_trainer::distributed::Ranks;
use amis_trainer::train;
use tch::{Kind, Tensor};

/// Overrides of `configs/demo.toml` for a run of seconds: 4, 2 and 2 iterations in its three steps; step 1 has fewer images than a batch.
pub const SMALL: [&str; 11] = [
    "model.dim=16",
    "model.depth=1",
    "model.heads=2",
    "model.decoder_heads=2",
    "image.crop_px=32",
    "image.height_px=32",
    "image.width_px=48",
    "train.batch=4",
    "train.base.epochs=2",
    "train.increment.epochs=2",
    "train.eval_every=1",
];

/// The configuration that [`SMALL`] overrides.
pub fn demo_config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/demo.toml")
}

/// A data set for [`SMALL`].
pub fn small_data(folder: &Path) -> PathBuf {
    let dir = folder.join("data");
    synth::write(&dir, &SynthOptions { step_images: [8, 3, 5], val_images: 3, width_px: 48, height_px: 32, seed: 1 }).unwrap();
    dir
}

/// [`SMALL`] with the data of [`small_data`] in a folder, and more overrides.
pub fn small_config(data: &Path, more: &[&str]) -> Config {
    let root = format!("data.root={}", data.display());
    let all: Vec<String> = [root.as_str()].iter().chain(&SMALL).chain(more).map(|s| s.to_string()).collect();
    Config::load(&demo_config(), &all).unwrap()
}

/// Trains to the end on the CPU, silently.
pub fn run_small(config: &Config, out: &Path) -> amis_trainer::Result<train::RunSummary> {
    struct Silent;
    impl train::Observer for Silent {
        fn step_started(&mut self, _: usize, _: &[String], _: usize, _: usize, _: usize) {}
        fn iteration(&mut self, _: usize, _: Option<f64>) {}
        fn validated(&mut self, _: usize, _: f64, _: bool) {}
        fn step_finished(&mut self, _: &amis_artifacts::metrics::StepMetrics, _: bool) {}
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    train::run(config, train::Place { dir: out, ranks: &Ranks::alone(), device: tch::Device::Cpu, stop: &stop }, &mut Silent)
}

/// A file of reference numbers, as tensors by name.
pub struct Golden(BTreeMap<String, Tensor>);

impl Golden {
    pub fn read(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden").join(name);
        Self(Tensor::read_safetensors(path).unwrap().into_iter().collect())
    }

    pub fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no reference tensor {name}")).shallow_clone()
    }

    /// Float tensors below a prefix, as weights.
    pub fn weights(&self, prefix: &str) -> amis_artifacts::weights::Weights {
        let host = |t: &Tensor| amis_artifacts::weights::HostTensor {
            shape: t.size().iter().map(|&n| n as usize).collect(),
            data: Vec::<f32>::try_from(t.contiguous().view(-1)).unwrap(),
        };
        self.0.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), host(t)))).collect()
    }
}

/// Largest absolute difference.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// Difference relative to the reference.
pub fn relative(found: &Tensor, reference: &Tensor) -> f64 {
    let (found, reference) = (found.double_value(&[]), reference.view(-1).double_value(&[0]));
    (found - reference).abs() / reference.abs().max(1e-12)
}
