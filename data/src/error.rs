use std::path::PathBuf;

use miette::Diagnostic;

use crate::protocol::Setting;

/// What can be wrong with a data set.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// Files, class lists, image specifications.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifacts(#[from] amis_artifacts::Error),
    /// A size that the synthetic scene cannot be painted at.
    #[error("a synthetic scene of {width_px}x{height_px} pixels is not possible, sides go from {} to {}", crate::scene::MIN_SIDE_PX, crate::scene::MAX_SIDE_PX)]
    #[diagnostic(code(amis::input::scene_size), help("choose another width and height, for example 640x480"))]
    SceneSize {
        /// Width asked for.
        width_px: u32,
        /// Height asked for.
        height_px: u32,
    },
    /// A folder that already holds something else.
    #[error("{} is not empty, and is not the synthetic data set that was asked for: {reason}", path.display())]
    #[diagnostic(code(amis::input::folder_in_use), help("choose another folder, or remove this one yourself if it may go"))]
    FolderInUse {
        /// The folder.
        path: PathBuf,
        /// What was found in it.
        reason: String,
    },
    /// No data set of this layout.
    #[error("there is no folder {images} in {}{}", root.display(), if below.is_empty() { String::new() } else { format!(", nor below {below}") })]
    #[diagnostic(
        code(amis::input::no_data_set),
        help(
            "check data.root and data.layout: \"voc\" has JPEGImages/ and a label folder, \"ade20k\" images/ and annotations/, \"folder\" images/ and labels/"
        )
    )]
    NoDataSet {
        /// The folder given.
        root: PathBuf,
        /// The image folder looked for.
        images: &'static str,
        /// Where below the root it was looked for as well.
        below: String,
    },
    /// The release of ADE20K that has no 150 classes.
    #[error("{} is the full ADE20K, whose thousands of classes have no published tasks", path.display())]
    #[diagnostic(
        code(amis::input::full_ade20k),
        help(
            "take the release of the MIT Scene Parsing Challenge, ADEChallengeData2016: 150 classes, images/ and annotations/ with training/ and validation/"
        )
    )]
    FullAde20k {
        /// Its folder.
        path: PathBuf,
    },
    /// The label folder of a data set that is not there.
    #[error("the label folder {} is not there", path.display())]
    #[diagnostic(
        code(amis::input::no_folder),
        help("data.labels names the label folder below the data set's root, for example SegmentationClass or SegmentationClassAug (an archive of its own)")
    )]
    NoFolder {
        /// The folder looked for.
        path: PathBuf,
    },
    /// A list of images or classes that cannot be used.
    #[error("{}: {reason}", path.display())]
    #[diagnostic(code(amis::input::list), help("a list has one name a line, without folder and extension, and each name once"))]
    List {
        /// The list.
        path: PathBuf,
        /// The line, found and expected.
        reason: String,
    },
    /// A class name that the data set does not have.
    #[error("there is no class {name} in the data set {}; it has {known}", root.display())]
    #[diagnostic(code(amis::input::class), help("correct task.steps, or the data set's classes.txt"))]
    UnknownClass {
        /// The name asked for.
        name: String,
        /// Root of the data set.
        root: PathBuf,
        /// Names that it has.
        known: String,
    },
    /// A picture that cannot be decoded.
    #[error("cannot decode {}: {reason}", path.display())]
    #[diagnostic(code(amis::input::picture), help("images are JPEG or PNG, labels PNG; the file is damaged or of another format, save it again"))]
    Picture {
        /// The file.
        path: PathBuf,
        /// The decoder's answer.
        reason: String,
    },
    /// A label map whose values are no class ids.
    #[error("label map {} is {found}, expected a palette or grey PNG of at most 8 bits whose values are class ids", path.display())]
    #[diagnostic(code(amis::input::label_format), help("map each colour to its class id and save as an 8-bit grey or palette PNG"))]
    LabelFormat {
        /// The file.
        path: PathBuf,
        /// Its colour type and depth.
        found: String,
    },
    /// Image and labels do not cover each other.
    #[error("label map {} has {}x{} pixels, its image {}x{}", path.display(), found[0], found[1], expected[0], expected[1])]
    #[diagnostic(code(amis::input::sizes_differ), help("labels are drawn at the image's own size; scale one of them, labels with nearest neighbour"))]
    SizesDiffer {
        /// The label map.
        path: PathBuf,
        /// Its width and height.
        found: [u32; 2],
        /// Width and height of the image.
        expected: [u32; 2],
    },
    /// A label value that is no class of the data set.
    #[error("label map {} has value {value} at pixel ({x}, {y}), which is no class of this data set", path.display())]
    #[diagnostic(
        code(amis::input::unknown_label),
        help(
            "add the class to classes.txt, or repaint these pixels: 0 is background, 255 is ignored (in ADE20K 1 to 150 are the classes: take its annotations as released, not shifted)"
        )
    )]
    UnknownLabel {
        /// The label map.
        path: PathBuf,
        /// Column, counted from 0.
        x: u32,
        /// Row, counted from 0.
        y: u32,
        /// The value there.
        value: u8,
    },
    /// A task by a name that means nothing.
    #[error("there is no task {name:?}: {reason}")]
    #[diagnostic(code(amis::usage::task), help("choose one of the published tasks, or give the classes of each step as lists"))]
    UnknownTask {
        /// The name asked for.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Steps of a task that contradict themselves.
    #[error("steps of the task: {reason}")]
    #[diagnostic(code(amis::input::steps), help("every step lists at least one class id from 1 to 254, and no id stands twice"))]
    Steps {
        /// The step and the id.
        reason: String,
    },
    /// No image to train a step on.
    #[error("none of {images} images belongs to step {step} of task {task} ({setting:?})")]
    #[diagnostic(
        code(amis::input::empty_step),
        help("no image shows the step's classes, or (disjoint) all that do also show classes of later steps; check the image list and the class ids")
    )]
    EmptyStep {
        /// The task.
        task: String,
        /// The step.
        step: usize,
        /// Overlapped or disjoint.
        setting: Setting,
        /// Images in the index.
        images: usize,
    },
    /// An annotation that cannot be imported.
    #[error("{}, {place}: {reason}", path.display())]
    #[diagnostic(code(amis::input::annotation), help("{help}"))]
    Annotation {
        /// The file with the annotations.
        path: PathBuf,
        /// The annotation, or the line.
        place: String,
        /// What is wrong, found and expected.
        reason: String,
        /// What to do.
        help: String,
    },
    /// A worker thread could not be started.
    #[error("cannot start a worker thread")]
    #[diagnostic(code(amis::environment::thread), help("the machine is out of memory or threads; ask for fewer workers"))]
    Thread {
        /// The system's answer.
        source: std::io::Error,
    },
    /// A worker thread died.
    #[error("the worker thread that loads iteration {iteration} has stopped")]
    #[diagnostic(code(amis::data::worker), help("this is a mistake in the program, please report it with the message above"))]
    Worker {
        /// The iteration that it owed.
        iteration: usize,
    },
    /// A picture that could not be encoded.
    #[error("cannot encode {}: {reason}", path.display())]
    #[diagnostic(code(amis::data::encode), help("this is a mistake in the program, please report it"))]
    Encode {
        /// The picture.
        path: PathBuf,
        /// The encoder's answer.
        reason: String,
    },
    /// Numbers of images that make no data set.
    #[error("a synthetic data set of {images} images is not possible, each step and the validation list need 1 to {}", crate::synth::MAX_IMAGES)]
    #[diagnostic(code(amis::input::synth_size), help("correct the number of images"))]
    SynthSize {
        /// The number asked for.
        images: usize,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
