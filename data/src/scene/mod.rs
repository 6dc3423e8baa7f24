//! A synthetic street that moves, with exact labels: training without a data set, and a camera without a camera.
//!
//! One drives along a street of houses, past cars, trees and people. The seed decides colours, light, noise, sizes and where
//! everything stands; the time moves it all. Hedges, bushes, lamps and bins have no class: they share colours and shapes with
//! trees, cars and people and keep the task from being a matter of colour.

mod canvas;
mod ground;
mod houses;
mod random;
mod things;
mod view;

use canvas::Canvas;
use random::hash;
use view::{Look, View};

use crate::{Error, Result};

/// Smallest side of a scene.
pub const MIN_SIDE_PX: u32 = 16;
/// Largest side of a scene.
pub const MAX_SIDE_PX: u32 = 4096;

/// Bounds the way driven, so that places along the street stay exact numbers.
const DAY_S: f64 = 86_400.0;

/// Places where a row's noise may begin.
const NOISE_STARTS: usize = 1 << 13;

const CLASS_NAMES: [&str; 7] = ["background", "road", "pavement", "building", "car", "tree", "person"];
const BACKGROUND: u8 = 0;
const ROAD: u8 = 1;
const PAVEMENT: u8 = 2;
const BUILDING: u8 = 3;
const CAR: u8 = 4;
const TREE: u8 = 5;
const PERSON: u8 = 6;

/// Names of the labels in order of their values: background, four classes for a base step, then `tree` and `person` for later steps.
pub fn class_names() -> &'static [&'static str] {
    &CLASS_NAMES
}

/// A street at one seed.
#[derive(Debug, Clone)]
pub struct Scene {
    width: usize,
    height: usize,
    look: Look,
    /// A strip of noise; each row of a frame takes its own piece of it.
    noise: Vec<i16>,
}

impl Scene {
    /// A scene of this size; other seeds give other streets.
    ///
    /// # Errors
    /// A side is outside [`MIN_SIDE_PX`]..=[`MAX_SIDE_PX`].
    pub fn new(width_px: u32, height_px: u32, seed: u64) -> Result<Self> {
        let sides = MIN_SIDE_PX..=MAX_SIDE_PX;
        if !sides.contains(&width_px) || !sides.contains(&height_px) {
            return Err(Error::SceneSize { width_px, height_px });
        }
        let look = Look::new(seed);
        let noise = noise(NOISE_STARTS + width_px as usize * 3, look.dice.0, look.noise);
        Ok(Self { width: width_px as usize, height: height_px as usize, look, noise })
    }

    /// Paints the moment `time_s` (seconds; the street repeats after a day): `rgb` becomes `height * width * 3` bytes, `labels` `height * width`,
    /// each value an index of [`class_names`]. The same moment always looks the same.
    pub fn frame(&self, time_s: f64, rgb: &mut Vec<u8>, labels: &mut Vec<u8>) {
        let time_s = if time_s.is_finite() { time_s.rem_euclid(DAY_S) } else { 0.0 };
        rgb.resize(self.width * self.height * 3, 0);
        labels.resize(self.width * self.height, 0);
        let mut canvas = Canvas { width: self.width, height: self.height, rgb, labels };
        let view = View::new(&self.look, self.width, self.height, time_s);
        ground::sky(&mut canvas, &view);
        ground::ground(&mut canvas, &view);
        houses::houses(&mut canvas, &view);
        things::things(&mut canvas, &view);
        self.develop(canvas.rgb, time_s);
    }

    /// Light and sensor noise.
    fn develop(&self, rgb: &mut [u8], time_s: f64) {
        let moment = hash((time_s * 1000.0) as i64 as u32, self.look.dice.0);
        // In 256ths: integers are what the compiler turns into vector instructions.
        let light = self.look.light.map(|v| (v * 256.0) as i32);
        for (y, row) in rgb.chunks_exact_mut(self.width * 3).enumerate() {
            let start = hash(y as u32, moment) as usize % NOISE_STARTS;
            let noise = &self.noise[start..start + row.len()];
            for (pixel, noise) in row.as_chunks_mut::<3>().0.iter_mut().zip(noise.as_chunks::<3>().0) {
                for channel in 0..3 {
                    pixel[channel] = ((i32::from(pixel[channel]) * light[channel] + i32::from(noise[channel])) >> 8).clamp(0, 255) as u8;
                }
            }
        }
    }
}

/// Noise in 256ths of a grey level, of triangular distribution, near enough to a sensor's.
fn noise(count: usize, dice: u32, half_range: f32) -> Vec<i16> {
    let value = |number| {
        let bits = hash(number as u32, dice);
        (((bits & 255) as f32 + (bits >> 8 & 255) as f32 - 255.0) * half_range) as i16
    };
    (0..count).map(value).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(width: u32, height: u32, seed: u64, time_s: f64) -> (Vec<u8>, Vec<u8>) {
        let (mut rgb, mut labels) = (vec![7], vec![7]);
        Scene::new(width, height, seed).unwrap().frame(time_s, &mut rgb, &mut labels);
        (rgb, labels)
    }

    #[test]
    fn the_same_moment_looks_the_same_and_others_do_not() {
        assert_eq!(frame(64, 48, 1, 2.5), frame(64, 48, 1, 2.5));
        let other = |a: (Vec<u8>, Vec<u8>), b: (Vec<u8>, Vec<u8>)| a.0 != b.0 && a.1 != b.1;
        assert!(other(frame(64, 48, 1, 2.5), frame(64, 48, 1, 3.5)));
        assert!(other(frame(64, 48, 1, 2.5), frame(64, 48, 2, 2.5)));
        assert!(other(frame(64, 48, 1, 2.5), frame(64, 48, 1 << 40, 2.5)));
    }

    #[test]
    fn every_class_is_seen_and_nothing_else() {
        let mut pixels = [0usize; 256];
        for seed in 0..40 {
            for value in frame(128, 96, seed, 3.0).1 {
                pixels[usize::from(value)] += 1;
            }
        }
        let total = 40 * 128 * 96;
        for (class, name) in class_names().iter().enumerate() {
            assert!(pixels[class] * 100 > total, "{name} covers {} of {total} pixels, less than 1 %", pixels[class]);
        }
        assert_eq!(pixels[..class_names().len()].iter().sum::<usize>(), total);
    }

    #[test]
    fn any_moment_and_any_shape_can_be_painted() {
        for time_s in [0.0, -5.0, 1e6, 1e12, f64::MAX, f64::NAN] {
            for (width, height) in [(16, 16), (200, 16), (16, 200)] {
                assert_eq!(frame(width, height, u64::MAX, time_s).1.len(), (width * height) as usize);
            }
        }
        assert!(matches!(Scene::new(15, 16, 0), Err(Error::SceneSize { .. })));
        assert!(matches!(Scene::new(16, MAX_SIDE_PX + 1, 0), Err(Error::SceneSize { .. })));
    }
}
