use amis_artifacts::cli::print_line;
use amis_runtime::Result;
use amis_runtime::backend::onnxruntime::{self, Library};
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
    /// Logical processors that this process may use.
    processors: usize,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let report = Report { version: env!("CARGO_PKG_VERSION"), onnxruntime: onnxruntime::library()?, processors };
    if !args.json {
        print_line(format_args!("amis-run      {}", report.version));
        print_line(format_args!("ONNX Runtime  {}", report.onnxruntime.path.display()));
        print_line(format_args!("              {}", report.onnxruntime.build));
        print_line(format_args!("processors    {}", report.processors));
    }
    Ok(report)
}
