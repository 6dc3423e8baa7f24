use std::collections::BTreeMap;

use serde::Serialize;

use crate::common::median;
use crate::ours::Measured;

/// All kinds with one number of threads.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub threads: usize,
    /// Largest relative difference between a loss term of ours and of the peer.
    pub loss_difference: Option<f64>,
    /// By kind: `ours`, `plain`, `fused`.
    pub figures: BTreeMap<String, Figures>,
}

/// Of one kind, over all its processes.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Median time of a step.
    pub step_seconds: f64,
    /// Median processor time of a step.
    pub cpu_seconds: f64,
    /// Median over the processes.
    pub peak_bytes: f64,
    /// Median over the processes.
    pub grown_bytes: f64,
}

impl Figures {
    pub fn of(processes: &[Measured], warmup: usize) -> Self {
        let steady = |values: fn(&Measured) -> &Vec<f64>| median(processes.iter().flat_map(|p| values(p).iter().skip(warmup).copied()));
        Self {
            step_seconds: steady(|p| &p.seconds),
            cpu_seconds: steady(|p| &p.cpu_seconds),
            peak_bytes: median(processes.iter().map(|p| p.peak_bytes as f64)),
            grown_bytes: median(processes.iter().map(|p| p.grown_bytes as f64)),
        }
    }
}

/// Markdown, with our figure as a part of each peer's.
pub fn print(backbone: &str, side_px: u32, batch: i64, comparisons: &[Comparison]) {
    println!("MBS step, {backbone}, {side_px} px, batch {batch}, VOC 15-1 step 1\n");
    println!("| threads | | step, ms | CPU, ms | peak, MB | growth, MB |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for comparison in comparisons {
        let ours = &comparison.figures["ours"];
        for kind in ["ours", "plain", "fused"] {
            let Some(peer) = comparison.figures.get(kind) else { continue };
            let cell = |value: fn(&Figures) -> f64, unit: f64| {
                let ratio = if kind == "ours" { String::new() } else { format!(" ({:.2})", value(ours) / value(peer)) };
                format!("{:.0}{ratio}", value(peer) / unit)
            };
            let name = if kind == "ours" { "ours".to_owned() } else { format!("PyTorch, {kind}") };
            let (time, cpu) = (cell(|f| f.step_seconds, 1e-3), cell(|f| f.cpu_seconds, 1e-3));
            println!("| {} | {name} | {time} | {cpu} | {} | {} |", comparison.threads, cell(|f| f.peak_bytes, 1e6), cell(|f| f.grown_bytes, 1e6));
        }
    }
    println!("\nIn brackets: ours as a part of it.");
    for comparison in comparisons {
        if let Some(difference) = comparison.loss_difference {
            println!("{} threads: losses agree within {difference:.1e} (relative).", comparison.threads);
        }
    }
}
