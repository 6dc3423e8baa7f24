use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use v4l::buffer::{Flags, Metadata, Type};
use v4l::io::mmap::Stream as MmapStream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device as Node, Fraction};

use super::controls::{self, Setting};
use super::device::{Buffer, Device, Granted, Stream};
use super::nodes::{self, Identity};
use super::sys::{self, PixFormat};
use crate::pixels::{Color, Layout, PixelFormat};

/// Buffers that the driver may fill; one is ours while we look at it.
const BUFFERS: u32 = 4;
/// Rate that a format should reach to be chosen, where none is asked for.
const USUAL_FPS: f64 = 30.0;
/// `POLLIN`.
const READABLE: i16 = 1;
/// Older timestamps are not believed.
const MAX_AGE: Duration = Duration::from_secs(10);

/// What is asked of a camera.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) width_px: Option<u32>,
    pub(super) height_px: Option<u32>,
    pub(super) fps: Option<f64>,
    pub(super) format: Option<PixelFormat>,
    pub(super) controls: Vec<Setting>,
}

/// A camera behind a V4L2 node.
pub(super) struct Camera {
    path: PathBuf,
    wish: Wish,
    /// Known after the first time; then the camera is found again under another node.
    identity: Option<Identity>,
}

impl Camera {
    pub(super) fn new(path: &Path, wish: Wish) -> Self {
        Self { path: path.to_owned(), wish, identity: None }
    }
}

impl Device for Camera {
    fn connect(&mut self) -> Result<Box<dyn Stream>, String> {
        let path = match &self.identity {
            None => self.path.clone(),
            Some(identity) => nodes::find(identity, &self.path, &nodes::capture_nodes()).ok_or("no node of this camera")?,
        };
        let (stream, identity) = start(&path, &self.wish)?;
        self.identity = Some(identity);
        Ok(Box::new(stream))
    }
}

fn start(path: &Path, wish: &Wish) -> Result<(Streaming, Identity), String> {
    let tried = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let node = Node::with_path(path).map_err(tried("open"))?;
    let capabilities = sys::capabilities(&node).map_err(tried("ask for its capabilities"))?;
    nodes::must_capture(&capabilities)?;
    controls::apply(&node, &wish.controls)?;
    let (pix, format, fps) = negotiate(&node, wish)?;
    let layout = layout(&pix, format)?;
    let stream = MmapStream::with_buffers(&node, Type::VideoCapture, BUFFERS).map_err(tried("ask for buffers"))?;
    let granted = Granted { camera: format!("{} ({})", path.display(), capabilities.card), layout, fps };
    Ok((Streaming { stream, granted, held: true }, Identity::from(capabilities)))
}

/// Asks for the wished format, or tries those that the camera has: the first that reaches size and rate, or comes nearest.
fn negotiate(node: &Node, wish: &Wish) -> Result<(PixFormat, PixelFormat, Option<f64>), String> {
    let present = sys::format(node).map_err(|e| format!("ask for its format: {e}"))?;
    let size = (wish.width_px.unwrap_or(present.width_px), wish.height_px.unwrap_or(present.height_px));
    let offered: Vec<[u8; 4]> = node.enum_formats().unwrap_or_default().iter().map(|description| description.fourcc.repr).collect();
    let wished = PixelFormat::ALL.into_iter().filter(|format| wish.format.is_none_or(|wished| wished == *format));
    let candidates = wished.filter_map(|format| offered.iter().find(|fourcc| PixelFormat::from_fourcc(**fourcc) == Some(format)).map(|f| (*f, format)));
    let known = || offered.iter().map(|fourcc| String::from_utf8_lossy(fourcc).into_owned()).collect::<Vec<_>>().join(", ");
    let mut best: Option<((u8, f64), [u8; 4], PixelFormat)> = None;
    for (fourcc, format) in candidates {
        let (granted, fps) = ask(node, fourcc, format.whole_pairs(size), wish.fps)?;
        if granted.fourcc != fourcc {
            continue;
        }
        let enough = wish.fps.unwrap_or(USUAL_FPS);
        let score = (u8::from((granted.width_px, granted.height_px) == size), fps.unwrap_or(enough).min(enough));
        if best.as_ref().is_none_or(|(other, ..)| score > *other) {
            best = Some((score, fourcc, format));
        }
    }
    let Some((_, fourcc, format)) = best else {
        let wished = wish.format.map_or_else(|| "a format that is read here".to_owned(), |format| format.to_string());
        return Err(format!("it does not give {wished}; it has {}", known()));
    };
    let (granted, fps) = ask(node, fourcc, format.whole_pairs(size), wish.fps)?;
    Ok((granted, format, fps))
}

/// Sets format and rate; what was granted comes back.
fn ask(node: &Node, fourcc: [u8; 4], size: (u32, u32), fps: Option<f64>) -> Result<(PixFormat, Option<f64>), String> {
    let granted = sys::set_format(node, fourcc, size).map_err(|e| format!("set {} {}x{}: {e}", String::from_utf8_lossy(&fourcc), size.0, size.1))?;
    // Not every driver knows rates.
    let parameters = match fps {
        Some(fps) => node.set_params(&Parameters::new(Fraction::new(1000, (fps * 1000.0).round() as u32))),
        None => node.params(),
    };
    let interval = parameters.ok().map(|p| p.interval).filter(|interval| interval.numerator > 0 && interval.denominator > 0);
    Ok((granted, interval.map(|interval| f64::from(interval.denominator) / f64::from(interval.numerator))))
}

fn layout(pix: &PixFormat, format: PixelFormat) -> Result<Layout, String> {
    // None, any, and both fields in one picture.
    if !matches!(pix.field, 0 | 1 | 4 | 8 | 9) {
        return Err(format!("it sends half pictures (field order {}), expected whole ones", pix.field));
    }
    let color = Color::from_v4l2(format, pix.colorspace, pix.encoding, pix.quantization);
    let layout = Layout::new(format, (pix.width_px, pix.height_px), pix.stride_bytes as usize, color)?;
    if layout.needed_bytes() > pix.size_bytes as usize {
        let (needed, size) = (layout.needed_bytes(), (pix.width_px, pix.height_px));
        return Err(format!("{} bytes a picture, expected at least {needed} for {}x{} {format}", pix.size_bytes, size.0, size.1));
    }
    Ok(layout)
}

/// A node that streams into mapped memory.
struct Streaming {
    stream: MmapStream<'static>,
    granted: Granted,
    /// Whether `next` may give the last buffer back: true at the start and while one is ours. After a failure it is with the driver already.
    held: bool,
}

impl Stream for Streaming {
    fn granted(&self) -> &Granted {
        &self.granted
    }

    fn newest(&mut self, patience: Duration, look: &mut dyn FnMut(Buffer<'_>)) -> io::Result<()> {
        let handle = self.stream.handle();
        self.stream.set_timeout(patience);
        if !self.held {
            // This one cannot be looked at: `next` gives it back and takes its successor.
            self.stream.dequeue()?;
            self.held = true;
        }
        // Asked here and not in `next`, which would lose a buffer when there is none in time.
        if handle.poll(READABLE, patience.as_millis() as i32)? == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        for older in 0.. {
            self.held = false;
            let (bytes, meta) = self.stream.next()?;
            self.held = true;
            if older == BUFFERS || handle.poll(READABLE, 0)? == 0 {
                look(buffer(bytes, meta));
                break;
            }
        }
        Ok(())
    }
}

fn buffer<'a>(bytes: &'a [u8], meta: &Metadata) -> Buffer<'a> {
    Buffer { bytes, used_bytes: meta.bytesused as usize, flagged: meta.flags.contains(Flags::ERROR), sequence: meta.sequence, captured: captured(meta) }
}

/// The driver's time as an [`Instant`]; now, if it has another clock or cannot be right.
fn captured(meta: &Metadata) -> Instant {
    let now = Instant::now();
    if meta.flags & Flags::TIMESTAMP_MASK != Flags::TIMESTAMP_MONOTONIC {
        return now;
    }
    let clock = clock_gettime(ClockId::Monotonic);
    let micros = |seconds: i64, micros: i64| i128::from(seconds) * 1_000_000 + i128::from(micros);
    let age = micros(clock.tv_sec, clock.tv_nsec / 1000) - micros(meta.timestamp.sec, meta.timestamp.usec);
    let age = u64::try_from(age).ok().map(Duration::from_micros).filter(|age| *age <= MAX_AGE);
    age.and_then(|age| now.checked_sub(age)).unwrap_or(now)
}
