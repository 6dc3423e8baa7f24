use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Frame, Next, Source};
use crate::Result;
use crate::faults::Faults;

/// Rate of sources that have none of their own: pictures.
const DEFAULT_FPS: f64 = 10.0;
/// Longest wait for a frame, so that a run can be stopped.
const PATIENCE: Duration = Duration::from_millis(100);

/// Another source at its own pace: each frame comes when it is due, and those that nobody asks for in time are lost, as a camera loses them.
pub struct Clocked {
    source: Box<dyn Source>,
    fps: f64,
    /// When the next frame is due.
    due: Option<Instant>,
}

impl Clocked {
    /// Starts the clock with the first frame.
    pub fn new(source: Box<dyn Source>) -> Self {
        let fps = source.fps().unwrap_or(DEFAULT_FPS);
        Self { source, fps, due: None }
    }
}

impl Source for Clocked {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now);
        let wait = due.saturating_duration_since(now);
        std::thread::sleep(wait.min(PATIENCE));
        if wait > PATIENCE {
            return Ok(Next::NotYet);
        }
        let lost = (now.saturating_duration_since(due).as_secs_f64() * self.fps) as u64;
        self.source.skip(lost)?;
        let next = self.source.next(frame)?;
        if next == Next::Frame {
            self.due = Some(due + Duration::from_secs_f64((lost + 1) as f64 / self.fps));
        }
        Ok(next)
    }

    fn skip(&mut self, frames: u64) -> Result<()> {
        self.source.skip(frames)
    }

    fn realtime(&self) -> bool {
        true
    }

    fn fps(&self) -> Option<f64> {
        Some(self.fps)
    }

    fn frames(&self) -> Option<u64> {
        self.source.frames()
    }

    fn faults(&self) -> Option<Arc<Faults>> {
        self.source.faults()
    }
}
