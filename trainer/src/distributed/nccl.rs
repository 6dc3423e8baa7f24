//! Sums over the GPUs of all ranks.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use cudarc::nccl::result::{self, NcclError};
use cudarc::nccl::sys;
use cudarc::{driver, nccl};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// NCCL between the GPUs of all ranks.
pub(super) struct Nccl {
    communicator: sys::ncclComm_t,
    /// Keeps the device current on this thread: NCCL and libtorch share it.
    _context: Arc<CudaContext>,
}

impl Nccl {
    /// Connects GPU `device` of this rank with those of the others. `exchange` replaces the identifier by that of rank 0.
    pub(super) fn connect(device: usize, rank: usize, ranks: usize, exchange: impl FnOnce(&mut [i8])) -> Result<Self> {
        require_libraries()?;
        let wrong = |what: &str, error: &dyn std::fmt::Debug| Error::Gpus { reason: format!("{what}: {error:?}") };
        let context = CudaContext::new(device).map_err(|e| wrong(&format!("opening GPU {device}"), &e))?;
        context.bind_to_thread().map_err(|e| wrong(&format!("choosing GPU {device}"), &e))?;
        let mut id = match rank {
            0 => result::get_uniqueid().map_err(|e| wrong("making an identifier", &e.0))?,
            _ => sys::ncclUniqueId { internal: [0; 128] },
        };
        exchange(&mut id.internal);
        let mut communicator = ptr::null_mut();
        // SAFETY: the place for the result is valid for the call, the device of this rank is current, and every rank calls this with the same identifier.
        let connected = unsafe { result::comm_init_rank(&mut communicator, ranks as i32, id, rank as i32) };
        connected.map_err(|e| wrong(&format!("connecting GPU {device} of rank {rank} with {} others", ranks - 1), &e.0))?;
        Ok(Self { communicator, _context: context })
    }

    /// Replaces a tensor in the memory of this rank's GPU by its sum over all ranks, in order with libtorch's own work.
    pub(super) fn sum(&self, tensor: &Tensor) -> Result<()> {
        let kind = match tensor.kind() {
            Kind::Float => sys::ncclDataType_t::ncclFloat32,
            Kind::Double => sys::ncclDataType_t::ncclFloat64,
            other => return Err(Error::Gpus { reason: format!("sum of {other:?}, expected float32 or float64") }),
        };
        if !tensor.is_contiguous() {
            return Err(Error::Gpus { reason: "sum of a tensor with gaps".into() });
        }
        let (data, count) = (tensor.data_ptr(), tensor.numel());
        // SAFETY: `data` points at `count` numbers of this kind, dense, on the communicator's GPU. The null stream is the one that libtorch works on as long as
        // nobody sets another: the sum runs after what computes the tensor and before what uses or frees it.
        let summed = unsafe { result::all_reduce(data, data, count, kind, sys::ncclRedOp_t::ncclSum, self.communicator, ptr::null_mut()) };
        summed.map(|_| ()).map_err(|NcclError(code)| Error::Gpus { reason: format!("adding up {count} numbers: {code:?}") })
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // SAFETY: the communicator comes from `comm_init_rank` and is not used after this.
        let _ = unsafe { result::comm_destroy(self.communicator) };
    }
}

/// `cudarc` panics where a library is missing.
fn require_libraries() -> Result<()> {
    let missing = |name: &str| Err(Error::Gpus { reason: format!("{name} is not found") });
    // SAFETY: loading a library runs its initialisers; these two are made for that.
    unsafe {
        if !driver::sys::is_culib_present() {
            return missing("libcuda.so, part of the driver,");
        }
        if !nccl::sys::is_culib_present() {
            return missing("libnccl.so");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nccl_is_found_and_makes_identifiers_without_a_gpu() {
        // SAFETY: as above.
        if !unsafe { nccl::sys::is_culib_present() } {
            eprintln!("skipped: libnccl.so is not found");
            return;
        }
        let version = result::get_nccl_version().unwrap();
        assert!(version >= 22200, "NCCL {version}");
        let [one, other] = [(); 2].map(|()| result::get_uniqueid().unwrap().internal);
        assert_ne!(one, other);
    }

    #[test]
    fn without_a_driver_the_error_names_it() {
        // SAFETY: as above.
        if unsafe { driver::sys::is_culib_present() } {
            eprintln!("skipped: there is a driver");
            return;
        }
        let error = Nccl::connect(0, 0, 2, |_| {}).err().unwrap();
        assert!(error.to_string().contains("libcuda.so"), "{error}");
        assert_eq!(amis_artifacts::cli::exit_code(&error), 4);
    }
}
