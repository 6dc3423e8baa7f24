//! Where frames come from.

pub mod camera;
mod clocked;
mod pictures;
mod synthetic;
mod video;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

pub use clocked::Clocked;
pub use pictures::{Pictures, in_folder};
pub use synthetic::Synthetic;
pub use video::Video;

use crate::Result;
use crate::faults::Faults;
use crate::uri::Uri;

/// One frame. Its buffers are filled again and again.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Pixels, `height_px * width_px * 3` bytes: red, green, blue.
    pub rgb: Vec<u8>,
    /// Width.
    pub width_px: u32,
    /// Height.
    pub height_px: u32,
    /// Counts up from 0; gaps are frames that the source itself lost.
    pub index: u64,
    /// Name for files: of the picture, or made from the index.
    pub name: String,
    /// When it was taken.
    pub captured: Instant,
}

impl Frame {
    /// Becomes a copy of `other`, in its own buffers.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.rgb.clone_from(&other.rgb);
        self.name.clone_from(&other.name);
        (self.width_px, self.height_px, self.index, self.captured) = (other.width_px, other.height_px, other.index, other.captured);
    }

    /// Gives it a number, and a name made from it.
    fn number(&mut self, index: u64) {
        self.index = index;
        self.name.clear();
        // Into the memory that is there; a String takes all that is written.
        let _ = write!(self.name, "frame-{index:06}");
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self { rgb: Vec::new(), width_px: 0, height_px: 0, index: 0, name: String::new(), captured: Instant::now() }
    }
}

/// What [`Source::next`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The frame is filled.
    Frame,
    /// There is none yet; to be asked again, if the run is to go on.
    NotYet,
    /// There will be none any more.
    End,
}

/// Delivers frames in order.
pub trait Source: Send {
    /// Fills `frame` with the next one, waiting for it a fraction of a second if need be.
    ///
    /// # Errors
    /// A frame cannot be read.
    fn next(&mut self, frame: &mut Frame) -> Result<Next>;

    /// Leaves out the next `frames`: what is lost when nobody asks in time. Realtime sources do so by themselves.
    ///
    /// # Errors
    /// As [`Self::next`].
    fn skip(&mut self, _frames: u64) -> Result<()> {
        Ok(())
    }

    /// Whether time does not wait: frames that are not fetched in time are lost.
    fn realtime(&self) -> bool {
        false
    }

    /// Frames a second that it is made for, if it has such a rate.
    fn fps(&self) -> Option<f64> {
        None
    }

    /// Number of frames, if it is known.
    fn frames(&self) -> Option<u64> {
        None
    }

    /// Counts of what goes wrong in it without ending it.
    fn faults(&self) -> Option<Arc<Faults>> {
        None
    }
}

const EXAMPLE: &str = "v4l2:/dev/video0, dir:pictures, video:street.avi or synthetic:?width=640&height=480&fps=30";

/// Opens a source by its name; the table of names stands in `docs/runtime.md`.
///
/// # Errors
/// [`crate::Error::Uri`] for a name that is not understood, others for what it names.
pub fn open(text: &str) -> Result<Box<dyn Source>> {
    let uri = Uri::parse("source", EXAMPLE, text)?;
    match uri.scheme {
        "image" => Ok(Box::new(Pictures::image(uri)?)),
        "dir" => Ok(Box::new(Pictures::dir(uri)?)),
        "video" => Ok(Box::new(Video::open(uri)?)),
        "v4l2" => Ok(Box::new(camera::Camera::open(uri)?)),
        "synthetic" => Synthetic::open(uri),
        other => Err(uri.wrong(format!("scheme {other:?} is not known, expected image, dir, video, v4l2 or synthetic"))),
    }
}
