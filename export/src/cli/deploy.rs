use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use amis_export::Result;
use amis_export::deploy::{Event, Options, Report, Source, deploy};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  amis-export deploy user@jetson --bundle street-3.amis --dry-run
  amis-export deploy user@jetson --bundle street-3.amis --package amis-run_0.1.0-1_arm64.deb
  amis-export deploy user@jetson --bundle street-3.amis --repository https://updates.example.org/amis --trust site/metadata/1.root.json
  amis-export deploy user@box --bundle street-3.amis --package amis-run-0.1.0-amd64.tar.gz --prefix /home/user/amis --root /home/user/amis/device

What is there already is left as it is: after a link that broke, the same command goes on.";

/// Brings a bundle to a device over ssh: checks it, installs amis-run, tries the bundle there and starts the service.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, disable_version_flag = true)]
pub(crate) struct Args {
    /// The device, as ssh takes it.
    #[arg(value_name = "USER@DEVICE")]
    to: String,
    /// The bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Package of amis-run that `make package` made, for a device without it or with an older one; a tarball needs --prefix.
    #[arg(long, value_name = "FILE")]
    package: Option<PathBuf>,
    /// Folder on the device where a tarball is unpacked and the program lies, where there is no dpkg or no root.
    #[arg(long, value_name = "FOLDER")]
    prefix: Option<String>,
    /// Folder of the device for its releases.
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/amis")]
    root: String,
    /// Where its updates come from: an address, or a folder on the device.
    #[arg(long, value_name = "URL", requires = "trust")]
    repository: Option<String>,
    /// First root metadata of that repository.
    #[arg(long, value_name = "FILE", requires = "repository")]
    trust: Option<PathBuf>,
    /// What the service shows, for example v4l2:/dev/video0; without it what it showed before.
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// Where the service shows it, for example web:0.0.0.0:8080; without it where it did before.
    #[arg(long, value_name = "URI")]
    sink: Option<String>,
    /// An option of ssh, for example Port=2222; may be given several times.
    #[arg(long = "ssh-option", value_name = "NAME=VALUE")]
    ssh_options: Vec<String>,
    /// Says what would be done, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The report, as a person reads it.
#[derive(Debug, Serialize)]
pub(crate) struct Deployed(Report);

impl Args {
    pub(crate) fn run(self) -> Result<Deployed> {
        let options = Options {
            to: self.to,
            bundle: self.bundle,
            package: self.package,
            prefix: self.prefix,
            root: self.root,
            repository: self.repository.zip(self.trust).map(|(repository, trust)| Source { repository, trust }),
            source: self.source,
            sink: self.sink,
            ssh_options: self.ssh_options,
            dry_run: self.dry_run,
        };
        let mut bar = None;
        deploy(&options, &mut |event| show(&mut bar, event)).map(Deployed)
    }
}

/// Steps as lines on stderr, and a bar where something takes its time.
fn show(bar: &mut Option<ProgressBar>, event: Event<'_>) {
    match event {
        Event::Step(step) => eprintln!("{step}"),
        Event::Bytes { what, done, all } => {
            let template = "{msg} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta_precise} left";
            let bar = bar.get_or_insert_with(|| start(ProgressBar::new(all), template));
            bar.set_message(what.to_owned());
            // What was there before has not come now: the rate is that of the link.
            if bar.position() == 0 {
                bar.set_position(done);
                bar.reset_eta();
            }
            bar.set_position(done);
        }
        Event::Working { line, share } => {
            let bar =
                bar.get_or_insert_with(|| start(ProgressBar::new(1000), "{spinner} {wide_bar} {percent} %  {elapsed_precise}, {eta_precise} left  {msg}"));
            bar.set_message(line.to_owned());
            if let Some(share) = share {
                bar.set_position((share * 1000.0) as u64);
            }
        }
        Event::Quiet => {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        }
    }
}

fn start(bar: ProgressBar, template: &str) -> ProgressBar {
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl fmt::Display for Deployed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.0;
        if let Some(choice) = &report.choice {
            let mut table = Table::new();
            table.load_style(ASCII_MARKDOWN).set_header(["precision", "engine", "agreement", "median ms", "95 % ms", ""]);
            for candidate in &choice.candidates {
                let number = |value: Option<f64>, digits: usize, unit: &str| value.map_or("-".into(), |v| format!("{v:.digits$}{unit}"));
                let measured = candidate.measured.as_ref();
                let chosen = candidate.precision == choice.precision && candidate.refused.is_none();
                table.add_row([
                    candidate.precision.clone(),
                    candidate.engine.clone().unwrap_or_else(|| "-".into()),
                    number(measured.map(|m| m.agreement * 100.0), 2, " %"),
                    number(measured.map(|m| m.infer_p50_ms), 2, ""),
                    number(measured.map(|m| m.infer_p95_ms), 2, ""),
                    candidate.refused.clone().unwrap_or_else(|| if chosen { "taken".into() } else { String::new() }),
                ]);
            }
            writeln!(f, "{table}")?;
        }
        if let Some(celsius) = report.temperature_celsius {
            writeln!(f, "the hottest sensor shows {celsius:.0} degrees Celsius")?;
        }
        match &report.web {
            Some(web) => write!(f, "the picture: {web}"),
            None => write!(
                f,
                "{} steps, {} of them done now",
                report.steps.len(),
                report.steps.iter().filter(|s| s.state == amis_export::deploy::State::Done).count()
            ),
        }
    }
}
