//! All gradients as one vector, because one large all-reduce is faster than many small ones.

use tch::{Tensor, no_grad};

use crate::Result;
use crate::model::Params;

/// Lays all gradients into one vector, has `sum` replace it by the sum over all ranks, and takes them back.
pub(super) fn sum(params: &Params, sum: impl FnOnce(&Tensor) -> Result<()>) -> Result<()> {
    no_grad(|| {
        // Every rank has the same parameters with gradients, in the order of their names.
        let mut gradients: Vec<Tensor> = params.iter().map(|(_, param)| param.grad()).filter(Tensor::defined).collect();
        let vectors: Vec<Tensor> = gradients.iter().map(|gradient| gradient.reshape([-1])).collect();
        let flat = Tensor::f_cat(&vectors, 0)?;
        drop(vectors);
        sum(&flat)?;
        let sizes: Vec<i64> = gradients.iter().map(|gradient| gradient.numel() as i64).collect();
        for (gradient, vector) in gradients.iter_mut().zip(flat.f_split_with_sizes(&sizes, 0)?) {
            gradient.f_copy_(&vector.view_as(gradient))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use amis_artifacts::weights::{HostTensor, Weights};
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn gradients_come_back_in_their_places() {
        let host = |shape: &[usize]| HostTensor { shape: shape.to_vec(), data: vec![0.5; shape.iter().product()] };
        let weights: Weights = [("a", vec![2, 3]), ("b", vec![]), ("c", vec![4]), ("unused", vec![2])].map(|(n, s)| (n.to_owned(), host(&s))).into();
        let params = Params::from_weights(&weights, Device::Cpu, true).unwrap();
        let (a, b, c) = (params.get("a", &[2, 3]).unwrap(), params.get("b", &[]).unwrap(), params.get("c", &[4]).unwrap());
        let scale = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        // The gradient of `a` is stored transposed.
        ((a.transpose(0, 1) * scale.transpose(0, 1).contiguous()).sum(Kind::Float) + &b * 7.0 + (&c * 9.0).sum(Kind::Float)).backward();
        sum(&params, |flat| {
            assert_eq!(flat.size(), [11]);
            let _ = flat.shallow_clone().g_mul_scalar_(2.0);
            Ok(())
        })
        .unwrap();
        assert_eq!(a.grad(), scale * 2.0);
        assert_eq!((b.grad().double_value(&[]), c.grad().double_value(&[3])), (14.0, 18.0));
        assert!(params.iter().all(|(name, p)| p.grad().defined() != (name == "unused")));
    }
}
