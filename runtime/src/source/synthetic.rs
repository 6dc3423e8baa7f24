use std::time::Instant;

use amis_data::scene::{MAX_SIDE_PX, MIN_SIDE_PX, Scene};

use super::{Clocked, Frame, Next, Source};
use crate::Result;
use crate::uri::Uri;

/// A moving street that needs no camera.
pub struct Synthetic {
    scene: Scene,
    width_px: u32,
    height_px: u32,
    fps: f64,
    frames: Option<u64>,
    index: u64,
    labels: Vec<u8>,
}

impl Synthetic {
    /// `synthetic:?width=640&height=480&fps=30&frames=120&seed=1&realtime=1`; these are the defaults, but without `frames` it does not end, and
    /// without `realtime=1` it is as fast as its frames are fetched.
    pub(super) fn open(mut uri: Uri<'_>) -> Result<Box<dyn Source>> {
        uri.example("synthetic:?width=640&height=480&fps=30&frames=120&seed=1&realtime=1");
        if !uri.target.is_empty() {
            return Err(uri.wrong(format!("{:?} after synthetic:, expected settings after a ?", uri.target)));
        }
        let width_px = uri.number("width", MIN_SIDE_PX..=MAX_SIDE_PX)?.unwrap_or(640);
        let height_px = uri.number("height", MIN_SIDE_PX..=MAX_SIDE_PX)?.unwrap_or(480);
        let fps = uri.number("fps", 0.1..=1000.0)?.unwrap_or(30.0);
        let frames = uri.number("frames", 1..=u64::MAX)?;
        let seed = uri.number("seed", 0..=u64::MAX)?.unwrap_or(1);
        let realtime = uri.choice("realtime", &[("0", false), ("1", true)])?;
        uri.finish("width, height, fps, frames, seed or realtime")?;
        let scene = Scene::new(width_px, height_px, seed)?;
        let scene = Box::new(Self { scene, width_px, height_px, fps, frames, index: 0, labels: Vec::new() });
        Ok(if realtime { Box::new(Clocked::new(scene)) } else { scene })
    }
}

impl Source for Synthetic {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        if self.frames.is_some_and(|frames| self.index >= frames) {
            return Ok(Next::End);
        }
        frame.captured = Instant::now();
        self.scene.frame(self.index as f64 / self.fps, &mut frame.rgb, &mut self.labels);
        (frame.width_px, frame.height_px) = (self.width_px, self.height_px);
        frame.number(self.index);
        self.index += 1;
        Ok(Next::Frame)
    }

    fn skip(&mut self, frames: u64) -> Result<()> {
        self.index = self.index.saturating_add(frames);
        Ok(())
    }

    fn fps(&self) -> Option<f64> {
        Some(self.fps)
    }

    fn frames(&self) -> Option<u64> {
        self.frames
    }
}
