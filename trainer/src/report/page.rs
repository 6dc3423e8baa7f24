use amis_artifacts::live::LiveRun;
use amis_data::label_mapping::FutureClasses;
use maud::{Markup, html};

use super::document::document;
use super::examples::Examples;
use super::extremes::Extremes;
use super::run::RunData;
use super::{confusion, curves, figures, forgetting, iou_table, live, provenance};

/// The whole page; the first run is the one it is about.
pub(super) fn render(runs: &[RunData], examples: &Examples, extremes: &Extremes, update: Option<&LiveRun>) -> Markup {
    let main = &runs[0];
    let body = html! {
        (header(runs))
        main {
            @if let Some(last) = main.last() { (results(runs, examples, extremes, last.metrics.step)) }
            @if let Some(update) = update { section { h2 { "Field update during a live run" } (live::render(update)) } }
            section { h2 { "Training" } (curves::by_step(runs)) }
            section { h2 { "Where it comes from" } (provenance::configuration(runs)) (provenance::lineage(runs)) }
        }
    };
    document(&format!("{}, {}", main.config.task.name, main.name), &body)
}

/// What the finished steps gave; `last` is the last of them.
fn results(runs: &[RunData], examples: &Examples, extremes: &Extremes, last: usize) -> Markup {
    html! {
        section { h2 { "After step " (last) } (figures::tiles(runs)) }
        section { h2 { "IoU by class and step" } (iou_table::render(runs)) }
        @if last > 0 { section { h2 { "Forgetting" } (forgetting::render(runs)) } }
        section { h2 { "Mean IoU over the steps" } (curves::over_steps(runs)) }
        section { h2 { "Examples" } (examples.render(&runs[0].classes)) }
        section { h2 { "Worst and best images" } (extremes.render(&runs[0].classes)) }
        section { h2 { "Confusion matrix" } (confusion::render(&runs[0])) }
    }
}

fn header(runs: &[RunData]) -> Markup {
    let main = &runs[0];
    let finished = main.steps.iter().flatten().count();
    html! {
        header {
            h1 { "Task " (main.config.task.name) }
            p.lead {
                @for (number, run) in runs.iter().enumerate() {
                    span.run { span.swatch style={ "background:var(--s" (number % super::chart::COLORS) ")" } {} b { (run.name) } " " (run.preset()) ", seed " (run.config.train.seed) }
                }
            }
            @if finished < main.steps.len() {
                p.notice { (finished) " of " (main.steps.len()) " steps are finished; this page shows what there is so far." }
            }
            (steps(main))
            p.quiet { "In the evaluation after a step, pixels of classes that are learned later " (future(main)) "." }
        }
    }
}

fn future(run: &RunData) -> &'static str {
    match run.config.task.future_classes {
        FutureClasses::Ignore => "take part in nothing",
        FutureClasses::Background => "count as background",
    }
}

fn steps(run: &RunData) -> Markup {
    let train = &run.config.train;
    html! {
        div.scroll {
            table.plan {
                thead { tr { th scope="col" { "step" } th scope="col" { "classes it teaches" } th.number scope="col" { "training images" } th.number scope="col" { "validation images" } th.number scope="col" { "epochs" } th.number scope="col" { "learning rate" } } }
                tbody {
                    @for (step, classes) in run.config.task.steps.iter().enumerate() {
                        @let phase = if step == 0 { &train.base } else { &train.increment };
                        tr {
                            th scope="row" { (step) }
                            td.classes { (classes.join(", ")) }
                            td.number { (run.images(step, "train")) }
                            td.number { (run.images(step, "val")) }
                            td.number { (phase.epochs) }
                            td.number { (phase.lr) }
                        }
                    }
                }
            }
        }
    }
}
