use maud::{Markup, PreEscaped, html};

use super::chart::{COLORS, Chart, Scale, Series};
use super::run::RunData;
use crate::train::LogRecord;

/// Loss terms and validation of every step.
pub(super) fn by_step(runs: &[RunData]) -> Markup {
    html! {
        @for (step, classes) in runs[0].config.task.steps.iter().enumerate() {
            @let (losses, validation) = (losses(&runs[0], step), validation(runs, step));
            @if !losses.series.is_empty() || !validation.series.is_empty() {
                h3 { "Step " (step) " " span.quiet { (classes.join(", ")) } }
                div.charts { (figure(&losses)) (figure(&validation)) }
            }
        }
    }
}

/// Mean IoU of old, new and all classes over the steps.
pub(super) fn over_steps(runs: &[RunData]) -> Markup {
    type Mean = fn(&amis_artifacts::metrics::StepMetrics) -> Option<f64>;
    let kinds: [(&str, Mean); 3] = [
        ("Old classes (those of step 0)", |m| m.old.miou),
        ("New classes (those of later steps)", |m| m.new.miou),
        ("All classes, with background", |m| m.all_with_background.miou),
    ];
    html! {
        div.charts {
            @for (title, mean) in kinds {
                (figure(&Chart { title: title.into(), x_label: "step", y_label: "mean IoU (%)", scale: Scale::Percent, series: steps_series(runs, mean) }))
            }
        }
    }
}

fn steps_series(runs: &[RunData], mean: impl Fn(&amis_artifacts::metrics::StepMetrics) -> Option<f64>) -> Vec<Series> {
    let point = |(step, mean): (usize, Option<f64>)| mean.map(|m| (step as f64, 100.0 * m));
    let series = |(color, run): (usize, &RunData)| {
        let points = run.steps.iter().flatten().map(|f| (f.metrics.step, mean(&f.metrics))).filter_map(point).collect();
        Series { name: run.name.clone(), color, points, ringed: None }
    };
    runs.iter().enumerate().map(series).filter(|s| !s.points.is_empty()).collect()
}

fn losses(run: &RunData, step: usize) -> Chart {
    let mut series: Vec<Series> = Vec::new();
    for record in &run.log {
        let LogRecord::Losses { step: of, iteration, terms, .. } = record else { continue };
        if *of != step {
            continue;
        }
        for (name, value) in terms {
            let point = (*iteration as f64, *value);
            match series.iter_mut().find(|s| s.name == *name) {
                Some(series) => series.points.push(point),
                None => series.push(Series { name: name.clone(), color: series.len() % COLORS, points: vec![point], ringed: None }),
            }
        }
    }
    Chart { title: "Loss terms, weighted".into(), x_label: "iteration", y_label: "loss (log scale)", scale: Scale::Log, series }
}

fn validation(runs: &[RunData], step: usize) -> Chart {
    let series = |(color, run): (usize, &RunData)| {
        let points = validation_points(run, step);
        let kept = points.iter().rfind(|p| p.2).map(|p| (p.0, p.1));
        Series { name: run.name.clone(), color, points: points.iter().map(|p| (p.0, p.1)).collect(), ringed: kept }
    };
    let series = runs.iter().enumerate().map(series).filter(|s| !s.points.is_empty()).collect();
    Chart { title: "Validation of the step's own classes".into(), x_label: "epoch", y_label: "mean IoU (%)", scale: Scale::Percent, series }
}

/// Epoch, mean IoU in percent, best so far.
fn validation_points(run: &RunData, step: usize) -> Vec<(f64, f64, bool)> {
    let records: Vec<(usize, f64, bool)> = run
        .log
        .iter()
        .filter_map(|record| match record {
            LogRecord::Validation { step: of, iteration, own_miou, best, .. } if *of == step => Some((*iteration, 100.0 * own_miou, *best)),
            _ => None,
        })
        .collect();
    let train = &run.config.train;
    let epochs = if step == 0 { train.base.epochs } else { train.increment.epochs };
    // The first validation comes after `eval_every` epochs, or at the end of a shorter step.
    let per_epoch = records.first().map_or(1.0, |r| r.0 as f64 / train.eval_every.min(epochs).max(1) as f64);
    records.into_iter().map(|(iteration, miou, best)| (iteration as f64 / per_epoch, miou, best)).collect()
}

pub(crate) fn figure(chart: &Chart) -> Markup {
    html! {
        figure.chart {
            figcaption { (chart.title) }
            @if chart.series.is_empty() {
                p.quiet { "Nothing recorded yet." }
            } @else {
                @match chart.svg() {
                    Ok(svg) => (PreEscaped(svg)),
                    Err(reason) => p.quiet { "The curve cannot be drawn: " (reason) },
                }
                (legend(chart))
            }
        }
    }
}

fn legend(chart: &Chart) -> Markup {
    html! {
        ul.legend {
            @for series in &chart.series {
                li { span.swatch style={ "background:var(--s" (series.color % COLORS) ")" } {} (series.name) }
            }
            @if chart.series.iter().any(|s| s.ringed.is_some()) {
                li { span.ring {} "kept as checkpoint" }
            }
        }
    }
}
