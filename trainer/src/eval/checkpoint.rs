use std::path::{Path, PathBuf};

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::classes::ClassList;
use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::metrics::{ConfusionMatrix, FutureClasses, StepMetrics};
use amis_data::folder::DataFolder;
use amis_data::label_mapping;
use amis_data::loader::{Batch, Loader, LoaderOptions};
use serde::Deserialize;
use tch::Device;

use super::{BATCH, loading, predictions};
use crate::config::{Config, DataConfig, TaskConfig};
use crate::guard::guarded;
use crate::model::Segmenter;
use crate::{Error, Result};

/// Threads that decode images; the result does not depend on them.
const WORKERS: usize = 2;

/// What may be other than in the checkpoint's own validation.
#[derive(Debug, Default)]
pub struct Choices {
    /// Root of the data set, or a configuration file with data set and task.
    pub data: Option<PathBuf>,
    /// List of images.
    pub list: Option<String>,
    /// What pixels of classes count as that the checkpoint does not know yet.
    pub future_classes: Option<FutureClasses>,
}

/// A checkpoint with the images that it is measured on.
pub struct Evaluation {
    checkpoint: Checkpoint,
    model: Segmenter,
    images: LoaderOptions,
    future_classes: FutureClasses,
    device: Device,
}

/// Where images, labels and steps come from.
#[derive(Deserialize)]
struct Source {
    data: DataConfig,
    task: TaskConfig,
}

impl Evaluation {
    /// Opens the checkpoint in `dir` with its weights, and the list. Without choices, the metrics will be those of its `metrics.json`.
    ///
    /// # Errors
    /// A damaged checkpoint, one that names no data set, or a data set or task that does not fit it.
    pub fn new(dir: &Path, choices: &Choices, device: Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(dir)?;
        let manifest = &checkpoint.manifest;
        let Source { data, task } = source(&checkpoint, choices.data.as_deref())?;
        let folder = DataFolder::open(data.layout, &data.root, &data.labels)?;
        let names = folder.read_list(choices.list.as_ref().unwrap_or(&task.val))?;
        let future_classes = choices.future_classes.unwrap_or(task.future_classes);
        let mapping = label_mapping::eval(&folder.class_ids(&task.steps)?, manifest.step, future_classes, folder.layout().zero())?;
        let images = loading(folder, names, mapping, manifest.image_spec.clone(), WORKERS);
        let model = Segmenter::new(&manifest.model, &manifest.groups, manifest.position_grid, &checkpoint.weights()?, device, false)?;
        Ok(Self { model, images, future_classes, device, checkpoint })
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.images.names.len()
    }

    /// The checkpoint's classes.
    pub fn classes(&self) -> &ClassList {
        &self.checkpoint.manifest.classes
    }

    /// Size and normalisation of its input.
    pub fn spec(&self) -> &ImageSpec {
        &self.images.spec
    }

    /// Metrics over all images. `visit` gets every batch with the predicted class ids `[B, H, W]`.
    ///
    /// # Errors
    /// An image or label that cannot be read, no memory, and those of `visit`.
    pub fn run(&self, visit: &mut dyn FnMut(&Batch, &[u8]) -> Result<()>) -> Result<StepMetrics> {
        let manifest = &self.checkpoint.manifest;
        let mut matrix = ConfusionMatrix::new(manifest.classes.len());
        let ImageSpec { height_px, width_px, .. } = self.images.spec;
        let mut count = |batch: &Batch, predicted: &[u8]| {
            matrix.add(&batch.labels, predicted);
            visit(batch, predicted)
        };
        let loader = Loader::start(self.images.clone())?;
        let doing = || format!("evaluating on {BATCH} images of {width_px}x{height_px} pixels at once");
        guarded(doing, || predictions(&self.model, loader, height_px, width_px, self.device, &mut count))?;
        let metrics = StepMetrics::new(manifest.step, &manifest.classes, &manifest.groups, matrix);
        Ok(StepMetrics { future_classes: self.future_classes, ..metrics })
    }
}

/// The checkpoint's own data set and task, with another root, or those of a configuration file.
fn source(checkpoint: &Checkpoint, data: Option<&Path>) -> Result<Source> {
    let manifest = &checkpoint.manifest;
    if let Some(path) = data.filter(|path| path.is_file()) {
        let Config { data, task, .. } = Config::load(path, &[])?;
        let known: Vec<&str> = std::iter::once("background").chain(task.steps.iter().take(manifest.step + 1).flatten().map(String::as_str)).collect();
        let expected: Vec<&str> = manifest.classes.iter().map(|c| c.name.as_str()).collect();
        if known != expected {
            let reason = format!("its classes up to step {} are {}; the checkpoint has {}", manifest.step, known.join(", "), expected.join(", "));
            return Err(Error::Config { path: path.into(), reason });
        }
        return Ok(Source { data, task });
    }
    let without = |e: serde_json::Error| Error::Config {
        path: checkpoint.dir.join("checkpoint.json"),
        reason: format!("it does not say on which data set and task it was trained ({e}); name a configuration file by --data"),
    };
    let mut source: Source = serde_json::from_value(manifest.config.clone()).map_err(without)?;
    if let Some(root) = data {
        source.data.root = root.into();
    }
    Ok(source)
}
