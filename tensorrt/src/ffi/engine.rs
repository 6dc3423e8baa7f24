//! The running half of the interface.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Failure, Opened, RawLibrary, RawSink, Record, Recorder, sink, to_text};

/// `AMIS_TRT_MAX_RANK`.
const MAX_RANK: usize = 8;

/// `amis_trt_engine`, known to the shim only.
pub(super) enum RawEngine {}

#[repr(C)]
pub(super) struct RawTensor {
    name: *const c_char,
    is_input: i32,
    r#type: i32,
    rank: i32,
    sizes: [i64; MAX_RANK],
}

/// The functions of a loaded shim that run engines.
#[derive(Debug, Clone, Copy)]
pub(super) struct EngineFunctions {
    pub(super) deserialize: unsafe extern "C" fn(*const RawLibrary, *const c_void, usize, *const RawSink, *mut *mut RawEngine) -> i32,
    pub(super) tensor_count: unsafe extern "C" fn(*const RawEngine) -> i32,
    pub(super) tensor_at: unsafe extern "C" fn(*const RawEngine, i32, *const RawSink, *mut RawTensor) -> i32,
    pub(super) set_sizes: unsafe extern "C" fn(*mut RawEngine, *const c_char, *const i64, i32, *const RawSink) -> i32,
    pub(super) bind: unsafe extern "C" fn(*mut RawEngine, *const c_char, *mut c_void, *const RawSink) -> i32,
    pub(super) enqueue: unsafe extern "C" fn(*mut RawEngine, *mut c_void, *const RawSink) -> i32,
    pub(super) time_layers: unsafe extern "C" fn(*mut RawEngine, *mut c_void, *const RawSink) -> i32,
    pub(super) inspect: unsafe extern "C" fn(*const RawEngine, *const RawSink) -> i32,
    pub(super) close: unsafe extern "C" fn(*mut RawEngine),
}

/// An input or output of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub(crate) name: CString,
    pub(crate) is_input: bool,
    /// `nvinfer1::DataType`.
    pub(crate) data_type: i32,
    /// -1 is dynamic.
    pub(crate) sizes: Vec<i64>,
}

/// An engine that was made ready to run.
#[derive(Debug)]
pub(crate) struct Loaded {
    engine: NonNull<RawEngine>,
    /// Outlives the engine.
    library: Arc<Opened>,
}

// SAFETY: an engine is not bound to a thread; that one uses it at a time follows from `&mut`, and the functions that take
// `&` read constants or take the shim's lock.
unsafe impl Send for Loaded {}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: `engine` came from `deserialize`, and nothing uses it after this.
        unsafe { (self.functions().close)(self.engine.as_ptr()) };
    }
}

impl Opened {
    /// Makes a plan ready to run, in the CUDA context that is current.
    ///
    /// The plan is trusted: it has to come from this TensorRT.
    pub(crate) fn deserialize(self: &Arc<Self>, plan: &[u8]) -> Result<Loaded, Failure> {
        let (record, mut engine) = (Recorder::default(), std::ptr::null_mut());
        // SAFETY: `library` is open, the plan and the complete sink live during the call, and one pointer is written to a valid place.
        let status = unsafe { (self.shim.engine.deserialize)(self.library.as_ptr(), plan.as_ptr().cast(), plan.len(), &sink(&record), &raw mut engine) };
        match NonNull::new(engine) {
            Some(engine) if status == 0 => Ok(Loaded { engine, library: Arc::clone(self) }),
            _ => Err(record.into_record().into_failure(status)),
        }
    }
}

impl Loaded {
    fn functions(&self) -> &EngineFunctions {
        &self.library.shim.engine
    }

    /// Inputs and outputs, with the sizes that follow from those set so far.
    pub(crate) fn tensors(&self) -> Result<Vec<Tensor>, Failure> {
        // SAFETY: `engine` is open.
        let count = unsafe { (self.functions().tensor_count)(self.engine.as_ptr()) };
        (0..count).map(|index| self.tensor(index)).collect()
    }

    fn tensor(&self, index: i32) -> Result<Tensor, Failure> {
        let mut raw = RawTensor { name: std::ptr::null(), is_input: 0, r#type: 0, rank: 0, sizes: [0; MAX_RANK] };
        // SAFETY: `engine` is open, and one tensor is written to a valid place.
        call(|sink| unsafe { (self.functions().tensor_at)(self.engine.as_ptr(), index, sink, &raw mut raw) })?;
        let rank = usize::try_from(raw.rank).unwrap_or(0).min(MAX_RANK);
        // SAFETY: the shim gives a text that ends with zero and lives as long as the engine, or null.
        let name = unsafe { if raw.name.is_null() { CString::default() } else { CStr::from_ptr(raw.name).to_owned() } };
        Ok(Tensor { name, is_input: raw.is_input != 0, data_type: raw.r#type, sizes: raw.sizes[..rank].to_vec() })
    }

    /// Sets the sizes of an input that has dynamic ones.
    pub(crate) fn set_sizes(&mut self, name: &CStr, sizes: &[i64]) -> Result<(), Failure> {
        let rank = i32::try_from(sizes.len()).unwrap_or(i32::MAX);
        // SAFETY: `engine` is open, and name and sizes live during the call.
        call(|sink| unsafe { (self.functions().set_sizes)(self.engine.as_ptr(), name.as_ptr(), sizes.as_ptr(), rank, sink) })?;
        Ok(())
    }

    /// Says where an input or output lies on the GPU.
    ///
    /// # Safety
    /// While the engine works, `address` is memory of the GPU, of the tensor's size, that nothing else uses.
    pub(crate) unsafe fn bind(&mut self, name: &CStr, address: u64) -> Result<(), Failure> {
        // SAFETY: `engine` is open, the name lives during the call, and the address is as promised above.
        call(|sink| unsafe { (self.functions().bind)(self.engine.as_ptr(), name.as_ptr(), address as *mut c_void, sink) })?;
        Ok(())
    }

    /// Puts the engine's work on a stream.
    ///
    /// # Safety
    /// `stream` is a stream of the CUDA context that is current, and every tensor is bound.
    pub(crate) unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<(), Failure> {
        // SAFETY: `engine` is open, and the stream is as promised above.
        call(|sink| unsafe { (self.functions().enqueue)(self.engine.as_ptr(), stream, sink) })?;
        Ok(())
    }

    /// Runs the engine once and waits for it; gives the milliseconds of every layer, in the order in which they ran.
    ///
    /// # Safety
    /// As [`Loaded::enqueue`].
    pub(crate) unsafe fn time_layers(&mut self, stream: *mut c_void) -> Result<Vec<(String, f32)>, Failure> {
        // SAFETY: `engine` is open, and the stream is as promised above.
        let record = call(|sink| unsafe { (self.functions().time_layers)(self.engine.as_ptr(), stream, sink) })?;
        Ok(record.layer_times)
    }

    /// What TensorRT made of the layers, as JSON.
    pub(crate) fn inspect(&self) -> Result<String, Failure> {
        // SAFETY: `engine` is open.
        let record = call(|sink| unsafe { (self.functions().inspect)(self.engine.as_ptr(), sink) })?;
        Ok(record.inspected)
    }
}

/// Calls a function of the shim with a sink.
fn call(function: impl FnOnce(*const RawSink) -> i32) -> Result<Record, Failure> {
    let record = Recorder::default();
    let status = function(&sink(&record));
    let record = record.into_record();
    if status == 0 { Ok(record) } else { Err(record.into_failure(status)) }
}

pub(super) unsafe extern "C" fn inspected(user: *mut c_void, json: *const c_char) {
    // SAFETY: the shim hands back our `user` and a text that ends with zero.
    unsafe { super::with_record(user, |record| record.inspected = to_text(json)) };
}

pub(super) unsafe extern "C" fn layer_time(user: *mut c_void, layer: *const c_char, milliseconds: f32) {
    // SAFETY: the shim hands back our `user` and a text that ends with zero.
    unsafe { super::with_record(user, |record| record.layer_times.push((to_text(layer), milliseconds))) };
}
