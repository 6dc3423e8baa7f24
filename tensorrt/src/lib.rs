//! Safe binding to NVIDIA TensorRT and TensorRT-RTX.
//!
//! TensorRT is C++ and changes its binary interface with every major version. So between it and Rust stands a shim:
//! a little C++ (`shim/`) with a C interface (`shim/amis_trt.h`), compiled to a library of its own against the
//! headers of one TensorRT. This crate opens the shim with dlopen, and the shim opens TensorRT. Nothing is linked: the
//! same program runs on machines with other versions, and on machines without TensorRT, where [`Library::find`] is an
//! error that lists what was looked for and where.
//!
//! Headers are needed to compile the shim only. The build script takes them from the folder that the environment
//! variable `AMIS_TENSORRT_INCLUDE` names, or from the system (JetPack, Debian), and those of TensorRT-RTX from the crate
//! `trtx-sys`, which cargo downloads for that purpose and never compiles.
//!
//! | variable | names |
//! | --- | --- |
//! | `AMIS_TENSORRT_RTX_LIB` | the folder with `libtensorrt_rtx.so.1` and `libtensorrt_onnxparser_rtx.so.1` |
//! | `AMIS_TENSORRT_LIB` | the folder with `libnvinfer.so` and `libnvonnxparser.so` of the shim's major version |
//! | `AMIS_TRT_SHIM` | the shim's file |
//! | `AMIS_TENSORRT_INCLUDE` | at build time: the folder with `NvInfer.h` and `NvOnnxParser.h` |
//!
//! Building an engine ahead of time, on a machine without a GPU:
//!
//! ```no_run
//! use amis_tensorrt::{BuildOptions, Flavor, Library};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let library = Library::find(Flavor::Rtx)?;
//! println!("{} builds for {:?}", library.version(), library.compute_capabilities());
//! let options = BuildOptions { compute_capabilities: vec!["8.6".parse()?, "8.9".parse()?], ..BuildOptions::default() };
//! let engine = library.build(&std::fs::read("model.onnx")?, &options, &|progress| println!("{progress:?}"))?;
//! std::fs::write("model.plan", &engine.plan)?;
//! # Ok(())
//! # }
//! ```

mod capability;
pub mod child;
mod engine;
mod error;
mod execution;
mod ffi;
mod flavor;
mod gpu;
mod library;
mod log;
mod search;

pub use capability::ComputeCapability;
pub use engine::{BuildOptions, Engine, Lowering, Progress};
pub use error::Error;
pub use execution::{Around, Execution, LayerTime, Surrounded};
pub use flavor::{Flavor, Version};
pub use gpu::Gpu;
pub use library::Library;
pub use log::{LogLine, ParserError, Severity};
pub use search::{Locations, Places};
