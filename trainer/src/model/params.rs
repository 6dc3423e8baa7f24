use std::collections::BTreeMap;

use amis_artifacts::weights::{HostTensor, Weights};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// Trainable tensors by reference name, in a fixed order.
#[derive(Debug, Default)]
pub struct Params(BTreeMap<String, Tensor>);

impl Params {
    /// Copies weights to a device. With `trainable`, gradients are recorded.
    ///
    /// # Errors
    /// A tensor whose values do not fill its shape.
    pub fn from_weights(weights: &Weights, device: Device, trainable: bool) -> Result<Self> {
        let tensor = |(name, host): (&String, &HostTensor)| {
            let shape: Vec<i64> = host.shape.iter().map(|&n| n as i64).collect();
            let tensor = Tensor::f_from_slice(&host.data)?.f_reshape(&shape)?.to_device(device);
            Ok((name.clone(), tensor.set_requires_grad(trainable)))
        };
        weights.iter().map(tensor).collect::<Result<_>>().map(Self)
    }

    /// Copies the tensors to the host.
    ///
    /// # Errors
    /// libtorch fails to copy.
    pub fn to_weights(&self) -> Result<Weights> {
        let host = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), to_host(tensor)?));
        self.0.iter().map(host).collect()
    }

    /// The tensor of this name and shape.
    ///
    /// # Errors
    /// Missing, or of another shape.
    pub fn get(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let wrong = |reason| Error::Weights { network: "the Segmenter", reason };
        let tensor = self.0.get(name).ok_or_else(|| wrong(format!("{name} is missing, expected shape {shape:?}")))?;
        if tensor.size() != shape {
            return Err(wrong(format!("{name} has shape {:?}, expected {shape:?}", tensor.size())));
        }
        Ok(tensor.shallow_clone())
    }

    /// Names and tensors in their fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Drops all gradients.
    pub fn zero_grad(&mut self) {
        for tensor in self.0.values_mut() {
            tensor.zero_grad();
        }
    }
}

/// A float32 copy of a tensor on the host.
pub(crate) fn to_host(tensor: &Tensor) -> Result<HostTensor> {
    let shape = tensor.size().iter().map(|&n| n as usize).collect();
    let data = Vec::<f32>::try_from(tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view(-1))?;
    Ok(HostTensor { shape, data })
}
