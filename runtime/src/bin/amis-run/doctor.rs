use amis_artifacts::cli::print_line;
use amis_runtime::Result;
use amis_runtime::backend::onnxruntime::{self, Library};
use amis_tensorrt::{Flavor, Gpu};
use serde::Serialize;

const EXAMPLES: &str = "\
Example:
  amis-run doctor --json

Ends with exit code 4 when something that a run needs is missing.";

/// Arguments of `amis-run doctor`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What this machine has.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Version of this program.
    version: &'static str,
    /// ONNX Runtime, the CPU backend.
    onnxruntime: Library,
    /// What the GPU is, or why there is none. Only engines need it.
    gpu: String,
    /// Versions of TensorRT that engines can run with, or why there is none.
    tensorrt: Vec<String>,
    /// Logical processors that this process may use.
    processors: usize,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let report = Report { version: env!("CARGO_PKG_VERSION"), onnxruntime: onnxruntime::library()?, gpu: gpu(), tensorrt: tensorrt(), processors };
    if !args.json {
        print_line(format_args!("amis-run      {}", report.version));
        print_line(format_args!("ONNX Runtime  {}", report.onnxruntime.path.display()));
        print_line(format_args!("              {}", report.onnxruntime.build));
        print_line(format_args!("GPU           {}", report.gpu));
        report.tensorrt.iter().for_each(|text| print_line(format_args!("TensorRT      {text}")));
        print_line(format_args!("processors    {}", report.processors));
    }
    Ok(report)
}

fn gpu() -> String {
    Gpu::first()
        .map_or_else(|error| error.to_string(), |gpu| format!("{}, compute capability {}, {} multiprocessors", gpu.name, gpu.compute_capability, gpu.cores))
}

fn tensorrt() -> Vec<String> {
    let find = |flavor| amis_tensorrt::Library::find(flavor).map_or_else(|error| error.to_string(), |library| library.version().to_string());
    [Flavor::Enterprise, Flavor::Rtx].map(find).to_vec()
}
