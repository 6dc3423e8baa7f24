//! Connected regions of a class map with their boxes.

use amis_artifacts::classes::{BACKGROUND, IGNORE};

/// Pixels of one class that touch each other at their sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Their class.
    pub class: u8,
    /// How many there are.
    pub pixels: u32,
    /// Column of the leftmost and one behind the rightmost.
    pub columns_px: (u32, u32),
    /// Row of the uppermost and one below the lowest.
    pub rows_px: (u32, u32),
}

/// Finds regions; keeps its buffers between class maps.
#[derive(Default)]
pub struct Regions {
    /// Of each label the label that it was joined with, itself for the first.
    parents: Vec<u32>,
    /// By label; complete for the first of those that were joined.
    regions: Vec<Region>,
    above: Vec<Run>,
    line: Vec<Run>,
    found: Vec<Region>,
}

/// Neighbours of one class in a line.
#[derive(Clone, Copy)]
struct Run {
    class: u8,
    start: u32,
    end: u32,
    label: u32,
}

impl Regions {
    /// Regions of at least `min_pixels` in a class map with lines of `width_px`, largest first; background and what was not seen have none.
    pub fn find(&mut self, map: &[u8], width_px: u32, min_pixels: u32) -> &[Region] {
        self.parents.clear();
        self.regions.clear();
        self.above.clear();
        for (y, ids) in (0..).zip(map.chunks_exact(width_px.max(1) as usize)) {
            self.add_line(y, ids);
            std::mem::swap(&mut self.above, &mut self.line);
        }
        let Self { parents, regions, found, .. } = self;
        let whole = (0..).zip(parents.iter()).zip(regions.iter()).filter(|((label, parent), _)| label == *parent).map(|(_, region)| *region);
        found.clear();
        found.extend(whole.filter(|region| region.pixels >= min_pixels));
        found.sort_unstable_by_key(|region| (std::cmp::Reverse(region.pixels), region.rows_px, region.columns_px));
        found
    }

    fn add_line(&mut self, y: u32, ids: &[u8]) {
        self.line.clear();
        let (mut start, mut first_above) = (0, 0);
        for ids in ids.chunk_by(|a, b| a == b) {
            let (class, end) = (ids[0], start + ids.len() as u32);
            if class != BACKGROUND && class != IGNORE {
                let label = self.parents.len() as u32;
                self.parents.push(label);
                self.regions.push(Region { class, pixels: end - start, columns_px: (start, end), rows_px: (y, y + 1) });
                while self.above.get(first_above).is_some_and(|run| run.end <= start) {
                    first_above += 1;
                }
                for place in first_above..self.above.len() {
                    let run = self.above[place];
                    if run.start >= end {
                        break;
                    }
                    if run.class == class {
                        self.join(run.label, label);
                    }
                }
                self.line.push(Run { class, start, end, label });
            }
            start = end;
        }
    }

    /// Makes one region of two; the lower label stays.
    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let (low, high) = (a.min(b), a.max(b));
        self.parents[high as usize] = low;
        let other = self.regions[high as usize];
        let region = &mut self.regions[low as usize];
        region.pixels += other.pixels;
        region.columns_px = (region.columns_px.0.min(other.columns_px.0), region.columns_px.1.max(other.columns_px.1));
        region.rows_px = (region.rows_px.0.min(other.rows_px.0), region.rows_px.1.max(other.rows_px.1));
    }

    fn root(&mut self, mut label: u32) -> u32 {
        while self.parents[label as usize] != label {
            let parent = self.parents[label as usize];
            // Halves the path for the next time.
            self.parents[label as usize] = self.parents[parent as usize];
            label = parent;
        }
        label
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ring_is_one_region_and_what_it_surrounds_another() {
        let map: Vec<u8> = ["11111", "10001", "10201", "10001", "11101"].iter().flat_map(|line| line.bytes().map(|b| b - b'0')).collect();
        let mut regions = Regions::default();
        let ring = Region { class: 1, pixels: 15, columns_px: (0, 5), rows_px: (0, 5) };
        let dot = Region { class: 2, pixels: 1, columns_px: (2, 3), rows_px: (2, 3) };
        assert_eq!(regions.find(&map, 5, 1), [ring, dot]);
        assert_eq!(regions.find(&map, 5, 2), [ring]);
        assert!(regions.find(&[IGNORE; 9], 3, 0).is_empty() && regions.find(&[], 0, 0).is_empty());
    }

    /// The same by flooding, pixel by pixel.
    fn flooded(map: &[u8], width: usize) -> Vec<Region> {
        let (mut seen, mut found) = (vec![false; map.len()], Vec::new());
        for at in (0..map.len()).filter(|&at| map[at] != BACKGROUND && map[at] != IGNORE) {
            let (mut stack, mut pixels) = (vec![at], Vec::new());
            while let Some(at) = stack.pop() {
                if std::mem::replace(&mut seen[at], true) {
                    continue;
                }
                pixels.push(at);
                let sides = [(at % width > 0).then(|| at - 1), (at % width + 1 < width).then_some(at + 1), at.checked_sub(width), Some(at + width)];
                stack.extend(sides.into_iter().flatten().filter(|&to| map.get(to) == Some(&map[at])));
            }
            if pixels.is_empty() {
                continue;
            }
            let bounds = |of: fn(usize, usize) -> usize| {
                let places = pixels.iter().map(|&at| of(at, width) as u32);
                (places.clone().min().unwrap(), places.max().unwrap() + 1)
            };
            let (columns_px, rows_px) = (bounds(|at, width| at % width), bounds(|at, width| at / width));
            found.push(Region { class: map[at], pixels: pixels.len() as u32, columns_px, rows_px });
        }
        found
    }

    proptest! {
        #[test]
        fn regions_are_those_of_flooding(width in 1usize..12, ids in prop::collection::vec(prop::sample::select(vec![0, 1, 1, 1, 2, 255]), 0..120)) {
            let map = &ids[..ids.len() / width * width];
            let mut expected = flooded(map, width);
            expected.sort_by_key(|region| (std::cmp::Reverse(region.pixels), region.rows_px, region.columns_px));
            let mut found = Regions::default().find(map, width as u32, 1).to_vec();
            // Of equal size and box there may be two.
            let key = |region: &Region| (std::cmp::Reverse(region.pixels), region.rows_px, region.columns_px, region.class);
            found.sort_by_key(key);
            expected.sort_by_key(key);
            prop_assert_eq!(found, expected);
        }
    }
}
