//! Predictions over a validation list.

use amis_artifacts::metrics::ConfusionMatrix;
use amis_data::loader::{Batch, Loader};
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::device::upload;
use crate::model::Segmenter;

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
    // `argmax` over channels takes four times as long.
    let (_, best) = model.logits(images).max_dim(1, false);
    Ok(Vec::<u8>::try_from(best.to_kind(Kind::Uint8).to_device(Device::Cpu).contiguous().view(-1))?)
}

/// Confusion matrix over all batches of a loader, at the input's size.
///
/// # Errors
/// An image or label that cannot be read.
pub fn evaluate(model: &Segmenter, loader: Loader, height_px: u32, width_px: u32, device: Device) -> Result<ConfusionMatrix> {
    let mut matrix = ConfusionMatrix::new(model.groups.classes());
    for batch in loader {
        let batch = batch?;
        let (images, _) = to_tensors(&batch, height_px, width_px, device)?;
        matrix.add(&batch.labels, &predict(model, &images)?);
    }
    Ok(matrix)
}
