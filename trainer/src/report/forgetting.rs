use maud::{Markup, html};

use super::figures::{chip, percent, points};
use super::run::RunData;

/// How much of every class is left: IoU when it was learned, IoU now, and the difference as a bar. For the classes of the last step there is nothing yet.
pub(super) fn render(runs: &[RunData]) -> Markup {
    html! {
        div.scroll {
            table.figures {
                thead {
                    tr {
                        th scope="col" { "class" }
                        @if runs.len() > 1 { th scope="col" { "run" } }
                        th scope="col" { "step" }
                        th scope="col" { "then" }
                        th scope="col" { "now" }
                        th scope="col" { "change" }
                        th scope="col" {}
                    }
                }
                @for class in runs[0].classes.iter() {
                    tbody {
                        @for (number, run) in runs.iter().enumerate() {
                            @let id = usize::from(class.id);
                            @let change = run.forgetting(id);
                            @if let Some(last) = run.last().map(|f| f.metrics.step).filter(|last| run.learned_in(id) < *last) {
                                tr {
                                    th scope="row" { @if number == 0 { (chip(class.color)) (class.name) } }
                                    @if runs.len() > 1 { td { (run.name) } }
                                    td { (run.learned_in(id)) }
                                    td { (percent(run.iou(run.learned_in(id), id))) }
                                    td { (percent(run.iou(last, id))) }
                                    td { (points(change)) }
                                    td.loss.better[change.is_some_and(|c| c > 0.0)] { @if let Some(change) = change.filter(|c| c.abs() >= 0.0005) { i style=(format!("--v:{:.3}", change.abs())) {} } }
                                }
                            }
                        }
                    }
                }
            }
        }
        p.quiet { "IoU right after the step that taught the class, and now, in percent; the change is in percentage points. A bar to the left is forgotten, one to the right was gained since. Half the width is 100 points." }
    }
}
