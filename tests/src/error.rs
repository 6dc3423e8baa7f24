use std::path::PathBuf;

use miette::Diagnostic;

/// What can go wrong in the demo.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A file of the road.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifacts(#[from] amis_artifacts::Error),
    /// A program that is not beside this one.
    #[error("{} is not there", path.display())]
    #[diagnostic(code(amis::environment::program), help("build all programs first: make build"))]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A program that ended with an error; it has said why.
    #[error("{command} failed with {status}")]
    #[diagnostic(code(amis::demo::station), help("its message stands above; the same command can be typed by hand"))]
    Station {
        /// The command line.
        command: String,
        /// Exit code or signal.
        status: String,
    },
    /// A program whose result is not what it promises.
    #[error("{command} printed no usable result: {reason}")]
    #[diagnostic(code(amis::demo::result), help("programs of different versions may be mixed; build all again: make build"))]
    Result {
        /// The command line.
        command: String,
        /// What was found and expected.
        reason: String,
    },
    /// A folder with something else in it.
    #[error("{} is not empty and holds no demo", path.display())]
    #[diagnostic(code(amis::input::folder_in_use), help("give another folder with --out"))]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
