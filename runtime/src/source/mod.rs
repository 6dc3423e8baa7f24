//! Where frames come from.

mod pictures;
mod synthetic;

use std::sync::Arc;
use std::time::Instant;

pub use pictures::{Pictures, in_folder};
pub use synthetic::Synthetic;

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
}

impl Default for Frame {
    fn default() -> Self {
        Self { rgb: Vec::new(), width_px: 0, height_px: 0, index: 0, name: String::new(), captured: Instant::now() }
    }
}

/// Delivers frames in order.
pub trait Source: Send {
    /// Fills `frame` with the next one, waiting for it if need be; false at the end.
    ///
    /// # Errors
    /// A frame cannot be read.
    fn next(&mut self, frame: &mut Frame) -> Result<bool>;

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

const EXAMPLE: &str = "dir:pictures, image:street.jpg or synthetic:?width=640&height=480&fps=30";

/// Opens a source by its name; the table of names stands in `docs/runtime.md`.
///
/// # Errors
/// [`crate::Error::Uri`] for a name that is not understood, others for what it names.
pub fn open(text: &str) -> Result<Box<dyn Source>> {
    let uri = Uri::parse("source", EXAMPLE, text)?;
    match uri.scheme {
        "image" => Ok(Box::new(Pictures::image(uri)?)),
        "dir" => Ok(Box::new(Pictures::dir(uri)?)),
        "synthetic" => Ok(Box::new(Synthetic::open(uri)?)),
        other => Err(uri.wrong(format!("scheme {other:?} is not known, expected image, dir or synthetic"))),
    }
}
