//! The kernels on a GPU, and their memory for frames of one size.
#![allow(unsafe_code)] // kernels are started with pointers and sizes that nothing else checks

use std::sync::Arc;

use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::preprocess::Preprocessor;
use amis_tensorrt::{Around, Gpu};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DeviceRepr, DriverError, LaunchConfig, PinnedHostSlice, PushKernelArg, ValidAsZeroBits, sys,
};
use cudarc::nvrtc::Ptx;

use super::layout::{FrameLayout, InputLayout, Taps};
use super::{Nvrtc, compile};
use crate::class_map::ClassMapper;
use crate::pixels::{Color, Layout, PixelFormat, YuvRange};
use crate::{Error, Result};

/// Threads of a block, along both sides.
const BLOCK: u32 = 16;

// SAFETY: structures of C without padding that matters, the same as in the kernels (`layout.rs`; the tests call the kernels with them).
unsafe impl DeviceRepr for FrameLayout {}
// SAFETY: as above.
unsafe impl DeviceRepr for InputLayout {}

/// The kernels, loaded.
#[derive(Clone)]
pub(super) struct Kernels {
    preprocess: CudaFunction,
    class_map: CudaFunction,
    uncertainty: CudaFunction,
}

impl Kernels {
    /// Compiles and loads them for the first GPU, which is that of the context.
    ///
    /// # Errors
    /// No NVRTC that serves this driver and GPU, or a GPU that fails.
    pub(super) fn load(context: &Arc<CudaContext>) -> Result<Self> {
        let (nvrtc, capability) = (Nvrtc::find(driver_major()?)?, Gpu::first()?.compute_capability);
        let code = compile(&nvrtc, capability)?;
        tracing::debug!("NVRTC {}.{} compiled the kernels for compute capability {capability}", nvrtc.version().0, nvrtc.version().1);
        let module = context.load_module(Ptx::from_binary(code)).map_err(gpu("load the kernels"))?;
        let function = |name| module.load_function(name).map_err(gpu("find a kernel that was loaded"));
        Ok(Self { preprocess: function("preprocess")?, class_map: function("class_map")?, uncertainty: function("uncertainty")? })
    }
}

/// What comes before and after the network for RGB frames of one size. The frame is read, and class ids and entropy are written, in memory of the CPU
/// that the GPU works on too: nothing is copied, and on a Jetson, where both share one memory, nothing goes anywhere.
pub(super) struct Stages {
    kernels: Kernels,
    frame_layout: FrameLayout,
    input_layout: InputLayout,
    /// Classes, rows and columns of the masks.
    shape: [i32; 3],
    tables: Tables,
    frame: Mapped<u8>,
    /// Class ids.
    map: Mapped<u8>,
    /// Of every position of the masks.
    entropy: Mapped<f32>,
    /// Not 0: the masks hold a value that is not finite.
    broken: Mapped<i32>,
}

/// What is the same for every frame.
struct Tables {
    first: [CudaSlice<i32>; 2],
    weights: [CudaSlice<f32>; 2],
    levels: CudaSlice<f32>,
    low: [CudaSlice<i32>; 2],
    share: [CudaSlice<f32>; 2],
}

impl Stages {
    /// For frames of `size_px` (width, height), the input of this specification, and masks `[classes, h, w]`.
    ///
    /// # Errors
    /// Sizes that cannot be used, or too little memory.
    pub(super) fn new(kernels: Kernels, stream: &Arc<CudaStream>, spec: &ImageSpec, shape: [usize; 3], size_px: (u32, u32)) -> Result<Self> {
        let layout = rgb_layout(size_px)?;
        let [columns, rows] = Taps::of(spec, size_px.0, size_px.1)?;
        let mapper = ClassMapper::for_frame(shape, spec, size_px.0, size_px.1)?;
        let preprocessor = Preprocessor::new(spec.clone());
        let frame_layout = FrameLayout::new(&layout)?;
        let made = || -> std::result::Result<Self, DriverError> {
            let [(low_y, share_y), (low_x, share_x)] = mapper.tables();
            let context = stream.context();
            Ok(Self {
                input_layout: InputLayout::new(spec, &columns, &rows),
                tables: Tables {
                    first: [stream.clone_htod(&columns.first)?, stream.clone_htod(&rows.first)?],
                    weights: [stream.clone_htod(&columns.weights)?, stream.clone_htod(&rows.weights)?],
                    levels: stream.clone_htod(preprocessor.levels().as_flattened())?,
                    low: [stream.clone_htod(&low_x)?, stream.clone_htod(&low_y)?],
                    share: [stream.clone_htod(share_x)?, stream.clone_htod(share_y)?],
                },
                frame: Mapped::new(context, layout.full_bytes())?,
                map: Mapped::new(context, mapper.width_px() * mapper.height_px())?,
                entropy: Mapped::new(context, shape[1] * shape[2])?,
                broken: Mapped::new(context, 1)?,
                shape: shape.map(|n| n as i32),
                kernels,
                frame_layout,
            })
        };
        made().map_err(gpu("take memory for the kernels"))
    }

    /// Width and height of the frames.
    pub(super) fn size_px(&self) -> (u32, u32) {
        (self.frame_layout.width_px.unsigned_abs(), self.frame_layout.height_px.unsigned_abs())
    }

    /// Takes a frame, RGB without padding, for the next run.
    ///
    /// # Errors
    /// It has another length, or the GPU is lost.
    pub(super) fn put(&mut self, rgb: &[u8]) -> Result<()> {
        let frame = self.frame.values_mut()?;
        if rgb.len() != frame.len() {
            let (expected_bytes, (width_px, height_px)) = (frame.len(), self.size_px());
            return Err(amis_artifacts::Error::Frame { width_px, height_px, found_bytes: rgb.len(), expected_bytes }.into());
        }
        frame.copy_from_slice(rgb);
        self.broken.values_mut()?.fill(0);
        Ok(())
    }

    /// Class ids of the frame of the last run; also gives the entropy of every position of the masks.
    ///
    /// # Errors
    /// Masks with values that are not finite numbers, or a GPU that is lost.
    pub(super) fn take(&self, map: &mut Vec<u8>) -> Result<&[f32]> {
        if self.broken.values()? != [0] {
            return Err(Error::Logits { reason: "it holds values that are not finite numbers".into() });
        }
        map.clear();
        map.extend_from_slice(self.map.values()?);
        self.entropy.values()
    }
}

// SAFETY: tables and mapped memory are made once in `new` and belong to the value; the input that `preprocess` fills has the specification's size.
unsafe impl Around for Stages {
    fn before(&self, stream: &Arc<CudaStream>, input: &mut CudaSlice<f32>) -> std::result::Result<(), DriverError> {
        let Tables { first, weights, levels, .. } = &self.tables;
        let mut launch = stream.launch_builder(&self.kernels.preprocess);
        launch.arg(&self.frame_layout).arg(&self.frame.device).arg(&self.input_layout).arg(&first[0]).arg(&weights[0]).arg(&first[1]).arg(&weights[1]);
        launch.arg(levels).arg(input);
        let grid = grid(self.input_layout.width_px, self.input_layout.height_px);
        // SAFETY: the arguments are those of the kernel; tables and memory have the sizes that `new` made for this layout.
        unsafe { launch.launch(grid) }.map(drop)
    }

    fn after(&self, stream: &Arc<CudaStream>, masks: &CudaSlice<f32>) -> std::result::Result<(), DriverError> {
        let Tables { low, share, .. } = &self.tables;
        let [classes, h, w] = &self.shape;
        let FrameLayout { width_px, height_px, .. } = &self.frame_layout;
        let mut launch = stream.launch_builder(&self.kernels.class_map);
        launch.arg(masks).arg(classes).arg(h).arg(w).arg(&low[1]).arg(&share[1]).arg(&low[0]).arg(&share[0]);
        launch.arg(width_px).arg(height_px).arg(&self.map.device).arg(&self.broken.device);
        // SAFETY: as in `before`; the masks have this shape.
        unsafe { launch.launch(grid(*width_px, *height_px)) }?;
        let positions = h * w;
        let mut launch = stream.launch_builder(&self.kernels.uncertainty);
        launch.arg(masks).arg(classes).arg(&positions).arg(&self.entropy.device);
        // SAFETY: as above; there is a value for every position.
        unsafe { launch.launch(row(positions)) }.map(drop)
    }
}

/// Memory of the CPU that the GPU works on too, at an address of its own.
struct Mapped<T> {
    host: PinnedHostSlice<T>,
    device: sys::CUdeviceptr,
}

impl<T: DeviceRepr + ValidAsZeroBits> Mapped<T> {
    /// `len` times 0.
    fn new(context: &Arc<CudaContext>, len: usize) -> std::result::Result<Self, DriverError> {
        // SAFETY: zeros are written before anything is read, and are values of T. The address is that of memory that was asked to be mapped.
        unsafe {
            let mut host = context.alloc_pinned_with_flags(len, sys::CU_MEMHOSTALLOC_DEVICEMAP)?;
            let start: *mut T = host.as_mut_ptr()?;
            start.write_bytes(0, len);
            let mut device = 0;
            sys::cuMemHostGetDevicePointer_v2(&mut device, start.cast(), 0).result()?;
            Ok(Self { host, device })
        }
    }

    fn values(&self) -> Result<&[T]> {
        self.host.as_slice().map_err(gpu("read what the GPU has written"))
    }

    fn values_mut(&mut self) -> Result<&mut [T]> {
        self.host.as_mut_slice().map_err(gpu("write what the GPU is to read"))
    }
}

/// RGB without padding, as frames are.
fn rgb_layout(size_px: (u32, u32)) -> Result<Layout> {
    let color = Color { range: YuvRange::Full, ..Color::BT601_LIMITED };
    Layout::new(PixelFormat::Rgb24, size_px, 0, color).map_err(|reason| Error::Gpu { action: "read such frames with the kernels", reason })
}

/// Major version of CUDA that the driver has.
fn driver_major() -> Result<u32> {
    let mut version = 0;
    // SAFETY: writes one number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(gpu("ask the driver for its version"))?;
    Ok(version.unsigned_abs() / 1000)
}

fn grid(width_px: i32, height_px: i32) -> LaunchConfig {
    let blocks = |px: i32| px.unsigned_abs().div_ceil(BLOCK);
    LaunchConfig { grid_dim: (blocks(width_px), blocks(height_px), 1), block_dim: (BLOCK, BLOCK, 1), shared_mem_bytes: 0 }
}

fn row(threads: i32) -> LaunchConfig {
    let block = BLOCK * BLOCK;
    LaunchConfig { grid_dim: (threads.unsigned_abs().div_ceil(block), 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: 0 }
}

fn gpu(action: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| Error::Gpu { action, reason: error.to_string() }
}
