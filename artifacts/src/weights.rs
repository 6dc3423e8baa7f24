//! Weights as safetensors: names, shapes and float32 values.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result, files};

/// Largest weights file that is read, in bytes: ViT-L in float32 has 1.3e9.
pub const MAX_WEIGHTS_BYTES: u64 = 8 << 30;
/// Most tensors in one file.
const MAX_TENSORS: usize = 100_000;

/// A float32 tensor on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Values, as many as the sizes multiply to.
    pub data: Vec<f32>,
}

/// Tensors by name, in a fixed order.
pub type Weights = BTreeMap<String, HostTensor>;

/// Reads all tensors of a safetensors file; float32 only.
///
/// # Errors
/// Unreadable, over [`MAX_WEIGHTS_BYTES`], damaged, or a tensor of another type (named).
pub fn read(path: &Path) -> Result<Weights> {
    parse(&files::read_limited(path, "weights file", MAX_WEIGHTS_BYTES)?, path)
}

/// Tensors of safetensors bytes; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<Weights> {
    let wrong = |reason: String| Error::Malformed { what: "safetensors file", path: path.into(), reason };
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| wrong(e.to_string()))?;
    if tensors.len() > MAX_TENSORS {
        return Err(wrong(format!("{} tensors, at most {MAX_TENSORS} are read", tensors.len())));
    }
    let mut weights = Weights::new();
    for (name, view) in tensors.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(wrong(format!("tensor {name} has type {:?}, expected F32", view.dtype())));
        }
        let data = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        weights.insert(name, HostTensor { shape: view.shape().to_vec(), data });
    }
    Ok(weights)
}

/// The tensors as safetensors bytes.
///
/// # Errors
/// A tensor whose length does not fit its shape.
pub fn to_bytes(weights: &Weights) -> Result<Vec<u8>> {
    let wrong = |reason: String| Error::Spec { what: "weights", reason };
    let raw: Vec<(&String, &Vec<usize>, Vec<u8>)> =
        weights.iter().map(|(name, t)| (name, &t.shape, t.data.iter().flat_map(|v| v.to_le_bytes()).collect())).collect();
    let views: Vec<(&str, TensorView<'_>)> = raw
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes).map_err(|e| wrong(format!("{name}: {e}")))?)))
        .collect::<Result<_>>()?;
    safetensors::serialize(views, None::<HashMap<String, String>>).map_err(|e| wrong(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_come_back_as_they_were_written() {
        let tensor = HostTensor { shape: vec![2, 1], data: vec![1.5, -0.0] };
        let weights = Weights::from([("a.b".to_owned(), tensor)]);
        assert_eq!(parse(&to_bytes(&weights).unwrap(), Path::new("x")).unwrap(), weights);
    }

    #[test]
    fn a_length_that_does_not_fit_the_shape_is_refused() {
        let weights = Weights::from([("a".to_owned(), HostTensor { shape: vec![3], data: vec![0.0] })]);
        assert!(to_bytes(&weights).is_err());
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(cut in 0usize..200, at in 0usize..200, value: u8) {
            let weights = Weights::from([("weight".to_owned(), HostTensor { shape: vec![4], data: vec![1.0; 4] })]);
            let mut bytes = to_bytes(&weights).unwrap();
            let len = bytes.len();
            bytes[at % len] = value;
            bytes.truncate(len - cut % len);
            let _ = parse(&bytes, Path::new("x"));
        }
    }
}
