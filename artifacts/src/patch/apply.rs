use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::{MAGIC, WINDOW_LOG, planes};
use crate::bundle::{self, BundleManifest, FileEntry, Incoming, MANIFEST, MAX_BUNDLE_BYTES, MAX_MANIFEST_BYTES};
use crate::{Error, Result, files};

/// Makes an unpacked bundle in the folder `dir` from the one in `parent_dir`. What it writes is held to the manifest that the patch brings, file by file as
/// by [`bundle::unpack`]; whether that manifest is the one that was meant, the caller has to ask ([`bundle::manifest_sha256`]). Takes the memory of the
/// window (8 MiB) and 2 MiB of buffers, whatever the patch says.
///
/// # Errors
/// [`Error::Patch`] for a damaged patch, [`Error::ForeignPatch`] for one of another parent, [`Error::Bundle`] for a result that its manifest does not allow
/// (also with a damaged parent), or the disk. Files already made stay.
pub fn apply(parent_dir: &Path, patch: &Path, dir: &Path) -> Result<BundleManifest> {
    let read = |source: io::Error| match source.raw_os_error() {
        Some(_) => Error::Io { action: "read", path: patch.into(), source },
        None => wrong(patch, source.to_string()),
    };
    let found_bytes = std::fs::metadata(patch).map_err(read)?.len();
    if found_bytes > MAX_BUNDLE_BYTES {
        return Err(Error::TooLarge { what: "a patch", path: patch.into(), found_bytes, limit_bytes: MAX_BUNDLE_BYTES });
    }
    let mut decoder = zstd::Decoder::new(File::open(patch).map_err(read)?).map_err(read)?;
    decoder.window_log_max(WINDOW_LOG).map_err(read)?;
    if &array::<8>(&mut decoder).map_err(read)? != MAGIC {
        return Err(wrong(patch, "it does not start as one".into()));
    }
    let parent = bundle::read_folder(parent_dir)?;
    let (expected, found) = (array::<64>(&mut decoder).map_err(read)?, bundle::manifest_sha256(parent_dir)?);
    if found.as_bytes() != expected {
        return Err(Error::ForeignPatch { path: patch.into(), parent: parent_dir.into(), found, expected: String::from_utf8_lossy(&expected).into_owned() });
    }
    let bytes = u64::from(u32::from_le_bytes(array(&mut decoder).map_err(read)?));
    if bytes > MAX_MANIFEST_BYTES {
        return Err(wrong(patch, format!("its manifest has {bytes} bytes, expected at most {MAX_MANIFEST_BYTES}")));
    }
    let mut json = vec![0; bytes as usize];
    decoder.read_exact(&mut json).map_err(read)?;
    let manifest = BundleManifest::parse(&json, patch)?;
    let mut maker = Maker { patch, decoder, parent_dir, parent: parent.files().collect(), buffers: Default::default() };
    for entry in manifest.files() {
        maker.file(entry, dir)?;
    }
    // Reading to the end makes zstd check its checksum.
    if maker.decoder.read(&mut [0]).map_err(read)? != 0 {
        return Err(wrong(patch, "something follows its last file".into()));
    }
    files::write_atomic(&dir.join(MANIFEST), &json)?;
    Ok(manifest)
}

/// What files are made from.
struct Maker<'a, R> {
    patch: &'a Path,
    decoder: R,
    parent_dir: &'a Path,
    parent: Vec<&'a FileEntry>,
    /// Bytes of the patch, bytes of the parent.
    buffers: [Vec<u8>; 2],
}

impl<R: Read> Maker<'_, R> {
    fn file(&mut self, entry: &FileEntry, dir: &Path) -> Result<()> {
        let mut incoming = Incoming::create(self.patch, entry, dir)?;
        let mut left = entry.bytes;
        while left > 0 {
            let [width] = self.array()?;
            let length = u64::from_le_bytes(self.array()?);
            if !matches!(width, 0 | 1 | 2 | 4) || length == 0 || length > left || !length.is_multiple_of(u64::from(width.max(1))) {
                return Err(wrong(self.patch, format!("{} is to have {length} bytes of kind {width} more, and needs {left}", entry.file)));
            }
            left -= length;
            if width == 0 { self.literal(length, &mut incoming)? } else { self.differences(length, width.into(), &mut incoming)? }
        }
        incoming.finish()
    }

    fn literal(&mut self, mut length: u64, incoming: &mut Incoming<'_>) -> Result<()> {
        while length > 0 {
            let piece = length.min(planes::CHUNK as u64);
            self.fill(piece as usize)?;
            incoming.write(&self.buffers[0])?;
            length -= piece;
        }
        Ok(())
    }

    fn differences(&mut self, mut length: u64, width: usize, incoming: &mut Incoming<'_>) -> Result<()> {
        let place = u16::from_le_bytes(self.array()?);
        let offset = u64::from_le_bytes(self.array()?);
        let fits = |old: &&&FileEntry| offset.checked_add(length).is_some_and(|end| end <= old.bytes);
        let old = self.parent.get(usize::from(place)).filter(fits);
        let old = old.ok_or_else(|| wrong(self.patch, format!("it asks for {length} bytes at {offset} of file {place} of the parent, which has less")))?;
        let path = self.parent_dir.join(&old.file);
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        let mut file = File::open(&path).map_err(io)?;
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        while length > 0 {
            let piece = length.min((planes::CHUNK * width) as u64);
            self.fill(piece as usize)?;
            let [differences, numbers] = &mut self.buffers;
            numbers.resize(piece as usize, 0);
            file.read_exact(numbers).map_err(io)?;
            planes::add(numbers, differences, width);
            incoming.write(numbers)?;
            length -= piece;
        }
        Ok(())
    }

    /// The next bytes of the patch, at most a chunk.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        self.buffers[0].resize(bytes, 0);
        self.decoder.read_exact(&mut self.buffers[0]).map_err(|e| wrong(self.patch, e.to_string()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        array(&mut self.decoder).map_err(|e| wrong(self.patch, e.to_string()))
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn wrong(patch: &Path, reason: String) -> Error {
    Error::Patch { path: patch.into(), reason }
}
