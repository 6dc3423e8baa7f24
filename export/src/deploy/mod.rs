//! From a workstation to a device, over the system's `ssh`: program, repository, bundle, services. What is there already is left as it is, so that
//! the same call goes on where another one stopped.

mod copy;
mod facts;
mod package;
mod release;
mod repository;
mod service;
mod ssh;

use std::fmt;
use std::path::PathBuf;

use amis_artifacts::bundle;
use amis_runtime::update::Choice;
use serde::Serialize;
use serde_json::Value;

pub use facts::Facts;
use package::Package;
use ssh::{Answer, Ssh, quote};

use crate::{Error, Result};

/// Seconds that a clock may be off before it is told.
const CLOCK_OFF_S: i64 = 600;

/// What is to come to which device.
#[derive(Debug, Clone)]
pub struct Options {
    /// `user@device`, as `ssh` takes it.
    pub to: String,
    /// The bundle.
    pub bundle: PathBuf,
    /// Package of `amis-run`, for a device without it or with an older one: a Debian package, or a tarball for `prefix`.
    pub package: Option<PathBuf>,
    /// Folder on the device where a tarball is unpacked, and the program is looked for.
    pub prefix: Option<String>,
    /// Folder of the device for its releases.
    pub root: String,
    /// Where updates come from.
    pub repository: Option<Source>,
    /// What the service shows.
    pub source: Option<String>,
    /// Where the service shows it.
    pub sink: Option<String>,
    /// Options of ssh, `NAME=VALUE`.
    pub ssh_options: Vec<String>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// A repository, and whom to trust with it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Address, or folder on the device.
    pub repository: String,
    /// Its first root metadata, here.
    pub trust: PathBuf,
}

/// What has come of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The device.
    pub device: Facts,
    /// What was done, and what was there.
    pub steps: Vec<Step>,
    /// What was measured of the bundle on the device; none in a dry run before it is there.
    pub choice: Option<Choice>,
    /// Hottest sensor of the device after that.
    pub temperature_celsius: Option<f64>,
    /// Where the picture is seen.
    pub web: Option<String>,
}

/// One thing that was done, or was not.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// "device", "package", "repository", "bundle", "services", "run".
    pub station: &'static str,
    /// Whether it was done.
    pub state: State,
    /// What.
    pub text: String,
}

/// Whether something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was done.
    Done,
    /// It was there.
    There,
    /// It would be done, without `dry_run`.
    Would,
    /// It cannot be done there, and the rest goes on.
    Left,
    /// Somebody should know.
    Note,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something was done, or was not.
    Step(&'a Step),
    /// Bytes of a file have gone.
    Bytes {
        /// The file.
        what: &'a str,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the file.
        all: u64,
    },
    /// The device works.
    Working {
        /// What it says.
        line: &'a str,
        /// How much is done, 0 to 1, where it tells.
        share: Option<f64>,
    },
    /// That is over.
    Quiet,
}

/// Brings a bundle, and what it needs, to a device.
///
/// # Errors
/// What cannot work there is refused before anything is changed ([`Error::Unsuited`], [`Error::Device`]); a link that breaks ([`Error::Ssh`]) leaves what
/// has arrived, and the same call goes on.
pub fn deploy(options: &Options, watch: &mut dyn FnMut(Event<'_>)) -> Result<Report> {
    let manifest = bundle::read_manifest(&options.bundle)?;
    let size =
        |path: &PathBuf| std::fs::metadata(path).map(|m| m.len()).map_err(|source| amis_artifacts::Error::Io { action: "read", path: path.clone(), source });
    let bundle_bytes = size(&options.bundle)?;
    let package = options.package.as_deref().map(Package::of).transpose()?;
    let package_bytes = options.package.as_ref().map_or(Ok(0), size)?;
    check(options, package.as_ref())?;

    let ssh = Ssh::open(&options.to, &options.ssh_options)?;
    let facts = Facts::ask(&ssh, &options.root, options.prefix.as_deref())?;
    let mut deployment = Deployment { options, ssh, facts, steps: vec![], watch };
    deployment.examine(package.as_ref())?;
    let targets: Vec<&str> = manifest.graphs.iter().map(|graph| graph.target.as_str()).collect();
    deployment.doctor(&targets, true)?;
    let there = deployment.has_release(&manifest)?;
    if !there {
        deployment.room(&manifest, bundle_bytes, package_bytes)?;
    }
    if deployment.package(package.as_ref())? {
        deployment.doctor(&targets, true)?;
    }
    if let (Some(version), false) = (&deployment.facts.version, deployment.would_install()) {
        manifest.require_runtime(&options.bundle, version)?;
    }
    if let Some(source) = &options.repository {
        deployment.repository(source)?;
    }
    deployment.install(&manifest, there)?;
    let choice = if there || !options.dry_run { Some(deployment.choice(manifest.version)?) } else { None };
    let temperature_celsius = deployment.doctor(&targets, false)?;
    let sink = deployment.services(manifest.version)?;
    let web = sink.and_then(|sink| service::web_address(&sink, &deployment.ssh.host(), &options.to));
    Ok(Report { device: deployment.facts, steps: deployment.steps, choice, temperature_celsius, web })
}

/// Refuses arguments that cannot be meant.
fn check(options: &Options, package: Option<&Package>) -> Result<()> {
    let wrong = |reason: String| Err(Error::Deploy { reason });
    for (name, path) in [("--root", Some(&options.root)), ("--prefix", options.prefix.as_ref())] {
        if let Some(path) = path.filter(|path| !path.starts_with('/') || path.chars().any(char::is_control)) {
            return wrong(format!("{name} is {path:?}, expected a whole path on the device"));
        }
    }
    for (name, value) in [("--source", &options.source), ("--sink", &options.sink)] {
        // What a file of environment variables would read in another way.
        if let Some(value) = value.as_ref().filter(|v| v.chars().any(|c| c.is_control() || c.is_whitespace() || "\"'\\".contains(c))) {
            return wrong(format!("{name} is {value:?}: blanks, quotes and backslashes cannot stand in the service's settings"));
        }
    }
    match package {
        Some(package) if package.tar && options.prefix.is_none() => wrong("a tarball needs --prefix FOLDER, where it is unpacked on the device".into()),
        Some(package) if !package.tar && options.prefix.is_some() => wrong("--prefix is for a tarball; a Debian package goes where it belongs".into()),
        _ => Ok(()),
    }
}

/// A deployment that goes on.
struct Deployment<'a> {
    options: &'a Options,
    ssh: Ssh,
    facts: Facts,
    steps: Vec<Step>,
    watch: &'a mut dyn FnMut(Event<'_>),
}

impl Deployment<'_> {
    fn step(&mut self, station: &'static str, state: State, text: String) {
        let step = Step { station, state, text };
        (self.watch)(Event::Step(&step));
        self.steps.push(step);
    }

    /// The processor and the clock.
    fn examine(&mut self, package: Option<&Package>) -> Result<()> {
        let facts = &self.facts;
        let architecture = match facts.processor.as_str() {
            "aarch64" => "arm64",
            "x86_64" => "amd64",
            other => {
                let (to, reason) = (self.ssh.to().to_owned(), format!("its processor is {other:?}, expected aarch64 or x86_64"));
                return Err(Error::Unsuited { to, reason, advice: "there is no amis-run for it".into() });
            }
        };
        if let Some(package) = package.filter(|package| package.architecture != architecture) {
            let reason = format!("its processor is {}, {} is for {}", facts.processor, package.path.display(), package.architecture);
            return Err(Error::Unsuited { to: self.ssh.to().into(), reason, advice: format!("name the package for {architecture} by --package") });
        }
        let parts = [facts.model.clone(), Some(facts.processor.clone()), facts.l4t.as_deref().map(|l| l.split(", GCID").next().unwrap_or(l).to_owned())];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let ahead = facts.clock_ahead_s;
        self.step("device", State::There, format!("{text}, {} free for {}", megabytes(self.facts.free_bytes), self.options.root));
        if ahead.abs() > CLOCK_OFF_S {
            let (hours, way) = (ahead.abs() as f64 / 3600.0, if ahead > 0 { "ahead" } else { "behind" });
            let advice = "signed updates have dates; on the device: sudo timedatectl set-ntp true";
            self.step("device", State::Note, format!("its clock is {hours:.1} hours {way} of ours: {advice}"));
        }
        Ok(())
    }

    /// Lets `amis-run doctor` examine the device, if it is there. Gives the temperature; with `judge` refuses a bundle without a graph for it.
    fn doctor(&mut self, targets: &[&str], judge: bool) -> Result<Option<f64>> {
        let Some(program) = &self.facts.program else { return Ok(None) };
        let answer = self.ssh.run(&format!("{} {} doctor --json", self.environment(), quote(program)))?;
        // One that is too old to say what is asked will be replaced, or refuse the bundle itself.
        let Ok(report) = serde_json::from_str::<Value>(&answer.out) else { return Ok(None) };
        let temperature = report["hottest"]["celsius"].as_f64();
        if !judge {
            return Ok(temperature);
        }
        for finding in report["findings"].as_array().into_iter().flatten() {
            let text = |name: &str| finding[name].as_str().unwrap_or_default();
            if finding["state"] != "good" {
                let advice = if text("advice").is_empty() { String::new() } else { format!(": {}", text("advice")) };
                let note = format!("{}: {}{advice}", text("topic"), text("found"));
                if !self.steps.iter().any(|step| step.text == note) {
                    self.step("device", State::Note, note);
                }
            }
        }
        let Some(target) = report["target"].as_str() else { return Ok(temperature) };
        if !targets.contains(&target) {
            return Err(Error::Unsuited {
                to: self.ssh.to().into(),
                reason: format!("it runs graphs for {target}, and the bundle has some for {}", targets.join(", ")),
                advice: format!("pack one: `amis-export quantize --target {target}`, then `amis-export bundle --graph {target}:fp16:FILE`; docs/export.md"),
            });
        }
        if target == "cpu" && report["onnxruntime"].is_null() {
            return Err(Error::Device {
                to: self.ssh.to().into(),
                tried: "find what runs graphs there".into(),
                reason: "there is neither TensorRT with a GPU nor ONNX Runtime".into(),
                advice: "`amis-run doctor` on the device says what to install; ORT_DYLIB_PATH in /etc/amis/run.env names ONNX Runtime".into(),
            });
        }
        Ok(temperature)
    }

    /// Asks the device anew, after something was installed on it.
    fn ask_again(&mut self) -> Result<()> {
        self.facts = Facts::ask(&self.ssh, &self.options.root, self.options.prefix.as_deref())?;
        Ok(())
    }

    /// Whether a dry run has just said that it would install a package.
    fn would_install(&self) -> bool {
        self.steps.iter().any(|step| step.station == "package" && step.state == State::Would)
    }

    /// A script run by the owner of the device's folder.
    fn owner(&self, script: &str) -> String {
        format!("{}sh -c {}", self.facts.as_owner(), quote(script))
    }

    /// A command of `amis-run` on the device's folder, run by its owner.
    fn amis_run(&self, arguments: &str) -> String {
        format!("{}{}", self.facts.as_owner(), self.amis_run_words(arguments))
    }

    fn amis_run_words(&self, arguments: &str) -> String {
        let program = self.facts.program.as_deref().unwrap_or("amis-run");
        format!("{} {} {arguments} --root {} --json", self.environment(), quote(program), quote(&self.options.root))
    }

    /// What sudo does not hand on.
    fn environment(&self) -> String {
        format!("env{}", self.facts.onnxruntime.as_deref().map(|path| format!(" ORT_DYLIB_PATH={}", quote(path))).unwrap_or_default())
    }
}

/// A command on the device that failed, in its own words.
fn failed(ssh: &Ssh, tried: String, answer: &Answer) -> Error {
    let to = ssh.to().to_owned();
    let said: Value = serde_json::from_str(&answer.out).unwrap_or_default();
    if let Some(reason) = said["error"]["message"].as_str() {
        let (reason, advice) = (reason.to_owned(), said["error"]["help"].as_str().unwrap_or("`amis-run doctor` on the device says more").to_owned());
        return if answer.code == 3 { Error::Unsuited { to, reason, advice } } else { Error::Device { to, tried, reason, advice } };
    }
    let lines = || answer.messages.lines().map(str::trim);
    let reason = lines().rfind(|line| line.starts_with("error: ") || line.starts_with("E: ")).or_else(|| lines().rfind(|line| !line.is_empty()));
    let reason = reason.unwrap_or("it says nothing");
    let reason = format!("{reason} (exit code {})", answer.code);
    let advice = if reason.starts_with("sudo:") {
        "log in as root, or let this user use sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in `sudo visudo`"
    } else {
        "what was done before stays; the same command goes on from there"
    };
    Error::Device { to, tried, reason, advice: advice.into() }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::There => "there",
            Self::Would => "would",
            Self::Left => "left",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {:<5} {}", self.station, self.state.to_string(), self.text)
    }
}
