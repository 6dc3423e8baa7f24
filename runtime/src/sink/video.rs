use std::path::PathBuf;
use std::time::Instant;

use super::avi::AviWriter;
use super::{Run, Sink, View, jpeg};
use crate::uri::Uri;
use crate::{Error, Result};

/// Rate of videos from pictures, which have none of their own.
const DEFAULT_FPS: f64 = 10.0;

/// A Motion JPEG video of the overlays.
pub(super) struct Video {
    path: PathBuf,
    /// Rate that the video plays at; none: that at which frames arrive.
    fps: Option<f64>,
    writer: Option<AviWriter>,
    size: (u32, u32),
    first: Option<Instant>,
    last: Option<Instant>,
    frames: u32,
    bytes: Vec<u8>,
}

impl Video {
    /// `video:PATH.avi?fps=30`. Without `fps`, a clocked source is played back as fast as its frames came, others at their own rate.
    pub(super) fn open(mut uri: Uri<'_>, run: &Run<'_>) -> Result<Self> {
        uri.example("video:run.avi?fps=30");
        let path = PathBuf::from(uri.path()?);
        if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("avi")) {
            return Err(uri.wrong(format!("{} does not end with .avi, the only kind of video that is written", path.display())));
        }
        let fps = uri.number("fps", 0.1..=1000.0)?;
        uri.finish("fps")?;
        let fps = fps.or(if run.realtime { None } else { Some(run.fps.unwrap_or(DEFAULT_FPS)) });
        Ok(Self { path, fps, writer: None, size: (0, 0), first: None, last: None, frames: 0, bytes: Vec::new() })
    }

    /// Rate to play at, from the times of the frames so far if need be.
    fn rate(&self) -> f64 {
        let seconds = self.first.zip(self.last).map_or(0.0, |(first, last)| last.saturating_duration_since(first).as_secs_f64());
        let measured = if seconds > 0.0 { f64::from(self.frames - 1) / seconds } else { DEFAULT_FPS };
        self.fps.unwrap_or(measured).clamp(0.1, 1000.0)
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> Error {
        Error::Sink { path: self.path.clone(), reason: reason.to_string() }
    }
}

impl Sink for Video {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        let picture = view.overlay;
        let size = (picture.width_px, picture.height_px);
        if self.writer.is_none() {
            self.writer = Some(AviWriter::create(&self.path, size, self.rate()).map_err(|e| self.wrong(e))?);
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
        jpeg(picture, &mut self.bytes).map_err(|e| self.wrong(e))?;
        let written = self.writer.as_mut().map_or(Ok(()), |w| w.add(&self.bytes, rate));
        written.map_err(|e| self.wrong(e))
    }

    fn finish(&mut self) -> Result<()> {
        let rate = self.rate();
        let finished = self.writer.take().map_or(Ok(()), |w| w.finish(rate));
        finished.map_err(|e| self.wrong(e))
    }
}
