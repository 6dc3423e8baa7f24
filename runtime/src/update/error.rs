use std::path::{Path, PathBuf};

use miette::Diagnostic;

/// Why a device keeps what it has.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A file of the device or of a bundle is damaged, or the disk refuses.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] amis_artifacts::Error),
    /// `update.toml` is missing or wrong.
    #[error("{}: {reason}", path.display())]
    #[diagnostic(
        code(amis::input::update::config),
        help("it holds at least: repository = \"https://updates.example.org/amis/\"; docs/updates.md has all keys")
    )]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The device knows no root of trust.
    #[error("{} is missing: the device trusts no repository yet", path.display())]
    #[diagnostic(
        code(amis::environment::update::root),
        help("copy metadata/1.root.json of the repository there, on a way that you trust: `amis-run update --trust FILE` does it")
    )]
    NoRoot {
        /// Where it should be.
        path: PathBuf,
    },
    /// The event cannot happen in this state.
    #[error("{reason}")]
    #[diagnostic(code(amis::input::update::refused), help("`amis-run status` shows where the device stands"))]
    Refused {
        /// Why.
        reason: String,
    },
    /// Another process is fetching or installing.
    #[error("another update is going on in {}", root.display())]
    #[diagnostic(code(amis::environment::update::busy), help("wait for its end; `amis-run status` shows how far it is"))]
    Busy {
        /// The device's folder.
        root: PathBuf,
    },
    /// Server, network or stick do not deliver.
    #[error("{url} does not arrive: {reason}")]
    #[diagnostic(code(amis::environment::update::transport), help("nothing was changed; the next try goes on from what has arrived"))]
    Transport {
        /// What was fetched.
        url: String,
        /// What came back.
        reason: String,
    },
    /// The repository's metadata is not what TUF demands.
    #[error("the repository {url} is refused, {kind}: {reason}")]
    #[diagnostic(
        code(amis::input::update::repository),
        help("nothing was changed. Whoever serves this repository has damaged it, or pretends to be it; ask the one who publishes")
    )]
    Repository {
        /// The repository.
        url: String,
        /// Which protection caught it.
        kind: Attack,
        /// What exactly.
        reason: String,
    },
    /// A file of the repository is not the signed one.
    #[error("{url} is not the file that was signed: {reason}")]
    #[diagnostic(code(amis::input::update::target), help("nothing was changed. The file is damaged on the server or on the way; publish it again"))]
    Target {
        /// The file.
        url: String,
        /// Found and expected.
        reason: String,
    },
    /// The disk has no room for what would be written.
    #[error("{} has {free_bytes} bytes free, the update needs {needed_bytes}", path.display())]
    #[diagnostic(code(amis::environment::update::space), help("nothing was changed; make room on this disk"))]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// What there is.
        free_bytes: u64,
        /// What it takes, with a reserve.
        needed_bytes: u64,
    },
    /// Something is missing on this machine, and no release could be tried.
    #[error("nothing can be tried here: {reason}")]
    #[diagnostic(
        code(amis::environment::update::machine),
        help("nothing was changed, and the version may be tried again; `amis-run doctor` says what is missing")
    )]
    Machine {
        /// What the trial said.
        reason: String,
    },
    /// A bundle that this device cannot take.
    #[error("{name} version {version} cannot be taken: {reason}")]
    #[diagnostic(code(amis::input::update::unfit), help("the release before goes on; the bundle has to be made anew, with a higher version"))]
    Unfit {
        /// Name of the model.
        name: String,
        /// Its version.
        version: u64,
        /// Found and expected.
        reason: String,
    },
}

impl Error {
    /// What the system says about a file.
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        amis_artifacts::Error::Io { action, path: path.to_owned(), source }.into()
    }
}

/// What is wrong with a repository, by the protection of TUF that caught it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Too few good signatures.
    Signature,
    /// Something is older than what the device has seen.
    Rollback,
    /// Something has expired: the repository is frozen, or nobody has signed it for long.
    Expired,
    /// Files of different states of the repository.
    MixAndMatch,
    /// Larger than it may be.
    TooLarge,
    /// Not a document of TUF.
    Malformed,
}

impl std::fmt::Display for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Signature => "its signatures do not suffice",
            Self::Rollback => "it is older than what was seen of it before",
            Self::Expired => "it has expired",
            Self::MixAndMatch => "its parts do not belong together",
            Self::TooLarge => "it is larger than it may be",
            Self::Malformed => "it is damaged",
        })
    }
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;
