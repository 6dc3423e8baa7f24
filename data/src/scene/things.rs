//! Cars, trees, people, and street furniture that has no class.

use super::canvas::{Canvas, Color, Ink};
use super::random::Dice;
use super::view::View;
use super::{BACKGROUND, CAR, PERSON, TREE};

const PAINTS: [Color; 8] = [
    [196.0, 40.0, 36.0],
    [40.0, 74.0, 160.0],
    [222.0, 222.0, 224.0],
    [34.0, 36.0, 40.0],
    [214.0, 172.0, 50.0],
    [60.0, 120.0, 74.0],
    [134.0, 138.0, 146.0],
    [120.0, 60.0, 110.0],
];

/// Coats are some of the cars' colours, so that a colour alone does not tell.
const COATS: [Color; 4] = [[206.0, 50.0, 40.0], [222.0, 120.0, 36.0], [216.0, 176.0, 54.0], [196.0, 70.0, 120.0]];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Car,
    Tree,
    Person,
    Lamp,
    Bin,
    Bush,
}

/// Paints all things, far ones first.
pub(super) fn things(canvas: &mut Canvas, view: &View) {
    let look = view.look;
    let mut found: Vec<(Brush, Kind)> = Vec::with_capacity(64);
    let (kerb, lane, edge) = (look.road_half_m, look.road_half_m * 0.5, look.road_half_m + look.pavement_m);
    let mut add = |number, spacing_m, speed_m_s, chance, across: &dyn Fn(Dice, f32) -> f32, kind| {
        view.row(number, spacing_m, speed_m_s, chance, |dice, z_m| found.push((Brush::new(view, dice, across(dice, z_m), z_m), kind)));
    };
    add(0, 12.0, look.speed_m_s * 0.6, 0.75, &|d, _| lane + d.range(9, -0.2, 0.2), Kind::Car);
    add(1, 12.0, -look.speed_m_s * 0.9, 0.75, &|d, _| -lane + d.range(9, -0.2, 0.2), Kind::Car);
    for (number, side) in [(0, -1.0), (1, 1.0)] {
        add(2 + number, 8.0, 0.0, 0.72, &|d, _| side * (edge + d.range(9, 0.1, 0.8)), Kind::Tree);
        add(4 + number, 4.5, 1.1 * side, 0.7, &|d, _| side * (kerb + d.range(9, 0.1, 0.6 * look.pavement_m)), Kind::Person);
        // They have left the road before the camera is there.
        add(6 + number, 6.5, 0.0, 0.8, &|d, z| side * (kerb + 0.8 - (z - 2.9).max(0.0) * d.range(9, 0.35, 0.6)).max(-kerb - 1.0), Kind::Person);
        add(8 + number, 16.0, 0.0, 0.6, &|_, _| side * (kerb + 0.25), Kind::Lamp);
        add(10 + number, 11.0, 0.0, 0.5, &|d, _| side * (kerb + d.range(9, 0.3, 0.8)), Kind::Bin);
        add(12 + number, 9.0, 0.0, 0.5, &|d, _| side * (edge + d.range(9, 0.2, 1.0)), Kind::Bush);
    }
    found.sort_by(|a, b| b.0.z_m.total_cmp(&a.0.z_m));
    for (brush, kind) in found {
        match kind {
            Kind::Car => brush.car(canvas),
            Kind::Tree => brush.tree(canvas),
            Kind::Person => brush.person(canvas),
            Kind::Lamp => brush.lamp(canvas),
            Kind::Bin => brush.bin(canvas),
            Kind::Bush => brush.bush(canvas),
        }
    }
}

/// Paints one thing where it stands; all measures in metres, across from its middle and up from the ground.
struct Brush<'a> {
    view: &'a View<'a>,
    dice: Dice,
    z_m: f32,
    /// Pixels a metre.
    scale: f32,
    x_px: f32,
    ground_px: f32,
}

impl<'a> Brush<'a> {
    fn new(view: &'a View<'a>, dice: Dice, x_m: f32, z_m: f32) -> Self {
        Self { view, dice, z_m, scale: view.focal_px / z_m, x_px: view.x(x_m, z_m), ground_px: view.y(0.0, z_m) }
    }

    fn ink(&self, label: u8, color: Color, grain: f32) -> Ink {
        Ink { label, color: self.view.haze(color, self.z_m), grain, grain_px: (0.11 * self.scale).max(1.0), anchor: (self.x_px, self.ground_px) }
    }

    fn up(&self, y_m: f32) -> f32 {
        self.ground_px - y_m * self.scale
    }

    fn across(&self, x_m: f32) -> f32 {
        self.x_px + x_m * self.scale
    }

    fn rect(&self, canvas: &mut Canvas, x_m: (f32, f32), y_m: (f32, f32), ink: &Ink) {
        canvas.rect(self.across(x_m.0), self.up(y_m.1), self.across(x_m.1), self.up(y_m.0), ink);
    }

    fn taper(&self, canvas: &mut Canvas, top: f32, y_m: (f32, f32), bottom: f32, ink: &Ink) {
        let half = |m: f32| (self.across(-m), self.across(m));
        canvas.trapezoid(self.up(y_m.1), self.up(y_m.0), half(top), half(bottom), ink);
    }

    fn blob(&self, canvas: &mut Canvas, at_m: (f32, f32), radius_m: (f32, f32), ink: &Ink) {
        canvas.ellipse(self.across(at_m.0), self.up(at_m.1), radius_m.0 * self.scale, radius_m.1 * self.scale, ink);
    }

    fn shadow(&self, canvas: &mut Canvas, half_m: f32) {
        canvas.shadow(self.x_px, self.ground_px, half_m * self.scale, half_m * 0.22 * self.scale);
    }

    fn car(&self, canvas: &mut Canvas) {
        let d = self.dice;
        let half = d.range(2, 0.85, 1.05);
        let (waist, roof) = (d.range(3, 0.8, 1.0), d.range(4, 1.35, 2.0));
        let paint = d.pick(5, &PAINTS).map(|v| v * d.range(6, 0.85, 1.1));
        let body = self.ink(CAR, paint, 4.0);
        let dark = self.ink(CAR, [26.0, 27.0, 30.0], 3.0);
        self.shadow(canvas, half * 1.25);
        for side in [-1.0, 1.0] {
            let wheel = (side * (half - 0.2) - 0.14, side * (half - 0.2) + 0.14);
            self.rect(canvas, wheel, (0.0, 0.4), &dark);
        }
        self.rect(canvas, (-half, half), (0.22, waist), &body);
        self.taper(canvas, half * 0.72, (waist, roof), half * 0.97, &body);
        let glass = self.ink(CAR, d.pick(7, &[[52.0, 62.0, 76.0], [120.0, 140.0, 158.0]]), 6.0);
        self.taper(canvas, half * 0.62, (waist + 0.05, roof - 0.1), half * 0.84, &glass);
        let lamp = self.ink(CAR, if d.unit(8) < 0.5 { [226.0, 52.0, 40.0] } else { [250.0, 240.0, 200.0] }, 0.0);
        for side in [-1.0, 1.0] {
            self.blob(canvas, (side * half * 0.76, waist - 0.16), (0.14, 0.1), &lamp);
        }
        self.rect(canvas, (-half, half), (0.22, 0.34), &dark);
        self.rect(canvas, (-0.26, 0.26), (0.36, 0.5), &self.ink(CAR, [226.0; 3], 8.0));
    }

    fn tree(&self, canvas: &mut Canvas) {
        let d = self.dice;
        let leaf = d.pick(2, &[[58.0, 104.0, 44.0], [84.0, 124.0, 52.0], [44.0, 82.0, 48.0], [142.0, 118.0, 48.0]]);
        let (crown, size) = (d.range(3, 3.2, 4.6), d.range(4, 1.2, 1.9));
        self.shadow(canvas, size * 0.8);
        self.taper(canvas, 0.14, (0.0, crown), 0.24, &self.ink(TREE, [92.0, 68.0, 48.0], 14.0));
        for number in 0..8 {
            let part = d.child(number);
            let shade = part.range(0, 0.78, 1.2);
            let ink = self.ink(TREE, leaf.map(|v| v * shade), 20.0);
            let at = (part.range(1, -0.65, 0.65) * size, crown + part.range(2, -0.5, 0.75) * size);
            let radius = part.range(3, 0.45, 0.75) * size;
            self.blob(canvas, at, (radius, radius * 0.85), &ink);
        }
    }

    fn person(&self, canvas: &mut Canvas) {
        let d = self.dice;
        let tall = d.range(2, 1.85, 2.2);
        let step = (self.view.time_s as f32 * 6.0 + d.unit(3) * 6.0).sin() * 0.16;
        let coat = self.ink(PERSON, d.pick(4, &COATS).map(|v| v * d.range(10, 0.75, 1.1)), 9.0);
        let legs = self.ink(PERSON, d.pick(5, &[[38.0, 44.0, 70.0], [60.0, 52.0, 46.0], [32.0; 3], [150.0, 132.0, 104.0]]), 6.0);
        let skin = self.ink(PERSON, d.pick(6, &[[226.0, 178.0, 148.0], [160.0, 108.0, 78.0], [96.0, 64.0, 48.0]]), 3.0);
        let hair = self.ink(PERSON, d.pick(7, &[[40.0, 30.0, 26.0], [120.0, 84.0, 44.0], [190.0, 180.0, 170.0]]), 5.0);
        self.shadow(canvas, 0.5);
        let (hip, chin) = (tall * 0.46, tall * 0.83);
        self.rect(canvas, (-0.26 - step, -0.01 - step), (0.0, hip), &legs);
        self.rect(canvas, (0.01 + step, 0.26 + step), (0.0, hip), &legs);
        self.taper(canvas, 0.32, (hip - 0.2, chin), 0.42, &coat);
        for side in [-1.0, 1.0] {
            self.blob(canvas, (side * (0.4 + step.abs() * 0.3), tall * 0.62), (0.15, 0.4), &coat);
        }
        if d.unit(8) < 0.4 {
            self.rect(canvas, (0.2, 0.52), (hip - 0.2, hip + 0.25), &self.ink(PERSON, [110.0, 70.0, 40.0], 8.0));
        }
        let head = tall * 0.91;
        self.blob(canvas, (0.0, head + 0.04), (0.19, 0.2), &hair);
        self.blob(canvas, (0.0, head - 0.03), (0.16, 0.18), &skin);
    }

    fn lamp(&self, canvas: &mut Canvas) {
        let ink = self.ink(BACKGROUND, [92.0, 96.0, 100.0], 4.0);
        self.rect(canvas, (-0.07, 0.07), (0.0, 5.0), &ink);
        self.rect(canvas, (-0.5, 0.5), (5.0, 5.15), &ink);
        if self.dice.unit(2) < 0.5 {
            let sign = self.ink(BACKGROUND, self.dice.pick(3, &PAINTS), 0.0);
            self.blob(canvas, (0.0, 2.5), (0.38, 0.38), &sign);
        }
    }

    fn bin(&self, canvas: &mut Canvas) {
        let ink = self.ink(BACKGROUND, self.dice.pick(2, &PAINTS).map(|v| v * 0.8), 6.0);
        self.shadow(canvas, 0.45);
        self.taper(canvas, 0.36, (0.0, 1.0), 0.28, &ink);
        self.rect(canvas, (-0.4, 0.4), (1.0, 1.12), &ink);
    }

    fn bush(&self, canvas: &mut Canvas) {
        let ink = self.ink(BACKGROUND, self.dice.pick(2, &[[74.0, 116.0, 54.0], [54.0, 92.0, 50.0]]), 20.0);
        self.shadow(canvas, 0.8);
        for x in [-0.4, 0.4, 0.0] {
            self.blob(canvas, (x, 0.35), (0.5, self.dice.range(3, 0.4, 0.7)), &ink);
        }
    }
}
