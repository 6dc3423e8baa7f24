//! The device to compute on.

use tch::{Cuda, Device, Tensor};

use crate::{Error, Result};

/// Reads `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// # Errors
/// Another word.
pub fn parse(text: &str) -> std::result::Result<Device, String> {
    match text.split_once(':') {
        None if text == "cpu" => Ok(Device::Cpu),
        None if text == "cuda" => Ok(Device::Cuda(0)),
        Some(("cuda", number)) => number.parse().map(Device::Cuda).map_err(|_| format!("{number} is not the number of a GPU")),
        _ => Err("expected cpu, cuda or cuda:N".into()),
    }
}

/// The wanted device if it is there; the first GPU, or else the CPU, if none is named.
///
/// # Errors
/// The named device is not there; says which are.
pub fn choose(wanted: Option<Device>) -> Result<Device> {
    let Some(device) = wanted else { return Ok(Device::cuda_if_available()) };
    let Device::Cuda(number) = device else { return Ok(device) };
    let reason = match Cuda::device_count() {
        count if count <= 0 || !Cuda::is_available() => {
            "libtorch finds no GPU: there is none, or its driver is older than CUDA 13 needs, or this libtorch is for CPUs alone".into()
        }
        count if number >= count as usize => format!("the GPUs of this machine are cuda:0 to cuda:{}", count - 1),
        _ => return Ok(device),
    };
    Err(Error::Device { wanted: name(device), reason })
}

/// Copies a tensor from the host to a device. The host does not wait for what the GPU is still doing: from page-locked memory the copy queues behind it.
pub(crate) fn upload(host: &Tensor, device: Device) -> Tensor {
    if device.is_cuda() { host.pin_memory(device).to_device_(device, host.kind(), true, false) } else { host.to_device(device) }
}

/// As [`parse`] reads it.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for (text, device) in [("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:11", Device::Cuda(11))] {
            assert_eq!(parse(text).unwrap(), device);
            assert_eq!(name(device), text);
        }
        assert_eq!(parse("cuda").unwrap(), Device::Cuda(0));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "CUDA:0"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn libtorch_knows_cuda_where_it_has_it() {
        // See build.rs: without the library the program would never find a GPU.
        let library = option_env!("LIBTORCH").map(|folder| std::path::Path::new(folder).join("lib/libtorch_cuda.so"));
        assert_eq!(tch::utils::has_cudart(), library.is_some_and(|path| path.exists()));
    }

    #[test]
    fn a_device_that_is_not_there_is_named_with_what_is() {
        assert_eq!(choose(Some(Device::Cpu)).unwrap(), Device::Cpu);
        assert_eq!(choose(None).unwrap(), Device::cuda_if_available());
        let error = choose(Some(Device::Cuda(4096))).unwrap_err();
        assert!(error.to_string().contains("no device cuda:4096: "), "{error}");
        assert_eq!(amis_artifacts::cli::exit_code(&error), 4);
    }
}
