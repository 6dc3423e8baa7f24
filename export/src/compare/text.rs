//! A comparison as a person reads it.

use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{Compared, Comparison};

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = self.graphs.first().map_or(0, |g| g.quality.images);
        match (&self.reproduction.problem, self.reproduction.trainer_miou) {
            (None, Some(trainer)) => writeln!(f, "{images} images, on which the trainer measured {} points of mean IoU", points(Some(trainer)))?,
            (problem, _) => writeln!(f, "{images} images; not compared with the trainer: {}", problem.as_deref().unwrap_or_default())?,
        }
        let row = |g: &Compared| {
            let fp16 = if g.emulated { " (FP16 emulated)" } else { "" };
            let agreement = format!("{:.3}", 100.0 * g.quality.argmax_agreement);
            vec![
                name(g),
                format!("{}{fp16}", g.precision),
                g.bytes.to_string(),
                agreement,
                format!("{:.2e}", g.mask_mse),
                points(g.quality.miou),
                points(g.drop),
            ]
        };
        write!(f, "\n{}", table(["graph", "precision", "bytes", "same class %", "mask MSE", "mIoU", "drop"].map(str::to_owned), self.graphs.iter().map(row)))?;
        if self.graphs.iter().any(|g| !g.quality.iou.is_empty()) {
            let rows = self.classes.iter().enumerate().map(|(id, class)| {
                let iou = |g: &Compared| points(g.quality.iou.get(id).copied().flatten());
                std::iter::once(class.clone()).chain(self.graphs.iter().map(iou)).collect()
            });
            write!(f, "\n\n{}", table(std::iter::once("IoU".to_owned()).chain(self.graphs.iter().map(name)), rows))?;
        }
        for graph in &self.graphs {
            for worst in &graph.worst {
                let place = worst.picture.as_ref().map(|p| format!(", {}", p.display())).unwrap_or_default();
                write!(f, "\nworst of {}: {} {:.2} % same class{place}", name(graph), worst.image, 100.0 * worst.argmax_agreement)?;
            }
        }
        self.graphs
            .iter()
            .flat_map(|g| g.misses.iter().map(move |miss| (g, miss)))
            .try_for_each(|(g, miss)| write!(f, "\n{} is not to be used: {miss}", name(g)))
    }
}

/// File name without its ending.
fn name(graph: &Compared) -> String {
    graph.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Percentage points with two decimals; no "-0.00".
pub(crate) fn points(share: Option<f64>) -> String {
    share.map_or("–".into(), |v| format!("{:.2}", (1e4 * v).round() / 100.0 + 0.0))
}

/// A table that reads well on a terminal and is Markdown: numbers to the right.
pub(crate) fn table(head: impl IntoIterator<Item = String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(head).add_rows(rows);
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table.trim_fmt()
}
