//! The raw side: the shim's C interface (`shim/amis_trt.h`).
#![allow(unsafe_code)]

use std::error::Error as _;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

mod engine;

use engine::EngineFunctions;
pub(crate) use engine::{Loaded, Tensor};

use crate::{BuildOptions, ComputeCapability, Error, Flavor, LogLine, ParserError, Progress, Severity, Version};

/// `AMIS_TRT_ABI`.
const ABI: u32 = 3;

/// `enum amis_trt_status`, without the success; several that no caller tells apart are `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Load,
    Version,
    Option,
    Model,
    Other,
}

impl Status {
    const fn from_raw(raw: i32) -> Self {
        match raw {
            2 => Self::Load,
            4 => Self::Version,
            5 => Self::Option,
            6 => Self::Model,
            _ => Self::Other,
        }
    }
}

/// A call that did not succeed, with everything that the shim said.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) reason: String,
    pub(crate) parser_errors: Vec<ParserError>,
    pub(crate) log: Vec<LogLine>,
}

#[repr(C)]
#[derive(Default)]
struct RawVersion {
    flavor: i32,
    major: i32,
    minor: i32,
    patch: i32,
}

impl From<RawVersion> for Version {
    fn from(raw: RawVersion) -> Self {
        Self {
            flavor: if raw.flavor == 1 { Flavor::Rtx } else { Flavor::Enterprise },
            major: raw.major.unsigned_abs(),
            minor: raw.minor.unsigned_abs(),
            patch: raw.patch.unsigned_abs(),
        }
    }
}

#[repr(C)]
struct RawParserError {
    code: i32,
    node_index: i32,
    node: *const c_char,
    op: *const c_char,
    description: *const c_char,
}

#[repr(C)]
struct RawSink {
    user: *mut c_void,
    log: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    fail: unsafe extern "C" fn(*mut c_void, *const c_char),
    parser_error: unsafe extern "C" fn(*mut c_void, *const RawParserError),
    progress: unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, i32, i32),
    timing_cache: unsafe extern "C" fn(*mut c_void, *const c_void, usize),
    built: unsafe extern "C" fn(*mut c_void, *const c_void, usize, i32),
    inspected: unsafe extern "C" fn(*mut c_void, *const c_char),
    layer_time: unsafe extern "C" fn(*mut c_void, *const c_char, f32),
}

#[repr(C)]
struct RawRequest {
    model: *const c_void,
    model_bytes: usize,
    capabilities: *const i32,
    capability_count: usize,
    workspace_bytes: u64,
    memory_bytes: u64,
    max_batch: i32,
    dla_core: i32,
    flags: u32,
    float_nodes: *const *const c_char,
    float_node_count: usize,
    timing_cache: *const c_void,
    timing_cache_bytes: usize,
}

/// `amis_trt_library`, known to the shim only.
enum RawLibrary {}

/// The functions of a loaded shim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shim {
    headers: unsafe extern "C" fn(*mut RawVersion),
    capabilities: unsafe extern "C" fn(*mut *const i32) -> usize,
    open: unsafe extern "C" fn(*const c_char, *const c_char, *const RawSink, *mut *mut RawLibrary) -> i32,
    library_version: unsafe extern "C" fn(*const RawLibrary, *mut RawVersion),
    build: unsafe extern "C" fn(*const RawLibrary, *const RawRequest, *const RawSink) -> i32,
    close: unsafe extern "C" fn(*mut RawLibrary),
    engine: EngineFunctions,
}

impl Shim {
    /// Loads the shim, for the rest of the process, and checks that it speaks our version of the interface.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let foreign = |error: libloading::Error| {
            // The loader's words are in the source.
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Error::ShimForeign { path: path.to_owned(), reason }
        };
        // SAFETY: loading runs the library's initialisers; the shim has none that do anything, and the user who names
        // another file as the shim trusts it as he trusts any program he starts.
        let library = unsafe { libloading::Library::new(path) }.map_err(foreign)?;
        // SAFETY: the type is that of `amis_trt.h` in every version of the interface.
        let abi: unsafe extern "C" fn() -> u32 = unsafe { *library.get(b"amis_trt_abi\0").map_err(foreign)? };
        // SAFETY: takes nothing and returns a constant.
        let found = unsafe { abi() };
        if found != ABI {
            return Err(Error::ShimAbi { path: path.to_owned(), found, expected: ABI });
        }
        // SAFETY: the types are those of `amis_trt.h` in the version of the interface that was just checked.
        let shim = unsafe {
            Self {
                headers: *library.get(b"amis_trt_headers\0").map_err(foreign)?,
                capabilities: *library.get(b"amis_trt_capabilities\0").map_err(foreign)?,
                open: *library.get(b"amis_trt_open\0").map_err(foreign)?,
                library_version: *library.get(b"amis_trt_library_version\0").map_err(foreign)?,
                build: *library.get(b"amis_trt_build\0").map_err(foreign)?,
                close: *library.get(b"amis_trt_close\0").map_err(foreign)?,
                engine: EngineFunctions {
                    deserialize: *library.get(b"amis_trt_deserialize\0").map_err(foreign)?,
                    tensor_count: *library.get(b"amis_trt_tensor_count\0").map_err(foreign)?,
                    tensor_at: *library.get(b"amis_trt_tensor_at\0").map_err(foreign)?,
                    set_sizes: *library.get(b"amis_trt_set_sizes\0").map_err(foreign)?,
                    bind: *library.get(b"amis_trt_bind\0").map_err(foreign)?,
                    enqueue: *library.get(b"amis_trt_enqueue\0").map_err(foreign)?,
                    time_layers: *library.get(b"amis_trt_time_layers\0").map_err(foreign)?,
                    inspect: *library.get(b"amis_trt_inspect\0").map_err(foreign)?,
                    close: *library.get(b"amis_trt_close_engine\0").map_err(foreign)?,
                },
            }
        };
        // TensorRT keeps a pointer to the shim's logger: the shim must never be unloaded.
        std::mem::forget(library);
        Ok(shim)
    }

    /// The TensorRT whose headers the shim was compiled against.
    pub(crate) fn headers(&self) -> Version {
        let mut raw = RawVersion::default();
        // SAFETY: writes one version to a valid place.
        unsafe { (self.headers)(&raw mut raw) };
        raw.into()
    }

    /// Opens TensorRT and its ONNX parser.
    pub(crate) fn open(self, tensorrt: &CStr, parser: &CStr) -> Result<Opened, Failure> {
        let record = Recorder::default();
        let mut library = std::ptr::null_mut();
        // SAFETY: both texts end with zero, the sink is complete, and all live during the call.
        let status = unsafe { (self.open)(tensorrt.as_ptr(), parser.as_ptr(), &sink(&record), &raw mut library) };
        let record = record.into_record();
        match NonNull::new(library) {
            Some(library) if status == 0 => Ok(Opened { shim: self, library }),
            _ => Err(record.into_failure(status)),
        }
    }
}

/// An opened TensorRT.
#[derive(Debug)]
pub(crate) struct Opened {
    shim: Shim,
    library: NonNull<RawLibrary>,
}

// SAFETY: the shim's library is constant after opening and is not bound to a thread.
unsafe impl Send for Opened {}
// SAFETY: as above; calls that TensorRT may log in take turns by a lock in the shim.
unsafe impl Sync for Opened {}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: `library` came from `open`, and nothing uses it after this.
        unsafe { (self.shim.close)(self.library.as_ptr()) };
    }
}

impl Opened {
    pub(crate) fn version(&self) -> Version {
        let mut raw = RawVersion::default();
        // SAFETY: `library` is open, and one version is written to a valid place.
        unsafe { (self.shim.library_version)(self.library.as_ptr(), &raw mut raw) };
        raw.into()
    }

    pub(crate) fn compute_capabilities(&self) -> Vec<ComputeCapability> {
        let mut first = std::ptr::null();
        // SAFETY: writes one pointer to a valid place.
        let count = unsafe { (self.shim.capabilities)(&raw mut first) };
        if first.is_null() {
            return Vec::new();
        }
        // SAFETY: the shim gives a static array and its length.
        let raw = unsafe { std::slice::from_raw_parts(first, count) };
        raw.iter().map(|sm| ComputeCapability::from_sm(sm.unsigned_abs())).collect()
    }

    pub(crate) fn build(&self, onnx: &[u8], options: &BuildOptions, on_progress: &(dyn Fn(Progress) + Sync)) -> Result<Built, Failure> {
        let capabilities: Vec<i32> = options.compute_capabilities.iter().map(|capability| capability.sm().cast_signed()).collect();
        let lowering = options.lowering.clone().unwrap_or_default();
        // A name with a zero in it is no node's: ONNX texts become C texts in the parser.
        let float_nodes: Vec<CString> = lowering.float_nodes.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
        let float_nodes: Vec<*const c_char> = float_nodes.iter().map(|name| name.as_ptr()).collect();
        let timing_cache = options.timing_cache.as_deref();
        let request = RawRequest {
            model: onnx.as_ptr().cast(),
            model_bytes: onnx.len(),
            capabilities: capabilities.as_ptr(),
            capability_count: capabilities.len(),
            workspace_bytes: options.workspace_bytes.unwrap_or(0),
            memory_bytes: options.memory_bytes.unwrap_or(0),
            max_batch: options.max_batch.map_or(0, i32::from),
            dla_core: options.dla_core.map_or(-1, i32::from),
            flags: u32::from(lowering.fp16) | u32::from(lowering.int8) << 1 | u32::from(lowering.obey) << 2,
            float_nodes: float_nodes.as_ptr(),
            float_node_count: float_nodes.len(),
            timing_cache: timing_cache.map_or(std::ptr::null(), |bytes| bytes.as_ptr().cast()),
            timing_cache_bytes: timing_cache.map_or(0, <[u8]>::len),
        };
        let record = Recorder { on_progress: Some(on_progress), ..Recorder::default() };
        // SAFETY: `library` is open, and the request with what it points to and the complete sink live during the call.
        let status = unsafe { (self.shim.build)(self.library.as_ptr(), &raw const request, &sink(&record)) };
        let mut record = record.into_record();
        match record.built.take() {
            Some((plan, layer_count)) if status == 0 => Ok(Built { plan, layer_count, timing_cache: record.timing_cache, log: record.log }),
            _ => Err(record.into_failure(status)),
        }
    }
}

/// What a build gave.
pub(crate) struct Built {
    pub(crate) plan: Vec<u8>,
    pub(crate) layer_count: usize,
    pub(crate) timing_cache: Option<Vec<u8>>,
    pub(crate) log: Vec<LogLine>,
}

/// What the shim says during one call.
#[derive(Default)]
struct Record {
    log: Vec<LogLine>,
    parser_errors: Vec<ParserError>,
    reason: String,
    timing_cache: Option<Vec<u8>>,
    built: Option<(Vec<u8>, usize)>,
    inspected: String,
    layer_times: Vec<(String, f32)>,
}

impl Record {
    fn into_failure(self, status: i32) -> Failure {
        let reason = if self.reason.is_empty() { format!("the shim says nothing (status {status})") } else { self.reason };
        Failure { status: Status::from_raw(status), reason, parser_errors: self.parser_errors, log: self.log }
    }
}

/// Takes what the shim says, from any thread.
#[derive(Default)]
struct Recorder<'a> {
    record: Mutex<Record>,
    on_progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl Recorder<'_> {
    fn into_record(self) -> Record {
        self.record.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sink(record: &Recorder<'_>) -> RawSink {
    RawSink {
        user: std::ptr::from_ref(record).cast_mut().cast(),
        log,
        fail,
        parser_error,
        progress,
        timing_cache,
        built,
        inspected: engine::inspected,
        layer_time: engine::layer_time,
    }
}

/// # Safety
/// `user` is that of [`sink`], within the call that got the sink.
unsafe fn with_record(user: *mut c_void, change: impl FnOnce(&mut Record)) {
    // SAFETY: so promised above; the record is only ever reached through its lock.
    let recorder = unsafe { &*user.cast::<Recorder<'_>>() };
    change(&mut recorder.record.lock().unwrap_or_else(PoisonError::into_inner));
}

/// # Safety
/// `data` is null, or points to `len` bytes that are valid during the call.
unsafe fn to_bytes(data: *const c_void, len: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: so promised above.
    unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) }.to_vec()
}

/// # Safety
/// `text` is null, or ends with zero and is valid during the call.
unsafe fn to_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: so promised above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

unsafe extern "C" fn log(user: *mut c_void, severity: i32, text: *const c_char) {
    // SAFETY: the shim hands back our `user` and a text that ends with zero.
    let line = LogLine { severity: Severity::from_raw(severity), text: unsafe { to_text(text) } };
    line.trace();
    if line.severity < Severity::Verbose {
        // SAFETY: as above.
        unsafe { with_record(user, |record| record.log.push(line)) };
    }
}

unsafe extern "C" fn fail(user: *mut c_void, text: *const c_char) {
    // SAFETY: the shim hands back our `user` and a text that ends with zero.
    unsafe { with_record(user, |record| record.reason = to_text(text)) };
}

unsafe extern "C" fn parser_error(user: *mut c_void, error: *const RawParserError) {
    // SAFETY: the shim gives a valid error, with texts that end with zero.
    let error = unsafe {
        let raw = &*error;
        ParserError {
            code: raw.code.unsigned_abs(),
            node: to_text(raw.node),
            op: to_text(raw.op),
            node_index: usize::try_from(raw.node_index).ok(),
            description: to_text(raw.description),
        }
    };
    // SAFETY: the shim hands back our `user`.
    unsafe { with_record(user, |record| record.parser_errors.push(error)) };
}

unsafe extern "C" fn progress(user: *mut c_void, phase: *const c_char, parent: *const c_char, step: i32, steps: i32) {
    // SAFETY: the shim hands back our `user`, whose callback may be called from any thread.
    let Some(on_progress) = (unsafe { &*user.cast::<Recorder<'_>>() }).on_progress else { return };
    // SAFETY: the shim gives texts that end with zero.
    let (phase, parent) = unsafe { (to_text(phase), to_text(parent)) };
    let parent = Some(parent).filter(|parent| !parent.is_empty());
    on_progress(Progress { phase, parent, step: step.unsigned_abs(), steps: steps.unsigned_abs() });
}

unsafe extern "C" fn timing_cache(user: *mut c_void, cache: *const c_void, cache_bytes: usize) {
    // SAFETY: the shim hands back our `user` and the cache's bytes, valid during the call.
    unsafe { with_record(user, |record| record.timing_cache = Some(to_bytes(cache, cache_bytes))) };
}

unsafe extern "C" fn built(user: *mut c_void, plan: *const c_void, plan_bytes: usize, layers: i32) {
    // SAFETY: the shim hands back our `user` and the plan's bytes, valid during the call.
    unsafe { with_record(user, |record| record.built = Some((to_bytes(plan, plan_bytes), usize::try_from(layers).unwrap_or(0)))) };
}
