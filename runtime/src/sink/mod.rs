//! Where results go.

mod avi;
mod folder;
mod video;

use amis_artifacts::classes::ClassList;

use crate::Result;
use crate::overlay::Picture;
use crate::source::Frame;
use crate::uri::Uri;
use folder::Folder;
use video::Video;

/// One finished frame.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The frame as it came.
    pub frame: &'a Frame,
    /// Class ids, `width_px * height_px` bytes of the frame's size.
    pub map: &'a [u8],
    /// The frame with colours and legend.
    pub overlay: &'a Picture,
}

/// Takes finished frames.
pub trait Sink: Send {
    /// Takes one frame.
    ///
    /// # Errors
    /// It cannot be written.
    fn show(&mut self, view: &View<'_>) -> Result<()>;

    /// Completes what was written; called once, also after an error or Ctrl-C.
    ///
    /// # Errors
    /// It cannot be written.
    fn finish(&mut self) -> Result<()>;
}

/// What a sink has to know about the run.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The classes, for colours.
    pub classes: &'a ClassList,
    /// Rate that the source is made for, if it has one.
    pub fps: Option<f64>,
    /// Whether the source keeps the clock, so that frames may be missing.
    pub realtime: bool,
}

/// Takes frames and keeps nothing, for measuring.
struct Null;

impl Sink for Null {
    fn show(&mut self, _: &View<'_>) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

const EXAMPLE: &str = "dir:overlays, video:run.avi or null:";

/// Opens a sink by its name; the table of names stands in `docs/runtime.md`.
///
/// # Errors
/// [`crate::Error::Uri`] for a name that is not understood, [`crate::Error::Sink`] if it cannot be written.
pub fn open(text: &str, run: &Run<'_>) -> Result<Box<dyn Sink>> {
    let uri = Uri::parse("sink", EXAMPLE, text)?;
    match uri.scheme {
        "dir" => Ok(Box::new(Folder::open(uri, run.classes)?)),
        "video" => Ok(Box::new(Video::open(uri, run)?)),
        "null" if uri.target.is_empty() => uri.finish("none").map(|()| Box::new(Null) as Box<dyn Sink>),
        "null" => Err(uri.wrong(format!("{:?} after null:, expected nothing", uri.target))),
        other => Err(uri.wrong(format!("scheme {other:?} is not known, expected dir, video or null"))),
    }
}

/// Quality of JPEG pictures and video frames: text stays clean, files stay small.
const JPEG_QUALITY: u8 = 90;

/// A picture as JPEG.
fn jpeg(picture: &Picture, out: &mut Vec<u8>) -> std::result::Result<(), String> {
    out.clear();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(out, JPEG_QUALITY);
    encoder.encode(&picture.rgb, picture.width_px, picture.height_px, image::ExtendedColorType::Rgb8).map_err(|e| e.to_string())
}
