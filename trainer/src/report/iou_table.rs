use amis_artifacts::metrics::{MeanIou, StepMetrics};
use maud::{Markup, html};

use super::figures::{chip, percent, points};
use super::run::RunData;

/// IoU of every class after every step with its forgetting, and the means, for all runs side by side.
pub(super) fn render(runs: &[RunData]) -> Markup {
    let steps = runs[0].config.task.steps.len();
    html! {
        div.scroll {
            table.figures {
                thead {
                    tr {
                        th rowspan="2" scope="col" { "IoU (%)" }
                        @for run in runs { th.group colspan=(steps + 1) scope="colgroup" { (run.name) } }
                    }
                    tr {
                        @for _ in runs {
                            @for step in 0..steps { th.first[step == 0] scope="col" { "step " (step) } }
                            th scope="col" { "change" }
                        }
                    }
                }
                (class_rows(runs, steps))
                (mean_rows(runs, "Mean IoU", |m| m.miou))
                (mean_rows(runs, "MBS-compatible: mean of non-zero IoUs", |m| m.miou_mbs))
            }
        }
        p.quiet {
            "Change is the IoU after the last step minus the IoU after the step that taught the class, in percentage points: forgetting where it is negative. "
            "The mean IoU skips classes that are absent and never predicted, and counts those that are missed, or predicted but absent, as 0."
        }
    }
}

fn class_rows(runs: &[RunData], steps: usize) -> Markup {
    html! {
        @for group in 0..steps {
            tbody {
                @for class in runs[0].classes.iter().filter(|c| runs[0].learned_in(usize::from(c.id)) == group) {
                    @let id = usize::from(class.id);
                    tr {
                        th scope="row" { (chip(class.color)) (class.name) }
                        @for run in runs {
                            @for step in 0..steps { (value_cell(run.iou(step, id), step == 0)) }
                            (change_cell(run.forgetting(id)))
                        }
                    }
                }
            }
        }
    }
}

/// The five means in one reading.
fn mean_rows(runs: &[RunData], title: &str, reading: fn(&MeanIou) -> Option<f64>) -> Markup {
    type Mean = fn(&StepMetrics) -> &MeanIou;
    let means: [(&str, Mean, bool); 5] = [
        ("old classes", |m| &m.old, true),
        ("old classes + background", |m| &m.old_with_background, true),
        ("new classes", |m| &m.new, false),
        ("all classes", |m| &m.all, false),
        ("all classes + background", |m| &m.all_with_background, false),
    ];
    let steps = runs[0].config.task.steps.len();
    let columns = 1 + runs.len() * (steps + 1);
    html! {
        tbody.means {
            tr { th.title colspan=(columns) scope="rowgroup" { span { (title) } } }
            @for (name, mean, same_classes) in means {
                tr {
                    th scope="row" { (name) }
                    @for run in runs {
                        @let values: Vec<Option<f64>> = (0..steps).map(|s| run.step(s).and_then(|f| reading(mean(&f.metrics)))).collect();
                        @for (step, value) in values.iter().enumerate() { (value_cell(*value, step == 0)) }
                        // Only the old classes are the same after every step, so only their means can be subtracted.
                        @if same_classes { (change_cell(run.last().and_then(|f| mean_change(&values, f.metrics.step)))) } @else { td {} }
                    }
                }
            }
        }
    }
}

/// Value after the last finished step minus that after step 0, if there is a later one.
fn mean_change(values: &[Option<f64>], last: usize) -> Option<f64> {
    let at = |step: usize| values.get(step).copied().flatten();
    if last > 0 { Some(at(last)? - at(0)?) } else { None }
}

fn value_cell(iou: Option<f64>, first: bool) -> Markup {
    html! { td.heat.first[first] style=[iou.map(|v| format!("--v:{v:.3}"))] { (percent(iou)) } }
}

fn change_cell(change: Option<f64>) -> Markup {
    // A loss of 50 points has the full shade.
    let shade = change.map(|c| format!("--v:{:.3}", (2.0 * c.abs()).min(1.0)));
    html! { td.heat.worse[change.is_some_and(|c| c < 0.0)].better[change.is_some_and(|c| c > 0.0)] style=[shade] { (points(change)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_of_a_mean_needs_a_later_step() {
        assert_eq!(mean_change(&[Some(0.5), None], 0), None);
        assert_eq!(mean_change(&[Some(0.5), Some(0.25), None], 1), Some(-0.25));
        assert_eq!(mean_change(&[Some(0.5), Some(0.25), None], 2), None, "no older value stands in for the last one");
        assert_eq!(mean_change(&[None, Some(0.25)], 1), None);
    }
}
