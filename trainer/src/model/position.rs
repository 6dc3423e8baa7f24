use amis_artifacts::weights::HostTensor;
use tch::{Kind, Tensor};

/// A learned position embedding `[1, 1 + rows * columns, D]` for a grid of another size: the class token's stays, the grid is resized bilinearly
/// (corners not aligned), as Segmenter does it.
pub(super) fn resize(position: &Tensor, from: [i64; 2], to: [i64; 2]) -> Tensor {
    let dim = position.size()[2];
    let plane = position.slice(1, 1, None, 1).view([1, from[0], from[1], dim]).permute([0, 3, 1, 2]);
    let resized = plane.upsample_bilinear2d(to, false, None, None).flatten(2, 3).transpose(1, 2);
    Tensor::cat(&[position.slice(1, 0, 1, 1), resized], 1)
}

/// [`resize`] on the host; rows and columns.
pub(crate) fn resize_position(position: &HostTensor, from: [u32; 2], to: [u32; 2]) -> crate::Result<HostTensor> {
    let shape: Vec<i64> = position.shape.iter().map(|&n| n as i64).collect();
    let tensor = Tensor::f_from_slice(&position.data)?.to_kind(Kind::Float).f_reshape(&shape)?;
    super::to_host(&resize(&tensor, from.map(i64::from), to.map(i64::from)))
}
