use amis_artifacts::cli::print_line;
use amis_runtime::Result;
use amis_runtime::source::camera::{self, CameraInfo, ControlInfo, SizeInfo};
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  amis-run devices
  amis-run devices --json

Listed are nodes that give pictures; a camera may have others, for metadata. Names under /dev/v4l/by-id stay the same when a camera is
plugged in again. A format with a name can be asked for: --source 'v4l2:/dev/video0?format=NAME&width=W&height=H&fps=N'; controls are set in
the same way, by their first name: --source 'v4l2:/dev/video0?power_line_frequency=1'.";

/// Arguments of `amis-run devices`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was found.
#[derive(Serialize)]
pub(crate) struct Report {
    /// In order of their nodes.
    cameras: Vec<CameraInfo>,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let cameras = camera::cameras();
    if !args.json {
        if cameras.is_empty() {
            print_line("no camera: no /dev/video* gives pictures");
        }
        cameras.iter().for_each(print);
    }
    Ok(Report { cameras })
}

fn print(camera: &CameraInfo) {
    print_line(format_args!("{}  {}", camera.path.display(), camera.card));
    camera.stable.iter().for_each(|name| print_line(format_args!("  {}", name.display())));
    if let Some(problem) = &camera.problem {
        print_line(format_args!("  cannot be used: {problem}"));
        return;
    }
    print_line(format_args!("  driver {}, at {}", camera.driver, camera.bus));
    for format in &camera.formats {
        let name = format.name.unwrap_or("(not read here)");
        print_line(format_args!("  {} {name:<16} {}", format.fourcc, format.description));
        if format.name.is_some() {
            format.sizes.iter().for_each(|size| print_line(format_args!("       {}", sizes(size))));
        }
    }
    if !camera.controls.is_empty() {
        print_line("  controls");
    }
    camera.controls.iter().for_each(|control| print_line(format_args!("    {}", describe(control))));
}

fn sizes(size: &SizeInfo) -> String {
    let fps = size.fps.iter().map(|fps| format!("{fps:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()).collect::<Vec<_>>().join(", ");
    let ([w, max_w, step_w], [h, max_h, step_h]) = (size.width_px, size.height_px);
    let range = if (w, h) == (max_w, max_h) { format!("{w}x{h}") } else { format!("{w}x{h} to {max_w}x{max_h} in steps of {step_w}x{step_h}") };
    format!("{range}  {fps} fps")
}

fn describe(control: &ControlInfo) -> String {
    let value = control.value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
    let items = control.items.iter().map(|(number, name)| format!("{number}={name}")).collect::<Vec<_>>().join(", ");
    let range = match control.kind {
        "menu" => items,
        "integer" => format!("{} to {}", control.min, control.max),
        other => other.to_owned(),
    };
    format!("{}  {range}; default {}, now {value}", control.key, control.default)
}
