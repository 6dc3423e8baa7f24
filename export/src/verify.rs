//! Whether a graph computes what the trained network did: the checkpoint's samples through ONNX Runtime, no libtorch.

use std::path::Path;

use amis_artifacts::checkpoint::{Checkpoint, Samples};
use amis_artifacts::onnx;
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
use amis_runtime::class_map::upsample;
use serde::Serialize;

use crate::graph::Batch;
use crate::{Error, Result};

/// Logits of a float32 graph must differ by less: the exporter's promise (float32 rounding through 12 blocks stays near 1e-5).
pub const MAX_ABS_DIFF: f64 = 1e-3;
/// More than this share of the pixels must get the same class.
pub const MIN_AGREEMENT: f64 = 0.999;

/// How a graph compares with the checkpoint's network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Verification {
    /// Largest absolute difference of a logit at input size; infinite if one is not a number.
    pub max_abs_diff: f64,
    /// Share of the pixels whose largest logit is of the same class, 0..1.
    pub argmax_agreement: f64,
    /// Images compared.
    pub images: usize,
}

impl Verification {
    /// Holds the graph to [`MAX_ABS_DIFF`] and [`MIN_AGREEMENT`].
    ///
    /// # Errors
    /// [`Error::Verification`], saying by how much.
    pub fn require(self) -> Result<Self> {
        let Self { max_abs_diff, argmax_agreement, images } = self;
        if max_abs_diff < MAX_ABS_DIFF && argmax_agreement > MIN_AGREEMENT {
            return Ok(self);
        }
        Err(Error::Verification { max_abs_diff, argmax_agreement, images })
    }
}

/// Runs the checkpoint's samples through a graph, upsamples as the device does, and compares with the stored logits. A graph with a dynamic batch runs
/// with one image and with as many as it takes. The result is a measurement: whether it is good enough says [`Verification::require`].
///
/// # Errors
/// No samples, no ONNX Runtime, a graph that does not run or does not fit the checkpoint.
pub fn verify(checkpoint: &Checkpoint, onnx: &Path) -> Result<Verification> {
    let samples = checkpoint.samples()?;
    let batches = match Batch::of(&onnx::read(onnx)?) {
        Some(Batch::Fixed(n)) => vec![n],
        Some(Batch::Dynamic(max)) => vec![1, max],
        None => vec![1],
    };
    let mut worst = Verification { max_abs_diff: 0.0, argmax_agreement: 1.0, images: samples.count };
    for batch in batches {
        let found = with_batch(checkpoint, &samples, onnx, batch.into())?;
        worst.max_abs_diff = worst.max_abs_diff.max(found.max_abs_diff);
        worst.argmax_agreement = worst.argmax_agreement.min(found.argmax_agreement);
    }
    Ok(worst)
}

fn with_batch(checkpoint: &Checkpoint, samples: &Samples, onnx: &Path, batch: usize) -> Result<Verification> {
    let mut backend = OnnxRuntime::open_batch(onnx, &Options::default(), batch)?;
    let (spec, classes) = (&checkpoint.manifest.image_spec, checkpoint.manifest.groups.classes());
    let expected = [batch, 3, spec.height_px as usize, spec.width_px as usize];
    let mismatch = |reason: String| Error::Mismatch { path: onnx.into(), reason };
    if backend.input_shape() != expected {
        return Err(mismatch(format!("its input is {:?}, expected {expected:?}", backend.input_shape())));
    }
    let [_, found, h, w] = backend.output_shape();
    if found != classes {
        return Err(mismatch(format!("it has {found} classes, expected {classes}")));
    }
    compare(samples, spec.input_len(), classes, batch, |inputs| {
        let masks = backend.infer(inputs)?.chunks_exact(classes * h * w);
        let logits = masks.map(|masks| upsample(masks, [classes, h, w], spec.width_px, spec.height_px)).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(logits.concat())
    })
}

/// Runs `network` (`[B, 3, H, W]` to `[B, C, H, W]`) on every sample and compares the logits. The last batch is filled up from the first sample on.
fn compare(samples: &Samples, input_len: usize, classes: usize, batch: usize, mut network: impl FnMut(&[f32]) -> Result<Vec<f32>>) -> Result<Verification> {
    let pixels = input_len / 3;
    let (mut max_abs_diff, mut same, mut compared) = (0.0f64, 0usize, 0usize);
    for start in (0..samples.count).step_by(batch) {
        let numbers: Vec<usize> = (start..start + batch).map(|i| i % samples.count).collect();
        let inputs: Vec<f32> = numbers.iter().flat_map(|&i| &samples.input[i * input_len..][..input_len]).copied().collect();
        let logits = network(&inputs)?;
        for (&number, found) in numbers.iter().zip(logits.chunks_exact(classes * pixels)) {
            let expected = &samples.logits[number * classes * pixels..][..classes * pixels];
            for (a, b) in found.iter().zip(expected) {
                let diff = f64::from((a - b).abs());
                max_abs_diff = max_abs_diff.max(if diff.is_nan() { f64::INFINITY } else { diff });
            }
            same += (0..pixels).filter(|&pixel| argmax(found, pixels, pixel) == argmax(expected, pixels, pixel)).count();
            compared += pixels;
        }
    }
    Ok(Verification { max_abs_diff, argmax_agreement: same as f64 / compared as f64, images: samples.count })
}

/// Class with the largest of the logits `[C, pixels]` at a pixel; of equal ones the first.
fn argmax(logits: &[f32], pixels: usize, pixel: usize) -> usize {
    let values = logits.iter().skip(pixel).step_by(pixels).enumerate();
    values.fold((0, f32::NEG_INFINITY), |best, (class, &value)| if value > best.1 { (class, value) } else { best }).0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// One image of two pixels, two classes.
    fn compare_with(found: [f32; 4]) -> Verification {
        let samples = Samples { count: 1, input: vec![0.0; 6], logits: vec![1.0, 0.0, 0.0, 2.0] };
        compare(&samples, 6, 2, 1, |_| Ok(found.to_vec())).unwrap()
    }

    #[test]
    fn equal_logits_agree() {
        let result = compare_with([1.0, 0.0, 0.0, 2.0]);
        assert_eq!(result, Verification { max_abs_diff: 0.0, argmax_agreement: 1.0, images: 1 });
        result.require().unwrap();
    }

    #[test]
    fn a_difference_and_another_class_are_seen() {
        let result = compare_with([1.0, 0.0, 1.5, 2.0]);
        assert_eq!((result.max_abs_diff, result.argmax_agreement), (1.5, 0.5));
        let message = result.require().unwrap_err().to_string();
        assert!(message.contains("differ by up to 1.500e0") && message.contains("50.0000 %"), "{message}");
    }

    #[test]
    fn a_logit_that_is_no_number_never_passes() {
        assert_eq!(compare_with([f32::NAN, 0.0, 0.0, 2.0]).max_abs_diff, f64::INFINITY);
        assert!(compare_with([1.0, f32::NAN, 0.0, 2.0]).require().is_err());
    }
}
