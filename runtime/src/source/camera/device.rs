use std::io;
use std::time::{Duration, Instant};

use crate::pixels::Layout;

/// A camera that may be there or not. What a run needs of it, so that tests can have one that fails on purpose.
pub(super) trait Device: Send {
    /// Looks for the camera, negotiates the format and starts to stream. The error says what was tried, and what came of it.
    fn connect(&mut self) -> Result<Box<dyn Stream>, String>;
}

/// A camera that streams; stops when dropped.
pub(super) trait Stream: Send {
    /// What the driver agreed to.
    fn granted(&self) -> &Granted;

    /// Waits up to `patience` for a buffer and shows the newest to `look`; older ones are lost. An error of the kinds `WouldBlock`, `TimedOut` and
    /// `Interrupted` means that there is none yet, any other one that the stream has ended.
    fn newest(&mut self, patience: Duration, look: &mut dyn FnMut(Buffer<'_>)) -> io::Result<()>;
}

/// What the driver agreed to, which need not be what it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Granted {
    /// Node and name of the camera.
    pub(super) camera: String,
    pub(super) layout: Layout,
    /// Frames a second, if the driver says so.
    pub(super) fps: Option<f64>,
}

/// A filled buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer<'a> {
    /// The whole buffer.
    pub(super) bytes: &'a [u8],
    /// How many of them the driver says it has filled.
    pub(super) used_bytes: usize,
    /// The driver's mark for data that may be damaged.
    pub(super) flagged: bool,
    /// Counts up; gaps are frames that the driver lost.
    pub(super) sequence: u32,
    /// When it was taken, by the driver's clock.
    pub(super) captured: Instant,
}
