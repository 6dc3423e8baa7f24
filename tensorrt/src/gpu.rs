//! The GPU of this machine, as CUDA's driver names it.

use cudarc::driver::{CudaContext, DriverError, result, sys};

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
    /// Memory that a program can have on it now.
    pub free_bytes: u64,
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
        let is_integrated = context.attribute(CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0;
        let (free_bytes, _) = result::mem_get_info()?;
        Ok(Self {
            name: context.name()?,
            compute_capability: ComputeCapability::from_sm(major.unsigned_abs() * 10 + minor.unsigned_abs()),
            cores: context.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.unsigned_abs(),
            is_integrated,
            // Of shared memory CUDA sees what is unused; the kernel also knows what caches would give.
            free_bytes: available_bytes().filter(|_| is_integrated).unwrap_or(free_bytes as u64),
        })
    }
}

/// Main memory that a program can have now, as the kernel estimates it.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"))?.parse().ok()?;
    Some(kib * 1024)
}

/// `cudarc` panics where the driver's library is missing, so this is asked first.
#[allow(unsafe_code)]
pub(crate) fn driver_is_present() -> bool {
    // SAFETY: opens libcuda.so, whose initialisers do nothing that the later calls would not do.
    unsafe { sys::is_culib_present() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_kernel_says_what_memory_there_is() {
        assert!(available_bytes().unwrap() > 1 << 20);
    }

    #[test]
    fn a_gpu_answers_or_its_absence_is_an_error() {
        match Gpu::first() {
            Ok(gpu) => assert!(!gpu.name.is_empty() && gpu.cores > 0, "{gpu:?}"),
            Err(error) => assert!(error.to_string().starts_with("no NVIDIA GPU answers: "), "{error}"),
        }
    }
}
