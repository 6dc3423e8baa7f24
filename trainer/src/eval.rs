//! Predictions over a validation list.

mod checkpoint;
mod overlay;

use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::metrics::ConfusionMatrix;
use amis_data::folder::DataFolder;
use amis_data::label_mapping::Mapping;
use amis_data::loader::{Batch, Loader, LoaderOptions};
use tch::{Device, Kind, Tensor};

pub use checkpoint::{Choices, Evaluation};
pub use overlay::overlay;

use crate::Result;
use crate::device::upload;
use crate::model::{Segmenter, best_class};

/// Images in a validation batch.
pub const BATCH: usize = 8;
/// Decoded validation images kept in memory, in bytes.
const CACHE_BYTES: usize = 512 << 20;

/// How images are loaded for an evaluation: in order, fitted as `spec` says.
pub fn loading(folder: DataFolder, names: Vec<String>, mapping: Mapping, spec: ImageSpec, workers: usize) -> LoaderOptions {
    LoaderOptions {
        folder,
        names,
        mapping,
        spec,
        augment: None,
        batch: BATCH,
        own: 0..BATCH,
        seed: 0,
        first_iteration: 0,
        end_iteration: None,
        workers,
        cache_bytes: CACHE_BYTES,
    }
}

/// A batch as tensors on a device: images `[B, 3, H, W]`, labels `[B, H, W]`.
///
/// # Errors
/// Buffers that do not fit their sizes.
pub fn to_tensors(batch: &Batch, height_px: u32, width_px: u32, device: Device) -> Result<(Tensor, Tensor)> {
    let (count, height, width) = (batch.names.len() as i64, i64::from(height_px), i64::from(width_px));
    let images = upload(&Tensor::f_from_slice(&batch.input)?.f_view([count, 3, height, width])?, device);
    let labels = upload(&Tensor::f_from_slice(&batch.labels)?.f_view([count, height, width])?, device).to_kind(Kind::Int64);
    Ok((images, labels))
}

/// Class ids `[B, H, W]` of the best logits, as bytes.
///
/// # Errors
/// libtorch fails to copy.
pub fn predict(model: &Segmenter, images: &Tensor) -> Result<Vec<u8>> {
    let (_, best) = best_class(&model.logits(images));
    Ok(Vec::<u8>::try_from(best.to_device(Device::Cpu).contiguous().view(-1))?)
}

/// Gives every batch of a loader to `visit`, with the predicted class ids `[B, H, W]`.
///
/// # Errors
/// An image or label that cannot be read, and those of `visit`.
pub fn predictions(
    model: &Segmenter,
    mut loader: Loader,
    height_px: u32,
    width_px: u32,
    device: Device,
    visit: &mut dyn FnMut(&Batch, &[u8]) -> Result<()>,
) -> Result<()> {
    while let Some(batch) = loader.next() {
        let batch = batch?;
        let (images, _) = to_tensors(&batch, height_px, width_px, device)?;
        visit(&batch, &predict(model, &images)?)?;
        loader.give_back(batch);
    }
    Ok(())
}

/// Confusion matrix over all batches of a loader, at the input's size.
///
/// # Errors
/// An image or label that cannot be read.
pub fn evaluate(model: &Segmenter, loader: Loader, height_px: u32, width_px: u32, device: Device) -> Result<ConfusionMatrix> {
    let mut matrix = ConfusionMatrix::new(model.groups.classes());
    let mut count = |batch: &Batch, predicted: &[u8]| {
        matrix.add(&batch.labels, predicted);
        Ok(())
    };
    predictions(model, loader, height_px, width_px, device, &mut count)?;
    Ok(matrix)
}
