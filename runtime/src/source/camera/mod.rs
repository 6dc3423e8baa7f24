//! Cameras, and what they do: stop, vanish, come back elsewhere or otherwise, and send what is no picture. The stream goes on; each fault is counted.

mod controls;
mod device;
mod list;
mod nodes;
mod sys;
#[cfg(test)]
mod tests;
mod v4l2;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::device::{Buffer, Device, Granted, Stream};
use super::{Frame, Next, Source};
use crate::faults::{FaultLog, Faults};
use crate::pixels::{Converter, Layout, PixelFormat};
use crate::uri::Uri;
use crate::{Error, Result};

pub use controls::ControlInfo;
pub use list::{CameraInfo, FormatInfo, SizeInfo, cameras};

/// Longest wait in one call, so that a run can be stopped.
const PATIENCE: Duration = Duration::from_millis(100);
/// Pause after a driver that says "ready" and then "try again", so that it does not keep a processor busy.
const PAUSE: Duration = Duration::from_millis(5);
/// Without a good picture for so long, and three frames longer, the camera is opened anew.
const STALL: Duration = Duration::from_secs(2);
/// Between attempts to connect: the first wait and the longest, doubling in between.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// A driver's counter that leaps further is not believed.
const MAX_LOST: u32 = 10_000;

/// A camera as a source.
pub struct Camera {
    device: Box<dyn Device>,
    live: Option<Live>,
    /// What the last connection had.
    granted: Granted,
    converter: Converter,
    faults: FaultLog,
    /// Number of the next frame.
    index: u64,
    /// While there is no connection: when to try again.
    retry_at: Instant,
    /// Wait after the next failure.
    back_off: Duration,
}

/// A connection.
struct Live {
    stream: Box<dyn Stream>,
    /// The last good picture, or the start.
    alive: Instant,
    /// Of the last buffer: its number, its time, and the checksum of its bytes.
    last: Option<(u32, Instant, u32)>,
}

/// What a buffer held.
enum Seen {
    /// A picture, which is in the frame.
    Picture {
        sequence: u32,
        captured: Instant,
        checksum: u32,
    },
    Damaged(&'static str, String),
}

impl Camera {
    /// `v4l2:/dev/video0?width=1280&height=720&fps=30&format=YUYV`, and controls by name.
    pub(super) fn open(mut uri: Uri<'_>) -> Result<Self> {
        uri.example("v4l2:/dev/video0?width=1280&height=720&fps=30&format=MJPEG&power_line_frequency=1");
        let path = Path::new(uri.path()?);
        let formats = PixelFormat::ALL.map(|format| (format.name(), Some(format)));
        let wish = v4l2::Wish {
            width_px: uri.number("width", 1..=amis_artifacts::image_spec::MAX_FRAME_PX)?,
            height_px: uri.number("height", 1..=amis_artifacts::image_spec::MAX_FRAME_PX)?,
            fps: uri.number("fps", 0.1..=1000.0)?,
            format: uri.choice("format", &[&[("any", None)], &formats[..]].concat())?,
            controls: uri.rest().map(|(key, value)| controls::Setting { key: key.to_owned(), value: value.to_owned() }).collect(),
        };
        Self::start(Box::new(v4l2::Camera::new(path, wish)), &path.display().to_string())
    }

    /// Connects for the first time; later failures end nothing.
    fn start(mut device: Box<dyn Device>, name: &str) -> Result<Self> {
        let stream = device.connect().map_err(|reason| Error::Camera { device: name.to_owned(), reason })?;
        let granted = stream.granted().clone();
        log(&granted);
        let live = Some(Live { stream, alive: Instant::now(), last: None });
        let (converter, faults) = (Converter::default(), FaultLog::new(name));
        Ok(Self { device, live, granted, converter, faults, index: 0, retry_at: Instant::now(), back_off: BACK_OFF[0] })
    }

    /// Ends the connection; the next attempt comes after a pause.
    fn lose(&mut self, fault: &'static str, detail: impl std::fmt::Display) {
        self.faults.add(fault, detail);
        self.live = None;
        self.put_off();
    }

    fn put_off(&mut self) {
        self.retry_at = Instant::now() + self.back_off;
        self.back_off = (2 * self.back_off).min(BACK_OFF[1]);
    }

    /// Connects again, when it is time.
    fn reconnect(&mut self) {
        let wait = self.retry_at.saturating_duration_since(Instant::now());
        std::thread::sleep(wait.min(PATIENCE));
        if wait > PATIENCE {
            return;
        }
        let stream = match self.device.connect() {
            Ok(stream) => stream,
            Err(reason) => {
                self.faults.add("unreachable", reason);
                self.put_off();
                return;
            }
        };
        let granted = stream.granted().clone();
        self.faults.add("reconnected", &granted.camera);
        if granted.layout != self.granted.layout {
            self.faults.add("format_changed", format_args!("{} instead of {}", describe(&granted.layout), describe(&self.granted.layout)));
        }
        if granted != self.granted {
            log(&granted);
        }
        self.granted = granted;
        self.live = Some(Live { stream, alive: Instant::now(), last: None });
    }

    /// A good picture came: numbers it, and tells whether it is one that has not been there before.
    fn take(&mut self, frame: &mut Frame, (sequence, captured, checksum): (u32, Instant, u32)) -> bool {
        self.back_off = BACK_OFF[0];
        let Some(live) = &mut self.live else { return false };
        live.alive = Instant::now();
        if let Some((last_sequence, last_captured, last_checksum)) = live.last.replace((sequence, captured, checksum)) {
            if (sequence, captured) == (last_sequence, last_captured) {
                self.faults.add("repeated", format_args!("buffer {sequence} came twice"));
                return false;
            }
            if checksum == last_checksum {
                self.faults.add("repeated", format_args!("frames {last_sequence} and {sequence} have the same bytes"));
            }
            let lost = sequence.wrapping_sub(last_sequence).saturating_sub(1);
            self.index += if lost <= MAX_LOST { u64::from(lost) } else { 0 };
        }
        (frame.width_px, frame.height_px) = (self.granted.layout.width_px, self.granted.layout.height_px);
        frame.captured = captured;
        frame.number(self.index);
        self.index += 1;
        true
    }
}

impl Source for Camera {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        let Some(live) = &mut self.live else {
            self.reconnect();
            return Ok(Next::NotYet);
        };
        let (layout, converter, mut seen) = (&self.granted.layout, &mut self.converter, None);
        let waited = live.stream.newest(PATIENCE, &mut |buffer| seen = Some(look(layout, buffer, converter, &mut frame.rgb)));
        match (waited, seen) {
            (Ok(()), Some(Seen::Picture { sequence, captured, checksum })) => {
                if self.take(frame, (sequence, captured, checksum)) {
                    return Ok(Next::Frame);
                }
            }
            (Ok(()), Some(Seen::Damaged(fault, detail))) => self.faults.add(fault, detail),
            (Ok(()), None) => {}
            (Err(e), _) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            (Err(e), _) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            (Err(e), _) => {
                self.lose(if gone(&e) { "disconnected" } else { "driver_error" }, e);
                return Ok(Next::NotYet);
            }
        }
        let silence = self.live.as_ref().map_or(Duration::ZERO, |live| live.alive.elapsed());
        if silence > STALL + Duration::from_secs_f64(3.0 / self.granted.fps.unwrap_or(30.0).max(0.1)) {
            self.lose("stalled", format_args!("no good picture for {:.1} s", silence.as_secs_f64()));
        }
        Ok(Next::NotYet)
    }

    fn realtime(&self) -> bool {
        true
    }

    fn fps(&self) -> Option<f64> {
        self.granted.fps
    }

    fn faults(&self) -> Option<Arc<Faults>> {
        Some(self.faults.faults())
    }
}

/// Judges a buffer, and turns it into RGB if it is a picture.
fn look(layout: &Layout, buffer: Buffer<'_>, converter: &mut Converter, rgb: &mut Vec<u8>) -> Seen {
    let used = buffer.used_bytes;
    let Some(bytes) = buffer.bytes.get(..used) else {
        return Seen::Damaged("oversized", format!("the driver filled {used} bytes of {}", buffer.bytes.len()));
    };
    if bytes.is_empty() {
        return Seen::Damaged("empty", format!("buffer {} has no bytes", buffer.sequence));
    }
    if buffer.flagged {
        return Seen::Damaged("error_flag", format!("the driver marked buffer {} as damaged", buffer.sequence));
    }
    match converter.convert(layout, bytes, rgb) {
        Ok(()) => Seen::Picture { sequence: buffer.sequence, captured: buffer.captured, checksum: crc32c::crc32c(bytes) },
        Err(damage) if bytes.len() < layout.needed_bytes() => Seen::Damaged("short", damage.to_string()),
        Err(damage) => Seen::Damaged("corrupt", damage.to_string()),
    }
}

/// ENXIO, ENODEV: the device is not there any more.
fn gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(6 | 19))
}

fn describe(layout: &Layout) -> String {
    let (stride, color) = (layout.planes[0].stride_bytes, layout.color);
    format!("{}x{} {}, {stride} bytes a row, {:?} {:?}", layout.width_px, layout.height_px, layout.format, color.matrix, color.range)
}

fn log(granted: &Granted) {
    let fps = granted.fps.map_or_else(|| "an unknown rate".to_owned(), |fps| format!("{fps:.4} frames a second"));
    tracing::info!("{}: {} at {fps}", granted.camera, describe(&granted.layout));
}
