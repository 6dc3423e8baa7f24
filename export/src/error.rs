use std::path::PathBuf;

use miette::Diagnostic;

use crate::passes::lint::Finding;
use crate::verify::{MAX_ABS_DIFF, MIN_AGREEMENT};

/// What can go wrong between a checkpoint and a bundle.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A file of the road is damaged, too large, or cannot be read or written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] amis_artifacts::Error),
    /// Ranges cannot be measured.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Calibration(#[from] amis_calib::Error),
    /// A data set or an image cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] amis_data::Error),
    /// ONNX Runtime is missing, or a graph does not run.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Runtime(#[from] amis_runtime::Error),
    /// TensorRT is missing, refuses the graph, or does not build.
    #[error(transparent)]
    #[diagnostic(transparent)]
    TensorRt(#[from] amis_tensorrt::Error),
    /// The process that builds engines does not start, or was not asked by this program.
    #[error("the builder of engines cannot work")]
    #[diagnostic(code(amis::environment::builder), help("`amis-export engine` starts it; its command is not for people"))]
    Builder {
        /// The system's answer.
        source: std::io::Error,
    },
    /// A weight of the checkpoint is missing or not as the manifest says.
    #[error("weight {name} {reason}")]
    #[diagnostic(
        code(amis::input::weight),
        help("checkpoint.json and model.safetensors do not describe the same network; take both from the same training step")
    )]
    Weight {
        /// Name of the weight.
        name: String,
        /// Found and expected.
        reason: String,
    },
    /// A graph that does not belong to the checkpoint.
    #[error("{} does not fit the checkpoint: {reason}", path.display())]
    #[diagnostic(code(amis::input::graph_mismatch), help("export the graph again from this checkpoint with `amis-export onnx`"))]
    Mismatch {
        /// The ONNX file.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// A graph that gives masks which cannot be compared.
    #[error("{} gives masks that cannot be used: {reason}", path.display())]
    #[diagnostic(
        code(amis::export::masks),
        help(
            "values that are not finite come from an overflow: stay with another precision, or keep layers out with `amis-export quantize --keep`; compare graphs that all end in masks, or all in logits"
        )
    )]
    Masks {
        /// The ONNX file.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// A graph that was not measured.
    #[error("{} was not measured: {} has no graph with its SHA-256 {sha256}", path.display(), verification.display())]
    #[diagnostic(
        code(amis::input::verification),
        help("measure all graphs of the bundle at once: `amis-export verify --graph A --graph B --out verification.json`")
    )]
    NotMeasured {
        /// The ONNX file.
        path: PathBuf,
        /// Its hash.
        sha256: String,
        /// The file of the measurements.
        verification: PathBuf,
    },
    /// A bundle that cannot follow the one before it.
    #[error("the new bundle cannot follow {}: {reason}", path.display())]
    #[diagnostic(
        code(amis::input::parent),
        help("devices would refuse it: keep name and targets and raise the version, or leave out --parent for a model of its own")
    )]
    Parent {
        /// The parent.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// No graph that gives the maps of the self-test.
    #[error("the self-test needs the float32 graph for the CPU, and it is not among the graphs")]
    #[diagnostic(
        code(amis::usage::reference),
        help("pack it too (`--graph cpu:fp32:model.cpu-fp32.onnx`), or only name it (`--reference model.cpu-fp32.onnx`)")
    )]
    NoReference,
    /// A graph that would fail on a device.
    #[error(
        "{} gives {:.2} % of the self-test's pixels the class of the float32 graph, expected at least {:.2} %",
        path.display(),
        100.0 * agreement,
        100.0 * min_agreement
    )]
    #[diagnostic(
        code(amis::export::self_test),
        help(
            "devices would refuse it: quantize with other ranges or keep layers (`amis-export sensitivity`), or ask for less by --min-agreement if the loss is known"
        )
    )]
    SelfTest {
        /// The graph.
        path: PathBuf,
        /// Share of the pixels that agree, 0..1.
        agreement: f64,
        /// Share asked for, 0..1.
        min_agreement: f64,
    },
    /// A loss of quality that cannot be stated.
    #[error("no loss of mean IoU can be stated: {reason}")]
    #[diagnostic(
        code(amis::input::no_loss),
        help(
            "measure on the trainer's own validation list with its labels, or leave out --budget; if the numbers differ on those, export the graph again and run `amis-export verify`"
        )
    )]
    NoLoss {
        /// Found and expected.
        reason: String,
    },
    /// A sensitivity that does not say what to keep here.
    #[error("{} does not hold here: {reason}", path.display())]
    #[diagnostic(code(amis::input::sensitivity), help("measure again: `amis-export sensitivity --help`; without a choice that holds, stay with FP16"))]
    Sensitivity {
        /// The file.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// No images to measure on.
    #[error("no images in {}: {reason}", path.display())]
    #[diagnostic(code(amis::input::no_images), help("name a data set with labels, or a folder of .jpg, .jpeg or .png files, by --images"))]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// `--graph` that does not read `target:precision:FILE`.
    #[error("{text:?} is no graph: {reason}")]
    #[diagnostic(code(amis::usage::graph), help("write it as target:precision:FILE, for example cpu:fp32:model.cpu-fp32.onnx"))]
    GraphArgument {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A graph that a pass does not understand.
    #[error("the graph cannot be converted: {reason}")]
    #[diagnostic(code(amis::input::pass), help("start from the float32 graph that `amis-export onnx` writes for this checkpoint"))]
    Pass {
        /// Found and expected.
        reason: String,
    },
    /// A graph that a plan cannot be made from.
    #[error("no plan can be made: {reason}")]
    #[diagnostic(
        code(amis::input::plan),
        help(
            "a plan needs the float32 graph with all sizes fixed, as `amis-export onnx` writes it; a foreign one needs its shapes in it (onnx.shape_inference)"
        )
    )]
    Plan {
        /// Found and expected.
        reason: String,
    },
    /// A tensor without a usable range.
    #[error("tensor {tensor} {reason}")]
    #[diagnostic(code(amis::input::calibration), help("calibrate this graph again with `amis-export calibrate`"))]
    Range {
        /// Name of the tensor.
        tensor: String,
        /// Found and expected.
        reason: String,
    },
    /// A device family that is not in the table.
    #[error("there is no target {name:?}, expected one of {known}")]
    #[diagnostic(code(amis::usage::target), help("targets are the device families that graphs are written for"))]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Something that a device family cannot run, or should not.
    #[error("target {target} refuses {what}: {reason}")]
    #[diagnostic(code(amis::usage::target), help("take another precision or another target"))]
    Refused {
        /// The target.
        target: String,
        /// The precision, or the DLA.
        what: String,
        /// Why.
        reason: String,
    },
    /// A graph that a parser would refuse or a device would compute wrongly.
    #[error("the graph breaks {} rules:\n  {}", findings.len(), findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    #[diagnostic(code(amis::export::lint), help("a graph of ours with findings is a mistake in this tool; a foreign one has to be exported again"))]
    Lint {
        /// The findings.
        findings: Vec<Finding>,
    },
    /// The graph does not compute what the checkpoint's network did.
    #[error(
        "the graph does not agree with the checkpoint over {images} images: logits differ by up to {max_abs_diff:.3e} (must be below {MAX_ABS_DIFF:e}), \
         {:.4} % of the pixels get the same class (must be above {} %)",
        argmax_agreement * 100.0,
        MIN_AGREEMENT * 100.0
    )]
    #[diagnostic(
        code(amis::export::verification),
        help("export the graph again from this checkpoint; if it stays so, the samples were not made by these weights or ONNX Runtime computes wrongly here")
    )]
    Verification {
        /// Largest absolute difference of a logit; infinite if one is not a number.
        max_abs_diff: f64,
        /// Share of pixels with the same class, 0..1.
        argmax_agreement: f64,
        /// Images compared.
        images: usize,
    },
    /// A folder that holds no repository.
    #[error("{} is no repository: there is no metadata/1.root.json", path.display())]
    #[diagnostic(code(amis::input::no_repository), help("make one: `amis-export repo init --help`"))]
    NoRepository {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that should be empty.
    #[error("{} is not empty", path.display())]
    #[diagnostic(code(amis::input::folder_in_use), help("name a new folder; a repository is made once and then kept"))]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// A repository that does not verify.
    #[error("the repository cannot be used: {}", path.display())]
    #[diagnostic(
        code(amis::input::repository),
        help("the folder was changed by something else than this tool, or only half copied; take it back from a copy, and sign nothing before you know why")
    )]
    Repository {
        /// The folder or its file.
        path: PathBuf,
        /// What does not hold.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else changes the repository.
    #[error("another amis-export is changing {}", path.display())]
    #[diagnostic(code(amis::export::locked), help("wait until it is done and try again"))]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A number of root keys that makes no sense.
    #[error("no root can be made: {reason}")]
    #[diagnostic(code(amis::usage::root_keys), help("two keys of which both have to sign are the default; `--root-keys 3 --threshold 2` survives a lost key"))]
    RootKeys {
        /// Found and expected.
        reason: String,
    },
    /// No passphrase.
    #[error("no passphrase for {what}: {reason}")]
    #[diagnostic(
        code(amis::usage::passphrase),
        help("type it on a terminal, or give it by --passphrase-file FILE or in the environment variable AMIS_PASSPHRASE")
    )]
    Passphrase {
        /// What it is for.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A key file that does not open.
    #[error("key {} cannot be used: {reason}", path.display())]
    #[diagnostic(code(amis::input::key), help("check the passphrase; `openssl pkey -in FILE -noout` tells whether the file is whole"))]
    Key {
        /// The file.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// A key that is not at hand.
    #[error("{role} cannot be signed: {wanted} not found in {folders}")]
    #[diagnostic(code(amis::input::no_key), help("name the folder with the key by --keys, several times if there are several"))]
    NoKey {
        /// The role.
        role: String,
        /// Names of key files.
        wanted: String,
        /// Where they were looked for.
        folders: String,
    },
    /// A key that a role does not have.
    #[error("{role} has no key {key:?}, expected one of: {known}")]
    #[diagnostic(code(amis::usage::key), help("name its file as `amis-export repo status` shows it, or leave out --key to replace all keys of the role"))]
    NotAKey {
        /// What was asked for.
        key: String,
        /// The role.
        role: String,
        /// Files of its keys.
        known: String,
    },
    /// A program of the toolkit that is not beside this one.
    #[error("{} is not there", path.display())]
    #[diagnostic(code(amis::environment::program), help("the programs of the toolkit belong into one folder: make build"))]
    NoProgram {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A program that ended with an error; it has said why.
    #[error("{command} failed with {status}")]
    #[diagnostic(code(amis::export::station), help("its message stands above; the same command here goes on from this station"))]
    Station {
        /// The command line.
        command: String,
        /// Exit code or signal.
        status: String,
    },
    /// A program whose result is not what it promises.
    #[error("{command} printed no usable result: {reason}")]
    #[diagnostic(code(amis::environment::result), help("programs of different versions may be mixed; build all again: make build"))]
    StationResult {
        /// The command line.
        command: String,
        /// What was found and expected.
        reason: String,
    },
    /// A checkpoint or data set that one more step cannot be made from.
    #[error("no step can be made from {}: {reason}", path.display())]
    #[diagnostic(
        code(amis::input::step_data),
        help("docs/data.md shows the layouts; `amis-train import-labels` makes one from drawn annotations; a checkpoint has to come from `amis-train run`")
    )]
    StepData {
        /// The checkpoint or data set.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// A model that is not named.
    #[error("which model? The repository has: {known}")]
    #[diagnostic(code(amis::usage::model), help("name it by --model"))]
    NoModel {
        /// Names in the repository.
        known: String,
    },
    /// A rotation that was interrupted.
    #[error("a rotation of keys in {} was interrupted", path.display())]
    #[diagnostic(code(amis::export::interrupted), help("every command that changes the repository finishes it first: `amis-export repo publish`"))]
    Interrupted {
        /// The folder.
        path: PathBuf,
    },
    /// A version that was given before.
    #[error("{release} is not newer: version {highest} of this name was already published or staged")]
    #[diagnostic(code(amis::input::version), help("devices only go up: pack the bundle again with a higher --version"))]
    Version {
        /// The bundle.
        release: String,
        /// Highest version so far.
        highest: u64,
    },
    /// A release that is not in the repository.
    #[error("there is no release {release:?} in the repository, expected one of: {known}")]
    #[diagnostic(code(amis::usage::release), help("`amis-export repo status` lists the releases"))]
    NoRelease {
        /// What was asked for.
        release: String,
        /// The releases there are.
        known: String,
    },
    /// A release that forgot too much.
    #[error("{bundle} is not published:\n  {}", reasons.join("\n  "))]
    #[diagnostic(
        code(amis::export::gate),
        help("train or quantize again; measure with `amis-export verify --images` and a data set with labels; or, if it shall be so, `--allow-drop {bundle}`")
    )]
    Gate {
        /// `<name>-<version>`.
        bundle: String,
        /// Every graph that does not pass, with its numbers.
        reasons: Vec<String>,
    },
    /// Arguments of a deployment that cannot be meant.
    #[error("{reason}")]
    #[diagnostic(code(amis::usage::deploy), help("`amis-export deploy --help` has examples"))]
    Deploy {
        /// Found and expected.
        reason: String,
    },
    /// `ssh` does not start.
    #[error("ssh cannot be started")]
    #[diagnostic(code(amis::environment::no_ssh), help("install it: sudo apt-get install openssh-client"))]
    NoSsh {
        /// The system's answer.
        source: std::io::Error,
    },
    /// No way to a device, or none any more.
    #[error("no connection to {to}: {reason}")]
    #[diagnostic(code(amis::environment::ssh), help("`ssh {to} true` has to work; what has arrived there stays, and the same command goes on from it"))]
    Ssh {
        /// The device, as it was named.
        to: String,
        /// Last words of ssh.
        reason: String,
    },
    /// A device that a bundle or a package is not for.
    #[error("not for {to}: {reason}")]
    #[diagnostic(code(amis::input::unsuited), help("{advice}"))]
    Unsuited {
        /// The device, as it was named.
        to: String,
        /// Found and expected.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// Something is missing or fails on a device.
    #[error("{to} cannot {tried}: {reason}")]
    #[diagnostic(code(amis::environment::device), help("{advice}"))]
    Device {
        /// The device, as it was named.
        to: String,
        /// What was to be done there.
        tried: String,
        /// What came back.
        reason: String,
        /// What to do.
        advice: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
