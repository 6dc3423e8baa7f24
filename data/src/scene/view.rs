//! The camera on the street, and what one seed makes of the world.

use super::canvas::Color;
use super::random::Dice;

/// Height of the camera above the road.
const CAMERA_HEIGHT_M: f32 = 2.1;
/// Nothing nearer than this is painted.
pub(super) const NEAR_M: f32 = 1.2;
/// Houses end here.
pub(super) const FAR_M: f32 = 90.0;
/// Things on the street end here: farther ones are specks.
const FAR_THINGS_M: f32 = 45.0;

/// Everything that the seed decides for the whole scene.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) dice: Dice,
    pub(super) road_half_m: f32,
    pub(super) pavement_m: f32,
    pub(super) verge_m: f32,
    pub(super) road: Color,
    pub(super) pavement: Color,
    pub(super) verge: Color,
    pub(super) sky: [Color; 2],
    pub(super) haze_m: f32,
    /// Gain per channel: brightness and colour of the light.
    pub(super) light: Color,
    /// Half range of the sensor noise, in grey levels.
    pub(super) noise: f32,
    pub(super) speed_m_s: f32,
    horizon: f32,
    vanish: f32,
}

impl Look {
    pub(super) fn new(seed: u64) -> Self {
        let dice = Dice(seed as u32).child((seed >> 32) as u32);
        let grey = dice.range(1, 62.0, 132.0);
        let slab = dice.pick(2, &[[168.0, 162.0, 152.0], [176.0, 140.0, 120.0], [140.0, 142.0, 148.0], [190.0, 178.0, 150.0]]);
        let verge = dice.pick(3, &[[88.0, 128.0, 58.0], [112.0, 134.0, 66.0], [142.0, 122.0, 84.0], [70.0, 104.0, 56.0]]);
        let top = dice.pick(4, &[[96.0, 150.0, 214.0], [150.0, 178.0, 208.0], [176.0, 180.0, 186.0], [210.0, 160.0, 130.0]]);
        let brightness = dice.range(5, 0.62, 1.12);
        let warmth = dice.range(6, -0.09, 0.09);
        Self {
            dice,
            road_half_m: dice.range(7, 2.7, 3.3),
            pavement_m: dice.range(8, 1.9, 2.8),
            verge_m: dice.range(9, 0.6, 2.2),
            road: [grey * 1.02, grey, grey * dice.range(10, 0.94, 1.08)],
            pavement: slab,
            verge,
            sky: [top, top.map(|v| v * 0.4 + 140.0)],
            haze_m: dice.range(11, 60.0, 220.0),
            light: [brightness * (1.0 + warmth), brightness, brightness * (1.0 - warmth)],
            noise: dice.range(12, 3.0, 12.0),
            speed_m_s: dice.range(13, 4.0, 8.0),
            horizon: dice.range(14, 0.34, 0.46),
            vanish: dice.range(15, 0.3, 0.7),
        }
    }

    /// Distance of the house fronts from the middle of the road.
    pub(super) fn front_m(&self) -> f32 {
        self.road_half_m + self.pavement_m + self.verge_m
    }
}

/// The camera at one moment. World axes: X to the right, Y up from the road, Z ahead of the camera, all in metres.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) look: &'a Look,
    pub(super) time_s: f64,
    /// Way driven so far.
    pub(super) driven_m: f64,
    pub(super) focal_px: f32,
    pub(super) vanish_px: f32,
    pub(super) horizon_px: f32,
}

impl<'a> View<'a> {
    pub(super) fn new(look: &'a Look, width: usize, height: usize, time_s: f64) -> Self {
        let sway = (time_s * 0.31).sin() as f32 * 0.03;
        Self {
            look,
            time_s,
            driven_m: time_s * f64::from(look.speed_m_s),
            focal_px: 0.9 * height as f32,
            vanish_px: (look.vanish + sway) * width as f32,
            horizon_px: look.horizon * height as f32,
        }
    }

    pub(super) fn x(&self, x_m: f32, z_m: f32) -> f32 {
        self.vanish_px + x_m * self.focal_px / z_m
    }

    pub(super) fn y(&self, y_m: f32, z_m: f32) -> f32 {
        self.horizon_px + (CAMERA_HEIGHT_M - y_m) * self.focal_px / z_m
    }

    /// Distance of the ground that is seen in a row below the horizon.
    pub(super) fn ground_z(&self, y_px: f32) -> f32 {
        CAMERA_HEIGHT_M * self.focal_px / (y_px - self.horizon_px)
    }

    /// Height above the road of a row, at a distance.
    pub(super) fn height_m(&self, y_px: f32, z_m: f32) -> f32 {
        CAMERA_HEIGHT_M - (y_px - self.horizon_px) * z_m / self.focal_px
    }

    /// Colour as it looks from `z_m` away.
    pub(super) fn haze(&self, color: Color, z_m: f32) -> Color {
        mix(color, self.look.sky[1], self.haze_part(z_m))
    }

    /// Share of haze in a colour from `z_m` away.
    pub(super) fn haze_part(&self, z_m: f32) -> f32 {
        1.0 - (-z_m / self.look.haze_m).exp()
    }

    /// Things of one row along the street: one in about `spacing_m`, moving ahead at `speed_m_s`, far ones first.
    /// Calls `add` with the thing's dice and its distance.
    pub(super) fn row(&self, number: u32, spacing_m: f32, speed_m_s: f32, chance: f32, mut add: impl FnMut(Dice, f32)) {
        let shift = self.driven_m - self.time_s * f64::from(speed_m_s);
        let row = self.look.dice.child(1000 + number);
        let spacing = f64::from(spacing_m);
        let first = (shift / spacing).floor() as i64 - 1;
        let last = ((shift + f64::from(FAR_THINGS_M)) / spacing).ceil() as i64;
        for place in (first..=last).rev() {
            let dice = row.child(place as u32);
            let z = ((place as f64 + f64::from(dice.range(0, 0.0, 0.7))) * spacing - shift) as f32;
            if dice.unit(1) < chance && (NEAR_M..FAR_THINGS_M).contains(&z) {
                add(dice, z);
            }
        }
    }
}

/// `part` of `b` in `a`.
pub(super) fn mix(a: Color, b: Color, part: f32) -> Color {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * part)
}
