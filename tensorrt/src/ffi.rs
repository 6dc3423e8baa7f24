//! The raw side: the shim's C interface (`shim/amis_trt.h`), and all the `unsafe` of this crate.
#![allow(unsafe_code)]

use std::error::Error as _;
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use crate::{BuildOptions, ComputeCapability, Engine, Error, Flavor, LogLine, ParserError, Severity, Version};

/// `AMIS_TRT_ABI`.
const ABI: u32 = 1;

/// `enum amis_trt_status`, without the success; several that no caller tells apart are `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Load,
    Version,
    Model,
    Other,
}

impl Status {
    const fn from_raw(raw: i32) -> Self {
        match raw {
            2 => Self::Load,
            4 => Self::Version,
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
    built: unsafe extern "C" fn(*mut c_void, *const c_void, usize, i32),
}

#[repr(C)]
struct RawRequest {
    model: *const c_void,
    model_bytes: usize,
    capabilities: *const i32,
    capability_count: usize,
    workspace_bytes: u64,
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
        let record = Mutex::default();
        let mut library = std::ptr::null_mut();
        // SAFETY: both texts end with zero, the sink is complete, and all live during the call.
        let status = unsafe { (self.open)(tensorrt.as_ptr(), parser.as_ptr(), &sink(&record), &raw mut library) };
        let record = record.into_inner().unwrap_or_else(PoisonError::into_inner);
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
// SAFETY: as above; builds take turns by a lock in the shim.
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

    pub(crate) fn build(&self, onnx: &[u8], options: &BuildOptions) -> Result<Engine, Failure> {
        let capabilities: Vec<i32> = options.compute_capabilities.iter().map(|capability| capability.sm().cast_signed()).collect();
        let request = RawRequest {
            model: onnx.as_ptr().cast(),
            model_bytes: onnx.len(),
            capabilities: capabilities.as_ptr(),
            capability_count: capabilities.len(),
            workspace_bytes: options.workspace_bytes.unwrap_or(0),
        };
        let record = Mutex::default();
        // SAFETY: `library` is open, and the request with what it points to and the complete sink live during the call.
        let status = unsafe { (self.shim.build)(self.library.as_ptr(), &raw const request, &sink(&record)) };
        let mut record = record.into_inner().unwrap_or_else(PoisonError::into_inner);
        match record.built.take() {
            Some((plan, layer_count)) if status == 0 => Ok(Engine { plan, layer_count, log: record.log }),
            _ => Err(record.into_failure(status)),
        }
    }
}

/// What the shim says during one call.
#[derive(Default)]
struct Record {
    log: Vec<LogLine>,
    parser_errors: Vec<ParserError>,
    reason: String,
    built: Option<(Vec<u8>, usize)>,
}

impl Record {
    fn into_failure(self, status: i32) -> Failure {
        let reason = if self.reason.is_empty() { format!("the shim says nothing (status {status})") } else { self.reason };
        Failure { status: Status::from_raw(status), reason, parser_errors: self.parser_errors, log: self.log }
    }
}

fn sink(record: &Mutex<Record>) -> RawSink {
    RawSink { user: std::ptr::from_ref(record).cast_mut().cast(), log, fail, parser_error, built }
}

/// # Safety
/// `user` is that of [`sink`], within the call that got the sink.
unsafe fn with_record(user: *mut c_void, change: impl FnOnce(&mut Record)) {
    // SAFETY: so promised above; the record is only ever reached through its lock.
    let record = unsafe { &*user.cast::<Mutex<Record>>() };
    change(&mut record.lock().unwrap_or_else(PoisonError::into_inner));
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

unsafe extern "C" fn built(user: *mut c_void, plan: *const c_void, plan_bytes: usize, layers: i32) {
    if plan.is_null() {
        return;
    }
    // SAFETY: the shim gives the plan's bytes, valid during the call.
    let plan = unsafe { std::slice::from_raw_parts(plan.cast::<u8>(), plan_bytes) };
    // SAFETY: the shim hands back our `user`.
    unsafe { with_record(user, |record| record.built = Some((plan.to_vec(), usize::try_from(layers).unwrap_or(0)))) };
}
