//! What a release has to fulfil before it is staged.

use std::fmt;

use amis_artifacts::bundle::{BundleManifest, GraphEntry};
use amis_artifacts::release::bundle_file;
use serde::Serialize;

use crate::{Error, Result};

/// What a mean of IoU may be off by rounding, in points: a loss of just what is allowed is allowed.
const ROUNDING_POINTS: f64 = 1e-9;

/// The rules.
#[derive(Debug, Clone)]
pub struct Gate {
    /// How many points of mean IoU over the classes of the parent each graph may have lost.
    pub max_old_drop_points: f64,
    /// Bundles (`<name>-<version>`) that may lose more, or were not measured, because a person says so.
    pub allow: Vec<String>,
}

/// A graph beside one of the parent's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Target and precision.
    pub graph: String,
    /// Target and precision of the parent's graph.
    pub parent_graph: String,
    /// Mean IoU of the parent over its classes without background, 0..1.
    pub parent_miou: f64,
    /// Mean IoU over the same classes now, 0..1.
    pub miou: f64,
    /// Difference in points; negative if it got better.
    pub lost_points: f64,
    /// The class that lost most.
    pub worst_class: String,
    /// How much that lost, in points.
    pub worst_lost_points: f64,
}

impl Gate {
    /// Compares a bundle with its parent, and gives the comparison of every graph.
    ///
    /// # Errors
    /// [`Error::Gate`]: a graph that lost too much or cannot be compared, unless the bundle is among those allowed; [`Error::Artifact`]: classes that do not
    /// extend the parent's, which nobody can allow.
    pub fn check(&self, new: &BundleManifest, parent: Option<&BundleManifest>) -> Result<Vec<Comparison>> {
        if let Some(parent) = parent {
            new.classes.must_extend(&parent.classes)?;
        }
        let bundle = format!("{}-{}", new.name, new.version);
        let (mut comparisons, mut reasons) = (Vec::new(), Vec::new());
        for graph in &new.graphs {
            match parent {
                None if is_measured(graph) => {}
                None => reasons.push(format!("its graph {} was not measured on labelled images", name(graph))),
                Some(parent) => match compare(graph, new, parent) {
                    Ok(comparison) => {
                        if comparison.lost_points > self.max_old_drop_points + ROUNDING_POINTS {
                            reasons.push(format!("{comparison}, more than the {} points allowed", self.max_old_drop_points));
                        }
                        comparisons.push(comparison);
                    }
                    Err(reason) => reasons.push(reason),
                },
            }
        }
        if reasons.is_empty() || self.allow.contains(&bundle) {
            return Ok(comparisons);
        }
        Err(Error::Gate { bundle, reasons })
    }
}

/// Whether IoU by class is known.
fn is_measured(graph: &GraphEntry) -> bool {
    graph.quality.as_ref().is_some_and(|q| q.iou.iter().any(Option::is_some))
}

fn name(graph: &GraphEntry) -> String {
    format!("{} {}", graph.target, graph.precision)
}

/// Compares with the parent's graph of the same target and precision; without one, with the parent's best.
fn compare(graph: &GraphEntry, new: &BundleManifest, parent: &BundleManifest) -> std::result::Result<Comparison, String> {
    let of_parent = bundle_file(&parent.name, parent.version);
    if !is_measured(graph) {
        return Err(format!("its graph {} was not measured on labelled images", name(graph)));
    }
    let best = || parent.graphs.iter().filter(|g| is_measured(g)).max_by(|a, b| miou(a).total_cmp(&miou(b)));
    let twin = parent.graph(&graph.target, &graph.precision).filter(|g| is_measured(g)).or_else(best);
    let twin = twin.ok_or_else(|| format!("no graph of its parent {of_parent} was measured on labelled images"))?;
    let iou = |graph: &GraphEntry, id: usize| graph.quality.as_ref().and_then(|q| q.iou.get(id).copied().flatten());
    let old: Vec<(usize, f64, f64)> = (1..parent.classes.len()).filter_map(|id| Some((id, iou(twin, id)?, iou(graph, id)?))).collect();
    let worst = old.iter().max_by(|a, b| (a.1 - a.2).total_cmp(&(b.1 - b.2)));
    let Some(&(worst, before, after)) = worst else {
        return Err(format!("its graph {} was measured on images without a class of its parent {of_parent}", name(graph)));
    };
    let mean = |values: fn(&(usize, f64, f64)) -> f64| old.iter().map(values).sum::<f64>() / old.len() as f64;
    let (parent_miou, miou) = (mean(|o| o.1), mean(|o| o.2));
    Ok(Comparison {
        graph: name(graph),
        parent_graph: name(twin),
        parent_miou,
        miou,
        lost_points: (parent_miou - miou) * 100.0,
        worst_class: new.classes.iter().nth(worst).map_or_else(String::new, |c| c.name.clone()),
        worst_lost_points: (before - after) * 100.0,
    })
}

fn miou(graph: &GraphEntry) -> f64 {
    graph.quality.as_ref().and_then(|q| q.miou).unwrap_or(0.0)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { graph, parent_graph, parent_miou, miou, lost_points, worst_class, worst_lost_points } = self;
        let (before, now) = (parent_miou * 100.0, miou * 100.0);
        write!(f, "{graph}: mean IoU of old classes {before:.1} ({parent_graph}) -> {now:.1}, {:+.1} points", -lost_points)?;
        write!(f, "; worst is {worst_class}, {:+.1}", -worst_lost_points)
    }
}
