use std::fs;
use std::path::{Path, PathBuf};

use super::keep::{self, Keep};
use super::{Sink, View, jpeg, mask};
use crate::uri::Uri;
use crate::{Error, Result};

/// A folder with an overlay `NAME.jpg` or a mask `NAME.png` per frame, or both.
pub(super) struct Folder {
    dir: PathBuf,
    what: What,
    keep: Keep,
    bytes: Vec<u8>,
}

/// File in a folder whose pictures may be removed.
const MARKER: &str = ".amis-run";

#[derive(Clone, Copy, PartialEq)]
enum What {
    Overlay,
    Mask,
    Both,
}

impl Folder {
    /// `dir:PATH?what=overlay|mask|both&max_mib=1000&max_hours=24`. The limits count what earlier runs left too.
    pub(super) fn open(mut uri: Uri<'_>) -> Result<Self> {
        uri.example("dir:overlays?what=both");
        let dir = PathBuf::from(uri.path()?);
        let what = uri.choice("what", &[("overlay", What::Overlay), ("mask", What::Mask), ("both", What::Both)])?;
        let mut keep = Keep::from_uri(&mut uri)?;
        uri.finish(&format!("what, {}", keep::SETTINGS))?;
        fs::create_dir_all(&dir).map_err(|e| wrong(&dir, e))?;
        adopt(&mut keep, &dir)?;
        Ok(Self { dir, what, keep, bytes: Vec::new() })
    }

    /// Writes beside the target and renames, so that whoever watches the folder never reads half a picture.
    fn write(&mut self, name: String) -> Result<()> {
        let (path, part) = (self.dir.join(&name), self.dir.join(format!(".{name}.part")));
        fs::write(&part, &self.bytes).and_then(|()| fs::rename(&part, &path)).map_err(|e| wrong(&path, e))?;
        self.keep.add(path, self.bytes.len() as u64);
        Ok(())
    }
}

impl Sink for Folder {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        let name = &view.frame.name;
        if self.what != What::Mask {
            jpeg(view.overlay, &mut self.bytes).map_err(|e| wrong(&self.dir.join(name), e))?;
            self.write(format!("{name}.jpg"))?;
        }
        if self.what != What::Overlay {
            mask(view.frame, view.map, view.classes, &mut self.bytes).map_err(|e| wrong(&self.dir.join(name), e))?;
            self.write(format!("{name}.png"))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Counts what earlier runs left. Pictures that lay there before any run had a limit are somebody's, and stay.
fn adopt(keep: &mut Keep, dir: &Path) -> Result<()> {
    let ours = |name: &str| (name.ends_with(".jpg") || name.ends_with(".png")) && !name.starts_with('.');
    let marker = dir.join(MARKER);
    if !keep.limited() {
        return Ok(());
    }
    let entries = fs::read_dir(dir).map_err(|e| wrong(dir, e))?;
    let pictures = entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(ours));
    if pictures && !marker.exists() {
        tracing::warn!("{}: the pictures that are there already are neither counted nor removed", dir.display());
        return Ok(());
    }
    fs::write(&marker, "Pictures in this folder are removed by amis-run when they are too many.\n").map_err(|e| wrong(&marker, e))?;
    keep.adopt(dir, ours);
    Ok(())
}

fn wrong(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Sink { path: path.into(), reason: reason.to_string() }
}
