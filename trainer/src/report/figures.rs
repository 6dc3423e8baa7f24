use amis_artifacts::metrics::StepMetrics;
use maud::{Markup, html};

use super::run::RunData;

/// A share as percent with one decimal, or a dash.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |s| format!("{:.1}", 100.0 * s))
}

/// A difference in percentage points with its sign, or a dash.
pub(crate) fn points(difference: Option<f64>) -> String {
    let text = |d: f64| {
        // Rounded first, so that no "-0.0" appears.
        let rounded = (1000.0 * d).round() / 10.0;
        if rounded == 0.0 { "0.0".into() } else { format!("{rounded:+.1}").replace('-', "\u{2212}") }
    };
    difference.map_or("–".into(), text)
}

/// A small square in a class's colour.
pub(crate) fn chip(color: [u8; 3]) -> Markup {
    let [r, g, b] = color;
    html! { span.swatch style={ "background:rgb(" (r) " " (g) " " (b) ")" } {} }
}

/// The final figures of the first run, with those of the others below each.
pub(crate) fn tiles(runs: &[RunData]) -> Markup {
    let mean = |of: fn(&StepMetrics) -> Option<f64>| move |run: &RunData| run.last().and_then(|f| of(&f.metrics));
    let steps = &runs[0].config.task.steps;
    let new = if steps.len() > 1 { "classes of later steps" } else { "there are no later steps" };
    html! {
        div.tiles {
            (tile(runs, "Old classes", "mean IoU, classes of step 0", &mean(|m| m.old.miou), percent, "%"))
            (tile(runs, "New classes", &format!("mean IoU, {new}"), &mean(|m| m.new.miou), percent, "%"))
            (tile(runs, "All classes", "mean IoU, with background", &mean(|m| m.all_with_background.miou), percent, "%"))
            (tile(runs, "Forgetting", "mean IoU now minus when learned", &RunData::mean_forgetting, points, "points"))
        }
    }
}

fn tile(runs: &[RunData], title: &str, what: &str, value: &dyn Fn(&RunData) -> Option<f64>, text: fn(Option<f64>) -> String, unit: &str) -> Markup {
    let main = value(&runs[0]);
    html! {
        div.tile {
            h3 { (title) }
            p.big { (text(main)) @if main.is_some() { " " small { (unit) } } }
            p.quiet { (what) }
            @if runs.len() > 1 {
                dl {
                    @for run in &runs[1..] {
                        @let other = value(run);
                        dt { (run.name) }
                        dd { (text(other)) }
                        dd.quiet { @if let (Some(a), Some(b)) = (main, other) { (points(Some(b - a))) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_they_should() {
        assert_eq!((percent(Some(0.12345)).as_str(), percent(None).as_str()), ("12.3", "–"));
        assert_eq!((points(Some(-0.1234)).as_str(), points(Some(0.05)).as_str()), ("\u{2212}12.3", "+5.0"));
        assert_eq!((points(Some(-0.0001)).as_str(), points(None).as_str()), ("0.0", "–"));
    }
}
