use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use amis_artifacts::cli::print_line;
use amis_artifacts::release::DeviceTraits;
use amis_runtime::update::{self, Bad, Config, Device, Event, Outcome, State, clock};
use amis_runtime::{Error, Result, doctor};
use amis_tensorrt::child;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::control::{Question, ask};
use crate::status;

/// Where a device's folder usually is.
pub(crate) const ROOT: &str = "/var/lib/amis";

const UPDATE_EXAMPLES: &str = "\
Examples:
  amis-run update --trust 1.root.json    the first time: whom to trust
  amis-run update --check                only looks
  amis-run update                        fetches, tests and installs; a run on this device takes it over
  amis-run update --root device --json";

/// Arguments of `amis-run update`.
#[derive(clap::Args)]
#[command(after_help = UPDATE_EXAMPLES)]
pub(crate) struct UpdateArgs {
    /// Folder of the device; update.toml in it says where updates come from
    #[arg(long, value_name = "DIR", default_value = ROOT)]
    root: PathBuf,
    /// Root metadata of the repository, brought here on a way that you trust
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Tells what there is, and installs nothing
    #[arg(long)]
    check: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const INSTALL_EXAMPLES: &str = "\
Examples:
  amis-run install street-3.amis
  amis-run install street-3.amis --root device --json";

/// Arguments of `amis-run install`.
#[derive(clap::Args)]
#[command(after_help = INSTALL_EXAMPLES)]
pub(crate) struct InstallArgs {
    /// The bundle; it needs no signature, since you vouch for it
    #[arg(value_name = "FILE")]
    bundle: PathBuf,
    /// Folder of the device
    #[arg(long, value_name = "DIR", default_value = ROOT)]
    root: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const ROLLBACK_EXAMPLES: &str = "\
Example:
  amis-run rollback";

/// Arguments of `amis-run rollback`.
#[derive(clap::Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub(crate) struct RollbackArgs {
    /// Folder of the device
    #[arg(long, value_name = "DIR", default_value = ROOT)]
    root: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `amis-run try`, which the three above start: what a bad graph does to a process, it does to that one.
#[derive(clap::Args)]
pub(crate) struct TryArgs {
    /// Unpacked bundle
    release: PathBuf,
    /// Precision of the graph
    precision: String,
    /// Engine that was built from it
    engine: Option<PathBuf>,
}

/// What has come of it.
#[derive(Serialize)]
pub(crate) struct Report {
    /// "up_to_date", "offered", "installed", "rolled_back".
    result: &'static str,
    /// Version that is meant.
    version: Option<u64>,
    /// Whether a run on this device serves it already.
    serves: bool,
    #[serde(skip)]
    text: String,
}

pub(crate) fn update(args: &UpdateArgs) -> Result<Report> {
    let device = Device::open(&args.root)?;
    if let Some(root) = &args.trust {
        update::trust(&device, root)?;
    }
    let config = Config::read(&args.root)?;
    let bar = progress_bar();
    let outcome = update::update(&device, &config, &traits(&config), args.check, &mut program, &mut |have, all| {
        bar.set_length(all);
        bar.set_position(have);
    });
    bar.finish_and_clear();
    let report = outcome.map_err(Error::from).and_then(|outcome| match outcome {
        Outcome::UpToDate => {
            let current = device.state()?.current;
            let text = current.map_or("there is nothing for this device".into(), |v| format!("version {v} is the newest for this device"));
            Ok(Report { result: "up_to_date", version: current, serves: false, text })
        }
        Outcome::Offered(version) => {
            Ok(Report { result: "offered", version: Some(version), serves: false, text: format!("version {version} is there; `amis-run update` installs it") })
        }
        Outcome::Installed(state) => take_over(&device, &state, "installed"),
    });
    // The fleet is told of what failed, too; that nobody listens changes nothing here.
    if let Some(address) = &config.report
        && let Err(error) = status::of_device(&device).and_then(|status| Ok(update::report(address, &status)?))
    {
        tracing::warn!("the status was not sent: {error}");
    }
    show(report, args.json)
}

pub(crate) fn install(args: &InstallArgs) -> Result<Report> {
    let device = Device::open(&args.root)?;
    let state = update::install_file(&device, &args.bundle, &mut program)?;
    show(take_over(&device, &state, "installed"), args.json)
}

pub(crate) fn roll_back(args: &RollbackArgs) -> Result<Report> {
    let device = Device::open(&args.root)?;
    let state = update::roll_back(&device)?;
    show(take_over(&device, &state, "rolled_back"), args.json)
}

/// Tries one graph and prints what was measured.
pub(crate) fn try_graph(args: &TryArgs) -> Result<update::Measured> {
    update::measure(&args.release, &args.precision, args.engine.as_deref())
}

/// Lets a run on this device take the current release over, if there is one.
fn take_over(device: &Device, state: &State, result: &'static str) -> Result<Report> {
    let version = state.current;
    let Some(number) = version else { return Err(update::Error::Refused { reason: "no release is left".into() }.into()) };
    let release = std::path::absolute(device.release(number)).unwrap_or_else(|_| device.release(number));
    let verb = result.replace('_', " ");
    match ask(&device.run_folder(), &Question::Swap(release)) {
        Ok(_) => Ok(Report { result, version, serves: true, text: format!("version {number} is {verb} and serves") }),
        Err(Error::Control { .. }) => Ok(Report { result, version, serves: false, text: format!("version {number} is {verb}; the next run serves it") }),
        Err(error) => {
            if result == "installed" {
                device.happen(Event::Failed(Bad { reason: error.to_string(), unix_s: clock::now_unix_s(), log: vec![] }))?;
            }
            Err(error)
        }
    }
}

fn show(report: Result<Report>, json: bool) -> Result<Report> {
    if let (Ok(report), false) = (&report, json) {
        print_line(&report.text);
    }
    report
}

/// Builds the engine that another process of this program asks for.
pub(crate) fn build_engine() -> Result<()> {
    child::serve().map_err(|source| amis_artifacts::Error::Io { action: "build an engine for", path: "another process".into(), source }.into())
}

/// This program, to try graphs and build engines in processes of their own.
fn program() -> Command {
    Command::new(std::env::current_exe().unwrap_or_else(|_| "amis-run".into()))
}

/// What releases may ask for.
fn traits(config: &Config) -> DeviceTraits {
    let (report, _) = doctor::examine(Path::new("/"));
    DeviceTraits { board: report.board, jetpack: report.software.jetpack.as_deref().and_then(major), tags: config.tags.clone() }
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes}/{total_bytes}  {bytes_per_sec}  (ETA {eta}) {wide_bar}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
