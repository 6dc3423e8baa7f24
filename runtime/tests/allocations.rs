//! After its first frames a run allocates nothing any more: every buffer goes round.
#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::System;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amis_runtime::Result;
use amis_runtime::pipeline::{self, RunOptions};
use amis_runtime::sink::{Sink, View};
use amis_runtime::source::{Frame, Next, Source};
use common::{Alone, Halves, halves_model, options};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Frames that may allocate.
const WARMUP: u64 = 50;
/// Frames that are looked at.
const FRAMES: u64 = 200;

/// A camera of this size; it fills the buffer that it is given. In real time, frames are dropped.
struct Camera {
    size_px: (u32, u32),
    realtime: bool,
    next: u64,
}

impl Source for Camera {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        std::thread::sleep(Duration::from_millis(1));
        (frame.width_px, frame.height_px) = self.size_px;
        frame.rgb.resize((frame.width_px * frame.height_px * 3) as usize, 0);
        frame.rgb.fill(self.next as u8);
        (frame.index, frame.captured) = (self.next, Instant::now());
        self.next += 1;
        Ok(Next::Frame)
    }

    fn realtime(&self) -> bool {
        self.realtime
    }
}

/// Looks at the allocator after the warm-up and at the end.
struct Count(Arc<Mutex<Vec<Stats>>>, u64);

impl Sink for Count {
    fn show(&mut self, _: &View<'_>) -> Result<()> {
        self.1 += 1;
        if self.1 == WARMUP || self.1 == WARMUP + FRAMES {
            self.0.lock().unwrap().push(ALLOCATOR.stats());
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Allocations and bytes a frame that is shown.
fn allocated(size_px: (u32, u32), realtime: bool) -> (f64, f64) {
    let (model, stats) = (halves_model(Halves::default()), Arc::new(Mutex::new(Vec::with_capacity(4))));
    let parts = Alone::new(Box::new(Camera { size_px, realtime, next: 0 }), model).parts(vec![Box::new(Count(Arc::clone(&stats), 0))]);
    let options = RunOptions { frames: Some(WARMUP + FRAMES + 10), ..options(Path::new("x.amis")) };
    pipeline::run_parts(parts, &options, &AtomicBool::new(false), |_| {}).unwrap();
    let stats = stats.lock().unwrap();
    let between = stats[1] - stats[0];
    ((between.allocations + between.reallocations) as f64 / FRAMES as f64, between.bytes_allocated as f64 / FRAMES as f64)
}

/// One test, because the allocator counts for the whole process.
#[test]
fn nothing_is_allocated_after_the_first_frames() {
    // Of the network's size: nothing is resized. Ten threads' start and the like would show as fractions.
    let (times, bytes) = allocated((96, 64), true);
    assert!(times < 0.05, "{times} allocations, {bytes} bytes a frame");
    // The resizing library makes its weights anew for every picture, an allocation for each line and column of the input; no pixel buffer is among them.
    // It waits, since a frame that is dropped after its preprocessing would count for the next one.
    let (times, bytes) = allocated((640, 480), false);
    assert!(times < 200.0 && bytes < 48.0 * 1024.0, "{times} allocations, {bytes} bytes a frame");
}
