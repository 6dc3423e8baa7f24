use std::fmt::{Arguments, Write};

use amis_artifacts::classes::{Class, ClassList};

use super::canvas::{Canvas, Font};

/// Frames narrower than this get the legend beside them.
const PANEL_BELOW_PX: usize = 480;
/// Longest class name that is written out, in characters.
const MAX_NAME: usize = 18;
const WHITE: [u8; 3] = [255; 3];
const GREY: [u8; 3] = [150; 3];
const PANEL: [u8; 3] = [24; 3];
/// Darkness of the box under a legend on the picture, of 256.
const BOX_ALPHA: u16 = 150;

/// Names, colours and shares of the classes.
pub(super) struct Legend {
    classes: ClassList,
    title: String,
    /// Characters of a line.
    columns: usize,
    /// Places of the classes that are listed.
    shown: Vec<usize>,
    /// What is written now; kept, so that drawing allocates nothing.
    text: String,
}

/// Where the legend stands on a picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    font: Font,
    left: usize,
    /// Width added to the frame; 0 if the legend stands on the frame.
    pub(super) panel_width_px: usize,
    width: usize,
}

impl Legend {
    pub(super) fn new(classes: ClassList, title: &str) -> Self {
        let title: String = title.chars().take(MAX_NAME + 6).collect();
        let longest = classes.iter().map(|c| c.name.chars().count().min(MAX_NAME)).max().unwrap_or(0);
        // Two for the swatch, five for the share.
        let columns = (longest + 7).max(title.chars().count()).max("1234.5 fps".len());
        Self { classes, title, columns, shown: Vec::new(), text: String::new() }
    }

    pub(super) fn place(&self, width: usize, height: usize) -> Place {
        let font = Font::for_height(height);
        let legend_width = (self.columns + 1) * font.char_px();
        // On the frame it may take a third of the width at most.
        let beside = width < PANEL_BELOW_PX || legend_width * 3 > width;
        let (left, panel_width_px) = if beside { (width, legend_width) } else { (0, 0) };
        Place { font, left, panel_width_px, width: legend_width }
    }

    /// Draws the legend with the share of each class, from its number of pixels.
    pub(super) fn draw(&mut self, canvas: &mut Canvas<'_>, place: Place, counts: &[usize; 256], fps: f64) {
        let (font, line) = (place.font, place.font.line_px());
        let pad = font.char_px() / 2;
        let pixels = counts.iter().sum::<usize>().max(1);
        let share = |class: &Class| 100.0 * counts[usize::from(class.id)] as f64 / pixels as f64;
        let Self { classes, title, columns, shown, text } = self;
        let room = (canvas.height.saturating_sub(pad) / line).saturating_sub(2);
        choose(classes, room, share, shown);
        let lines = 2 + shown.len();
        if place.panel_width_px > 0 {
            canvas.fill((place.left, 0), (place.panel_width_px, canvas.height), PANEL, 256);
        } else {
            canvas.fill((0, 0), (place.width, lines * line + 2 * pad), PANEL, BOX_ALPHA);
        }
        let at = |column: usize, row: usize| (place.left + pad + column * font.char_px(), pad + row * line);
        canvas.text(at(0, 0), font, title, WHITE);
        canvas.text(at(0, 1), font, write(text, format_args!("{:.1} fps", fps.min(9999.9))), GREY);
        let listed = shown.iter().filter_map(|&place| classes.iter().nth(place));
        for (row, class) in (2..).zip(listed) {
            let share = share(class);
            let color = if share > 0.0 { WHITE } else { GREY };
            let (left, top) = at(0, row);
            let side = line * 5 / 8;
            canvas.fill((left, top + (line - side) / 2), (side, side), class.color, 256);
            let name = class.name.char_indices().nth(MAX_NAME).map_or(class.name.as_str(), |(end, _)| &class.name[..end]);
            canvas.text(at(2, row), font, name, color);
            let percent = if share > 0.0 && share < 1.0 { " <1%" } else { write(text, format_args!("{share:3.0}%")) };
            canvas.text(at(*columns - 4, row), font, percent, color);
        }
    }
}

/// Formats into `text`, in place of what it held.
fn write<'a>(text: &'a mut String, arguments: Arguments<'_>) -> &'a str {
    text.clear();
    // A string takes everything.
    let _ = text.write_fmt(arguments);
    text
}

/// Places of all classes if there is room, otherwise of those that take most of the picture; always in order of their ids.
fn choose(classes: &ClassList, room: usize, share: impl Fn(&Class) -> f64, shown: &mut Vec<usize>) {
    shown.clear();
    shown.extend(0..classes.len());
    if shown.len() > room {
        let share = |place: usize| classes.iter().nth(place).map_or(0.0, &share);
        // Equal shares stay in order, as a stable sort would have it, but without its memory.
        shown.sort_unstable_by(|&a, &b| share(b).total_cmp(&share(a)).then(a.cmp(&b)));
        shown.truncate(room);
        shown.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn without_room_the_largest_classes_stay_in_order() {
        let classes = ClassList::from_names(&["a", "b", "c", "d"]).unwrap();
        let share = |class: &Class| [0.1, 0.5, 0.0, 0.4][usize::from(class.id)];
        let places = |room| {
            let mut shown = vec![7];
            choose(&classes, room, share, &mut shown);
            shown
        };
        assert_eq!((places(2), places(4), places(0)), (vec![1, 3], vec![0, 1, 2, 3], vec![]));
    }
}
