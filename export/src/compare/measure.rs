//! One graph on all images.

use std::path::{Path, PathBuf};

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::metrics::ConfusionMatrix;
use amis_artifacts::onnx::{self, ModelProto};
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
use amis_runtime::class_map::ClassMapper;

use super::Images;
use crate::passes::emulate;
use crate::{Error, Result};

/// A graph in ONNX Runtime that gives masks and classes at the input's size.
pub(crate) struct Runner {
    path: PathBuf,
    backend: OnnxRuntime,
    mapper: ClassMapper,
    map: Vec<u8>,
    emulated: bool,
}

impl Runner {
    /// Opens a graph of this checkpoint; `path` is where it comes from, for messages. FP16 is emulated.
    ///
    /// # Errors
    /// A graph that does not run or does not fit the checkpoint, no ONNX Runtime, the disk.
    pub(crate) fn open(mut model: ModelProto, path: &Path, checkpoint: &Checkpoint, threads: usize) -> Result<Self> {
        let emulated = emulate(&mut model)?;
        let file = |source| amis_artifacts::Error::Io { action: "write", path: std::env::temp_dir(), source };
        let dir = tempfile::tempdir().map_err(file)?;
        let copy = dir.path().join("model.onnx");
        onnx::write(&copy, &model)?;
        let backend = OnnxRuntime::open(&copy, &Options { threads }).map_err(|e| match e {
            amis_runtime::Error::Graph { reason, .. } => amis_runtime::Error::Graph { path: path.into(), reason },
            other => other,
        })?;
        let (spec, classes) = (&checkpoint.manifest.image_spec, checkpoint.manifest.groups.classes());
        let expected = [1, 3, spec.height_px as usize, spec.width_px as usize];
        let [_, found, h, w] = backend.output_shape();
        if backend.input_shape() != expected || found != classes {
            let reason = format!("it maps {:?} to {:?}, expected {expected:?} and {classes} classes", backend.input_shape(), backend.output_shape());
            return Err(Error::Mismatch { path: path.into(), reason });
        }
        Ok(Self { backend, mapper: ClassMapper::new([classes, h, w], spec.width_px, spec.height_px)?, map: Vec::new(), emulated, path: path.into() })
    }

    /// Whether it has FP16 values, which are emulated.
    pub(crate) fn emulated(&self) -> bool {
        self.emulated
    }

    /// Masks `[C, h, w]` and class ids `[H, W]` of an input `[3, H, W]`.
    ///
    /// # Errors
    /// It does not run, or gives values that are not finite.
    pub(crate) fn run(&mut self, input: &[f32]) -> Result<(&[f32], &[u8])> {
        let masks = self.backend.infer(input)?;
        self.mapper.run(masks, &mut self.map).map_err(|e| match e {
            amis_runtime::Error::Logits { reason } => Error::Masks { path: self.path.clone(), reason },
            other => other.into(),
        })?;
        Ok((masks, &self.map))
    }
}

/// What is counted of one graph.
pub(crate) struct Measured {
    /// Against the labels; empty without them.
    pub(crate) confusion: ConfusionMatrix,
    /// Share of the pixels that get the reference's class, by image.
    pub(crate) agreement: Vec<f64>,
    /// Mean squared difference of the masks to the reference's.
    pub(crate) mask_mse: f64,
}

impl Measured {
    /// Mean IoU over all classes with background, 0..1; none without labels.
    pub(crate) fn miou(&self) -> Option<f64> {
        self.confusion.mean_iou(0..self.confusion.classes()).miou
    }

    /// Share of all pixels that get the reference's class, 0..1.
    pub(crate) fn mean_agreement(&self) -> f64 {
        self.agreement.iter().sum::<f64>() / self.agreement.len() as f64
    }
}

/// Masks of the float32 graph for every image: what other graphs are held against. Their size is that of the masks, not of the images.
pub(crate) struct Reference {
    masks: Vec<Vec<f32>>,
    runner: Runner,
}

impl Reference {
    /// Runs the float32 graph on all images. `progress` is called after each.
    ///
    /// # Errors
    /// An image that cannot be read, or values that are not finite.
    pub(crate) fn new(mut runner: Runner, checkpoint: &Checkpoint, images: &Images, mut progress: impl FnMut()) -> Result<(Self, Measured)> {
        let mut all = Vec::with_capacity(images.len());
        let mut confusion = ConfusionMatrix::new(checkpoint.manifest.groups.classes());
        images.visit(&checkpoint.manifest.image_spec, |_, input, labels| {
            let (masks, map) = runner.run(input)?;
            labels.iter().for_each(|labels| confusion.add(labels, map));
            all.push(masks.to_vec());
            progress();
            Ok(())
        })?;
        let measured = Measured { confusion, agreement: vec![1.0; images.len()], mask_mse: 0.0 };
        Ok((Self { masks: all, runner }, measured))
    }

    /// Runs another graph on all images.
    ///
    /// # Errors
    /// As [`Self::new`], or masks of another size.
    pub(crate) fn measure(&mut self, runner: &mut Runner, checkpoint: &Checkpoint, images: &Images, mut progress: impl FnMut()) -> Result<Measured> {
        let mut confusion = ConfusionMatrix::new(checkpoint.manifest.groups.classes());
        let (mut agreement, mut squares, mut values) = (Vec::with_capacity(images.len()), 0.0, 0);
        let (mut expected_map, path) = (Vec::new(), runner.path.clone());
        images.visit(&checkpoint.manifest.image_spec, |index, input, labels| {
            let expected = &self.masks[index];
            let (masks, map) = runner.run(input)?;
            if masks.len() != expected.len() {
                let reason = format!("they have {} values, those of the float32 graph {}", masks.len(), expected.len());
                return Err(Error::Masks { path: path.clone(), reason });
            }
            labels.iter().for_each(|labels| confusion.add(labels, map));
            squares += masks.iter().zip(expected).map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>();
            values += masks.len();
            self.runner.mapper.run(expected, &mut expected_map)?;
            agreement.push(map.iter().zip(&expected_map).filter(|(a, b)| a == b).count() as f64 / map.len() as f64);
            progress();
            Ok(())
        })?;
        Ok(Measured { confusion, agreement, mask_mse: squares / values as f64 })
    }

    /// Class ids of the float32 graph on an image.
    pub(crate) fn map(&mut self, index: usize) -> Result<Vec<u8>> {
        let mut map = Vec::new();
        self.runner.mapper.run(&self.masks[index], &mut map)?;
        Ok(map)
    }
}
