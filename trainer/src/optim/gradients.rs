//! All gradients of a network at once. Nothing here but [`first_not_finite`] makes the host wait for the device.

use tch::{Kind, Tensor, no_grad};

use crate::model::Params;

/// Euclidean length of all gradients together, a scalar on their device; not finite if one of them is not.
pub(super) fn norm(params: &Params) -> Tensor {
    no_grad(|| {
        let norms: Vec<Tensor> = defined(params).map(|(_, gradient)| gradient.norm()).collect();
        if norms.is_empty() { Tensor::from(0.0f32) } else { Tensor::stack(&norms, 0).norm() }
    })
}

/// Multiplies all gradients by a scalar on their device.
pub(super) fn scale(params: &Params, factor: &Tensor) {
    no_grad(|| {
        for (_, mut gradient) in defined(params) {
            let _ = gradient.g_mul_(factor);
        }
    });
}

/// Name of the first parameter whose gradient is not finite.
pub(super) fn first_not_finite(params: &Params) -> Option<String> {
    let is_finite = |gradient: &Tensor| gradient.isfinite().all().to_kind(Kind::Int64).int64_value(&[]) == 1;
    defined(params).find(|(_, gradient)| !is_finite(gradient)).map(|(name, _)| name.to_owned())
}

fn defined(params: &Params) -> impl Iterator<Item = (&str, Tensor)> {
    params.iter().map(|(name, param)| (name, param.grad())).filter(|(_, gradient)| gradient.defined())
}
