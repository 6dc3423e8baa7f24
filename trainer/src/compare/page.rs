use maud::{Markup, html};

use super::table::spread;
use super::{Comparison, Group, Outcome, StepMeans, plot};
use crate::report::chart::{COLORS, Chart, Scale, Series};
use crate::report::curves::figure;
use crate::report::document::document;
use crate::report::figures::percent;

/// The comparison as a page of its own.
pub(super) fn render(comparison: &Comparison) -> Markup {
    let orders: Vec<&[Group]> = comparison.groups.chunk_by(|a, b| a.order == b.order).collect();
    let names = orders.iter().map(|groups| groups[0].order.as_str()).collect::<Vec<_>>().join(", ");
    let body = html! {
        header {
            h1 { "Runs side by side" }
            p.lead { "Order " (names) ": " (comparison.runs.len()) " runs in " (comparison.groups.len()) " groups." }
            p.quiet {
                "IoU in percent, mean ± standard deviation over the seeds. Old classes are those of the base step and new ones those of later steps, "
                "both without background; all is with it. Retention is old after the last step divided by old after the base step."
            }
            @for skipped in &comparison.skipped { p.notice { "Left out: " (skipped.run) ", " (skipped.reason) "." } }
        }
        main { @for groups in orders { (order(groups, &comparison.runs)) } }
    };
    document(&format!("Runs side by side: {names}"), &body)
}

fn order(groups: &[Group], runs: &[Outcome]) -> Markup {
    let order = &groups[0].order;
    html! {
        section {
            h2 { "Order " (order) }
            (table(groups, &["base", "old", "new", "all", "retention"], |g| [g.base_miou, g.miou_old, g.miou_new, g.miou_all, g.retention].map(spread).to_vec()))
            div.scroll.plot { (plot::inline(groups, runs)) }
        }
        (over_steps(groups))
        (classes(groups))
        section {
            h2 { "Runs of " (order) }
            (run_table(&runs.iter().filter(|r| r.order == *order).collect::<Vec<_>>()))
        }
    }
}

fn table(groups: &[Group], columns: &[&str], values: impl Fn(&Group) -> Vec<String>) -> Markup {
    html! {
        div.scroll {
            table.figures {
                thead { tr { th scope="col" { "preset" } th scope="col" { "seeds" } @for column in columns { th scope="col" { (column) } } } }
                tbody {
                    @for group in groups {
                        tr {
                            th scope="row" { (group.preset) @if !group.variant.is_empty() { br; small.quiet { (group.variant) } } }
                            td { (group.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")) }
                            @for value in values(group) { td { (value) } }
                        }
                    }
                }
            }
        }
    }
}

/// Curves of the means over the steps. With more groups than colours, only the usual configuration of each preset.
fn over_steps(groups: &[Group]) -> Markup {
    let stepwise = |group: &&Group| group.steps.len() > 1 && (groups.len() <= COLORS || group.variant.is_empty());
    let shown: Vec<&Group> = groups.iter().filter(stepwise).collect();
    let chart = |title: &str, mean: fn(&StepMeans) -> Option<f64>| {
        let points = |group: &Group| group.steps.iter().enumerate().filter_map(|(step, s)| mean(s).map(|m| (step as f64, 100.0 * m))).collect();
        let name = |group: &Group| if group.variant.is_empty() { group.preset.clone() } else { format!("{}, {}", group.preset, group.variant) };
        let series = |(color, group): (usize, &&Group)| Series { name: name(group), color: color % COLORS, points: points(group), ringed: None };
        let series = shown.iter().enumerate().map(series).collect();
        Chart { title: title.into(), x_label: "step", y_label: "mean IoU (%)", scale: Scale::Percent, series }
    };
    html! {
        @if !shown.is_empty() {
            section {
                h2 { "Mean IoU over the steps" }
                div.charts {
                    (figure(&chart("Old classes", |s| s.miou_old)))
                    (figure(&chart("New classes", |s| s.miou_new)))
                    (figure(&chart("All classes, with background", |s| s.miou_all)))
                }
            }
        }
    }
}

fn classes(groups: &[Group]) -> Markup {
    let first = &groups[0].classes;
    let all: Vec<&str> = first.iter().map(|c| c.name.as_str()).collect();
    let new: Vec<&str> = first.iter().filter(|c| c.step > 0).map(|c| c.name.as_str()).collect();
    html! {
        section {
            h2 { "IoU of every class after the last step" }
            (table(groups, &all, |g| g.classes.iter().map(|c| spread(c.iou)).collect()))
        }
        @if !new.is_empty() {
            section {
                h2 { "IoU of the new classes right after their own step" }
                (table(groups, &new, |g| g.classes.iter().filter(|c| c.step > 0).map(|c| spread(c.own_step_iou)).collect()))
            }
        }
    }
}

fn run_table(runs: &[&Outcome]) -> Markup {
    let columns = ["preset", "seed", "base", "old", "new", "all", "retention"];
    html! {
        div.scroll {
            table.figures {
                thead { tr { th scope="col" { "run" } @for column in columns { th scope="col" { (column) } } } }
                tbody {
                    @for run in runs {
                        tr {
                            th scope="row" { (run.run) @if !run.variant.is_empty() { br; small.quiet { (run.variant) } } }
                            td { (run.preset) }
                            td { (run.seed) }
                            @for value in [run.base_miou, run.miou_old, run.miou_new, run.miou_all, run.retention] { td { (percent(value)) } }
                        }
                    }
                }
            }
        }
    }
}
