//! The configuration of a run: TOML, completed by the preset, checked once, then immutable.

mod load;
mod method;

use std::path::PathBuf;

use amis_artifacts::image_spec::{Fit, ImageSpec};
use amis_artifacts::model_spec::ModelSpec;
use amis_data::augment::Augment;
use amis_data::label_mapping::FutureClasses;
use amis_data::layout::Layout;
use amis_data::protocol::Setting;
use serde::{Deserialize, Serialize};

pub use method::{Method, Preset};

use crate::model::Precision;
use crate::optim::{Rule, Schedule};

/// A run, fully resolved: what `checkpoint.json` keeps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Where images and labels lie.
    pub data: DataConfig,
    /// Which classes come in which step, from which images.
    pub task: TaskConfig,
    /// The network's input.
    pub image: ImageConfig,
    /// Sizes of the network.
    pub model: ModelSpec,
    /// The course of training.
    pub train: TrainConfig,
    /// Random scale, crop and flip.
    pub augment: Augment,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// Terms of an incremental step: those of the preset, with what the file overrides.
    pub method: Method,
}

/// Where images and labels lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Which folders the data set has.
    #[serde(default)]
    pub layout: Layout,
    /// The data set's folder, or one above it where the archive is unpacked.
    pub root: PathBuf,
    /// Label folder in it.
    pub labels: String,
}

/// Which classes come in which step, from which images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// Name of the task. In the file, a published task needs no more than its name.
    pub name: String,
    /// Class names of every step, background not among them.
    pub steps: Vec<Vec<String>>,
    /// Where the training images of a step come from.
    pub images: StepImages,
    /// List of validation images: a text file relative to the data's root, or a folder below the image folder.
    pub val: String,
    /// Everything at once: one step with the classes and images of all steps, the bound that incremental learning is measured against.
    #[serde(default)]
    pub offline: bool,
    /// What pixels of classes count as, in an evaluation, that are learned in later steps.
    #[serde(default)]
    pub future_classes: FutureClasses,
}

/// Where the training images of a step come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum StepImages {
    /// One list a step: `<lists>/<step>.txt`, relative to the data's root.
    Lists {
        /// Folder of the lists.
        lists: String,
    },
    /// Images of one list, chosen by the classes they show.
    Classes {
        /// List of all training images, of the same kind as the validation list.
        list: String,
        /// Whether an image may show classes of later steps.
        setting: Setting,
    },
}

/// The network's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// Height of the input, in evaluation and on the device.
    pub height_px: u32,
    /// Width of the input, in evaluation and on the device.
    pub width_px: u32,
    /// How a frame of another shape is fitted.
    pub fit: Fit,
    /// Side of the square training crops.
    pub crop_px: u32,
}

/// The course of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Set of terms in the incremental steps.
    pub preset: Preset,
    /// Decides starting weights, order of the images, augmentation and stochastic depth.
    #[serde(default)]
    pub seed: u64,
    /// Images in a batch: an update of the weights.
    pub batch: usize,
    /// Micro-batches that a batch is cut into where memory is short; gradients are those of the whole batch.
    #[serde(default = "default_accumulate")]
    pub accumulate: usize,
    /// Cut a batch into as many more micro-batches as memory asks for.
    #[serde(default)]
    pub batch_auto: bool,
    /// The base step.
    pub base: Phase,
    /// Every later step.
    pub increment: Phase,
    /// Epochs between two validations; the checkpoint with the best mean IoU over the step's own classes is kept.
    #[serde(default = "default_eval")]
    pub eval_every: usize,
    /// Finished checkpoint to go on from, in place of training its step and those before; mostly a base step.
    #[serde(default)]
    pub base_checkpoint: Option<PathBuf>,
    /// Weights that the encoder of the base step starts from: timm's or the reference's, safetensors or `.pth`.
    #[serde(default)]
    pub pretrained: Option<PathBuf>,
    /// Number format of Linear layers and attention. Evaluations of finished steps compute in float32.
    #[serde(default)]
    pub precision: Precision,
    /// Seconds between two saves of the state, beside those after validations; 0 saves after every iteration.
    #[serde(default = "default_save")]
    pub save_every_s: u64,
    /// Threads that decode and augment.
    #[serde(default = "default_workers")]
    pub workers: usize,
}

fn default_eval() -> usize {
    5
}

fn default_accumulate() -> usize {
    1
}

fn default_save() -> u64 {
    600
}

fn default_workers() -> usize {
    2
}

/// Length and learning rate of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Passes over the step's images.
    pub epochs: usize,
    /// Learning rate after the warm-up.
    pub lr: f64,
}

/// The update rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// SGD for pretrained weights, AdamW from scratch.
    pub rule: Rule,
    /// Strength of weight decay.
    pub weight_decay: f64,
    /// Gradients that are longer than this, all together, are shortened to it.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Iterations over which the learning rate rises.
    #[serde(default)]
    pub warmup: usize,
    /// Course of the learning rate afterwards.
    pub schedule: Schedule,
}

impl Config {
    /// Input of evaluation and device: ImageNet's statistics.
    pub fn image_spec(&self) -> ImageSpec {
        ImageSpec::imagenet(self.image.height_px, self.image.width_px, self.image.fit)
    }

    /// Input of training: square crops.
    pub fn crop_spec(&self) -> ImageSpec {
        ImageSpec { height_px: self.image.crop_px, width_px: self.image.crop_px, ..self.image_spec() }
    }

    /// Rows and columns of the position embedding that training learns.
    pub fn position_grid(&self) -> [u32; 2] {
        [self.image.crop_px / self.model.patch_px; 2]
    }

    /// Length and learning rate of a step.
    pub fn phase(&self, step: usize) -> &Phase {
        if step == 0 { &self.train.base } else { &self.train.increment }
    }
}
