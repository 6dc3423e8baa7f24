use std::path::PathBuf;

use amis_artifacts::cli::print_line;
use amis_runtime::update::{Bad, Check, Config, Device, Phase, clock};
use amis_runtime::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use crate::control::{Question, ask};
use crate::state::{self, Record};
use crate::update::ROOT;

const EXAMPLES: &str = "\
Examples:
  amis-run status
  amis-run status --root device --json
  amis-run status --state /run/amis";

/// Arguments of `amis-run status`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of a device that takes updates
    #[arg(long, value_name = "DIR", default_value = ROOT, conflicts_with = "state")]
    root: PathBuf,
    /// Folder that `amis-run run --state` was given, for a run without updates
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A device or a run.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Status {
    Device(Box<DeviceStatus>),
    Run(RunStatus),
}

/// A device that takes updates: what the fleet's owner wants to know of it.
#[derive(Serialize)]
pub(crate) struct DeviceStatus {
    /// Which one: `device` of update.toml, or the machine's id.
    device: String,
    /// Now, by its clock.
    time: jiff::Timestamp,
    /// Whether that clock can be right.
    clock_trusted: bool,
    /// Version of this program.
    runtime: &'static str,
    /// Name of the model.
    name: Option<String>,
    current: Option<u64>,
    previous: Option<u64>,
    phase: Phase,
    channel: Option<String>,
    /// Versions that are not tried again, and why.
    bad: Vec<BadVersion>,
    /// What is in the way of updates, if something is.
    last_error: Option<String>,
    last_check: Option<Check>,
    /// The run on this device, live or ended.
    run: Option<RunStatus>,
}

#[derive(Serialize)]
struct BadVersion {
    version: u64,
    #[serde(flatten)]
    bad: Bad,
}

/// A run, live or ended.
#[derive(Serialize)]
pub(crate) struct RunStatus {
    running: bool,
    #[serde(flatten)]
    record: Record,
    /// Where it is, if it runs.
    statistics: Option<Value>,
    /// What happened in it, oldest first, if it runs.
    events: Option<Value>,
}

/// Events that are printed.
const LAST_EVENTS: usize = 5;

pub(crate) fn run(args: &Args) -> Result<Status> {
    let status = match &args.state {
        Some(folder) => {
            let missing = || Error::Control { path: folder.clone(), reason: "no run has left anything there".into() };
            Status::Run(of_run(folder).ok_or_else(missing)?)
        }
        None => Status::Device(Box::new(of_device(&Device::open(&args.root)?)?)),
    };
    if !args.json {
        match &status {
            Status::Device(device) => print_device(device),
            Status::Run(run) => print_run(run),
        }
    }
    Ok(status)
}

fn of_run(folder: &std::path::Path) -> Option<RunStatus> {
    let mut live = ask(folder, &Question::Status).ok();
    let mut part = |name: &str| live.as_mut().map(|live| live[name].take());
    let (statistics, events) = (part("statistics"), part("events"));
    state::read(folder).map(|record| RunStatus { running: statistics.is_some(), record, statistics, events })
}

/// Where a device stands.
pub(crate) fn of_device(device: &Device) -> Result<DeviceStatus> {
    let state = device.state()?;
    let config = Config::read(device.root());
    let machine = || std::fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default();
    let check_error = state.last_check.as_ref().filter(|check| check.failed).map(|check| check.result.clone());
    Ok(DeviceStatus {
        device: config.as_ref().ok().and_then(|c| c.device.clone()).unwrap_or_else(machine),
        time: jiff::Timestamp::now(),
        clock_trusted: clock::judge(clock::now_unix_s(), state.trusted_unix_s).clock_trusted,
        runtime: env!("CARGO_PKG_VERSION"),
        name: state.name,
        current: state.current,
        previous: state.previous,
        phase: state.phase,
        channel: config.as_ref().ok().map(|c| c.channel.clone()),
        bad: state.bad.into_iter().map(|(version, bad)| BadVersion { version, bad }).collect(),
        last_error: check_error.or_else(|| config.err().map(|e| e.to_string())),
        last_check: state.last_check,
        run: of_run(&device.run_folder()),
    })
}

fn print_device(device: &DeviceStatus) {
    match (&device.name, device.current) {
        (Some(name), Some(version)) => print_line(format_args!("{name} version {version} is installed, the device is {}", device.phase)),
        _ => print_line("nothing is installed"),
    }
    if let Some(version) = device.previous {
        print_line(format_args!("version {version} is kept to go back to"));
    }
    for BadVersion { version, bad } in &device.bad {
        print_line(format_args!("version {version} is not tried again: {}", bad.reason));
    }
    if let Some(error) = &device.last_error {
        print_line(format_args!("updates: {error}"));
    }
    if !device.clock_trusted {
        print_line("the clock is behind what is known for sure; updates work, dates in reports are wrong");
    }
    match &device.run {
        Some(run) => print_run(run),
        None => print_line("nothing runs"),
    }
}

fn print_run(status: &RunStatus) {
    match (&status.statistics, &status.record.end) {
        (Some(statistics), _) => {
            let alone = std::slice::from_ref(statistics);
            let cameras = statistics["cameras"].as_array().map_or(alone, Vec::as_slice);
            let model = &cameras[0]["model"];
            let pid = status.record.pid;
            print_line(format_args!("running, process {pid}: {} v{} {}", text(&model["name"]), model["version"], text(&model["precision"])));
            cameras.iter().for_each(print_camera);
        }
        (None, Some(end)) => print_line(format_args!("ended: {}", end.reason)),
        (None, None) => print_line("ended without a word: killed, crashed, or the power was cut"),
    }
    let events = status.events.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for event in &events[events.len().saturating_sub(LAST_EVENTS)..] {
        let ago_s = state::unix_ms().saturating_sub(event["unix_ms"].as_u64().unwrap_or(0)) / 1000;
        print_line(format_args!("{ago_s} s ago: {}", text(&event["text"])));
    }
    if let Some(end) = &status.record.previous_end {
        print_line(format_args!("the run before ended: {}", end.reason));
    }
}

fn print_camera(s: &Value) {
    let of_camera = s["camera"].as_u64().map(|camera| format!("camera {camera}: ")).unwrap_or_default();
    let rate = s["minute"]["fps"].as_f64().unwrap_or(0.0);
    print_line(format_args!("{of_camera}{} frames, {rate:.1} a second in the last minute, {} dropped", s["frames"], s["dropped"]));
    for (kind, count) in s["faults"].as_object().into_iter().flatten() {
        print_line(format_args!("{of_camera}{count} times: {kind}"));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
