//! House fronts along both sides, with hedges in the gaps.

use super::canvas::{Canvas, Color};
use super::random::{Dice, cell, hash, signed, within};
use super::view::{FAR_M, NEAR_M, View, mix};
use super::{BACKGROUND, BUILDING};

/// Length of the plot that one house or hedge stands on.
const PLOT_M: f64 = 11.0;

const WALLS: [Color; 8] = [
    [176.0, 110.0, 84.0],
    [206.0, 188.0, 150.0],
    [150.0, 152.0, 158.0],
    [120.0, 84.0, 70.0],
    [214.0, 206.0, 196.0],
    [128.0, 142.0, 122.0],
    [196.0, 158.0, 96.0],
    [110.0, 124.0, 150.0],
];

pub(super) fn houses(canvas: &mut Canvas, view: &View) {
    let first = (view.driven_m / PLOT_M).floor() as i64;
    let count = (f64::from(FAR_M) / PLOT_M) as i64 + 1;
    for plot in (first..first + count).rev() {
        let start = (plot as f64 * PLOT_M - view.driven_m) as f32;
        for side in [-1.0, 1.0] {
            let dice = view.look.dice.child(2000 + (side > 0.0) as u32).child(plot as u32);
            let house = House::new(dice, start);
            house.end_wall(canvas, view, side);
            house.front(canvas, view, side);
        }
    }
}

struct House {
    dice: Dice,
    label: u8,
    start_m: f32,
    length_m: f32,
    height_m: f32,
    wall: Color,
    glass: Color,
    storey_m: f32,
    bay_m: f32,
}

impl House {
    fn new(dice: Dice, start_m: f32) -> Self {
        let hedge = dice.unit(0) < 0.22;
        let tone = dice.range(1, 0.75, 1.15);
        Self {
            dice,
            label: if hedge { BACKGROUND } else { BUILDING },
            start_m,
            length_m: if hedge { PLOT_M as f32 } else { dice.range(2, 7.5, 11.0) },
            height_m: if hedge { dice.range(3, 0.8, 2.0) } else { dice.range(3, 5.0, 17.0) },
            wall: if hedge { [70.0, 108.0, 52.0].map(|v| v * tone) } else { dice.pick(4, &WALLS).map(|v| v * tone) },
            glass: dice.pick(5, &[[62.0, 74.0, 92.0], [120.0, 146.0, 168.0], [40.0, 42.0, 48.0]]),
            storey_m: dice.range(6, 2.6, 3.4),
            bay_m: dice.range(7, 1.4, 2.8),
        }
    }

    /// The wall along the street, column by column: all pixels of a column are equally far away.
    fn front(&self, canvas: &mut Canvas, view: &View, side: f32) {
        let wall_m = side * view.look.front_m();
        let (near, far) = (self.start_m.max(NEAR_M), self.start_m + self.length_m);
        if far <= near {
            return;
        }
        let (a, b) = (view.x(wall_m, near), view.x(wall_m, far));
        for x in Canvas::cells(a.min(b), a.max(b), canvas.width) {
            let z = wall_m * view.focal_px / (x as f32 + 0.5 - view.vanish_px);
            self.column(canvas, view, x, z, z - self.start_m, 1.0);
        }
    }

    /// The wall that faces the camera.
    fn end_wall(&self, canvas: &mut Canvas, view: &View, side: f32) {
        if self.start_m <= NEAR_M {
            return;
        }
        let (inner, depth_m) = (view.look.front_m(), 9.0);
        let (a, b) = (view.x(side * inner, self.start_m), view.x(side * (inner + depth_m), self.start_m));
        for x in Canvas::cells(a.min(b), a.max(b), canvas.width) {
            let along = (x as f32 + 0.5 - a).abs() * self.start_m / view.focal_px;
            self.column(canvas, view, x, self.start_m, along, 0.82);
        }
    }

    fn column(&self, canvas: &mut Canvas, view: &View, x: usize, z: f32, along_m: f32, tone: f32) {
        let (far, haze) = (view.look.sky[1], view.haze_part(z));
        let wall = mix(self.wall.map(|v| v * tone), far, haze);
        let glass = mix(self.glass, far, haze);
        let lit = mix([236.0, 206.0, 130.0], far, haze);
        let bay = along_m / self.bay_m;
        let open = self.label == BUILDING && (0.22..0.78).contains(&within(bay));
        let (bay, grain_column) = (cell(bay) ^ self.dice.0, cell(along_m * 7.0));
        for y in Canvas::cells(view.y(self.height_m, z), view.y(0.0, z), canvas.height) {
            let height = view.height_m(y as f32 + 0.5, z);
            let storey = height / self.storey_m;
            let window = open && (0.3..0.8).contains(&within(storey)) && height < self.height_m - 0.5;
            let color = if !window {
                let grain = signed(hash(grain_column, cell(height * 9.0))) * 8.0;
                wall.map(|v| v + grain)
            } else if hash(bay, cell(storey)) & 7 == 0 {
                lit
            } else {
                glass
            };
            canvas.put(x, y, self.label, color);
        }
    }
}
