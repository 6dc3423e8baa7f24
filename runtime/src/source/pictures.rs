use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use amis_artifacts::files;
use amis_data::images::read_rgb;

use super::{Frame, Next, Source};
use crate::uri::Uri;
use crate::{Error, Result};

/// Endings of the files that `dir:` takes.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];
/// Largest list file: a million long names.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Picture files, one after the other.
pub struct Pictures {
    paths: Vec<PathBuf>,
    next: usize,
}

impl Pictures {
    /// `image:PATH`.
    pub(super) fn image(mut uri: Uri<'_>) -> Result<Self> {
        uri.example("image:street.jpg");
        let path = uri.path()?.into();
        uri.finish("none")?;
        Ok(Self { paths: vec![path], next: 0 })
    }

    /// `dir:PATH`, sorted by name, or `dir:PATH?list=FILE`, in the list's order.
    pub(super) fn dir(mut uri: Uri<'_>) -> Result<Self> {
        uri.example("dir:JPEGImages?list=ImageSets/Segmentation/val.txt");
        let dir = Path::new(uri.path()?);
        let list = uri.text("list").map(PathBuf::from);
        uri.finish("list")?;
        Ok(Self { paths: in_folder(dir, list.as_deref())?, next: 0 })
    }
}

impl Source for Pictures {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        let Some(path) = self.paths.get(self.next) else { return Ok(Next::End) };
        let image = read_rgb(path)?;
        (frame.width_px, frame.height_px) = (image.width_px, image.height_px);
        frame.rgb = image.rgb;
        frame.index = self.next as u64;
        frame.name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        frame.captured = Instant::now();
        self.next += 1;
        Ok(Next::Frame)
    }

    fn skip(&mut self, frames: u64) -> Result<()> {
        self.next = self.next.saturating_add(frames as usize);
        Ok(())
    }

    fn frames(&self) -> Option<u64> {
        Some(self.paths.len() as u64)
    }
}

/// The pictures of a folder, sorted by name, or those that a list names (one a line, with or without ending), in its order.
///
/// # Errors
/// There is none, two of the folder share a name, or the list is unreadable, names one that is not there, or one twice.
pub fn in_folder(dir: &Path, list: Option<&Path>) -> Result<Vec<PathBuf>> {
    let by_stem = by_stem(dir)?;
    let paths: Vec<PathBuf> = match list {
        None => by_stem.into_values().collect(),
        Some(list) => listed(list, dir, &by_stem)?,
    };
    if paths.is_empty() { Err(Error::Pictures { path: list.unwrap_or(dir).into(), reason: "no pictures".into() }) } else { Ok(paths) }
}

/// The pictures of a folder by name without ending, sorted: results are named so, and two of one name would overwrite each other.
fn by_stem(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let io = |source| amis_artifacts::Error::Io { action: "list", path: dir.into(), source };
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if !ENDINGS.contains(&ending.as_str()) || !path.is_file() {
            continue;
        }
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(other) = found.insert(stem.clone(), path.clone()) {
            let reason = format!("{} and {} share the name {stem}, and so would their results", other.display(), path.display());
            return Err(Error::Pictures { path: dir.into(), reason });
        }
    }
    Ok(found)
}

/// The pictures that a list names.
fn listed(list: &Path, dir: &Path, by_stem: &BTreeMap<String, PathBuf>) -> Result<Vec<PathBuf>> {
    let bytes = files::read_limited(list, "a list of pictures", MAX_LIST_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut seen = HashSet::new();
    let mut paths = Vec::new();
    for (line, name) in text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|(_, l)| !l.is_empty()) {
        let wrong = |reason: String| Error::Pictures { path: list.into(), reason: format!("line {line}: {reason}") };
        let path = by_stem.get(name).or_else(|| by_stem.values().find(|p| p.file_name().is_some_and(|f| f == name)));
        let path = path.ok_or_else(|| wrong(format!("no picture {name} in {}", dir.display())))?;
        if !seen.insert(path) {
            return Err(wrong(format!("{name} stands twice")));
        }
        paths.push(path.clone());
    }
    Ok(paths)
}
