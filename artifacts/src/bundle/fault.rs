use miette::Diagnostic;

use super::{FORMAT_VERSION, MANIFEST, MAX_BUNDLE_BYTES, MAX_MANIFEST_BYTES};

/// What is wrong with a bundle: the rule that it breaks.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Fault {
    /// Rules 1 and 4.
    #[error("it has {found_bytes} bytes, at most {MAX_BUNDLE_BYTES} are allowed")]
    #[diagnostic(code(amis::input::bundle_large), help("a bundle ends at 2 GiB, packed and unpacked: put fewer graphs into it, or a smaller network"))]
    Large {
        /// Size of the file, or sum of the sizes that the manifest states.
        found_bytes: u64,
    },
    /// Rule 2.
    #[error("it is no undamaged tar in zstd: {reason}")]
    #[diagnostic(code(amis::input::bundle_stream), help("it was cut off or changed, or is another file; copy it again from its source"))]
    Stream {
        /// What the decoder says.
        reason: String,
    },
    /// Rule 3.
    #[error("it does not start with {MANIFEST} of at most {MAX_MANIFEST_BYTES} bytes, but with {found}")]
    #[diagnostic(code(amis::input::bundle_no_manifest), help("it was not made by `amis-export bundle`"))]
    NoManifest {
        /// The first entry.
        found: String,
    },
    /// Rule 4.
    #[error("its format is version {found}, this tool reads version {FORMAT_VERSION}")]
    #[diagnostic(
        code(amis::input::bundle_format),
        help("an older one: pack it again from its checkpoint with `amis-export bundle`; a newer one: install a newer version of this tool")
    )]
    Format {
        /// Version that the manifest states.
        found: u32,
    },
    /// Rule 4.
    #[error("its manifest is not valid: {reason}")]
    #[diagnostic(code(amis::input::bundle_manifest), help("it was not made by `amis-export bundle`, or was changed afterwards; pack it again"))]
    Manifest {
        /// The field, found and expected.
        reason: String,
    },
    /// Rule 5.
    #[error("entry {name:?} is of the kind {kind}, only plain files are allowed")]
    #[diagnostic(code(amis::input::bundle_kind), help("nothing of it was written; do not use this bundle: `amis-export bundle` makes no such entries"))]
    Kind {
        /// The entry.
        name: String,
        /// Kind as tar calls it.
        kind: String,
    },
    /// Rule 6.
    #[error("entry {name:?} is no plain file name of letters, digits, '.', '-' and '_'")]
    #[diagnostic(code(amis::input::bundle_name), help("nothing of it was written; do not use this bundle: `amis-export bundle` makes no such names"))]
    Name {
        /// The entry.
        name: String,
    },
    /// Rule 6.
    #[error("entry {name} is not in its manifest")]
    #[diagnostic(code(amis::input::bundle_unlisted), help("nothing of it was written; do not use this bundle: `amis-export bundle` packs no such files"))]
    Unlisted {
        /// The entry.
        name: String,
    },
    /// Rule 7.
    #[error("entry {name} comes twice")]
    #[diagnostic(code(amis::input::bundle_twice), help("do not use this bundle: `amis-export bundle` packs every file once"))]
    Twice {
        /// The entry.
        name: String,
    },
    /// Rule 8.
    #[error("{name} has {found_bytes} bytes, its manifest says {expected_bytes}")]
    #[diagnostic(code(amis::input::bundle_size), help("it was changed or damaged after it was written; copy it again from its source"))]
    Size {
        /// The file.
        name: String,
        /// Size that it has.
        found_bytes: u64,
        /// Size that the manifest states.
        expected_bytes: u64,
    },
    /// Rule 9.
    #[error("the SHA-256 of {name} is {found}, its manifest says {expected}")]
    #[diagnostic(code(amis::input::bundle_hash), help("it was changed or damaged after it was written; copy it again from its source"))]
    Hash {
        /// The file.
        name: String,
        /// Hash of what is there.
        found: String,
        /// Hash that the manifest states.
        expected: String,
    },
    /// Rule 10.
    #[error("{name} is missing")]
    #[diagnostic(code(amis::input::bundle_missing), help("it was cut off, or a file was deleted from its folder; take it from its source again"))]
    Missing {
        /// The file.
        name: String,
    },
    /// Rule 10.
    #[error("something follows its last file")]
    #[diagnostic(code(amis::input::bundle_trailing), help("do not use this bundle: `amis-export bundle` writes nothing there"))]
    Trailing,
    /// The runtime that is to use it is too old.
    #[error("it needs version {needed} of the runtime or a later one, this is {found}")]
    #[diagnostic(code(amis::input::bundle_runtime), help("install a newer amis-run on this device first"))]
    Runtime {
        /// Version that the manifest asks for.
        needed: String,
        /// Version that is here.
        found: String,
    },
}
