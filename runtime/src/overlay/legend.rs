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
        Self { classes, title, columns }
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
    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, place: Place, counts: &[usize; 256], fps: f64) {
        let (font, line) = (place.font, place.font.line_px());
        let pad = font.char_px() / 2;
        let pixels = counts.iter().sum::<usize>().max(1);
        let share = |class: &Class| 100.0 * counts[usize::from(class.id)] as f64 / pixels as f64;
        let room = (canvas.height.saturating_sub(pad) / line).saturating_sub(2);
        let shown = self.shown(room, share);
        let lines = 2 + shown.len();
        if place.panel_width_px > 0 {
            canvas.fill((place.left, 0), (place.panel_width_px, canvas.height), PANEL, 256);
        } else {
            canvas.fill((0, 0), (place.width, lines * line + 2 * pad), PANEL, BOX_ALPHA);
        }
        let at = |column: usize, row: usize| (place.left + pad + column * font.char_px(), pad + row * line);
        canvas.text(at(0, 0), font, &self.title, WHITE);
        canvas.text(at(0, 1), font, &format!("{:.1} fps", fps.min(9999.9)), GREY);
        for (row, class) in (2..).zip(shown) {
            let share = share(class);
            let color = if share > 0.0 { WHITE } else { GREY };
            let (left, top) = at(0, row);
            let side = line * 5 / 8;
            canvas.fill((left, top + (line - side) / 2), (side, side), class.color, 256);
            let name: String = class.name.chars().take(MAX_NAME).collect();
            canvas.text(at(2, row), font, &name, color);
            let percent = if share > 0.0 && share < 1.0 { " <1%".to_owned() } else { format!("{share:3.0}%") };
            canvas.text(at(self.columns - 4, row), font, &percent, color);
        }
    }

    /// All classes if there is room, otherwise those that take most of the picture; always in order of their ids.
    fn shown(&self, room: usize, share: impl Fn(&Class) -> f64) -> Vec<&Class> {
        let mut shown: Vec<&Class> = self.classes.iter().collect();
        if shown.len() > room {
            shown.sort_by(|a, b| share(b).total_cmp(&share(a)));
            shown.truncate(room);
            shown.sort_by_key(|c| c.id);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn without_room_the_largest_classes_stay_in_order() {
        let legend = Legend::new(ClassList::from_names(&["a", "b", "c", "d"]).unwrap(), "");
        let share = |class: &Class| [0.1, 0.5, 0.0, 0.4][usize::from(class.id)];
        let names = |room| legend.shown(room, share).iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(2), ["b", "d"]);
        assert_eq!(names(4), ["a", "b", "c", "d"]);
        assert!(names(0).is_empty());
    }
}
