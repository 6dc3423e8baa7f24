//! The work around the network on a GPU: frame to input, masks to class ids.
//!
//! The kernels are CUDA C (`runtime/kernels/`), compiled for the GPU at hand by NVRTC when they are loaded: a Jetson has no compiler of its own
//! otherwise, and one program serves every GPU. They give what the code for the CPU gives: class ids and overlays the same, the input within one grey
//! level. On CPUs the tests hold them to that, compiled as C++.

mod around;
mod layout;
mod nvrtc;
mod stages;
#[cfg(test)]
mod tests;

pub(crate) use around::AroundNetwork;
#[cfg(test)]
pub(crate) use layout::Ink;

use amis_tensorrt::ComputeCapability;
use nvrtc::Nvrtc;

/// All kernels, with what they share in front.
const SOURCE: &str = concat!(
    include_str!("../../kernels/frame.cuh"),
    include_str!("../../kernels/preprocess.cu"),
    include_str!("../../kernels/class_map.cu"),
    include_str!("../../kernels/uncertainty.cu"),
    include_str!("../../kernels/overlay.cu")
);

/// Machine code of all kernels for GPUs of a compute capability.
///
/// # Errors
/// An NVRTC that does not know the GPU, or refuses the source.
fn compile(nvrtc: &Nvrtc, compute_capability: ComputeCapability) -> crate::Result<Vec<u8>> {
    let architecture = format!("--gpu-architecture=sm_{}", compute_capability.sm());
    // Contracted products and sums would round otherwise than the CPU's.
    nvrtc.compile(SOURCE, &[&architecture, "--fmad=false", "--std=c++11"])
}
