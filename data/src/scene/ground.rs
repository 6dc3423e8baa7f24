//! Sky, road, pavements and verges.

use super::canvas::{Canvas, Color, Ink};
use super::random::{cell, hash, signed, within};
use super::view::{Look, View};
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
    let driven = (view.driven_m % 2048.0) as f32;
    for y in Canvas::cells(view.horizon_px, f32::INFINITY, canvas.height) {
        let z = view.ground_z(y as f32 + 0.5);
        let (row, px_m) = (Row::new(look, z, z + driven, view.focal_px), z / view.focal_px);
        let (haze, sun) = (view.haze_part(z), if row.shade { 0.66 } else { 1.0 });
        let (near, far) = ((1.0 - haze) * sun, look.sky[1].map(|v| v * haze * sun));
        for x in 0..canvas.width {
            let across = (x as f32 + 0.5 - view.vanish_px) * px_m;
            let (label, color) = match across.abs() {
                m if m < kerb => (ROAD, row.road(across)),
                m if m < edge => (PAVEMENT, row.pavement(across, m < kerb + 0.15)),
                _ => (BACKGROUND, row.verge(across)),
            };
            canvas.put(x, y, label, [0, 1, 2].map(|c| color[c] * near + far[c]));
        }
    }
}

/// One row of ground pixels, all at the same distance, and what is the same along it.
struct Row<'a> {
    look: &'a Look,
    shade: bool,
    dash: bool,
    zebra: bool,
    joint: bool,
    patch: u32,
    asphalt: Texture,
    slabs: Texture,
    sand: Texture,
    grass: Texture,
    tufts: Texture,
}

impl<'a> Row<'a> {
    fn new(look: &'a Look, z_m: f32, along_m: f32, focal_px: f32) -> Self {
        let px_m = z_m / focal_px;
        // What a pixel covers along the street, where that is more than across.
        let covered_m = px_m.max(px_m * z_m * 0.1);
        let texture = |cell_m, strength| Texture::new(along_m, covered_m, cell_m, strength);
        Self {
            look,
            shade: hash(cell(along_m / 5.0), look.dice.0) & 3 == 0,
            dash: within(along_m / 6.0) < 0.5,
            zebra: within(along_m / 48.0) < 0.0625,
            joint: within(along_m / 0.8) < 0.08,
            patch: cell(along_m / 4.0) ^ look.dice.0,
            asphalt: texture(0.12, 11.0),
            slabs: texture(0.8, 9.0),
            sand: texture(0.12, 7.0),
            grass: texture(0.15, 22.0),
            tufts: texture(1.1, 12.0),
        }
    }

    fn road(&self, across: f32) -> Color {
        let grain = self.asphalt.at(across);
        let middle = self.dash && across.abs() < 0.09;
        let line = (across.abs() - self.look.road_half_m + 0.3).abs() < 0.06;
        if middle || line || (self.zebra && within(across) < 0.5) {
            return [214.0 + grain; 3];
        }
        let patch = if hash(self.patch, cell(across * 0.6)) & 7 == 0 { -16.0 } else { 0.0 };
        self.look.road.map(|v| v + patch + grain)
    }

    fn pavement(&self, across: f32, kerb: bool) -> Color {
        let step = match kerb {
            true => 22.0,
            false if self.joint || within(across * 1.25) < 0.08 => -26.0,
            false => 0.0,
        };
        let grain = step + self.slabs.at(across) + self.sand.at(across);
        self.look.pavement.map(|v| v + grain)
    }

    fn verge(&self, across: f32) -> Color {
        let grain = self.grass.at(across) + self.tufts.at(across);
        self.look.verge.map(|v| v + grain)
    }
}

/// Square grains on the ground, along one row.
struct Texture {
    row: u32,
    cells_m: f32,
    strength: f32,
}

impl Texture {
    /// Fades where a pixel covers several grains.
    fn new(along_m: f32, covered_m: f32, cell_m: f32, strength: f32) -> Self {
        Self { row: cell(along_m / cell_m), cells_m: 1.0 / cell_m, strength: strength * (cell_m / covered_m).min(1.0) }
    }

    fn at(&self, across: f32) -> f32 {
        signed(hash(self.row, cell(across * self.cells_m))) * self.strength
    }
}
