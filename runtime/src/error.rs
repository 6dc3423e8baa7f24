use std::path::PathBuf;

use miette::Diagnostic;

/// What can go wrong while a bundle runs.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A file of the road is damaged, too large or cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] amis_artifacts::Error),
    /// A picture cannot be read, or the synthetic scene cannot be made.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] amis_data::Error),
    /// TensorRT or a GPU is missing, or an engine does not run.
    #[error(transparent)]
    #[diagnostic(transparent)]
    TensorRt(#[from] amis_tensorrt::Error),
    /// An update that was not taken, or a device's folder that cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Update(#[from] crate::update::Error),
    /// The name of a source or sink that cannot be understood.
    #[error("{kind} {uri:?}: {problem}")]
    #[diagnostic(code(amis::usage::uri), help("for example {example}"))]
    Uri {
        /// "source" or "sink".
        kind: &'static str,
        /// The whole text.
        uri: String,
        /// The part, what was found and what is allowed.
        problem: String,
        /// One that works.
        example: &'static str,
    },
    /// A folder or list that does not name pictures.
    #[error("{}: {reason}", path.display())]
    #[diagnostic(code(amis::input::pictures), help("a folder holds .jpg, .jpeg or .png files; a list names them one a line, with or without the ending"))]
    Pictures {
        /// The folder or list.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A camera that cannot be used.
    #[error("cannot use the camera {device}: {reason}")]
    #[diagnostic(
        code(amis::environment::camera),
        help(
            "`amis-run devices` lists cameras with what they offer; \"permission denied\": add yourself to the group video; \"busy\": another program has it"
        )
    )]
    Camera {
        /// The node.
        device: String,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// A video that cannot be read.
    #[error("{}: {reason}", path.display())]
    #[diagnostic(
        code(amis::input::video),
        help("read are Motion JPEG in AVI and Y4M with 4:2:0 or grey pixels; other videos can be converted: `ffmpeg -i IN -an -c:v mjpeg -q:v 3 OUT.avi`")
    )]
    Video {
        /// The file.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// A run that ended without a result.
    #[error("{uri}: {reason}")]
    #[diagnostic(code(amis::input::no_frames), help("check what the source holds; a measurement needs ten frames more than it counts"))]
    NoFrames {
        /// The source.
        uri: String,
        /// Why there was nothing to show.
        reason: String,
    },
    /// A bundle without a graph for this machine.
    #[error("{} has no graph for target {target} at {precision}; it has {available}", path.display())]
    #[diagnostic(code(amis::input::no_graph), help("choose a precision that it has, or make the bundle with the graph: `amis-export bundle --help`"))]
    NoGraph {
        /// The bundle.
        path: PathBuf,
        /// Device family.
        target: &'static str,
        /// Wanted precision.
        precision: String,
        /// Its graphs.
        available: String,
    },
    /// A result that cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    #[diagnostic(code(amis::runtime::sink), help("check room and rights on the disk; pictures of several sizes go to the sink dir:, not to video:"))]
    Sink {
        /// File or folder.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// An address or socket that cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    #[diagnostic(code(amis::environment::listen), help("another program may have the address (`ss -lnp`), or it is none of this machine's; name another"))]
    Listen {
        /// Address and port, or path of the socket.
        address: String,
        /// What the system answered.
        reason: String,
    },
    /// A run that cannot be asked.
    #[error("cannot ask the run in {}: {reason}", path.display())]
    #[diagnostic(code(amis::environment::control), help("is one running with `--state {}`? `amis-run status` tells how the last one ended", path.display()))]
    Control {
        /// The run's folder.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A class that the model does not know.
    #[error("the model has no class {name:?}; it has {known}")]
    #[diagnostic(code(amis::usage::class), help("`--confidence` takes a number from 0 to 1 for all classes, or NAME=NUMBER for one"))]
    Class {
        /// What was asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A model that cannot take over.
    #[error("the model cannot take over: {reason}")]
    #[diagnostic(
        code(amis::input::swap),
        help(
            "a model that takes over has the classes of the one that serves, with others appended or taken away at the end; start a run of its own for another"
        )
    )]
    Swap {
        /// Found and expected.
        reason: String,
    },
    /// A token that cannot be used.
    #[error("the token {reason}")]
    #[diagnostic(code(amis::usage::token), help("for example `openssl rand -hex 16 > token` and `--token @token`"))]
    Token {
        /// Found and expected.
        reason: String,
    },
    /// The library of ONNX Runtime is missing, too old or not ONNX Runtime.
    #[error("cannot load ONNX Runtime; looked for {looked_for}: {reason}")]
    #[diagnostic(
        code(amis::environment::onnxruntime),
        help(
            "install it with `pip install onnxruntime==1.32.0` and set ORT_DYLIB_PATH to the libonnxruntime.so.1.32.0 in its folder onnxruntime/capi; in a clone of this project `make setup` installs it and `make env` prints the setting"
        )
    )]
    OnnxRuntime {
        /// The library file and where its name came from.
        looked_for: String,
        /// What the loader or the library answered.
        reason: String,
    },
    /// NVIDIA's compiler for kernels is missing or not what it should be.
    #[error("cannot load NVRTC; looked for {looked_for}: {reason}")]
    #[diagnostic(
        code(amis::environment::nvrtc),
        help(
            "it comes with CUDA (JetPack: `sudo apt-get install cuda-nvrtc-12-6`, in your version) and from `pip install nvidia-cuda-nvrtc-cu12`; AMIS_NVRTC_LIB names its folder"
        )
    )]
    Nvrtc {
        /// Files, and where.
        looked_for: String,
        /// What the loader answered.
        reason: String,
    },
    /// Kernels that do not compile for a GPU.
    #[error("{compiler} does not compile the kernels: {reason}")]
    #[diagnostic(code(amis::environment::kernels), help("a GPU that is newer than the compiler needs a newer CUDA; CUDA 13 no longer knows Xavier (sm_72)"))]
    Kernels {
        /// Name, version and file.
        compiler: String,
        /// Its log.
        reason: String,
    },
    /// CUDA failed.
    #[error("cannot {action}: {reason}")]
    #[diagnostic(code(amis::environment::gpu), help("`nvidia-smi`, or on a Jetson `sudo dmesg | grep -i nv`, says more; the CPU runs the same bundle"))]
    Gpu {
        /// What was tried.
        action: &'static str,
        /// What the driver answered.
        reason: String,
    },
    /// A graph that cannot be run.
    #[error("{} cannot be run: {reason}", path.display())]
    #[diagnostic(
        code(amis::input::graph),
        help("a graph has one float32 input [1, 3, H, W] and one float32 output [1, C, h, w], all sizes fixed; `amis-export onnx` writes such graphs")
    )]
    Graph {
        /// The ONNX file.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// Inference failed.
    #[error("inference failed: {reason}")]
    #[diagnostic(code(amis::runtime::infer), help("run `amis-run doctor`; if the machine is short of memory, use a smaller model or input"))]
    Infer {
        /// What the backend answered.
        reason: String,
    },
    /// Network output that cannot be turned into classes.
    #[error("the network's output cannot be used: {reason}")]
    #[diagnostic(
        code(amis::runtime::logits),
        help("`amis-export verify` compares the graph with its checkpoint; values that are not numbers come from an overflow in low precision")
    )]
    Logits {
        /// Found and expected.
        reason: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
