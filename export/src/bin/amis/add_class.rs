use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::{files, release};
use amis_export::repo::Repository;
use amis_export::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use crate::data::StepData;
use crate::record::{Record, key};
use crate::{figures, programs};

/// Teaches a model one more class and publishes it: a training step, export, INT8, measurement, bundle, gate, publication.
///
/// The images are a data set with labels (docs/data.md, layout `folder` or `voc`), for example from `amis-train import-labels`, whose classes.txt names the
/// new class. Old classes are measured where the validation images have labels of them; the gate wants that.
///
/// Each station says what it did. An interrupted command goes on where it was: what is done and still current is not done again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  amis add-class --from runs/yard/step-1 --images data/person --name person --publish site --keys keys --graph jetpack6:fp16 --graph jetpack6:int8"
)]
pub(crate) struct Args {
    /// Checkpoint of the model so far.
    #[arg(long, value_name = "CHECKPOINT")]
    from: PathBuf,
    /// Data set with the new class.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// The new class.
    #[arg(long)]
    name: String,
    /// Repository to publish in, from `amis-export repo init`.
    #[arg(long, value_name = "REPO")]
    publish: PathBuf,
    /// Folder with the keys of targets, snapshot and timestamp; may be given several times. Without it the release is staged, and not published.
    #[arg(long, value_name = "DIR")]
    keys: Vec<PathBuf>,
    /// Name of the model. [default: the one in the repository, if there is one alone]
    #[arg(long)]
    model: Option<String>,
    /// A graph of the bundle; may be given several times. [default: cpu:fp32 and cpu:int8]
    #[arg(long = "graph", value_name = "TARGET:PRECISION")]
    graphs: Vec<String>,
    /// Who gets it: canary or stable.
    #[arg(long, default_value = "canary")]
    channel: String,
    /// Points of mean IoU that the old classes may lose.
    #[arg(long, value_name = "POINTS")]
    max_old_drop: Option<f64>,
    /// Publishes whatever the old classes lost.
    #[arg(long)]
    allow_drop: bool,
    /// Overrides a key of the training's configuration, for example train.increment.epochs=20; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Folder for everything on the way. [default: add-class-NAME]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Prints the commands and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Prints the result as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A program that is run, with the files that it reads and writes.
struct Station {
    name: String,
    program: &'static str,
    arguments: Vec<String>,
    inputs: Vec<PathBuf>,
    outputs: Vec<PathBuf>,
}

/// What was done.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    release: String,
    bundle: PathBuf,
    stations: Vec<Passed>,
}

/// A station that is behind us.
#[derive(Debug, Serialize)]
struct Passed {
    station: String,
    command: String,
    /// Whether an earlier start had done it.
    was_done: bool,
    seconds: f64,
    result: Value,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Outcome> {
        let base = Checkpoint::open(&self.from)?;
        if base.manifest.classes.by_name(&self.name).is_some() {
            return Err(Error::StepData { path: self.from.clone(), reason: format!("it knows {:?} already", self.name) });
        }
        let data = StepData::open(&self.images, &self.name)?;
        let work = self.work.clone().unwrap_or_else(|| format!("add-class-{}", self.name).into());
        let record_path = work.join("add-class.json");
        let mut record = Record::open(&record_path)?;
        let (model, next) = self.model(&Repository::open(&self.publish)?)?;
        let version = *record.version.get_or_insert(next);
        let toml = data.configuration(&work.join("data"), &base, &self.name)?;
        if !self.dry_run {
            data.write(&work.join("data"), &base)?;
            files::write_atomic(&work.join("step.toml"), toml.as_bytes())?;
            files::write_json(&record_path, &record)?;
        }
        let bundle = work.join(release::bundle_file(&model, version));
        // Another configuration or other images are another run; the same goes on where it was.
        let run = key(&format!("{toml}{:?}", self.overrides), &[self.from.join("checkpoint.json"), self.images.clone()])?;
        let run = work.join(format!("run-{}", &run[..8]));
        let mut stations = Vec::new();
        for station in self.stations(&base, &data, &work, &run, &model, version) {
            let passed = self.pass(&station, &mut record, &record_path)?;
            stations.push(passed);
        }
        Ok(Outcome { release: format!("{model}-{version}"), bundle, stations })
    }

    /// Runs a station, or takes what an earlier start did.
    fn pass(&self, station: &Station, record: &mut Record, record_path: &Path) -> Result<Passed> {
        let command = programs::shown(station.program, &station.arguments);
        let passed = |was_done, seconds, result| Passed { station: station.name.clone(), command: command.clone(), was_done, seconds, result };
        if self.dry_run {
            eprintln!("{command}");
            return Ok(passed(false, 0.0, Value::Null));
        }
        let key = key(&command, &station.inputs)?;
        if let Some(done) = record.find(&station.name, &key) {
            eprintln!("{}: done before in {:.1} s. {}", station.name, done.seconds, figures::of(&station.name, &done.result));
            return Ok(passed(true, done.seconds, done.result.clone()));
        }
        eprintln!("{}: {command}", station.name);
        let started = Instant::now();
        let result = programs::run(station.program, &station.arguments)?;
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("{}: done in {seconds:.1} s. {}", station.name, figures::of(&station.name, &result));
        record.add(&station.name, key, &station.outputs, seconds, result.clone())?;
        files::write_json(record_path, record)?;
        Ok(passed(false, seconds, result))
    }

    /// Name and next version of the model.
    fn model(&self, repository: &Repository) -> Result<(String, u64)> {
        let known = repository.models();
        let name = match (&self.model, known.len()) {
            (Some(name), _) => name.clone(),
            (None, 1) => known[0].0.clone(),
            (None, _) => {
                let known = known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(Error::NoModel { known: if known.is_empty() { "none".into() } else { known } });
            }
        };
        let highest = known.iter().find(|(known, _)| *known == name).map_or(0, |(_, version)| *version);
        Ok((name, highest + 1))
    }

    /// The road, in order.
    fn stations(&self, base: &Checkpoint, data: &StepData, work: &Path, run: &Path, model: &str, version: u64) -> Vec<Station> {
        let at = |name: &str| work.join(name);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let station = |name: &str, program: &'static str, arguments: &[&str], inputs: &[PathBuf], outputs: &[PathBuf]| Station {
            name: name.to_owned(),
            program,
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
        };
        let checkpoint = run.join(format!("step-{}", base.manifest.step + 1));
        let (manifest, weights) = (checkpoint.join("checkpoint.json"), checkpoint.join("model.safetensors"));
        let (graph, calibration, verification) = (at("model.onnx"), at("calibration.json"), at("verification.json"));
        let (toml, run, step) = (text(&at("step.toml")), text(run), text(&checkpoint));
        let mut all = Vec::new();

        let mut train = vec!["run", &toml, "--out", &run];
        self.overrides.iter().for_each(|o| train.extend(["--set", o]));
        let read = [at("step.toml"), base.dir.join("checkpoint.json"), self.images.clone()];
        all.push(station("train", "amis-train", &train, &read, &[manifest.clone(), weights.clone()]));

        let onnx = text(&graph);
        all.push(station(
            "export",
            "amis-export",
            &["onnx", "--checkpoint", &step, "--out", &onnx],
            &[manifest.clone(), weights],
            std::slice::from_ref(&graph),
        ));
        let asked = if self.graphs.is_empty() { vec!["cpu:fp32".to_owned(), "cpu:int8".to_owned()] } else { self.graphs.clone() };
        let (images, table) = (text(&data.images()), text(&calibration));
        if asked.iter().any(|g| g.ends_with(":int8")) {
            let arguments = ["calibrate", "--checkpoint", &step, "--onnx", &onnx, "--images", &images, "--out", &table];
            all.push(station("calibrate", "amis-export", &arguments, &[graph.clone(), data.images()], std::slice::from_ref(&calibration)));
        }
        let mut graphs = Vec::new();
        for wanted in &asked {
            let (target, precision) = wanted.split_once(':').unwrap_or((wanted, "int8"));
            if wanted == "cpu:fp32" {
                graphs.push((wanted.clone(), graph.clone()));
                continue;
            }
            let out = at(&format!("model.{target}-{precision}.onnx"));
            let file = text(&out);
            let mut arguments = vec!["quantize", "--onnx", &onnx, "--target", target, "--precision", precision, "--out", &file];
            let mut inputs = vec![graph.clone()];
            if precision == "int8" {
                arguments.extend(["--calibration", &table]);
                inputs.push(calibration.clone());
            }
            all.push(station(&format!("quantize {wanted}"), "amis-export", &arguments, &inputs, std::slice::from_ref(&out)));
            graphs.push((wanted.clone(), out));
        }
        let measured = text(&verification);
        let paths: Vec<String> = graphs.iter().map(|(_, path)| text(path)).collect();
        let mut verify = vec!["verify", "--checkpoint", &step, "--onnx", &onnx, "--out", &measured];
        paths.iter().filter(|p| **p != onnx).for_each(|p| verify.extend(["--graph", p]));
        let mut inputs: Vec<PathBuf> = vec![manifest.clone(), graph.clone(), self.images.clone()];
        inputs.extend(graphs.iter().map(|(_, path)| path.clone()));
        all.push(station("verify", "amis-export", &verify, &inputs, std::slice::from_ref(&verification)));

        let bundle = at(&release::bundle_file(model, version));
        let (number, folder) = (version.to_string(), text(work));
        let named: Vec<String> = graphs.iter().map(|(wanted, path)| format!("{wanted}:{}", text(path))).collect();
        let mut arguments = vec!["bundle", "--checkpoint", &step, "--name", model, "--version", &number, "--verification", &measured, "--out", &folder];
        named.iter().for_each(|g| arguments.extend(["--graph", g]));
        // The float32 graph says what the self-test has to give, also where it is not packed.
        arguments.extend(["--reference", &onnx]);
        if asked.iter().any(|g| g.ends_with(":int8")) {
            arguments.extend(["--calibration", &table]);
            inputs.push(calibration);
        }
        inputs.push(verification);
        all.push(station("bundle", "amis-export", &arguments, &inputs, std::slice::from_ref(&bundle)));

        let (site, file, release) = (text(&self.publish), text(&bundle), format!("{model}-{version}"));
        let drop = self.max_old_drop.map(|d| d.to_string());
        let mut arguments = vec!["repo", "add", &site, &file, "--channel", &self.channel];
        drop.iter().for_each(|d| arguments.extend(["--max-old-drop", d]));
        if self.allow_drop {
            arguments.extend(["--allow-drop", &release]);
        }
        all.push(station("gate", "amis-export", &arguments, std::slice::from_ref(&bundle), &[]));
        let keys: Vec<String> = self.keys.iter().map(|k| text(k)).collect();
        if !keys.is_empty() {
            let mut arguments = vec!["repo", "publish", &site];
            keys.iter().for_each(|k| arguments.extend(["--keys", k]));
            all.push(station("publish", "amis-export", &arguments, std::slice::from_ref(&bundle), &[]));
        }
        all
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds: f64 = self.stations.iter().filter(|s| !s.was_done).map(|s| s.seconds).sum();
        write!(f, "{}: {} in {} stations, {seconds:.0} s", self.bundle.display(), self.release, self.stations.len())
    }
}
