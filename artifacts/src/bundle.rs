//! Bundle `<name>-<version>.amis`: what a device needs for one model, as tar compressed with zstd.
//!
//! `manifest.json` comes first; every other entry is a file that the manifest names with size and hash, in the order of the names. The same inputs give
//! the same bytes. An unpacked bundle is a folder with the same files. Whoever reads one holds it to these rules, in this order; a file gets its name in
//! the folder when it has passed all of them, and `manifest.json` comes last, so that a folder that has one is whole.
//!
//! | rule | what is asked | named error |
//! | --- | --- | --- |
//! | 1 | the file has at most [`MAX_BUNDLE_BYTES`] | [`Fault::Large`] |
//! | 2 | it is zstd that needs a window of at most 32 MiB, with a tar in it, undamaged to its end | [`Fault::Stream`] |
//! | 3 | the first entry is `manifest.json`, of at most [`MAX_MANIFEST_BYTES`] | [`Fault::NoManifest`] |
//! | 4 | the manifest is of format [`FORMAT_VERSION`] and does not contradict itself; its files have at most [`MAX_BUNDLE_BYTES`] together | [`Fault::Format`], [`Fault::Manifest`], [`Fault::Large`] |
//! | 5 | every entry is a plain file: no links, devices, folders, long names, PAX headers, sparse files | [`Fault::Kind`] |
//! | 6 | its name is plain (letters, digits, `.`, `-`, `_`; no folders) and stands in the manifest | [`Fault::Name`], [`Fault::Unlisted`] |
//! | 7 | it comes once | [`Fault::Twice`] |
//! | 8 | it has the size that the manifest states | [`Fault::Size`] |
//! | 9 | it has the hash that the manifest states | [`Fault::Hash`] |
//! | 10 | no file is missing, and nothing but zeros follows the last one | [`Fault::Missing`], [`Fault::Trailing`] |

mod fault;
mod folder;
mod incoming;
mod manifest;
mod read;
mod self_test;
#[cfg(test)]
pub(crate) mod tests;
mod write;

pub use fault::Fault;
pub use folder::{read_folder, verify_folder};
pub(crate) use incoming::Incoming;
pub use manifest::{BundleManifest, CalibrationSummary, FileEntry, GraphEntry, Lineage, Parent, Quality};
pub use read::{manifest_sha256, read_manifest, unpack};
pub use self_test::{SelfTest, SelfTestFrame};
pub use write::write;

/// Version of the bundle format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 2;
/// Name of the manifest in a bundle and in the folder of an unpacked one.
pub const MANIFEST: &str = "manifest.json";
/// Largest bundle, compressed or not, in bytes.
pub const MAX_BUNDLE_BYTES: u64 = 2 << 30;
/// Largest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Most files in a bundle.
pub const MAX_FILES: usize = 256;
/// Binary logarithm of the largest window that reading may need, in bytes: 32 MiB, so that graphs of the same weights for several targets share them.
const WINDOW_LOG: u32 = 25;
