mod avi;
mod y4m;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::{Frame, Next, Source};
use crate::faults::{FaultLog, Faults};
use crate::pixels::{Converter, Layout};
use crate::uri::Uri;
use crate::{Error, Result};

/// Largest frame in a file.
const MAX_FRAME_BYTES: usize = 256 << 20;

/// A video file whose frames need no video decoder: Motion JPEG in AVI, or Y4M. Frames that are damaged are left out and counted.
pub struct Video {
    frames: Frames,
    info: Info,
    bytes: Vec<u8>,
    converter: Converter,
    faults: FaultLog,
    index: u64,
    path: PathBuf,
}

/// What a file says about itself.
struct Info {
    layout: Layout,
    fps: f64,
    frames: Option<u64>,
}

/// Frames of a file, one after the other.
enum Frames {
    Avi(avi::Avi<BufReader<File>>),
    Y4m(y4m::Y4m<BufReader<File>>),
}

impl Frames {
    /// Fills `bytes` with the next frame; false at the end, also where a file was cut off. The error says what was found.
    fn next(&mut self, bytes: &mut Vec<u8>) -> std::result::Result<bool, String> {
        match self {
            Self::Avi(avi) => avi.next(bytes),
            Self::Y4m(y4m) => y4m.next(bytes),
        }
    }
}

impl Video {
    /// `video:PATH.avi`, `video:PATH.y4m`.
    pub(super) fn open(mut uri: Uri<'_>) -> Result<Self> {
        uri.example("video:street.avi");
        let path = PathBuf::from(uri.path()?);
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if !matches!(ending.as_str(), "avi" | "y4m") {
            return Err(uri.wrong(format!("{} does not end with .avi or .y4m", path.display())));
        }
        uri.finish("none")?;
        let file = File::open(&path).map_err(|source| amis_artifacts::Error::Io { action: "open", path: path.clone(), source })?;
        let file = BufReader::with_capacity(1 << 20, file);
        let wrong = |reason| Error::Video { path: path.clone(), reason };
        let (frames, info) = match ending.as_str() {
            "avi" => avi::open(file).map(|(avi, info)| (Frames::Avi(avi), info)).map_err(wrong)?,
            _ => y4m::open(file).map(|(y4m, info)| (Frames::Y4m(y4m), info)).map_err(wrong)?,
        };
        let faults = FaultLog::new(path.display().to_string());
        Ok(Self { frames, info, bytes: Vec::new(), converter: Converter::default(), faults, index: 0, path })
    }

    /// The next frame's bytes; false at the end.
    fn read(&mut self) -> Result<bool> {
        let found = self.frames.next(&mut self.bytes);
        self.index += 1;
        found.map_err(|reason| Error::Video { path: self.path.clone(), reason: format!("frame {}: {reason}", self.index) })
    }
}

impl Source for Video {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        while self.read()? {
            frame.captured = Instant::now();
            match self.converter.convert(&self.info.layout, &self.bytes, &mut frame.rgb) {
                Ok(()) => {
                    (frame.width_px, frame.height_px) = (self.info.layout.width_px, self.info.layout.height_px);
                    frame.number(self.index - 1);
                    return Ok(Next::Frame);
                }
                Err(damage) => self.faults.add("corrupt", format_args!("frame {}: {damage}", self.index)),
            }
        }
        Ok(Next::End)
    }

    fn skip(&mut self, frames: u64) -> Result<()> {
        for _ in 0..frames {
            if !self.read()? {
                break;
            }
        }
        Ok(())
    }

    fn fps(&self) -> Option<f64> {
        Some(self.info.fps)
    }

    fn frames(&self) -> Option<u64> {
        self.info.frames
    }

    fn faults(&self) -> Option<Arc<Faults>> {
        Some(self.faults.faults())
    }
}

/// Fills `bytes` with the next `length` bytes of a file; false where the file ends before.
fn read_exactly(file: &mut impl Read, length: usize, bytes: &mut Vec<u8>) -> std::result::Result<bool, String> {
    bytes.clear();
    // Not sized in advance: a damaged length must not claim memory that the file cannot fill.
    let found = file.take(length as u64).read_to_end(bytes).map_err(|e| e.to_string())?;
    Ok(found == length)
}

/// A rate from a fraction, if it is one that a camera could have.
fn fps(numerator: u32, denominator: u32) -> Option<f64> {
    let fps = f64::from(numerator) / f64::from(denominator);
    (0.1..=1000.0).contains(&fps).then_some(fps)
}
