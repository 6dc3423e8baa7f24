//! The GPU of this machine, as CUDA's driver names it.

use cudarc::driver::{CudaContext, DriverError, sys};

use crate::{ComputeCapability, Error};

/// A GPU, as far as an engine depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Name that the driver gives.
    pub name: String,
    /// Its generation.
    pub compute_capability: ComputeCapability,
    /// Streaming multiprocessors.
    pub cores: u32,
    /// Shares its memory with the CPU, as a Jetson's does.
    pub is_integrated: bool,
}

impl Gpu {
    /// The first GPU of this machine, the one that TensorRT builds for.
    ///
    /// # Errors
    /// No driver, no GPU, or one that does not answer.
    pub fn first() -> Result<Self, Error> {
        if !driver_is_present() {
            return Err(Error::NoGpu { reason: "there is no libcuda.so".into() });
        }
        Self::ask().map_err(|error| Error::NoGpu { reason: error.to_string() })
    }

    fn ask() -> Result<Self, DriverError> {
        use sys::CUdevice_attribute::{CU_DEVICE_ATTRIBUTE_INTEGRATED, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT};
        let context = CudaContext::new(0)?;
        let (major, minor) = context.compute_capability()?;
        Ok(Self {
            name: context.name()?,
            compute_capability: ComputeCapability::from_sm(major.unsigned_abs() * 10 + minor.unsigned_abs()),
            cores: context.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.unsigned_abs(),
            is_integrated: context.attribute(CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0,
        })
    }
}

/// `cudarc` panics where the driver's library is missing, so this is asked first.
#[allow(unsafe_code)]
fn driver_is_present() -> bool {
    // SAFETY: opens libcuda.so, whose initialisers do nothing that the later calls would not do.
    unsafe { sys::is_culib_present() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gpu_answers_or_its_absence_is_an_error() {
        match Gpu::first() {
            Ok(gpu) => assert!(!gpu.name.is_empty() && gpu.cores > 0, "{gpu:?}"),
            Err(error) => assert!(error.to_string().starts_with("no NVIDIA GPU answers: "), "{error}"),
        }
    }
}
