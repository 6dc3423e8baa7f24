use std::path::PathBuf;

use miette::Diagnostic;

use crate::bundle::Fault;

/// What can be wrong with a file of the road.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read, write or list.
    #[error("cannot {action} {}", path.display())]
    #[diagnostic(code(amis::input::io), help("check that the path exists, that it is readable or writable, and that the disk has room"))]
    Io {
        /// What was tried, as a verb: "read", "write", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file is larger than its kind may be.
    #[error("{} has {found_bytes} bytes, more than the {limit_bytes} that {what} may have", path.display())]
    #[diagnostic(code(amis::input::too_large), help("this is not the file that was meant, or it is damaged"))]
    TooLarge {
        /// What the file should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its size.
        found_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// JSON that does not parse as the expected structure.
    #[error("{} is not a valid {what}: {reason}", path.display())]
    #[diagnostic(
        code(amis::input::malformed),
        help("the file is damaged, from another version of this tool, or not one of ours; write it again with the tool that made it")
    )]
    Malformed {
        /// What the file should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What does not fit, with found and expected.
        reason: String,
    },
    /// A hash does not match.
    #[error("{} does not match its manifest: SHA-256 is {found}, expected {expected}", path.display())]
    #[diagnostic(code(amis::input::hash), help("the file was changed or damaged after it was written; copy it again from its source"))]
    Hash {
        /// The file.
        path: PathBuf,
        /// Hash of what is there.
        found: String,
        /// Hash that the manifest states.
        expected: String,
    },
    /// A bundle, or the folder of an unpacked one, that breaks a rule.
    #[error("{} cannot be used as a bundle: {fault}", path.display())]
    #[diagnostic(forward(fault))]
    Bundle {
        /// The bundle, the folder or the manifest.
        path: PathBuf,
        /// The rule broken.
        fault: Fault,
    },
    /// A patch that is damaged, or none.
    #[error("{} is no undamaged patch: {reason}", path.display())]
    #[diagnostic(code(amis::input::patch), help("take it from its source again, or the whole bundle in its place"))]
    Patch {
        /// The patch.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A patch for another bundle.
    #[error("{} does not start from the bundle in {}: the SHA-256 of that one's manifest is {found}, expected {expected}", path.display(), parent.display())]
    #[diagnostic(code(amis::input::foreign_patch), help("take the whole bundle in its place"))]
    ForeignPatch {
        /// The patch.
        path: PathBuf,
        /// Folder of the bundle that it was tried on.
        parent: PathBuf,
        /// Hash of its manifest.
        found: String,
        /// Hash that the patch states.
        expected: String,
    },
    /// A calibration table that was measured on something else.
    #[error("calibration table {} does not hold here: its {field} is {found}, expected {expected}", path.display())]
    #[diagnostic(code(amis::input::stale_calibration), help("calibrate again for this graph: `amis-export calibrate --help`"))]
    Stale {
        /// The table.
        path: PathBuf,
        /// Field of its key.
        field: &'static str,
        /// What the table states.
        found: String,
        /// What is there now.
        expected: String,
    },
    /// An engine that was built for something else.
    #[error("engine {} does not fit here: its {field} is {found}, expected {expected}", path.display())]
    #[diagnostic(code(amis::input::foreign_engine), help("engines do not travel: build it here from the graph, `amis-export engine --help`"))]
    ForeignEngine {
        /// The engine.
        path: PathBuf,
        /// Field of its key.
        field: String,
        /// What the engine was built for.
        found: String,
        /// What is there now.
        expected: String,
    },
    /// A board that is not described.
    #[error("no board is called {name:?}, expected one of {known}")]
    #[diagnostic(code(amis::usage::board), help("take the nearest one; a new board is a new file in boards/"))]
    Board {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A class list that breaks a rule.
    #[error("class list: {reason}")]
    #[diagnostic(
        code(amis::input::classes),
        help("ids count up from 0 (background) without gaps, at most 254 other classes, names are unique, and a later list only appends")
    )]
    Classes {
        /// The rule broken, with the class.
        reason: String,
    },
    /// A specification with impossible numbers.
    #[error("{what}: {reason}")]
    #[diagnostic(code(amis::input::spec), help("correct the value in the configuration"))]
    Spec {
        /// Which specification: image spec, model spec.
        what: &'static str,
        /// The field, found and expected.
        reason: String,
    },
    /// A pixel buffer whose length does not fit its stated size.
    #[error("a frame of {width_px}x{height_px} pixels has {found_bytes} bytes, expected {expected_bytes}")]
    #[diagnostic(code(amis::input::frame), help("the source delivers frames of another size or format than it says"))]
    Frame {
        /// Stated width.
        width_px: u32,
        /// Stated height.
        height_px: u32,
        /// Length of the buffer.
        found_bytes: usize,
        /// Length that the size asks for.
        expected_bytes: usize,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
