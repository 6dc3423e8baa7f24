use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use tar::{Archive, EntryType};

use super::manifest::is_plain_name;
use super::{BundleManifest, Fault, FileEntry, Incoming, MANIFEST, MAX_BUNDLE_BYTES, MAX_MANIFEST_BYTES, WINDOW_LOG, folder};
use crate::{Error, Result, files};

/// Most zeros behind the last file: tar's end, filled up to what tools call a record.
const MAX_END_BYTES: u64 = 64 << 10;

/// Reads only the manifest.
///
/// # Errors
/// Not a bundle, or an invalid manifest.
pub fn read_manifest(path: &Path) -> Result<BundleManifest> {
    Ok(walk(path, None)?.0)
}

/// SHA-256 of `manifest.json` of a bundle or of an unpacked one: what a child names as its parent, and what a repository signs.
///
/// # Errors
/// As [`read_manifest`] and [`super::read_folder`].
pub fn manifest_sha256(path: &Path) -> Result<String> {
    let json = if path.is_dir() { folder::read(path)?.1 } else { walk(path, None)?.1 };
    Ok(files::sha256(&json))
}

/// Unpacks into a folder, which is made if it is missing. Files are written in pieces under other names, checked, synced, and then get their names;
/// `manifest.json`, byte for byte as in the bundle, is the last. It takes no more memory than the window (32 MiB) and small buffers.
///
/// # Errors
/// [`Error::Bundle`] with the rule that the bundle breaks, or the disk. Files already unpacked stay; give it a folder of its own.
pub fn unpack(path: &Path, dir: &Path) -> Result<BundleManifest> {
    let (manifest, json) = walk(path, Some(dir))?;
    files::write_atomic(&dir.join(MANIFEST), &json)?;
    Ok(manifest)
}

/// Goes through a bundle by the rules and gives the manifest with its bytes: up to the manifest, or to the end with all files written into a folder.
fn walk(path: &Path, into: Option<&Path>) -> Result<(BundleManifest, Vec<u8>)> {
    let wrong = |fault| Error::Bundle { path: path.into(), fault };
    let read = |source: io::Error| match source.raw_os_error() {
        Some(_) => Error::Io { action: "read", path: path.into(), source },
        None => wrong(Fault::Stream { reason: source.to_string() }),
    };
    // Rules 1 and 2.
    let found_bytes = fs::metadata(path).map_err(read)?.len();
    if found_bytes > MAX_BUNDLE_BYTES {
        return Err(wrong(Fault::Large { found_bytes }));
    }
    let mut decoder = zstd::Decoder::new(File::open(path).map_err(read)?).map_err(read)?;
    decoder.window_log_max(WINDOW_LOG).map_err(read)?;
    let mut archive = Archive::new(decoder);
    // Raw: long-name and PAX entries would be read whole before anyone looks at their type.
    let mut entries = archive.entries().map_err(read)?.raw(true);
    // Rules 3 and 4.
    let mut first = entries.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into())).map_err(read)?;
    let bytes = first.header().entry_size().map_err(read)?;
    let name = plain_file(&first).map_err(wrong)?;
    if name != MANIFEST || bytes > MAX_MANIFEST_BYTES {
        return Err(wrong(Fault::NoManifest { found: format!("{name} of {bytes} bytes") }));
    }
    let mut json = Vec::with_capacity(bytes as usize);
    first.read_to_end(&mut json).map_err(read)?;
    let manifest = BundleManifest::parse(&json, path)?;
    let Some(dir) = into else { return Ok((manifest, json)) };
    let mut missing: BTreeSet<&str> = manifest.files().map(|f| f.file.as_str()).collect();
    let mut piece = vec![0; 256 << 10];
    for entry in entries {
        let mut entry = entry.map_err(read)?;
        // Rules 5 to 8.
        let name = plain_file(&entry).map_err(wrong)?;
        let listed = manifest.files().find(|f| f.file == name).ok_or_else(|| wrong(Fault::Unlisted { name: name.clone() }))?;
        if !missing.remove(name.as_str()) {
            return Err(wrong(Fault::Twice { name }));
        }
        let FileEntry { bytes: expected_bytes, .. } = *listed;
        let found_bytes = entry.header().entry_size().map_err(read)?;
        if found_bytes != expected_bytes {
            return Err(wrong(Fault::Size { name, found_bytes, expected_bytes }));
        }
        // Rule 9.
        let mut incoming = Incoming::create(path, listed, dir)?;
        loop {
            match entry.read(&mut piece).map_err(read)? {
                0 => break,
                n => incoming.write(&piece[..n])?,
            }
        }
        incoming.finish()?;
    }
    // Rule 10. Reading to the end makes zstd check its checksum.
    let mut end = Vec::new();
    archive.into_inner().take(MAX_END_BYTES + 1).read_to_end(&mut end).map_err(read)?;
    if end.len() as u64 > MAX_END_BYTES || end.iter().any(|&byte| byte != 0) {
        return Err(wrong(Fault::Trailing));
    }
    match missing.first() {
        Some(&name) => Err(wrong(Fault::Missing { name: name.to_owned() })),
        None => Ok((manifest, json)),
    }
}

/// Name of an entry that is a plain file with a plain name: rule 5 and the first half of rule 6.
fn plain_file<R: Read>(entry: &tar::Entry<'_, R>) -> std::result::Result<String, Fault> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    match entry.header().entry_type() {
        EntryType::Regular if is_plain_name(&name) => Ok(name),
        EntryType::Regular => Err(Fault::Name { name }),
        kind => Err(Fault::Kind { name, kind: format!("{kind:?}") }),
    }
}
