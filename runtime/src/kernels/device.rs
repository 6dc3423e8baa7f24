//! The kernels on the first GPU, with their buffers.
#![allow(unsafe_code)] // kernels are started with pointers and sizes that nothing else checks

use std::sync::Arc;

use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::preprocess::Preprocessor;
use cudarc::driver::sys;
use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

use super::layout::{FrameLayout, InputLayout, Taps};
use super::{Ink, Layout, Nvrtc, compile};
use crate::class_map::ClassMapper;
use crate::overlay::Overlay;
use crate::{Error, Result};

/// Threads of a block, along both sides.
const BLOCK: u32 = 16;

// SAFETY: structures of C without padding that matters, the same as in the kernels (`layout.rs`; the tests call the kernels with them).
unsafe impl DeviceRepr for FrameLayout {}
// SAFETY: as above.
unsafe impl DeviceRepr for InputLayout {}
// SAFETY: as above.
unsafe impl DeviceRepr for Ink {}

/// The kernels for frames of one layout and one network: upload, [`Self::preprocess`], the network, [`Self::class_map`], [`Self::overlay`].
///
/// Everything runs on one stream, in order; what is downloaded is waited for.
pub struct Kernels {
    stream: Arc<CudaStream>,
    frame: FrameLayout,
    input_layout: InputLayout,
    /// Classes, rows and columns of the masks.
    shape: [usize; 3],
    functions: Functions,
    tables: Tables,
    /// The frame as it was uploaded.
    bytes: CudaSlice<u8>,
    input: CudaSlice<f32>,
    map: CudaSlice<u8>,
    broken: CudaSlice<i32>,
    picture: CudaSlice<u8>,
    counts: CudaSlice<u32>,
}

struct Functions {
    preprocess: CudaFunction,
    class_map: CudaFunction,
    overlay: CudaFunction,
    count_classes: CudaFunction,
}

/// What is the same for every frame.
struct Tables {
    first: [CudaSlice<i32>; 2],
    weights: [CudaSlice<f32>; 2],
    levels: CudaSlice<f32>,
    low: [CudaSlice<i32>; 2],
    share: [CudaSlice<f32>; 2],
    inks: CudaSlice<Ink>,
}

impl Kernels {
    /// Compiles and loads the kernels on the first GPU, for frames of this layout and masks `[classes, h, w]`.
    ///
    /// # Errors
    /// No GPU, no NVRTC, frames in MJPEG, sizes that cannot be used, or too little memory.
    pub fn load(spec: &ImageSpec, shape: [usize; 3], layout: &Layout, overlay: &Overlay) -> Result<Self> {
        let frame = FrameLayout::new(layout)?;
        // `cudarc` panics where the driver's library is missing, so this asks first.
        let capability = amis_tensorrt::Gpu::first()?.compute_capability;
        let context = CudaContext::new(0).map_err(gpu("open the first GPU"))?;
        let code = compile(&Nvrtc::find(driver_major()?)?, capability)?;
        let module = context.load_module(Ptx::from_binary(code)).map_err(gpu("load the kernels"))?;
        let function = |name| module.load_function(name).map_err(gpu("find a kernel that was loaded"));
        let functions = Functions {
            preprocess: function("preprocess")?,
            class_map: function("class_map")?,
            overlay: function("overlay")?,
            count_classes: function("count_classes")?,
        };
        let (width_px, height_px) = (layout.width_px, layout.height_px);
        let [columns, rows] = Taps::of(spec, width_px, height_px)?;
        let mapper = ClassMapper::for_frame(shape, spec, width_px, height_px)?;
        let stream = context.new_stream().map_err(gpu("make a stream"))?;
        let preprocessor = Preprocessor::new(spec.clone());
        let pixels = width_px as usize * height_px as usize;
        let made = || -> std::result::Result<Self, DriverError> {
            let [(low_y, share_y), (low_x, share_x)] = mapper.tables();
            Ok(Self {
                input_layout: InputLayout::new(spec, &columns, &rows),
                tables: Tables {
                    first: [stream.clone_htod(&columns.first)?, stream.clone_htod(&rows.first)?],
                    weights: [stream.clone_htod(&columns.weights)?, stream.clone_htod(&rows.weights)?],
                    levels: stream.clone_htod(preprocessor.levels().as_flattened())?,
                    low: [stream.clone_htod(&low_x)?, stream.clone_htod(&low_y)?],
                    share: [stream.clone_htod(share_x)?, stream.clone_htod(share_y)?],
                    inks: stream.clone_htod(&overlay.inks())?,
                },
                bytes: stream.alloc_zeros(layout.full_bytes())?,
                input: stream.alloc_zeros(spec.input_len())?,
                map: stream.alloc_zeros(pixels)?,
                broken: stream.alloc_zeros(1)?,
                picture: stream.alloc_zeros(3 * pixels)?,
                counts: stream.alloc_zeros(256)?,
                stream: stream.clone(),
                frame,
                shape,
                functions,
            })
        };
        made().map_err(gpu("take memory for the kernels"))
    }

    /// Uploads a frame, with padding after its last row too, and makes the network's input `[3, H, W]` of it, on the GPU.
    ///
    /// # Errors
    /// A frame of another length, or a GPU that fails.
    pub fn preprocess(&mut self, frame: &[u8]) -> Result<&CudaSlice<f32>> {
        if frame.len() != self.bytes.len() {
            let (width_px, height_px) = (self.frame.width_px.unsigned_abs(), self.frame.height_px.unsigned_abs());
            return Err(amis_artifacts::Error::Frame { width_px, height_px, found_bytes: frame.len(), expected_bytes: self.bytes.len() }.into());
        }
        self.stream.memcpy_htod(frame, &mut self.bytes).map_err(gpu("upload a frame"))?;
        let Tables { first, weights, levels, .. } = &self.tables;
        let mut launch = self.stream.launch_builder(&self.functions.preprocess);
        launch.arg(&self.frame).arg(&self.bytes).arg(&self.input_layout).arg(&first[0]).arg(&weights[0]).arg(&first[1]).arg(&weights[1]);
        launch.arg(levels).arg(&mut self.input);
        let grid = grid(self.input_layout.width_px, self.input_layout.height_px);
        // SAFETY: the arguments are those of the kernel; tables and buffers have the sizes that `load` made for this layout.
        unsafe { launch.launch(grid) }.map_err(gpu("start preprocess"))?;
        Ok(&self.input)
    }

    /// Class ids of the frame from the network's masks `[classes, h, w]` on the GPU; they stay there too, for [`Self::overlay`].
    ///
    /// # Errors
    /// Masks of another length or with values that are not finite numbers, or a GPU that fails.
    pub fn class_map(&mut self, masks: &CudaSlice<f32>, map: &mut Vec<u8>) -> Result<()> {
        let expected: usize = self.shape.iter().product();
        if masks.len() != expected {
            return Err(Error::Logits { reason: format!("{} values, expected {expected} for {:?}", masks.len(), self.shape) });
        }
        let [classes, h, w] = self.shape.map(|n| n as i32);
        let Tables { low, share, .. } = &self.tables;
        let failed = gpu("start class_map");
        self.stream.memset_zeros(&mut self.broken).map_err(&failed)?;
        let mut launch = self.stream.launch_builder(&self.functions.class_map);
        launch.arg(masks).arg(&classes).arg(&h).arg(&w).arg(&low[1]).arg(&share[1]).arg(&low[0]).arg(&share[0]);
        launch.arg(&self.frame.width_px).arg(&self.frame.height_px).arg(&mut self.map).arg(&mut self.broken);
        // SAFETY: as in `preprocess`; the length of the masks was checked.
        unsafe { launch.launch(grid(self.frame.width_px, self.frame.height_px)) }.map_err(failed)?;
        map.resize(self.map.len(), 0);
        let mut broken = [0];
        let failed = gpu("download a class map");
        self.stream.memcpy_dtoh(&self.map, map).map_err(&failed)?;
        self.stream.memcpy_dtoh(&self.broken, &mut broken).map_err(&failed)?;
        self.stream.synchronize().map_err(failed)?;
        if broken == [0] { Ok(()) } else { Err(Error::Logits { reason: "it holds values that are not finite numbers".into() }) }
    }

    /// Colours the frame by the last class map into `picture` (RGB, the frame's size) and gives the pixels of every class; the legend is for the CPU.
    ///
    /// # Errors
    /// A GPU that fails.
    pub fn overlay(&mut self, picture: &mut Vec<u8>) -> Result<[u32; 256]> {
        let FrameLayout { width_px, height_px, .. } = self.frame;
        let failed = gpu("start overlay");
        self.stream.memset_zeros(&mut self.counts).map_err(&failed)?;
        let mut launch = self.stream.launch_builder(&self.functions.overlay);
        launch.arg(&self.frame).arg(&self.bytes).arg(&self.map).arg(&self.tables.inks).arg(&width_px).arg(&mut self.picture);
        // SAFETY: as in `preprocess`; the picture has the frame's size and stride.
        unsafe { launch.launch(grid(width_px, height_px)) }.map_err(&failed)?;
        let mut launch = self.stream.launch_builder(&self.functions.count_classes);
        launch.arg(&self.map).arg(&width_px).arg(&height_px).arg(&mut self.counts);
        // SAFETY: as in `preprocess`; there are 256 counters.
        unsafe { launch.launch(LaunchConfig::for_num_elems(height_px.unsigned_abs())) }.map_err(failed)?;
        picture.resize(self.picture.len(), 0);
        let mut counts = [0; 256];
        let failed = gpu("download an overlay");
        self.stream.memcpy_dtoh(&self.picture, picture).map_err(&failed)?;
        self.stream.memcpy_dtoh(&self.counts, &mut counts).map_err(&failed)?;
        self.stream.synchronize().map_err(failed)?;
        Ok(counts)
    }

    /// The stream on which everything runs: what the network does belongs there too.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
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

fn gpu(action: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| Error::Gpu { action, reason: error.to_string() }
}
