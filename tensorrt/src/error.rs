//! What can go wrong, and what to do then.

use std::fmt::Display;
use std::path::PathBuf;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ComputeCapability, Flavor, LogLine, ParserError, Places, Severity, Version};

/// Why TensorRT could not be opened or did not build. It travels from the process that builds to the one that asked.
#[derive(Debug, Error, Diagnostic, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// Nothing to open: the shim was never compiled, or lies elsewhere.
    #[error("no shim for {flavor} ({}) found; looked at:{places}", flavor.shim_file())]
    #[diagnostic(
        code(amis::environment::shim_missing),
        help(
            "where amis-run is installed as a package: apt-get install g++ libnvinfer-dev libnvonnxparsers-dev, then /usr/share/amis/build-shim; in a clone: build where cargo finds TensorRT headers (AMIS_TENSORRT_INCLUDE names their folder); AMIS_TRT_SHIM names an existing shim"
        )
    )]
    ShimMissing {
        /// Which TensorRT it should serve.
        flavor: Flavor,
        /// Where it is not.
        places: Places,
    },

    /// The file is no shared library, one for another machine, or not the shim.
    #[error("{} is not the TensorRT shim: {reason}", path.display())]
    #[diagnostic(code(amis::environment::shim_foreign), help("correct AMIS_TRT_SHIM, or unset it to take the shim that was built with this program"))]
    ShimForeign {
        /// The file.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },

    /// The shim was compiled from another version of the project.
    #[error("the TensorRT shim {} speaks version {found} of the interface, this program version {expected}", path.display())]
    #[diagnostic(code(amis::environment::shim_version), help("build the shim again, from the same sources as this program"))]
    ShimAbi {
        /// The shim.
        path: PathBuf,
        /// Its `AMIS_TRT_ABI`.
        found: u32,
        /// Ours.
        expected: u32,
    },

    /// The shim serves the other TensorRT.
    #[error("the shim {} serves {found}, asked for was {expected}", path.display())]
    #[diagnostic(
        code(amis::environment::shim_flavor),
        help("name the other shim in AMIS_TRT_SHIM, or build it with the headers of that product (AMIS_TENSORRT_INCLUDE)")
    )]
    ShimFlavor {
        /// The shim.
        path: PathBuf,
        /// The TensorRT whose headers it was compiled against.
        found: Version,
        /// What was asked for.
        expected: Flavor,
    },

    /// TensorRT or its ONNX parser is not where it was looked for.
    #[error("the libraries of {flavor} were not found; looked at:{places}")]
    #[diagnostic(
        code(amis::environment::tensorrt_missing),
        help(
            "install {flavor} (TensorRT-RTX comes with `pip install tensorrt-rtx-cu12`, TensorRT with JetPack) and name the folder of its libraries in {}",
            flavor.library_variable()
        )
    )]
    LibraryMissing {
        /// Which TensorRT.
        flavor: Flavor,
        /// Where it is not.
        places: Places,
    },

    /// A file has TensorRT's name, but is not TensorRT, or cannot be loaded here.
    #[error("cannot use these libraries as {flavor}: {reason}")]
    #[diagnostic(
        code(amis::environment::tensorrt_foreign),
        help("name a folder with the real libraries, for this machine's processor, in {}", flavor.library_variable())
    )]
    LibraryForeign {
        /// Which TensorRT.
        flavor: Flavor,
        /// The file, and the loader's words.
        reason: String,
    },

    /// TensorRT is there, in a version that the shim cannot serve.
    #[error("{flavor} and the shim do not fit: {reason}")]
    #[diagnostic(
        code(amis::environment::tensorrt_version),
        help("install that version or a newer minor one, or build the shim again with the headers of the installed one (AMIS_TENSORRT_INCLUDE)")
    )]
    LibraryVersion {
        /// Which TensorRT.
        flavor: Flavor,
        /// Both versions.
        reason: String,
    },

    /// TensorRT proper builds for the GPU of this machine, and there is none.
    #[error("no NVIDIA GPU answers: {reason}")]
    #[diagnostic(
        code(amis::environment::gpu_missing),
        help("TensorRT builds for the GPU of the machine it runs on: build on the device itself, or ahead of time with TensorRT-RTX (`--flavor rtx`)")
    )]
    NoGpu {
        /// The driver's words.
        reason: String,
    },

    /// Not a compute capability.
    #[error("{text:?} is no compute capability")]
    #[diagnostic(code(amis::usage::compute_capability), help("write it as 8.6, 86 or sm86; `nvidia-smi --query-gpu=compute_cap --format=csv` prints a GPU's"))]
    Capability {
        /// What was written.
        text: String,
    },

    /// This TensorRT does not build for that generation of GPUs.
    #[error("{version} does not build for compute capability {asked}; it knows {}", list(known))]
    #[diagnostic(
        code(amis::usage::compute_capability_unknown),
        help(
            "ask for one that it knows; engines for a Jetson (5.3 to 8.7, Thor) are built on the Jetson itself, by its own TensorRT, without naming a capability"
        )
    )]
    CapabilityUnknown {
        /// What was asked for.
        asked: ComputeCapability,
        /// The opened TensorRT.
        version: Version,
        /// What it knows.
        known: Vec<ComputeCapability>,
    },

    /// This TensorRT, or the graph, does not take an option of the build.
    #[error("{version}: {reason}")]
    #[diagnostic(
        code(amis::usage::build_option),
        help("leave the option out, or export the graph for this TensorRT; `amis-export engine --help` lists the options")
    )]
    Option {
        /// The opened TensorRT.
        version: Version,
        /// Which option, and why not.
        reason: String,
    },

    /// The ONNX parser refused the model.
    #[error("the ONNX parser of {version} refuses the model:{}", lines(errors))]
    #[diagnostic(
        code(amis::input::onnx_refused),
        help("export the model again; where a node is named, its operator, attributes or data types are not supported by this version")
    )]
    Model {
        /// The opened TensorRT.
        version: Version,
        /// Every refusal, in the parser's order.
        errors: Vec<ParserError>,
    },

    /// The model is readable, but TensorRT did not build it.
    #[error("{version} did not build the engine: {reason}{}", problems(log))]
    #[diagnostic(
        code(amis::tensorrt::build_failed),
        help("the lines above are TensorRT's own; without a GPU only TensorRT-RTX builds, and only for named compute capabilities")
    )]
    Build {
        /// The opened TensorRT.
        version: Version,
        /// What it did not give.
        reason: String,
        /// Everything it said, verbose lines left out.
        log: Vec<LogLine>,
    },

    /// TensorRT does not make a plan ready to run.
    #[error("{version} does not take the engine: {reason}{}", problems(log))]
    #[diagnostic(
        code(amis::tensorrt::load_failed),
        help("the lines above are TensorRT's own; if they speak of memory, close other programs, else build the engine again on this machine")
    )]
    Plan {
        /// The opened TensorRT.
        version: Version,
        /// What it did not give.
        reason: String,
        /// What it said.
        log: Vec<LogLine>,
    },

    /// An engine whose inputs and outputs are not those of a network of ours.
    #[error("the engine cannot be run, expected one float32 input and one float32 output of at most 2^28 values, found:{}", lines(found))]
    #[diagnostic(code(amis::input::engine_interface), help("build the engine from a graph that `amis-export onnx` or `quantize` wrote"))]
    Interface {
        /// The opened TensorRT.
        version: Version,
        /// Its inputs and outputs.
        found: Vec<String>,
    },

    /// The GPU has no room for a tensor.
    #[error("the GPU has no room for the {bytes} bytes of tensor {tensor}")]
    #[diagnostic(code(amis::environment::device_memory), help("close other programs that use the GPU, or take a smaller model or input"))]
    DeviceMemory {
        /// Its name.
        tensor: String,
        /// Its size.
        bytes: u64,
    },

    /// TensorRT does not run an engine.
    #[error("{version} did not run the engine: {reason}{}", problems(log))]
    #[diagnostic(code(amis::tensorrt::run_failed), help("the lines above are TensorRT's own; start again, and if it stays so, build the engine again"))]
    Run {
        /// The opened TensorRT.
        version: Version,
        /// What failed.
        reason: String,
        /// What it said.
        log: Vec<LogLine>,
    },

    /// CUDA reports a failure, which may have happened in work that was begun earlier.
    #[error("CUDA could not {action}: {reason}")]
    #[diagnostic(
        code(amis::tensorrt::cuda),
        help("a GPU that was lost stays lost for this process: start again, and look at `dmesg` and `nvidia-smi` (`tegrastats` on a Jetson)")
    )]
    Cuda {
        /// What was tried, as a verb.
        action: String,
        /// CUDA's words.
        reason: String,
    },

    /// The process that builds was ended from outside.
    #[error("the process that builds the engine was ended by {signal}{}", by_kernel(*oom_kills))]
    #[diagnostic(
        code(amis::environment::builder_killed),
        help("when memory runs out the kernel ends the builder first: close other programs, add swap, or limit it with --workspace-mib; nothing was written")
    )]
    BuilderKilled {
        /// Name of the signal.
        signal: String,
        /// Processes that the kernel ended meanwhile because memory ran out.
        oom_kills: u64,
    },

    /// The process that builds crashed.
    #[error("the process that builds the engine crashed with {signal}")]
    #[diagnostic(
        code(amis::tensorrt::builder_crashed),
        help("the fault is in TensorRT or its driver, and its last words stand above; RUST_LOG=tensorrt=trace shows how far it came; nothing was written")
    )]
    BuilderCrashed {
        /// Name of the signal.
        signal: String,
    },

    /// The process that builds did not start, or ended without an answer.
    #[error("{} does not build an engine: {reason}", program.display())]
    #[diagnostic(code(amis::environment::builder_lost), help("the program starts itself to build; it must not be moved or replaced meanwhile"))]
    BuilderLost {
        /// The program that was started.
        program: PathBuf,
        /// What came instead of an answer.
        reason: String,
    },
}

fn by_kernel(oom_kills: u64) -> String {
    if oom_kills == 0 { String::new() } else { format!("; meanwhile the kernel ended {oom_kills} processes because memory ran out") }
}

fn list(capabilities: &[ComputeCapability]) -> String {
    if capabilities.is_empty() {
        return "none, it builds for the GPU of this machine".to_owned();
    }
    capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn lines(errors: &[impl Display]) -> String {
    errors.iter().map(|error| format!("\n  - {error}")).collect()
}

fn problems(log: &[LogLine]) -> String {
    let serious = log.iter().filter(|line| line.severity <= Severity::Warning);
    serious.map(|line| format!("\n  - {}", line.text.trim())).collect()
}
