use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use zstd::zstd_safe::CParameter;

use super::{BundleManifest, Fault, MANIFEST, MAX_BUNDLE_BYTES, WINDOW_LOG};
use crate::files::{self, AtomicFile};
use crate::{Error, Result};

/// Level of zstd: the slowest that still packs 100 MB in seconds.
const ZSTD_LEVEL: i32 = 12;

/// Writes a bundle. Sizes and hashes in the manifest are filled in from `contents`, keyed by file name.
///
/// # Errors
/// A file of the manifest without contents or the other way round, an invalid manifest, more than 2 GiB, or the disk.
pub fn write(path: &Path, mut manifest: BundleManifest, contents: &BTreeMap<String, Vec<u8>>) -> Result<BundleManifest> {
    let wrong = |fault| Error::Bundle { path: path.into(), fault };
    let io = |source| Error::Io { action: "write", path: path.into(), source };
    for entry in manifest.files_mut() {
        let bytes = contents.get(&entry.file).ok_or_else(|| wrong(Fault::Missing { name: entry.file.clone() }))?;
        entry.bytes = bytes.len() as u64;
        entry.sha256 = files::sha256(bytes);
    }
    manifest.validate().map_err(wrong)?;
    if let Some(name) = contents.keys().find(|&name| manifest.files().all(|f| f.file != *name)) {
        return Err(wrong(Fault::Unlisted { name: name.clone() }));
    }
    let json = serde_json::to_vec_pretty(&manifest).map_err(|e| wrong(Fault::Manifest { reason: e.to_string() }))?;
    let mut encoder = zstd::Encoder::new(AtomicFile::create(path)?, ZSTD_LEVEL).map_err(io)?;
    // The hashes in the manifest cover the files, the checksum covers the manifest.
    encoder.include_checksum(true).map_err(io)?;
    encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG)).map_err(io)?;
    encoder.long_distance_matching(true).map_err(io)?;
    let mut archive = tar::Builder::new(encoder);
    append(&mut archive, MANIFEST, &json).map_err(io)?;
    for (name, bytes) in contents {
        append(&mut archive, name, bytes).map_err(io)?;
    }
    let file = archive.into_inner().and_then(zstd::Encoder::finish).map_err(io)?;
    match file.len_bytes()? {
        ..=MAX_BUNDLE_BYTES => file.commit()?,
        found_bytes => return Err(wrong(Fault::Large { found_bytes })),
    }
    Ok(manifest)
}

/// Adds a file with fixed owner, mode and time, so that equal inputs give equal bundles.
fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}
