//! From polygons and masks to pixels. A pixel belongs to a polygon if its centre lies in it, by the even-odd rule.

use super::shapes::{Area, Ring, Runs};

/// Most border crossings of one polygon: 64 million rows of pixels, far above any drawing.
const MAX_CROSSINGS: u64 = 1 << 26;

/// Pixels `from..to` of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    row: u32,
    from: u32,
    to: u32,
}

/// The pixels of an annotation that lie in the image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Region {
    spans: Vec<Span>,
    /// Parts that were cut out.
    pub(super) holes: usize,
}

impl Region {
    /// Pixels of an area in an image of this size; none if its polygons are too intricate.
    pub(super) fn of(area: &Area, size: (u32, u32)) -> Option<Self> {
        match area {
            Area::Rings(rings) if rings.len() == 1 => Some(Self { spans: fill(&rings[0], size)?, holes: 0 }),
            Area::Rings(rings) => combine(rings, size),
            Area::Runs(runs) => Some(Self { spans: spans_of(runs), holes: 0 }),
        }
    }

    pub(super) fn pixels(&self) -> usize {
        self.spans.iter().map(|s| (s.to - s.from) as usize).sum()
    }

    /// Gives all its pixels this value in a plane of `width` pixels a row.
    pub(super) fn paint(&self, plane: &mut [u8], width: u32, value: u8) {
        paint(&self.spans, plane, width, value);
    }
}

fn paint(spans: &[Span], plane: &mut [u8], width: u32, value: u8) {
    for span in spans {
        let start = span.row as usize * width as usize;
        plane[start + span.from as usize..start + span.to as usize].fill(value);
    }
}

/// Pixels whose centres lie in a polygon.
fn fill(ring: &Ring, (width, height): (u32, u32)) -> Option<Vec<Span>> {
    // Where the polygon's border crosses the centre line of a row.
    let mut crossings: Vec<(u32, f64)> = Vec::new();
    let mut count = 0u64;
    let next = ring.iter().cycle().skip(1);
    for (&a, &b) in ring.iter().zip(next) {
        let (above, below) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        let row = |y: f64| (y - 0.5).ceil().clamp(0.0, f64::from(height)) as u32;
        let rows = row(above[1])..row(below[1]);
        count += rows.len() as u64;
        if count > MAX_CROSSINGS {
            return None;
        }
        let slope = (below[0] - above[0]) / (below[1] - above[1]);
        crossings.extend(rows.map(|row| (row, above[0] + (f64::from(row) + 0.5 - above[1]) * slope)));
    }
    crossings.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let column = |x: f64| (x - 0.5).ceil().clamp(0.0, f64::from(width)) as u32;
    // Closed polygons cross a row an even number of times.
    let spans = crossings.as_chunks::<2>().0.iter().map(|&[enter, leave]| Span { row: enter.0, from: column(enter.1), to: column(leave.1) });
    Some(spans.filter(|s| s.from < s.to).collect())
}

/// Several polygons: the large ones first, then each adds its pixels; or takes them away if all of them are there already, for then it can only be a hole.
fn combine(rings: &[Ring], size: (u32, u32)) -> Option<Region> {
    let mut parts = Vec::new();
    for (number, ring) in rings.iter().enumerate() {
        // A repeated polygon is no hole in itself.
        if !rings[..number].contains(ring) {
            parts.push(fill(ring, size)?);
        }
    }
    let pixels = |part: &[Span]| part.iter().map(|s| u64::from(s.to - s.from)).sum::<u64>();
    parts.sort_by_key(|part| std::cmp::Reverse(pixels(part)));
    let mut plane = vec![0; size.0 as usize * size.1 as usize];
    let mut holes = 0;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let line = |s: &Span| &plane[s.row as usize * size.0 as usize..][s.from as usize..s.to as usize];
        let inside = part.iter().all(|s| line(s).iter().all(|&v| v == 1));
        holes += usize::from(inside);
        paint(part, &mut plane, size.0, u8::from(!inside));
    }
    let mut spans = Vec::new();
    for (row, line) in (0..).zip(plane.chunks_exact(size.0 as usize)) {
        let mut from = 0u32;
        for same in line.chunk_by(|a, b| a == b) {
            let to = from + same.len() as u32;
            if same[0] == 1 {
                spans.push(Span { row, from, to });
            }
            from = to;
        }
    }
    Some(Region { spans, holes })
}

/// Pixels of a mask, whose runs are known to fill its box and the box to lie in the image.
fn spans_of(runs: &Runs) -> Vec<Span> {
    let length = if runs.by_column { runs.height } else { runs.width };
    let (mut line, mut at) = (0, 0);
    let mut spans = Vec::new();
    for (number, &count) in runs.counts.iter().enumerate() {
        let mut left = count;
        while left > 0 {
            let part = left.min(length - at);
            if number % 2 == 1 {
                if runs.by_column {
                    let column = runs.left + line;
                    spans.extend((at..at + part).map(|y| Span { row: runs.top + y, from: column, to: column + 1 }));
                } else {
                    spans.push(Span { row: runs.top + line, from: runs.left + at, to: runs.left + at + part });
                }
            }
            (left, at) = (left - part, at + part);
            if at == length {
                (line, at) = (line + 1, 0);
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn plane(area: &Area, size: (u32, u32)) -> (Vec<u8>, usize) {
        let region = Region::of(area, size).unwrap();
        let mut plane = vec![0; (size.0 * size.1) as usize];
        region.paint(&mut plane, size.0, 1);
        assert_eq!(plane.iter().filter(|&&v| v == 1).count(), region.pixels());
        (plane, region.holes)
    }

    fn square(from: f64, to: f64) -> Ring {
        vec![[from, from], [to, from], [to, to], [from, to]]
    }

    /// Even-odd by counting the borders that a ray from the point to the right meets.
    fn is_inside(ring: &Ring, x: f64, y: f64) -> bool {
        let mut inside = false;
        for i in 0..ring.len() {
            let ([ax, ay], [bx, by]) = (ring[i], ring[(i + 1) % ring.len()]);
            if (ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax {
                inside = !inside;
            }
        }
        inside
    }

    proptest! {
        #[test]
        fn a_pixel_is_filled_if_its_centre_is_inside(corners in prop::collection::vec((-9.0f64..30.0, -9.0f64..30.0), 3..12)) {
            let ring: Ring = corners.into_iter().map(|(x, y)| [x, y]).collect();
            let (plane, _) = plane(&Area::Rings(vec![ring.clone()]), (21, 17));
            for (at, &value) in plane.iter().enumerate() {
                let (x, y) = ((at % 21) as f64 + 0.5, (at / 21) as f64 + 0.5);
                prop_assert_eq!(value == 1, is_inside(&ring, x, y), "({}, {})", x, y);
            }
        }

        #[test]
        fn runs_by_row_and_by_column_are_the_same_mask(bits in prop::collection::vec(any::<bool>(), 30)) {
            let count = |order: &dyn Fn(usize) -> bool| {
                let (mut counts, mut last) = (vec![0], false);
                for bit in (0..30).map(order) {
                    if bit != last {
                        counts.push(0);
                        last = bit;
                    }
                    *counts.last_mut().unwrap() += 1;
                }
                counts
            };
            let runs = |by_column, counts| Area::Runs(Runs { left: 2, top: 1, width: 6, height: 5, by_column, counts });
            let rows = plane(&runs(false, count(&|i| bits[i])), (9, 8));
            let columns = plane(&runs(true, count(&|i| bits[i % 5 * 6 + i / 5])), (9, 8));
            prop_assert_eq!(&rows, &columns);
            for (i, &bit) in bits.iter().enumerate() {
                prop_assert_eq!(rows.0[(i / 6 + 1) * 9 + i % 6 + 2] == 1, bit);
            }
        }
    }

    #[test]
    fn parts_add_up_and_a_part_inside_is_a_hole() {
        let count = |rings: Vec<Ring>| {
            let (plane, holes) = plane(&Area::Rings(rings), (20, 20));
            (plane.iter().filter(|&&v| v == 1).count(), holes)
        };
        assert_eq!(count(vec![square(0.0, 5.0), square(10.0, 15.0)]), (50, 0));
        assert_eq!(count(vec![square(5.0, 9.0), square(0.0, 12.0)]), (144 - 16, 1), "whatever the order");
        assert_eq!(count(vec![square(0.0, 12.0), square(2.0, 10.0), square(4.0, 6.0)]), (144 - 64 + 4, 1), "an island in the hole");
        assert_eq!(count(vec![square(0.0, 6.0), square(4.0, 10.0)]), (36 + 36 - 4, 0), "overlapping parts");
        assert_eq!(count(vec![square(0.0, 6.0), square(0.0, 6.0)]), (36, 0), "the same part twice");
        // A hole joined to the border by a cut, as tools without parts draw it.
        let cut = vec![[0., 0.], [12., 0.], [12., 12.], [0., 12.], [0., 6.], [4., 6.], [4., 8.], [8., 8.], [8., 4.], [4., 4.], [4., 6.], [0., 6.]];
        assert_eq!(count(vec![cut]), (144 - 16, 0));
    }

    #[test]
    fn what_is_outside_or_thin_has_no_pixel_and_intricate_polygons_are_refused() {
        for ring in [square(30.0, 40.0), square(-9.0, -2.0), vec![[1.0, 1.1], [9.0, 1.1], [9.0, 1.3]]] {
            assert_eq!(Region::of(&Area::Rings(vec![ring]), (20, 20)), Some(Region::default()));
        }
        let zigzag: Ring = (0..5000).map(|i| [f64::from(i), if i % 2 == 0 { -1e6 } else { 1e6 }]).collect();
        assert_eq!(Region::of(&Area::Rings(vec![zigzag]), (32_768, 32_768)), None);
    }
}
