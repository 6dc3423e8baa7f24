//! Where results go.

mod avi;
mod collect;
mod folder;
mod keep;
mod lines;
mod live;
mod video;
mod web;

use std::sync::Arc;

use amis_artifacts::classes::{ClassList, palette_color};

use crate::Result;
use crate::overlay::Picture;
use crate::source::Frame;
use crate::stats::{Journal, Monitor};
use crate::uri::Uri;
use collect::Collect;
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
    /// How unsure the model is: mean entropy of its probabilities, 0 (sure) to 1 (all classes alike).
    pub entropy: f32,
    /// The classes of the model that made the map.
    pub classes: &'a Arc<ClassList>,
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

/// What sinks have to know about the run.
pub struct Run {
    /// Its cameras.
    pub cameras: Vec<Camera>,
    /// What happens in it.
    pub journal: Arc<Journal>,
    /// What viewers have to bring to the sink `web:`, if anything.
    pub token: Option<String>,
}

/// What sinks have to know about a camera.
pub struct Camera {
    /// Its statistics.
    pub monitor: Arc<Monitor>,
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

const EXAMPLE: &str = "web:127.0.0.1:8080, dir:overlays, video:run.avi or null:";

/// Stands for the number of the camera in the name of a sink.
const CAMERA: &str = "{camera}";

/// The name of a sink with the number of a camera in its place.
pub(crate) fn of_camera(text: &str, camera: usize) -> String {
    text.replace(CAMERA, &camera.to_string())
}

/// Opens a sink by its name, once for each camera; the table of names stands in `docs/runtime.md`.
///
/// # Errors
/// [`crate::Error::Uri`] for a name that is not understood, [`crate::Error::Sink`] if it cannot be written.
pub fn open(text: &str, run: &Run) -> Result<Vec<Box<dyn Sink>>> {
    let uri = Uri::parse("sink", EXAMPLE, text)?;
    if uri.scheme == "web" {
        return web::open(uri, run);
    }
    if run.cameras.len() > 1 && ["dir", "video", "collect", "lines"].contains(&uri.scheme) && !uri.target.contains(CAMERA) {
        return Err(
            uri.wrong(format!("{} cameras would write to one place, expected {CAMERA} in the path: the number of each stands there then", run.cameras.len()))
        );
    }
    run.cameras.iter().zip(1..).map(|(camera, number)| open_for(&of_camera(text, number), camera)).collect()
}

/// Opens a sink of one camera.
fn open_for(text: &str, camera: &Camera) -> Result<Box<dyn Sink>> {
    let uri = Uri::parse("sink", EXAMPLE, text)?;
    match uri.scheme {
        "dir" => Ok(Box::new(Folder::open(uri)?)),
        "video" => Ok(Box::new(Video::open(uri, camera)?)),
        "collect" => Ok(Box::new(Collect::open(uri)?)),
        "lines" => lines::open(uri),
        "null" if uri.target.is_empty() => uri.finish("none").map(|()| Box::new(Null) as Box<dyn Sink>),
        "null" => Err(uri.wrong(format!("{:?} after null:, expected nothing", uri.target))),
        other => Err(uri.wrong(format!("scheme {other:?} is not known, expected web, lines, collect, dir, video or null"))),
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

/// A class map as a PNG whose pixel values are the ids and whose palette are the colours: a label file in VOC layout.
fn mask(frame: &Frame, map: &[u8], classes: &ClassList, out: &mut Vec<u8>) -> std::result::Result<(), png::EncodingError> {
    out.clear();
    let palette: Vec<u8> = (0..=255).flat_map(|id| classes.get(id).map_or(palette_color(id), |c| c.color)).collect();
    let mut encoder = png::Encoder::new(out, frame.width_px, frame.height_px);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(map)?;
    writer.finish()
}
