//! An engine at work on the GPU.

mod surrounded;

use std::ffi::CString;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaGraph, CudaSlice, CudaStream, DevicePtr, DriverError, sys};

use crate::ffi::{self, Failure, Loaded, Tensor};
use crate::gpu::driver_is_present;
use crate::{Error, Library, Version};
pub use surrounded::{Around, Surrounded};

/// Most values of an input or output: 2^28 float32 are 1 GiB.
const MAX_VALUES: usize = 1 << 28;
/// `nvinfer1::DataType::kFLOAT`.
const FLOAT32: i32 = 0;

/// An engine with one float32 input and one float32 output, on a stream of its own of the first GPU. A dynamic batch is 1.
///
/// What it does is captured as a CUDA graph, which costs one launch instead of one a layer; an engine that cannot be
/// captured is enqueued every time.
pub struct Execution {
    // In this order: the graph refers to the engine's memory, the engine to the buffers.
    graph: Option<CudaGraph>,
    engine: Loaded,
    input: Buffer,
    output: Buffer,
    stream: Arc<CudaStream>,
    version: Version,
}

/// A tensor and its place on the GPU.
struct Buffer {
    name: CString,
    shape: Vec<usize>,
    memory: CudaSlice<f32>,
}

/// How long one layer took.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTime {
    /// TensorRT's name for it, made of those of the graph's nodes.
    pub layer: String,
    /// Milliseconds.
    pub ms: f32,
}

// SAFETY: what is not `Send` in it is the graph, whose use CUDA wants serialized: it is reached by `&mut self` only.
#[allow(unsafe_code)]
unsafe impl Send for Execution {}

impl Drop for Execution {
    /// An error or a panic may have left work on the stream, which uses what is freed after this. Waiting also makes the context
    /// current in this thread, as the shim wants it for closing the engine.
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            tracing::debug!("{error}");
        }
    }
}

impl Library {
    /// Makes a plan ready to run on the first GPU, and runs it once on zeros.
    ///
    /// The plan is trusted: it has to come from this version of TensorRT on this GPU.
    ///
    /// # Errors
    /// No GPU, a plan that TensorRT does not take, inputs and outputs other than [`Execution`] says, or no room on the GPU.
    pub fn load(&self, plan: &[u8]) -> Result<Execution, Error> {
        if !driver_is_present() {
            return Err(Error::NoGpu { reason: "there is no libcuda.so".into() });
        }
        let stream = own_stream().map_err(|error| Error::NoGpu { reason: error.to_string() })?;
        let refused = |failure: Failure| Error::Plan { version: self.version(), reason: failure.reason, log: failure.log };
        let mut engine = self.deserialize(plan).map_err(refused)?;
        let [input, output] = interface(&mut engine, self.version())?;
        let (input, output) = (Buffer::new(&stream, input)?, Buffer::new(&stream, output)?);
        for buffer in [&input, &output] {
            // SAFETY: the memory has the tensor's size, belongs to this execution and lives as long as it.
            #[allow(unsafe_code)]
            unsafe { engine.bind(&buffer.name, buffer.memory.device_ptr(&stream).0) }.map_err(refused)?;
        }
        let mut execution = Execution { graph: None, engine, input, output, stream, version: self.version() };
        // TensorRT does in its first run what must not be part of the graph.
        execution.enqueue()?;
        execution.wait()?;
        execution.graph = execution.capture(Execution::enqueue);
        Ok(execution)
    }
}

impl Execution {
    /// Shape of the input.
    pub fn input_shape(&self) -> &[usize] {
        &self.input.shape
    }

    /// Shape of the output.
    pub fn output_shape(&self) -> &[usize] {
        &self.output.shape
    }

    /// Whether it runs as a CUDA graph.
    pub fn is_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// Runs the engine; both slices hold all values of their tensor, row-major.
    ///
    /// # Errors
    /// A slice of another length; TensorRT or CUDA fails, and after a lost device every later run fails too.
    pub fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
        for (found, buffer) in [(input.len(), &self.input), (output.len(), &self.output)] {
            let expected = buffer.memory.len();
            if found != expected {
                let reason = format!("{} has {found} values, expected {expected}", buffer.name.to_string_lossy());
                return Err(Error::Run { version: self.version, reason, log: vec![] });
            }
        }
        let begun = self.begin(input, output);
        // Also where something failed: what was begun before it uses the slices.
        let ended = self.wait();
        begun.and(ended)
    }

    /// Puts the copy of the input, the engine's work and the copy of the output on the stream.
    fn begin(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
        self.stream.memcpy_htod(input, &mut self.input.memory).map_err(|e| cuda("copy the input", e))?;
        match &self.graph {
            Some(graph) => graph.launch().map_err(|e| cuda("launch the engine", e))?,
            None => self.enqueue()?,
        }
        self.stream.memcpy_dtoh(&self.output.memory, output).map_err(|e| cuda("copy the output", e))
    }

    /// Runs the engine once and gives the time of every layer, in the order in which they ran. Without the graph, so the sum is
    /// more than a run takes.
    ///
    /// # Errors
    /// As [`Execution::run`].
    pub fn time_layers(&mut self) -> Result<Vec<LayerTime>, Error> {
        self.make_current()?;
        let stream = self.stream.cu_stream().cast();
        // SAFETY: the stream is of the context that was just made current, and both tensors were bound by `load`.
        #[allow(unsafe_code)]
        let times = unsafe { self.engine.time_layers(stream) }.map_err(|failure| run_error(self.version, failure))?;
        self.wait()?;
        Ok(times.into_iter().map(|(layer, ms)| LayerTime { layer, ms }).collect())
    }

    /// What TensorRT made of the graph's nodes: its engine inspector's JSON.
    ///
    /// # Errors
    /// TensorRT gives none, or the device is lost.
    pub fn inspect(&self) -> Result<String, Error> {
        self.make_current()?;
        self.engine.inspect().map_err(|failure| run_error(self.version, failure))
    }

    fn enqueue(&mut self) -> Result<(), Error> {
        self.make_current()?;
        let stream = self.stream.cu_stream().cast();
        // SAFETY: the stream is of the context that was just made current, and both tensors were bound by `load`.
        #[allow(unsafe_code)]
        unsafe { self.engine.enqueue(stream) }.map_err(|failure| run_error(self.version, failure))
    }

    /// The shim wants the context to be current; an execution may come from another thread.
    fn make_current(&self) -> Result<(), Error> {
        self.stream.context().bind_to_thread().map_err(|e| cuda("go on", e))
    }

    fn wait(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(|e| cuda("finish the engine's work", e))
    }

    /// What `work` puts on the stream, as a graph, if it can be captured.
    fn capture(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Option<CudaGraph> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        if let Err(error) = self.stream.begin_capture(mode) {
            tracing::debug!("no CUDA graph: {error}");
            return None;
        }
        let begun = work(self);
        // The stream works again only after this.
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        match (begun, graph) {
            (Ok(()), Ok(Some(graph))) => return Some(graph),
            (Ok(()), Ok(None)) => tracing::debug!("no CUDA graph: nothing was captured"),
            (Ok(()), Err(error)) => tracing::debug!("no CUDA graph: {error}"),
            (Err(error), _) => tracing::debug!("no CUDA graph: {error}"),
        }
        None
    }
}

impl Buffer {
    fn new(stream: &Arc<CudaStream>, tensor: Tensor) -> Result<Self, Error> {
        let shape: Vec<usize> = tensor.sizes.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
        let values: usize = shape.iter().product();
        let memory = stream.alloc_zeros(values).map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::DeviceMemory { tensor: tensor.name.to_string_lossy().into_owned(), bytes: 4 * values as u64 },
            _ => cuda("get memory", error),
        })?;
        Ok(Self { name: tensor.name, shape, memory })
    }
}

/// A stream of the first GPU, whose context becomes current.
fn own_stream() -> Result<Arc<CudaStream>, DriverError> {
    let context = CudaContext::new(0)?;
    // SAFETY: everything of an execution happens on one stream, in order; events between streams are not needed, and within
    // a capture they would not be allowed.
    #[allow(unsafe_code)]
    unsafe {
        context.disable_event_tracking();
    }
    context.new_stream()
}

/// The engine's only input and output, with a dynamic batch set to 1.
fn interface(engine: &mut Loaded, version: Version) -> Result<[Tensor; 2], Error> {
    let failed = |failure: Failure| run_error(version, failure);
    for tensor in engine.tensors().map_err(failed)? {
        if tensor.is_input && tensor.sizes.first() == Some(&-1) {
            let sizes: Vec<i64> = [1].into_iter().chain(tensor.sizes[1..].iter().copied()).collect();
            engine.set_sizes(&tensor.name, &sizes).map_err(failed)?;
        }
    }
    let tensors = engine.tensors().map_err(failed)?;
    let (inputs, outputs): (Vec<Tensor>, Vec<Tensor>) = tensors.iter().cloned().partition(|tensor| tensor.is_input);
    let values =
        |tensor: &Tensor| tensor.sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(usize::try_from(size).ok()?)).filter(|n| (1..=MAX_VALUES).contains(n));
    match (<[Tensor; 1]>::try_from(inputs), <[Tensor; 1]>::try_from(outputs)) {
        (Ok([input]), Ok([output])) if [&input, &output].iter().all(|tensor| tensor.data_type == FLOAT32 && values(tensor).is_some()) => Ok([input, output]),
        _ => Err(Error::Interface { version, found: tensors.iter().map(describe).collect() }),
    }
}

fn describe(tensor: &Tensor) -> String {
    let names = ["float32", "float16", "int8", "int32", "bool", "uint8", "fp8", "bfloat16", "int64", "int4"];
    let type_name =
        usize::try_from(tensor.data_type).ok().and_then(|at| names.get(at)).map_or_else(|| format!("type {}", tensor.data_type), |name| (*name).to_owned());
    let side = if tensor.is_input { "input" } else { "output" };
    format!("{side} {} {type_name} {:?}", tensor.name.to_string_lossy(), tensor.sizes)
}

fn cuda(action: &'static str, error: DriverError) -> Error {
    Error::Cuda { action: action.to_owned(), reason: error.to_string() }
}

fn run_error(version: Version, failure: ffi::Failure) -> Error {
    Error::Run { version, reason: failure.reason, log: failure.log }
}
