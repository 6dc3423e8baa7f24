//! Keeps the frames that are worth labelling: those that the model is least sure of, and no two of the same scene.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use amis_artifacts::classes::ClassList;
use amis_artifacts::files;
use serde::{Deserialize, Serialize};

use super::{Sink, View, jpeg, mask};
use crate::overlay::Picture;
use crate::source::Frame;
use crate::uri::Uri;
use crate::{Error, Result};

/// Side of the grid whose mean colours stand for a scene.
const GRID: usize = 8;
/// Scenes whose mean colours differ by less, of 255, are the same.
const SAME_SCENE: f32 = 12.0;
/// Weight of flicker beside the entropy: both are from 0 to 1.
const FLICKER_WEIGHT: f32 = 1.0;
/// File with what is kept.
const INDEX: &str = "collected.json";

/// `collect:PATH?frames=200&seconds=10`.
pub(super) struct Collect {
    dir: PathBuf,
    /// Most frames that are kept.
    frames: usize,
    /// The best frame of so long a time is a candidate.
    period: Duration,
    kept: Vec<Kept>,
    candidate: Option<Candidate>,
    since: Instant,
    /// Class map and scene of the frame before, for flicker.
    before: (Vec<u8>, Vec<f32>),
}

/// A frame that is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    name: String,
    /// How unsure the model was: entropy and flicker.
    score: f32,
    entropy: f32,
    flicker: f32,
    /// Mean colours of a grid, row by row: red, green, blue from 0 to 255.
    scene: Vec<f32>,
}

/// The best frame of the time that runs.
struct Candidate {
    about: Kept,
    frame: Frame,
    map: Vec<u8>,
    /// Of the model that made the map.
    classes: Arc<ClassList>,
}

impl Collect {
    pub(super) fn open(mut uri: Uri<'_>) -> Result<Self> {
        uri.example("collect:to-label?frames=200&seconds=10");
        let dir = PathBuf::from(uri.path()?);
        let frames = uri.number("frames", 1..=100_000)?.unwrap_or(200);
        let seconds = uri.number("seconds", 0.0..=86_400.0)?.unwrap_or(10.0);
        uri.finish("frames or seconds")?;
        for folder in ["images", "proposals"] {
            fs::create_dir_all(dir.join(folder)).map_err(|e| wrong(&dir, e))?;
        }
        let index = dir.join(INDEX);
        let kept = if index.exists() { files::read_json(&index, "list of collected frames")? } else { Vec::new() };
        let (period, since) = (Duration::from_secs_f64(seconds), Instant::now());
        Ok(Self { dir, frames, period, kept, candidate: None, since, before: Default::default() })
    }

    /// Takes the candidate in if it is worth more than what it would replace: its own scene, or the surest frame once there are enough.
    fn decide(&mut self, candidate: &Candidate) -> Result<()> {
        let same = |kept: &&Kept| distance(&kept.scene, &candidate.about.scene) < SAME_SCENE;
        let rival = match self.kept.iter().find(same) {
            Some(kept) => Some(kept),
            None if self.kept.len() < self.frames => None,
            None => self.kept.iter().min_by(|a, b| a.score.total_cmp(&b.score)),
        };
        if rival.is_some_and(|rival| rival.score >= candidate.about.score) {
            return Ok(());
        }
        let out = rival.map(|rival| rival.name.clone());
        self.write(candidate)?;
        self.kept.push(candidate.about.clone());
        self.kept.retain(|kept| Some(&kept.name) != out.as_ref());
        files::write_json(&self.dir.join(INDEX), &self.kept)?;
        for path in out.iter().flat_map(|name| self.paths(name)) {
            // Somebody may have taken it away for labelling.
            fs::remove_file(&path).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(wrong(&path, e)) })?;
        }
        Ok(())
    }

    fn write(&self, candidate: &Candidate) -> Result<()> {
        let frame = &candidate.frame;
        let [image, proposal] = self.paths(&candidate.about.name);
        let picture = Picture { rgb: frame.rgb.clone(), width_px: frame.width_px, height_px: frame.height_px };
        let mut bytes = Vec::new();
        jpeg(&picture, &mut bytes).map_err(|e| wrong(&image, e))?;
        files::write_atomic(&image, &bytes)?;
        mask(frame, &candidate.map, &candidate.classes, &mut bytes).map_err(|e| wrong(&proposal, e))?;
        Ok(files::write_atomic(&proposal, &bytes)?)
    }

    /// The frame, and the class map that the model made of it.
    fn paths(&self, name: &str) -> [PathBuf; 2] {
        [self.dir.join("images").join(format!("{name}.jpg")), self.dir.join("proposals").join(format!("{name}.png"))]
    }

    /// Part of the pixels whose class has changed although the scene has not.
    fn flicker(&mut self, map: &[u8], scene: &[f32]) -> f32 {
        let (old_map, old_scene) = &mut self.before;
        let comparable = old_map.len() == map.len() && distance(old_scene, scene) < SAME_SCENE / 4.0;
        let changed = if comparable { map.iter().zip(&*old_map).filter(|(a, b)| a != b).count() as f32 / map.len().max(1) as f32 } else { 0.0 };
        old_map.clear();
        old_map.extend_from_slice(map);
        old_scene.clear();
        old_scene.extend_from_slice(scene);
        changed
    }
}

impl Sink for Collect {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        let scene = scene(view.frame);
        let flicker = self.flicker(view.map, &scene);
        let score = view.entropy + FLICKER_WEIGHT * flicker;
        if self.candidate.as_ref().is_none_or(|best| score > best.about.score) {
            let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
            let about = Kept { name: format!("{unix_ms}-{}", view.frame.name), score, entropy: view.entropy, flicker, scene };
            let best = self.candidate.get_or_insert_with(|| Candidate {
                about: about.clone(),
                frame: Frame::default(),
                map: Vec::new(),
                classes: Arc::clone(view.classes),
            });
            (best.about, best.classes) = (about, Arc::clone(view.classes));
            best.frame.copy_from(view.frame);
            best.map.clear();
            best.map.extend_from_slice(view.map);
        }
        if self.since.elapsed() >= self.period
            && let Some(candidate) = self.candidate.take()
        {
            self.since = Instant::now();
            self.decide(&candidate)?;
        }
        Ok(())
    }

    /// The best frame of the time that has begun is a candidate too, or a run of seconds would collect nothing.
    fn finish(&mut self) -> Result<()> {
        self.candidate.take().map_or(Ok(()), |candidate| self.decide(&candidate))
    }
}

/// Mean colours of a grid over the frame, from every fourth pixel of every fourth line.
fn scene(frame: &Frame) -> Vec<f32> {
    let (width, height) = (frame.width_px as usize, frame.height_px as usize);
    let mut sums = vec![[0f32; 4]; GRID * GRID];
    for y in (0..height).step_by(4) {
        let line = frame.rgb[y * width * 3..(y + 1) * width * 3].as_chunks::<3>().0;
        for (x, pixel) in line.iter().enumerate().step_by(4) {
            let sum = &mut sums[y * GRID / height * GRID + x * GRID / width];
            (0..3).for_each(|c| sum[c] += f32::from(pixel[c]));
            sum[3] += 1.0;
        }
    }
    sums.iter().flat_map(|[red, green, blue, count]| [red, green, blue].map(|sum| sum / count.max(1.0))).collect()
}

/// Mean difference of two scenes; those of other sizes are far.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() || a.is_empty() {
        return f32::INFINITY;
    }
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

fn wrong(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Sink { path: path.into(), reason: reason.to_string() }
}
