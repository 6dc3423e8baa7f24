use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{Group, Spread};

/// Tables that read well on a terminal and are Markdown: per order the means, the IoU of every class, and of new classes right after their own step.
pub(super) fn render(groups: &[Group]) -> String {
    let orders = groups.chunk_by(|a, b| a.order == b.order);
    orders.map(order).collect::<Vec<_>>().join("\n\n")
}

fn order(groups: &[Group]) -> String {
    let first = &groups[0];
    let names = |new: bool| first.classes[1..].iter().filter(|c| (c.step > 0) == new).map(|c| c.name.as_str()).collect::<Vec<_>>();
    let (old, new) = (names(false), names(true));
    let mut text = format!("Order {}: old classes {}", first.order, old.join(", "));
    if !new.is_empty() {
        text.push_str(&format!("; new classes {}", new.join(", ")));
    }
    text.push_str(".\nIoU in percent; mean ± standard deviation over seeds. Old and new are without background, all is with it.\n\n");
    let means = |g: &Group| [g.base_miou, g.miou_old, g.miou_new, g.miou_all, g.retention].map(spread).to_vec();
    text.push_str(&table(groups, &["base", "old", "new", "all", "retention"], means));
    let all: Vec<&str> = first.classes.iter().map(|c| c.name.as_str()).collect();
    text.push_str("\n\nIoU of every class after the last step:\n\n");
    text.push_str(&table(groups, &all, |g| g.classes.iter().map(|c| spread(c.iou)).collect()));
    if !new.is_empty() {
        text.push_str("\n\nIoU of the new classes right after their own step:\n\n");
        text.push_str(&table(groups, &new, |g| g.classes.iter().filter(|c| c.step > 0).map(|c| spread(c.own_step_iou)).collect()));
    }
    text
}

fn table(groups: &[Group], columns: &[&str], values: impl Fn(&Group) -> Vec<String>) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(["preset", "variant", "seeds"].iter().chain(columns));
    for group in groups {
        let seeds = group.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        table.add_row([group.preset.clone(), group.variant.clone(), seeds].into_iter().chain(values(group)));
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

/// Percent with one decimal, with the spread where there is one.
pub(super) fn spread(spread: Spread) -> String {
    match (spread.mean, spread.std) {
        (Some(mean), Some(std)) => format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * std),
        (Some(mean), None) => format!("{:.1}", 100.0 * mean),
        (None, _) => "–".into(),
    }
}
