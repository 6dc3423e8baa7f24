//! Sky, road, pavements and verges.

use super::canvas::{Canvas, Color, Ink};
use super::random::hash;
use super::view::View;
use super::{BACKGROUND, PAVEMENT, ROAD};

pub(super) fn sky(canvas: &mut Canvas, view: &View) {
    let [top, bottom] = view.look.sky;
    let rows = (view.horizon_px.ceil() as usize).min(canvas.height);
    for y in 0..rows {
        let part = y as f32 / rows as f32;
        let color = [0, 1, 2].map(|c| (top[c] + (bottom[c] - top[c]) * part) as u8);
        let cells = y * canvas.width..(y + 1) * canvas.width;
        canvas.labels[cells.clone()].fill(BACKGROUND);
        canvas.rgb[cells.start * 3..cells.end * 3].as_chunks_mut::<3>().0.fill(color);
    }
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    for number in 0..9 {
        let dice = view.look.dice.child(500 + number);
        let drift = view.time_s as f32 * dice.range(0, 0.002, 0.006);
        let x = ((dice.unit(1) + drift).fract() * 1.6 - 0.3) * width;
        let y = dice.unit(2) * view.horizon_px * 0.8;
        let size = dice.range(3, 0.05, 0.16) * height;
        let ink = flat(bottom.map(|v| v + dice.range(4, -14.0, 24.0)));
        canvas.ellipse(x, y, size * 2.0, size * 0.4, &ink);
        canvas.ellipse(x + size * 0.5, y - size * 0.2, size, size * 0.4, &ink);
    }
    hills(canvas, view);
}

/// Far hills hide the end of the street.
fn hills(canvas: &mut Canvas, view: &View) {
    let height = canvas.height as f32;
    for number in 0..6 {
        let dice = view.look.dice.child(600 + number);
        let ink = flat(view.haze([92.0, 112.0, 96.0], dice.range(0, 40.0, 120.0)));
        let x = canvas.width as f32 * dice.range(1, -0.1, 1.1);
        canvas.ellipse(x, view.horizon_px + 0.01 * height, dice.range(2, 0.15, 0.5) * height, dice.range(3, 0.02, 0.09) * height, &ink);
    }
}

fn flat(color: Color) -> Ink {
    Ink { label: BACKGROUND, color, grain: 0.0, grain_px: 1.0, anchor: (0.0, 0.0) }
}

pub(super) fn ground(canvas: &mut Canvas, view: &View) {
    let look = view.look;
    let (kerb, edge) = (look.road_half_m, look.road_half_m + look.pavement_m);
    // The texture repeats after a power of two, so that its coordinates stay exact.
    let driven = (view.driven_m % 4096.0) as f32;
    for y in Canvas::cells(view.horizon_px, f32::INFINITY, canvas.height) {
        let z = view.ground_z(y as f32 + 0.5);
        let row = Row { view, z_m: z, along_m: z + driven, px_m: z / view.focal_px };
        let sun = if hash(row.along_m as u32 / 5, look.dice.0) & 3 == 0 { 0.66 } else { 1.0 };
        for x in 0..canvas.width {
            let across = (x as f32 + 0.5 - view.vanish_px) * row.px_m;
            let (label, color) = match across.abs() {
                m if m < kerb => (ROAD, row.road(across)),
                m if m < edge => (PAVEMENT, row.pavement(across, m < kerb + 0.15)),
                _ => (BACKGROUND, row.verge(across)),
            };
            canvas.put(x, y, label, view.haze(color, z).map(|v| v * sun));
        }
    }
}

/// One row of ground pixels: all at the same distance.
struct Row<'a> {
    view: &'a View<'a>,
    z_m: f32,
    /// Place along the street.
    along_m: f32,
    /// Metres a pixel.
    px_m: f32,
}

impl Row<'_> {
    /// Texture of `cell_m` large grains, fading where a pixel covers several.
    fn grain(&self, across: f32, cell_m: f32, strength: f32) -> f32 {
        let column = (across / cell_m).floor() as i32 as u32;
        let row = (self.along_m / cell_m).floor() as i32 as u32;
        let fade = (cell_m / self.px_m.max(self.px_m * self.z_m * 0.1)).min(1.0);
        ((hash(row, column) & 255) as f32 / 127.5 - 1.0) * strength * fade
    }

    fn road(&self, across: f32) -> Color {
        let look = self.view.look;
        let along = self.along_m;
        let dash = across.abs() < 0.09 && along % 6.0 < 3.0;
        let line = (across.abs() - look.road_half_m + 0.3).abs() < 0.06;
        let zebra = along % 48.0 < 3.0 && across.rem_euclid(1.0) < 0.5;
        if dash || line || zebra {
            return [214.0 + self.grain(across, 0.1, 16.0); 3];
        }
        let patch = if hash((along / 4.0) as u32, (across / 1.7).floor() as i32 as u32 ^ look.dice.0) & 7 == 0 { -16.0 } else { 0.0 };
        let grain = patch + self.grain(across, 0.12, 11.0);
        look.road.map(|v| v + grain)
    }

    fn pavement(&self, across: f32, kerb: bool) -> Color {
        let joint = across.rem_euclid(0.8) < 0.06 || self.along_m.rem_euclid(0.8) < 0.06;
        let step = if kerb {
            22.0
        } else if joint {
            -26.0
        } else {
            0.0
        };
        let grain = step + self.grain(across, 0.8, 9.0) + self.grain(across, 0.1, 7.0);
        self.view.look.pavement.map(|v| v + grain)
    }

    fn verge(&self, across: f32) -> Color {
        let grain = self.grain(across, 0.15, 22.0) + self.grain(across, 1.1, 12.0);
        self.view.look.verge.map(|v| v + grain)
    }
}
