//! ONNX Runtime on the CPU. The library is opened at run time, so that one program serves machines with and without it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{Outlet, TensorElementType, TensorRef};

use super::Backend;
use crate::{Error, Result};

/// Name that the system's loader is asked for when `ORT_DYLIB_PATH` is not set.
const DEFAULT_LIBRARY: &str = "libonnxruntime.so";
/// Environment variable that names the library file.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Most values of an output: 255 classes at the largest input would not fit memory, 2^28 are 1 GiB.
const MAX_OUTPUT_LEN: usize = 1 << 28;

/// How a graph is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Threads of one inference; 0 takes one a physical core.
    pub threads: usize,
}

/// A graph loaded into ONNX Runtime.
pub struct OnnxRuntime {
    session: Session,
    input_shape: [usize; 4],
    output_shape: [usize; 4],
    output: Vec<f32>,
}

impl OnnxRuntime {
    /// Loads an ONNX file. A dynamic batch is taken as 1.
    ///
    /// # Errors
    /// The library is missing or too old ([`Error::OnnxRuntime`]), or the file is not a graph with one float32 input `[1, 3, H, W]`
    /// and one float32 output `[1, C, h, w]` ([`Error::Graph`]).
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        Self::open_batch(path, options, 1)
    }

    /// [`Self::open`] for `batch` images at once: the shapes are `[batch, 3, H, W]` and `[batch, C, h, w]`.
    ///
    /// # Errors
    /// As [`Self::open`], or the graph has another fixed batch.
    pub fn open_batch(path: &Path, options: &Options, batch: usize) -> Result<Self> {
        let environment = environment()?;
        let wrong = |reason: String| Error::Graph { path: path.into(), reason };
        let session = session(&environment, path, options).map_err(|e| wrong(e.message().to_owned()))?;
        let input_shape = static_shape(session.inputs(), "input", batch).map_err(wrong)?;
        let output_shape = static_shape(session.outputs(), "output", batch).map_err(wrong)?;
        if input_shape[1] != 3 {
            return Err(wrong(format!("its input is {input_shape:?}, expected [{batch}, 3, H, W]")));
        }
        let output_len = output_shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_OUTPUT_LEN);
        let output_len = output_len.ok_or_else(|| wrong(format!("its output {output_shape:?} has more than {MAX_OUTPUT_LEN} values")))?;
        Ok(Self { session, input_shape, output_shape, output: vec![0.0; output_len] })
    }
}

impl Backend for OnnxRuntime {
    fn input_shape(&self) -> [usize; 4] {
        self.input_shape
    }

    fn output_shape(&self) -> [usize; 4] {
        self.output_shape
    }

    fn infer(&mut self, input: &[f32]) -> Result<&[f32]> {
        let failed = |e: ort::Error| Error::Infer { reason: e.message().to_owned() };
        let expected: usize = self.input_shape.iter().product();
        if input.len() != expected {
            return Err(Error::Infer { reason: format!("the input has {} values, expected {expected} for {:?}", input.len(), self.input_shape) });
        }
        let tensor = TensorRef::from_array_view((self.input_shape, input)).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![tensor]).map_err(failed)?;
        let (_, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        if values.len() != self.output.len() {
            return Err(Error::Infer { reason: format!("the output has {} values, expected {}", values.len(), self.output.len()) });
        }
        self.output.copy_from_slice(values);
        Ok(&self.output)
    }
}

fn session(environment: &Environment, path: &Path, options: &Options) -> ort::Result<Session> {
    Session::builder(environment)?.with_optimization_level(GraphOptimizationLevel::All)?.with_intra_threads(options.threads)?.commit_from_file(path)
}

/// Shape of the only outlet, if it is float32 and has four sizes: the batch, fixed or dynamic, and three that are fixed.
fn static_shape(outlets: &[Outlet], side: &str, batch: usize) -> std::result::Result<[usize; 4], String> {
    let [outlet] = outlets else {
        return Err(format!("it has {} {side}s, expected one", outlets.len()));
    };
    let (name, dtype) = (outlet.name(), outlet.dtype());
    if dtype.tensor_type() != Some(TensorElementType::Float32) {
        return Err(format!("its {side} {name} is {dtype}, expected a float32 tensor"));
    }
    let dims: Vec<i64> = dtype.tensor_shape().map(|s| s.to_vec()).unwrap_or_default();
    match dims[..] {
        [first, c, h, w] if (first == -1 || first == batch as i64) && [c, h, w].iter().all(|&d| d > 0) => Ok([batch, c as usize, h as usize, w as usize]),
        _ => Err(format!("its {side} {name} is {dims:?}, expected four fixed sizes of which the first is {batch}")),
    }
}

/// What ONNX Runtime says about itself: the library file and its build.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Library {
    /// The file, or the name that the system's loader resolved.
    pub path: PathBuf,
    /// Version, commit and build flags.
    pub build: String,
}

/// Loads the library and describes it.
///
/// # Errors
/// [`Error::OnnxRuntime`] when it is missing, too old or something else.
pub fn library() -> Result<Library> {
    environment()?;
    Ok(Library { path: library_path().0, build: ort::info().to_owned() })
}

/// The process's environment: ONNX Runtime allows one, made at the first use.
///
/// # Errors
/// [`Error::OnnxRuntime`] when the library is missing, too old or something else.
pub fn environment() -> Result<Environment> {
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*slot {
        return Ok(environment.clone());
    }
    let (path, origin) = library_path();
    let missing = |reason: String| Error::OnnxRuntime { looked_for: format!("{} ({origin})", path.display()), reason };
    let builder = ort::init_from(&path).map_err(|e| missing(load_reason(&e)))?;
    let environment = builder.with_name("amis").with_telemetry(false).build().map_err(|e| missing(e.message().to_owned()))?;
    Ok(slot.insert(environment).clone())
}

/// Why loading failed: the loader's own words lie behind the error.
fn load_reason(error: &ort::LoadDynamicError) -> String {
    let loader = match error {
        ort::LoadDynamicError::Dlopen { error, .. } => std::error::Error::source(error),
        _ => None,
    };
    loader.map_or_else(|| error.to_string(), ToString::to_string)
}

/// The library file, and where its name comes from.
fn library_path() -> (PathBuf, &'static str) {
    match std::env::var_os(LIBRARY_VARIABLE) {
        // `ort` takes a relative path as relative to the program; users mean the working folder.
        Some(value) if value != OsString::new() => (std::path::absolute(&value).unwrap_or_else(|_| value.into()), "from ORT_DYLIB_PATH"),
        _ => (DEFAULT_LIBRARY.into(), "ORT_DYLIB_PATH is not set, so the system's library path"),
    }
}
