use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use amis_artifacts::classes::ClassList;
use serde::Serialize;

use super::look::{Look, Mode};
use super::{Scene, Topic};
use crate::overlay::{Overlay, Picture};
use crate::regions::Regions;
use crate::sink::{jpeg, mask};
use crate::source::Frame;

/// Regions of a result; smaller ones beyond are left out.
const MAX_REGIONS: usize = 100;

/// Makes what viewers want of a frame.
pub(super) struct Painter {
    /// One per look that is wanted, with the classes it was made for.
    overlays: Vec<(Look, Arc<ClassList>, Overlay)>,
    /// Regions of fewer pixels are not told.
    min_region_px: u32,
    regions: Regions,
    /// The class map without hidden classes.
    shown: Vec<u8>,
    black: Frame,
    pair: Picture,
}

/// A line of results.
#[derive(Serialize)]
struct FrameResult<'a> {
    frame: u64,
    name: &'a str,
    /// When the frame was taken.
    unix_ms: u64,
    age_ms: f64,
    width_px: u32,
    height_px: u32,
    classes: Vec<ClassResult<'a>>,
    regions: Vec<RegionResult<'a>>,
}

#[derive(Serialize)]
struct ClassResult<'a> {
    id: u8,
    name: &'a str,
    color: String,
    /// Part of the frame's pixels, 0 to 1.
    share: f64,
}

#[derive(Serialize)]
struct RegionResult<'a> {
    id: u8,
    name: &'a str,
    pixels: u32,
    /// Left, top, width, height.
    box_px: [u32; 4],
}

impl Painter {
    pub(super) fn new(min_region_px: u32) -> Self {
        let (shown, black, pair) = (Vec::new(), Frame::default(), Picture::default());
        Self { overlays: Vec::new(), min_region_px, regions: Regions::default(), shown, black, pair }
    }

    /// Forgets looks that nobody wants any more.
    pub(super) fn keep(&mut self, topics: &[Topic]) {
        self.overlays.retain(|(look, ..)| topics.iter().any(|topic| matches!(topic, Topic::Picture(wanted) if wanted == look)));
    }

    /// The bytes for one topic.
    pub(super) fn make(&mut self, topic: &Topic, scene: &Scene) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match topic {
            Topic::Picture(look) => jpeg(self.picture(look, scene), &mut out)?,
            Topic::ClassMap => mask(&scene.frame, &scene.map, &scene.classes, &mut out).map_err(|e| e.to_string())?,
            Topic::Result => serde_json::to_writer(&mut out, &self.result(scene)).map_err(|e| e.to_string())?,
        }
        Ok(out)
    }

    fn picture(&mut self, look: &Look, scene: &Scene) -> &Picture {
        let background = std::array::from_fn::<u8, 256, _>(|id| if look.hidden.contains(&(id as u8)) { 0 } else { id as u8 });
        self.shown.clear();
        self.shown.extend(scene.map.iter().map(|&id| background[usize::from(id)]));
        let opacity = if look.mode == Mode::Mask { 1.0 } else { f32::from(look.percent) / 100.0 };
        self.overlays.retain(|(known, classes, _)| known != look || Arc::ptr_eq(classes, &scene.classes));
        let place = self.overlays.iter().position(|(known, ..)| known == look).unwrap_or_else(|| {
            self.overlays.push((look.clone(), Arc::clone(&scene.classes), Overlay::bare(&scene.classes, opacity)));
            self.overlays.len() - 1
        });
        let overlay = &mut self.overlays[place].2;
        let frame = &scene.frame;
        match look.mode {
            Mode::Overlay => overlay.draw(frame, &self.shown, 0.0),
            Mode::Mask => {
                // Background keeps what is under it.
                self.black.rgb.resize(frame.rgb.len(), 0);
                (self.black.width_px, self.black.height_px) = (frame.width_px, frame.height_px);
                overlay.draw(&self.black, &self.shown, 0.0)
            }
            Mode::Side => {
                beside(frame, overlay.draw(frame, &self.shown, 0.0), &mut self.pair);
                &self.pair
            }
        }
    }

    fn result<'a>(&mut self, Scene { frame, map, classes }: &'a Scene) -> FrameResult<'a> {
        let mut counts = [0u64; 256];
        map.iter().for_each(|&id| counts[usize::from(id)] += 1);
        let age = frame.captured.elapsed();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = |id: u8| classes.get(id).map_or("", |class| class.name.as_str());
        let share = |id: u8| counts[usize::from(id)] as f64 / map.len().max(1) as f64;
        let hex = |[r, g, b]: [u8; 3]| format!("#{r:02x}{g:02x}{b:02x}");
        let regions = self.regions.find(map, frame.width_px, self.min_region_px).iter().take(MAX_REGIONS).map(|region| {
            let ((left, right), (top, bottom)) = (region.columns_px, region.rows_px);
            RegionResult { id: region.class, name: name(region.class), pixels: region.pixels, box_px: [left, top, right - left, bottom - top] }
        });
        FrameResult {
            frame: frame.index,
            name: &frame.name,
            unix_ms: unix.saturating_sub(age).as_millis() as u64,
            age_ms: age.as_secs_f64() * 1000.0,
            width_px: frame.width_px,
            height_px: frame.height_px,
            classes: classes.iter().map(|c| ClassResult { id: c.id, name: &c.name, color: hex(c.color), share: share(c.id) }).collect(),
            regions: regions.collect(),
        }
    }
}

/// The frame and a picture of its size, side by side.
fn beside(frame: &Frame, right: &Picture, out: &mut Picture) {
    (out.width_px, out.height_px) = (2 * frame.width_px, frame.height_px);
    let line = frame.width_px as usize * 3;
    out.rgb.clear();
    for (left, right) in frame.rgb.chunks_exact(line.max(1)).zip(right.rgb.chunks_exact(line.max(1))) {
        out.rgb.extend_from_slice(left);
        out.rgb.extend_from_slice(right);
    }
}
