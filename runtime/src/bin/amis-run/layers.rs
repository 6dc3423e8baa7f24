use std::path::PathBuf;

use amis_artifacts::bundle;
use amis_artifacts::cli::print_line;
use amis_runtime::Result;
use amis_runtime::backend::tensorrt::TensorRt;
use amis_tensorrt::Library;
use serde::Serialize;
use serde_json::Value;

const EXAMPLES: &str = "\
Example:
  amis-run layers --bundle street-3.amis --engine street-3.engine --precision fp16

Layers run one by one here, so their sum is more than a run takes.";

/// Runs that each layer's time is the median of.
const RUNS: usize = 11;

/// Arguments of `amis-run layers`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Bundle that holds the engine's graph
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Engine that `amis-export engine` built on this machine
    #[arg(long, value_name = "FILE")]
    engine: PathBuf,
    /// Precision of the engine
    #[arg(long, value_name = "NAME", default_value = "fp32")]
    precision: String,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What TensorRT made of a graph.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Layers, the slowest first.
    layers: Vec<Layer>,
    /// What TensorRT's engine inspector says.
    inspector: Value,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    ms: f32,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let manifest = bundle::read_manifest(&args.bundle)?;
    let mut engine = TensorRt::open(&args.engine, &manifest, &args.precision, Library::find)?;
    let runs = (0..RUNS).map(|_| engine.time_layers()).collect::<Result<Vec<_>>>()?;
    let median = |at: usize| {
        let mut times: Vec<f32> = runs.iter().filter_map(|layers| Some(layers.get(at)?.ms)).collect();
        times.sort_by(f32::total_cmp);
        times[times.len() / 2]
    };
    let mut layers: Vec<Layer> = runs[0].iter().enumerate().map(|(at, layer)| Layer { name: layer.layer.clone(), ms: median(at) }).collect();
    layers.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let text = engine.inspect()?;
    let inspector = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if !args.json {
        let sum: f32 = layers.iter().map(|layer| layer.ms).sum();
        print_line(format_args!("{} layers, {sum:.3} ms in all", layers.len()));
        for layer in &layers {
            print_line(format_args!("{:>9.3} ms {:>5.1} %  {}", layer.ms, 100.0 * layer.ms / sum.max(f32::MIN_POSITIVE), layer.name));
        }
    }
    Ok(Report { layers, inspector })
}
