//! Weights of the checkpoint, checked against the shapes that the network needs.

use amis_artifacts::weights::Weights;

use crate::{Error, Result};

/// The weights by their reference names.
pub(crate) struct Params<'a>(pub(crate) &'a Weights);

impl<'a> Params<'a> {
    /// The values of a weight, row-major.
    ///
    /// # Errors
    /// Missing, of another shape, or with a value that is no finite number.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<&'a [f32]> {
        let wrong = |reason: String| Error::Weight { name: name.to_owned(), reason };
        let tensor = self.0.get(name).ok_or_else(|| wrong(format!("is missing, expected one of shape {shape:?}")))?;
        if tensor.shape != shape {
            return Err(wrong(format!("has shape {:?}, expected {shape:?}", tensor.shape)));
        }
        match tensor.data.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(wrong(format!("holds {} at position {at}, expected finite numbers", tensor.data[at]))),
            None => Ok(&tensor.data),
        }
    }

    /// A Linear's weight `[out, inputs]` as the right side of a product, `[inputs, out]`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) fn transposed(&self, name: &str, out: usize, inputs: usize) -> Result<Vec<f32>> {
        let data = self.get(name, &[out, inputs])?;
        Ok((0..inputs).flat_map(|i| (0..out).map(move |o| data[o * inputs + i])).collect())
    }

    /// One parameter per class group, end to end. `shape` gives the shape for the number of classes of a group.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) fn grouped(&self, name: &str, groups: &[u32], shape: impl Fn(usize) -> Vec<usize>) -> Result<Vec<f32>> {
        let parts = groups.iter().enumerate().map(|(k, &n)| self.get(&format!("{name}.{k}"), &shape(n as usize)));
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use amis_artifacts::weights::HostTensor;

    #[test]
    fn a_wrong_weight_is_named_with_found_and_expected() {
        let tensor = |shape: &[usize], data: &[f32]| HostTensor { shape: shape.to_vec(), data: data.to_vec() };
        let weights = Weights::from([("a".into(), tensor(&[1, 2], &[1.0, 2.0])), ("b".into(), tensor(&[2], &[1.0, f32::NAN]))]);
        let params = Params(&weights);
        let message = |name: &str, shape: &[usize]| params.get(name, shape).unwrap_err().to_string();
        assert_eq!(message("a", &[2]), "weight a has shape [1, 2], expected [2]");
        assert_eq!(message("c", &[2]), "weight c is missing, expected one of shape [2]");
        assert_eq!(message("b", &[2]), "weight b holds NaN at position 1, expected finite numbers");
    }

    #[test]
    fn a_linear_is_transposed() {
        let tensor = HostTensor { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        let weights = Weights::from([("w".into(), tensor)]);
        assert_eq!(Params(&weights).transposed("w", 2, 3).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
