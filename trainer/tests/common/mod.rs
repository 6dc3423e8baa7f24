#![allow(clippy::unwrap_used, missing_docs, dead_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use tch::{Kind, Tensor};

/// A file of reference numbers, as tensors by name.
pub struct Golden(BTreeMap<String, Tensor>);

impl Golden {
    pub fn read(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden").join(name);
        Self(Tensor::read_safetensors(path).unwrap().into_iter().collect())
    }

    pub fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no reference tensor {name}")).shallow_clone()
    }

    /// Float tensors below a prefix, as weights.
    pub fn weights(&self, prefix: &str) -> amis_artifacts::weights::Weights {
        let host = |t: &Tensor| amis_artifacts::weights::HostTensor {
            shape: t.size().iter().map(|&n| n as usize).collect(),
            data: Vec::<f32>::try_from(t.contiguous().view(-1)).unwrap(),
        };
        self.0.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), host(t)))).collect()
    }
}

/// Largest absolute difference.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// Difference relative to the reference.
pub fn relative(found: &Tensor, reference: &Tensor) -> f64 {
    let (found, reference) = (found.double_value(&[]), reference.view(-1).double_value(&[0]));
    (found - reference).abs() / reference.abs().max(1e-12)
}
