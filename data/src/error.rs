use std::path::PathBuf;

use miette::Diagnostic;

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
