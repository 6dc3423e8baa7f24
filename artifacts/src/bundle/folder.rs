use std::fs;
use std::path::Path;

use super::{BundleManifest, Fault, MANIFEST, MAX_MANIFEST_BYTES};
use crate::{Error, Result, files};

/// Manifest of an unpacked bundle.
///
/// # Errors
/// No manifest there, or an invalid one.
pub fn read_folder(dir: &Path) -> Result<BundleManifest> {
    Ok(read(dir)?.0)
}

/// The same, with size and hash of every file checked.
///
/// # Errors
/// As [`read_folder`]; a file that is missing, no plain file, of another size or another hash.
pub fn verify_folder(dir: &Path) -> Result<BundleManifest> {
    let manifest = read_folder(dir)?;
    let wrong = |fault| Error::Bundle { path: dir.into(), fault };
    for entry in manifest.files() {
        let path = dir.join(&entry.file);
        let name = entry.file.clone();
        let metadata = match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(wrong(Fault::Missing { name })),
            found => found.map_err(|source| Error::Io { action: "read", path: path.clone(), source })?,
        };
        if !metadata.is_file() {
            return Err(wrong(Fault::Kind { name, kind: format!("{:?}", metadata.file_type()) }));
        }
        if metadata.len() != entry.bytes {
            return Err(wrong(Fault::Size { name, found_bytes: metadata.len(), expected_bytes: entry.bytes }));
        }
        let found = files::sha256_file(&path)?;
        if found != entry.sha256 {
            return Err(wrong(Fault::Hash { name, found, expected: entry.sha256.clone() }));
        }
    }
    Ok(manifest)
}

/// Manifest of an unpacked bundle, and its bytes.
pub(super) fn read(dir: &Path) -> Result<(BundleManifest, Vec<u8>)> {
    let path = dir.join(MANIFEST);
    let json = files::read_limited(&path, "a bundle's manifest", MAX_MANIFEST_BYTES)?;
    Ok((BundleManifest::parse(&json, &path)?, json))
}
