use std::path::{Path, PathBuf};
use std::time::Instant;

use super::avi::AviWriter;
use super::keep::{self, Keep};
use super::{Camera, Sink, View, jpeg};
use crate::uri::Uri;
use crate::{Error, Result};

/// Rate of videos from pictures, which have none of their own.
const DEFAULT_FPS: f64 = 10.0;

/// With a limit, so many files share the room: only the oldest goes when a new one begins.
const PARTS: u64 = 8;

/// A Motion JPEG video of the overlays, in one file or, with a limit or beyond 2 GiB, in several.
pub(super) struct Video {
    path: PathBuf,
    /// Rate that the video plays at; none: that at which frames arrive.
    fps: Option<f64>,
    writer: Option<AviWriter>,
    keep: Keep,
    /// Of the file that is written; 0 has no number in its name.
    part: u32,
    size: (u32, u32),
    first: Option<Instant>,
    last: Option<Instant>,
    frames: u32,
    bytes: Vec<u8>,
}

impl Video {
    /// `video:PATH.avi?fps=30&max_mib=1000&max_hours=24`. Without `fps`, a clocked source is played back as fast as its frames came, others at their own rate.
    pub(super) fn open(mut uri: Uri<'_>, camera: &Camera) -> Result<Self> {
        uri.example("video:run.avi?fps=30");
        let path = PathBuf::from(uri.path()?);
        if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("avi")) {
            return Err(uri.wrong(format!("{} does not end with .avi, the only kind of video that is written", path.display())));
        }
        let fps = uri.number("fps", 0.1..=1000.0)?;
        let mut keep = Keep::from_uri(&mut uri)?;
        uri.finish(&format!("fps, {}", keep::SETTINGS))?;
        let part = if keep.limited() { parts_of(&path).max().unwrap_or(0) + 1 } else { 0 };
        keep.reserve = keep.max_bytes.unwrap_or(0) / PARTS;
        keep.adopt(folder_of(&path), |name| part_number(&path, name).is_some());
        let fps = fps.or(if camera.realtime { None } else { Some(camera.fps.unwrap_or(DEFAULT_FPS)) });
        Ok(Self { path, fps, writer: None, keep, part, size: (0, 0), first: None, last: None, frames: 0, bytes: Vec::new() })
    }

    /// Rate to play at, from the times of the frames so far if need be.
    fn rate(&self) -> f64 {
        let seconds = self.first.zip(self.last).map_or(0.0, |(first, last)| last.saturating_duration_since(first).as_secs_f64());
        let measured = if seconds > 0.0 { f64::from(self.frames - 1) / seconds } else { DEFAULT_FPS };
        self.fps.unwrap_or(measured).clamp(0.1, 1000.0)
    }

    /// `run.avi`, `run-000001.avi`, ...
    fn part_path(&self) -> PathBuf {
        if self.part == 0 { self.path.clone() } else { self.path.with_file_name(format!("{}-{:06}.avi", stem(&self.path), self.part)) }
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> Error {
        Error::Sink { path: self.path.clone(), reason: reason.to_string() }
    }
}

impl Sink for Video {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        let picture = view.overlay;
        let size = (picture.width_px, picture.height_px);
        jpeg(picture, &mut self.bytes).map_err(|e| self.wrong(e))?;
        let part_bytes = self.keep.max_bytes.map(|max| max / PARTS);
        if self.writer.as_ref().is_some_and(|writer| writer.full(self.bytes.len(), part_bytes)) {
            self.finish()?;
            self.part += 1;
        }
        if self.writer.is_none() {
            self.writer = Some(AviWriter::create(&self.part_path(), size, self.rate()).map_err(|e| self.wrong(e))?);
            self.size = size;
        }
        if size != self.size {
            let (found, first) = (size, self.size);
            return Err(
                self.wrong(format!("frame {} makes a picture of {}x{} pixels, the video has {}x{}", view.frame.name, found.0, found.1, first.0, first.1))
            );
        }
        self.first.get_or_insert(view.frame.captured);
        self.last = Some(view.frame.captured);
        self.frames += 1;
        let rate = self.rate();
        let written = self.writer.as_mut().map_or(Ok(()), |w| w.add(&self.bytes, rate));
        written.map_err(|e| self.wrong(e))
    }

    fn finish(&mut self) -> Result<()> {
        let (rate, path) = (self.rate(), self.part_path());
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let bytes = writer.bytes();
        writer.finish(rate).map_err(|e| self.wrong(e))?;
        self.keep.add(path, bytes);
        Ok(())
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Number of the part of `path` that a file of this name is.
fn part_number(path: &Path, name: &str) -> Option<u32> {
    let number = name.strip_prefix(&format!("{}-", stem(path)))?.strip_suffix(".avi")?;
    if number.len() >= 6 && number.bytes().all(|b| b.is_ascii_digit()) { number.parse().ok() } else { None }
}

/// Numbers of the parts that earlier runs left.
fn parts_of(path: &Path) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(folder_of(path)).into_iter().flatten().flatten();
    entries.filter_map(|entry| part_number(path, entry.file_name().to_str()?))
}
