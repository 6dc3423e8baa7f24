use std::path::{Path, PathBuf};

use miette::Diagnostic;

/// What can go wrong while training.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A file of the road.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifacts(#[from] amis_artifacts::Error),
    /// A data set.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] amis_data::Error),
    /// libtorch reports a failure.
    #[error("libtorch failed: {0}")]
    #[diagnostic(code(amis::trainer::torch))]
    Torch(#[from] tch::TchError),
    /// Memory of the GPU or of the machine does not suffice.
    #[error("out of memory while {doing}: {reason}")]
    #[diagnostic(
        code(amis::environment::memory),
        help(
            "train.batch_auto=true cuts a batch into as many parts as it takes, train.accumulate=N into N parts; or lower train.batch, image.crop_px (for a \
             validation image.height_px and image.width_px) or the model's sizes, or end what else uses this device"
        )
    )]
    OutOfMemory {
        /// What was being done, with the sizes that count.
        doing: String,
        /// libtorch's own words.
        reason: String,
    },
    /// A device that is not there.
    #[error("no device {wanted}: {reason}")]
    #[diagnostic(code(amis::environment::device), help("--device cpu works everywhere; nvidia-smi lists the GPUs and the driver"))]
    Device {
        /// As it was asked for.
        wanted: String,
        /// What is there instead.
        reason: String,
    },
    /// A configuration that does not hold together.
    #[error("configuration {}: {reason}", path.display())]
    #[diagnostic(code(amis::input::config), help("correct the file, or override the key with --set key=value"))]
    Config {
        /// The TOML file.
        path: PathBuf,
        /// Key, found and expected.
        reason: String,
    },
    /// Weights that do not fit the network.
    #[error("weights of {network}: {reason}")]
    #[diagnostic(code(amis::input::weights), help("the checkpoint belongs to a network of other sizes; use the configuration it was trained with"))]
    Weights {
        /// Which network.
        network: &'static str,
        /// Tensor, found and expected shape.
        reason: String,
    },
    /// A file of another program that is no weights for this network.
    #[error("weights in {}: {reason}", path.display())]
    #[diagnostic(code(amis::input::foreign_weights), help("{advice}"))]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong, with found and expected.
        reason: String,
        /// What to do about it.
        advice: String,
    },
    /// A pickle that is more than weights.
    #[error("{} asks for {name}, which is no part of weights; nothing was run", path.display())]
    #[diagnostic(
        code(amis::input::pickle),
        help("only tensors and plain data are read. If you trust where the file comes from, load it in Python and save model.state_dict() alone")
    )]
    RefusedPickle {
        /// The file.
        path: PathBuf,
        /// Function or class that it names.
        name: String,
    },
    /// A file to write whose ending names no format.
    #[error("cannot tell from {} in which format to write", path.display())]
    #[diagnostic(code(amis::usage::ending), help("end the name in .safetensors, or in .pth for torch.load"))]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// A step whose parent does not fit.
    #[error("step {step} cannot start from {}: {reason}", parent.display())]
    #[diagnostic(
        code(amis::input::parent),
        help(
            "an incremental step needs the checkpoint of the step before, with the same classes and network; train that step first, or name the base with train.base_checkpoint"
        )
    )]
    Parent {
        /// Step that was to be trained.
        step: usize,
        /// Folder of the expected parent.
        parent: PathBuf,
        /// What is missing or differs.
        reason: String,
    },
    /// A step without images.
    #[error("step {step} has no training images in {list}")]
    #[diagnostic(code(amis::input::no_images), help("check task.images or the classes of the step; amis-train doctor shows the counts of every step"))]
    NoImages {
        /// The step.
        step: usize,
        /// List or rule that gave none.
        list: String,
    },
    /// A run folder that holds another run.
    #[error("{} holds a run with another configuration: {reason}", path.display())]
    #[diagnostic(code(amis::input::run_folder), help("give another --out, or delete the folder if that run is not needed any more"))]
    ForeignRun {
        /// The run folder.
        path: PathBuf,
        /// First key that differs.
        reason: String,
    },
    /// A run folder that another process works in.
    #[error("process {process} is training in {}", path.display())]
    #[diagnostic(code(amis::input::run_busy), help("wait for it, stop it with Ctrl-C there or kill -INT, or give another --out"))]
    BusyRun {
        /// The run folder.
        path: PathBuf,
        /// Process number of the other one.
        process: String,
    },
    /// A started step whose saved states are all damaged.
    #[error("no saved state of step {step} in {} can be used: {reason}", path.display())]
    #[diagnostic(code(amis::input::state), help("delete that folder to train the step again from its beginning; finished steps are kept"))]
    State {
        /// The step.
        step: usize,
        /// Folder of the states.
        path: PathBuf,
        /// What is wrong with each.
        reason: String,
    },
    /// A run folder that is none, or does not fit the others.
    #[error("the run in {} cannot be shown: {reason}", run.display())]
    #[diagnostic(
        code(amis::input::run),
        help("name folders that amis-train run has written; report compares runs of the same steps, compare takes finished ones")
    )]
    Report {
        /// The folder.
        run: PathBuf,
        /// What is missing or differs.
        reason: String,
    },
    /// The labels of a data set are damaged.
    #[error("{problems} problems in the data set at {}, the first: {first}", root.display())]
    #[diagnostic(code(amis::input::dataset), help("amis-train doctor lists them with file, pixel and value"))]
    Dataset {
        /// Root of the data set.
        root: PathBuf,
        /// Number of problems found.
        problems: usize,
        /// The first of them, with its file.
        first: String,
    },
    /// A loss that is not a number.
    #[error("step {step}, iteration {iteration}: the loss term {term} is {value}")]
    #[diagnostic(code(amis::trainer::diverged), help("lower the learning rate, or lengthen the warm-up"))]
    Diverged {
        /// Training step.
        step: usize,
        /// Iteration in the step.
        iteration: usize,
        /// First term that is not finite.
        term: &'static str,
        /// Its value.
        value: f64,
    },
    /// Gradients that stay infinite in float16.
    #[error("the gradient of {tensor} is not finite, {times} times in a row; the scale of the loss is down to {scale}")]
    #[diagnostic(code(amis::trainer::overflow), help("train.precision=bf16 has the range of float32; or lower the learning rate, or set optimizer.clip_norm"))]
    Overflow {
        /// First parameter whose gradient is not finite.
        tensor: String,
        /// Updates in a row that were left out.
        times: usize,
        /// Scale of the loss by now.
        scale: f64,
    },
    /// Several processes in a build that cannot connect them.
    #[error("{processes} processes were started together, but this amis-train is built without MPI")]
    #[diagnostic(
        code(amis::environment::launcher),
        help("make build-distributed builds it with MPI; without, start a single process: several would train the same run over each other")
    )]
    NotDistributed {
        /// Number of processes, as the launcher says.
        processes: usize,
    },
    /// Processes that a launcher has started and MPI cannot connect.
    #[error("the processes cannot be connected: {reason}")]
    #[diagnostic(
        code(amis::environment::launcher),
        help("start them with mpirun of the MPI that amis-train is built with, or srun --mpi=pmix; see docs/trainer.md")
    )]
    Launcher {
        /// What MPI says.
        reason: String,
    },
    /// GPUs that cannot be connected.
    #[error("the GPUs of the processes cannot be connected: {reason}")]
    #[diagnostic(
        code(amis::environment::gpus),
        help(
            "each process on a host needs a GPU of its own; make build-distributed finds the NCCL that came with libtorch; NCCL_DEBUG=INFO says what it tries"
        )
    )]
    Gpus {
        /// What the driver or NCCL says.
        reason: String,
    },
    /// Processes that do not have the same.
    #[error("this process has another {what} than rank 0")]
    #[diagnostic(
        code(amis::environment::ranks),
        help("all processes need the same program and arguments, and the folders of data and run at the same place on a file system that they share")
    )]
    RanksDiffer {
        /// What differs.
        what: &'static str,
    },
    /// More processes than images in a batch.
    #[error("a batch of {batch} images cannot be shared by {ranks} processes")]
    #[diagnostic(code(amis::input::ranks), help("start at most as many processes as train.batch has images, or raise train.batch"))]
    TooManyRanks {
        /// Images in a batch.
        batch: usize,
        /// Number of processes.
        ranks: usize,
    },
    /// The person stopped the run.
    #[error("stopped at step {step}, iteration {iteration}; the state is saved")]
    #[diagnostic(code(amis::trainer::stopped), help("start the same command again to go on from there"))]
    Stopped {
        /// Training step.
        step: usize,
        /// Iterations done in it.
        iteration: usize,
    },
}

impl Error {
    /// The problems of a data set as one error.
    pub fn dataset(root: &Path, report: &amis_data::doctor::Report) -> Self {
        let first = report.problems.first().map(ToString::to_string).unwrap_or_default();
        Self::Dataset { root: root.into(), problems: report.problem_count, first }
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
