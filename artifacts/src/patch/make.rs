use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use zstd::zstd_safe::CParameter;

use super::align::{self, Match};
use super::{MAGIC, WINDOW_LOG, planes};
use crate::bundle::{self, FileEntry, MANIFEST, MAX_BUNDLE_BYTES, MAX_MANIFEST_BYTES};
use crate::files::{self, AtomicFile};
use crate::{Error, Result};

/// Level of zstd: patches are made once and fetched often.
const ZSTD_LEVEL: i32 = 19;

/// Writes the patch that makes the unpacked bundle `dir` from the unpacked bundle `parent_dir`; gives its size in bytes. Takes the memory of a file and of
/// the parent's of the same name, twice.
///
/// # Errors
/// A folder that is no undamaged bundle, or the disk.
pub fn make(parent_dir: &Path, dir: &Path, patch: &Path) -> Result<u64> {
    let (parent, manifest) = (bundle::verify_folder(parent_dir)?, bundle::verify_folder(dir)?);
    let json = files::read_limited(&dir.join(MANIFEST), "a bundle's manifest", MAX_MANIFEST_BYTES)?;
    let io = |source| Error::Io { action: "write", path: patch.into(), source };
    let mut encoder = zstd::Encoder::new(AtomicFile::create(patch)?, ZSTD_LEVEL).map_err(io)?;
    encoder.include_checksum(true).map_err(io)?;
    encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG)).map_err(io)?;
    let start = [MAGIC, bundle::manifest_sha256(parent_dir)?.as_bytes(), &(json.len() as u32).to_le_bytes(), &json].concat();
    encoder.write_all(&start).map_err(io)?;
    let read = |dir: &Path, entry: &FileEntry| files::read_limited(&dir.join(&entry.file), "a file of a bundle", MAX_BUNDLE_BYTES);
    for entry in manifest.files().filter(|entry| entry.bytes > 0) {
        let new = read(dir, entry)?;
        // The same bytes under whatever name; or the same graph, trained further.
        let equal = parent.files().position(|old| old.sha256 == entry.sha256);
        let (place, old, matches) = if let Some(place) = equal {
            (place, new.clone(), vec![Match { new: 0..new.len(), old: 0, width: 1 }])
        } else if let Some((place, old)) = parent.files().enumerate().find(|(_, old)| old.file == entry.file) {
            let old = read(parent_dir, old)?;
            let matches = align::matches(&new, &old);
            (place, old, matches)
        } else {
            (0, vec![], vec![])
        };
        let mut done = 0;
        for found in matches {
            literal(&mut encoder, &new, done..found.new.start).map_err(io)?;
            done = found.new.end;
            differences(&mut encoder, &new, &old, place, found).map_err(io)?;
        }
        literal(&mut encoder, &new, done..new.len()).map_err(io)?;
    }
    let file = encoder.finish().map_err(io)?;
    file.commit()?;
    File::open(patch).and_then(|f| f.metadata()).map(|m| m.len()).map_err(io)
}

fn literal(out: &mut impl Write, new: &[u8], range: Range<usize>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    out.write_all(&[0])?;
    out.write_all(&(range.len() as u64).to_le_bytes())?;
    out.write_all(&new[range])
}

fn differences(out: &mut impl Write, new: &[u8], old: &[u8], place: usize, found: Match) -> io::Result<()> {
    let Match { new: range, old: offset, width } = found;
    out.write_all(&[width as u8])?;
    out.write_all(&(range.len() as u64).to_le_bytes())?;
    out.write_all(&(place as u16).to_le_bytes())?;
    out.write_all(&(offset as u64).to_le_bytes())?;
    let mut piece = Vec::new();
    let old = &old[offset..offset + range.len()];
    let chunk = planes::CHUNK * width;
    for (new, old) in new[range].chunks(chunk).zip(old.chunks(chunk)) {
        piece.clear();
        planes::subtract(new, old, width, &mut piece);
        out.write_all(&piece)?;
    }
    Ok(())
}
