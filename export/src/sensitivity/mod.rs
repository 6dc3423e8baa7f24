//! Which layers suffer from INT8: each Linear quantized alone, and all but it.

mod plot;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use amis_artifacts::calibration::{CalibrationKey, CalibrationTable};
use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use amis_artifacts::onnx::{self, ModelProto, linears};
use serde::{Deserialize, Serialize};

use crate::compare::measure::{Measured, Reference, Runner};
use crate::compare::{Images, Reproduction, points};
use crate::passes::target::Target;
use crate::passes::{Job, Precision, prepare};
use crate::{Error, Result};

/// Version of the file's format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// The family whose INT8 graphs are measured: the one that runs here, with float32 around the Linears.
const TARGET: &str = "cpu";

/// What quantizing does to the masks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// Mean squared difference of the masks to the float32 graph's.
    pub mask_mse: f64,
    /// Share of the pixels that get the float32 graph's class, 0..1.
    pub argmax_agreement: f64,
    /// Mean IoU over all classes with background, 0..1; none without labels.
    pub miou: Option<f64>,
    /// Mean IoU of the float32 graph less this, 0..1; none unless the float32 graph does as well as the trainer measured.
    pub drop: Option<f64>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its name in the graph.
    pub name: String,
    /// Nothing but this layer in INT8.
    pub only: Effect,
    /// All layers but this one in INT8.
    pub without: Effect,
}

/// A layer that stays in FP16.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its name in the graph.
    pub layer: String,
    /// Why it and not another.
    pub reason: String,
}

/// Layers to keep so that the loss stays within a budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Most mean IoU to lose, in points.
    pub points: f64,
    /// Layers that stay in FP16, worst first.
    pub keep: Vec<Kept>,
    /// All other layers in INT8.
    pub rest: Effect,
    /// Whether that is within the budget. If not, INT8 is not for this network.
    pub met: bool,
}

/// What was measured of a graph's layers. As JSON it is the file that `amis-export quantize --sensitivity` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// [`FORMAT_VERSION`] at the time of writing.
    pub format_version: u32,
    /// SHA-256 of the float32 graph.
    pub graph_sha256: String,
    /// SHA-256 of the calibration table.
    pub calibration_sha256: String,
    /// Number of images.
    pub images: usize,
    /// SHA-256 of their names, one a line.
    pub list_sha256: String,
    /// Whether the float32 graph does as well as the trainer measured; if not, no loss is stated.
    pub reproduction: Reproduction,
    /// All layers in INT8.
    pub all: Effect,
    /// The layers, worst first: the first is the one without which the squared error falls most.
    pub layers: Vec<Layer>,
    /// What a budget asks for; none if there is none.
    pub budget: Option<Budget>,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The network.
    pub checkpoint: &'a Checkpoint,
    /// Its float32 graph.
    pub onnx: &'a Path,
    /// Ranges measured on that graph.
    pub calibration: &'a Path,
    /// Most mean IoU to lose, in points; none: layers are measured and none is kept.
    pub budget_points: Option<f64>,
    /// Threads of one inference; 0 takes one a physical core.
    pub threads: usize,
}

impl Sensitivity {
    /// Measures every layer of a graph. `progress` is called after every image of every graph with the stage (`layers`, then `budget`), the images done in it
    /// and those there are; a budget may be met before all of its.
    ///
    /// # Errors
    /// A graph, a table or images that do not belong together; with a budget: the float32 graph does not do as well as the trainer measured
    /// ([`Error::NoLoss`]); no ONNX Runtime, the disk.
    pub fn measure(question: &Question<'_>, images: &Images, progress: impl FnMut(&'static str, usize, usize)) -> Result<Self> {
        let Question { checkpoint, onnx, calibration, budget_points, threads } = *question;
        let bytes = files::read_limited(onnx, "an ONNX model", onnx::MAX_MODEL_BYTES)?;
        let (model, graph_sha256) = (onnx::parse(&bytes, onnx)?, files::sha256(&bytes));
        let table = CalibrationTable::read(calibration)?;
        let image_spec = checkpoint.manifest.image_spec.clone();
        let tool_version = env!("CARGO_PKG_VERSION").into();
        table.check(calibration, &CalibrationKey { graph_sha256: graph_sha256.clone(), image_spec, tool_version, ..table.key.clone() })?;
        let names: Vec<String> = linears(&model.graph.clone().unwrap_or_default()).into_iter().map(|l| l.name).collect();

        let mut progress = Progress { stage: "layers", done: 0, all: images.len() * (2 + 2 * names.len()), tell: progress };
        let runner = Runner::open(model.clone(), onnx, checkpoint, threads)?;
        let (reference, float) = Reference::new(runner, checkpoint, images, || progress.step())?;
        let reproduction = Reproduction::new(checkpoint, images, float.miou())?;
        if let (Some(reason), Some(_)) = (&reproduction.problem, budget_points) {
            return Err(Error::NoLoss { reason: reason.clone() });
        }
        let ranges = table.tensors.into_iter().map(|(name, range)| (name, range.amax)).collect();
        let float_miou = float.miou().filter(|_| reproduction.problem.is_none());
        let mut bench = Bench { checkpoint, onnx, model, ranges, target: Target::find(TARGET)?, threads, images, reference, float_miou };

        let all = bench.effect(&BTreeSet::new(), || progress.step())?;
        let every: BTreeSet<String> = names.iter().cloned().collect();
        let mut layers = Vec::with_capacity(names.len());
        for name in names {
            let this = BTreeSet::from([name.clone()]);
            let only = bench.effect(&every.difference(&this).cloned().collect(), || progress.step())?;
            let without = bench.effect(&this, || progress.step())?;
            layers.push(Layer { name, only, without });
        }
        layers.sort_by(|a, b| a.without.mask_mse.total_cmp(&b.without.mask_mse).then(b.only.mask_mse.total_cmp(&a.only.mask_mse)));
        let budget = budget_points.map(|points| budget(&mut bench, points, &all, &layers, &mut progress)).transpose()?;
        let calibration_sha256 = files::sha256_file(calibration)?;
        let (list_sha256, images) = (images.list_sha256(), images.len());
        Ok(Self { format_version: FORMAT_VERSION, graph_sha256, calibration_sha256, images, list_sha256, reproduction, all, layers, budget })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Unreadable, too large, or of another format version.
    pub fn read(path: &Path) -> Result<Self> {
        let found: Self = files::read_json(path, "sensitivity")?;
        if found.format_version != FORMAT_VERSION {
            let reason = format!("format version {}, this tool reads {FORMAT_VERSION}", found.format_version);
            return Err(amis_artifacts::Error::Malformed { what: "sensitivity", path: path.into(), reason }.into());
        }
        Ok(found)
    }

    /// The layers to keep; `path` is where this comes from, for messages.
    ///
    /// # Errors
    /// It was measured on another graph or table, had no budget, or none of its layers can be INT8.
    pub fn keep(&self, path: &Path, graph_sha256: &str, calibration: &Path) -> Result<BTreeSet<String>> {
        let refused = |reason: String| Err(Error::Sensitivity { path: path.into(), reason });
        if self.graph_sha256 != graph_sha256 {
            return refused(format!("it was measured on the graph with SHA-256 {}, this one has {graph_sha256}", self.graph_sha256));
        }
        let table = files::sha256_file(calibration)?;
        if self.calibration_sha256 != table {
            return refused(format!("it was measured with the calibration table with SHA-256 {}, this one has {table}", self.calibration_sha256));
        }
        match &self.budget {
            None => refused("it was measured without --budget, so no layer is chosen".into()),
            Some(budget) if !budget.met => refused(format!("no choice of layers keeps the loss within {} points", budget.points)),
            Some(budget) => Ok(budget.keep.iter().map(|k| k.layer.clone()).collect()),
        }
    }

    /// A drawing of the layers as SVG.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn plot(&self, path: &Path) -> Result<()> {
        let svg = plot::svg(self).map_err(|reason| amis_artifacts::Error::Io { action: "draw", path: path.into(), source: std::io::Error::other(reason) })?;
        Ok(files::write_atomic(path, svg.as_bytes())?)
    }
}

/// Images done in a stage, of those there are.
struct Progress<F> {
    stage: &'static str,
    done: usize,
    all: usize,
    tell: F,
}

impl<F: FnMut(&'static str, usize, usize)> Progress<F> {
    fn begin(&mut self, stage: &'static str, all: usize) {
        (self.stage, self.done, self.all) = (stage, 0, all);
    }

    fn step(&mut self) {
        self.done += 1;
        (self.tell)(self.stage, self.done, self.all);
    }
}

/// Measures INT8 graphs of one float32 graph.
struct Bench<'a> {
    checkpoint: &'a Checkpoint,
    onnx: &'a Path,
    model: ModelProto,
    ranges: BTreeMap<String, f32>,
    target: Target,
    threads: usize,
    images: &'a Images,
    reference: Reference,
    /// Mean IoU of the float32 graph, if a loss may be stated.
    float_miou: Option<f64>,
}

impl Bench<'_> {
    /// All layers in INT8 but those of `keep`.
    fn effect(&mut self, keep: &BTreeSet<String>, progress: impl FnMut()) -> Result<Effect> {
        let mut model = self.model.clone();
        prepare(&mut model, &Job { target: &self.target, precision: Precision::Int8, ranges: &self.ranges, keep, parent: None })?;
        let mut runner = Runner::open(model, self.onnx, self.checkpoint, self.threads)?;
        let measured: Measured = self.reference.measure(&mut runner, self.checkpoint, self.images, progress)?;
        let drop = self.float_miou.zip(measured.miou()).map(|(float, int8)| float - int8);
        Ok(Effect { mask_mse: measured.mask_mse, argmax_agreement: measured.mean_agreement(), miou: measured.miou(), drop })
    }
}

/// Keeps layers, worst first, until the loss is within the budget.
fn budget<F: FnMut(&'static str, usize, usize)>(
    bench: &mut Bench<'_>,
    budget_points: f64,
    all: &Effect,
    layers: &[Layer],
    progress: &mut Progress<F>,
) -> Result<Budget> {
    let within = |effect: &Effect| effect.drop.is_some_and(|drop| 100.0 * drop <= budget_points);
    let (mut keep, mut kept, mut rest) = (Vec::new(), BTreeSet::new(), all.clone());
    // One layer is left to quantize: a graph without any is no INT8 graph.
    let most = layers.len().saturating_sub(1);
    progress.begin("budget", most * bench.images.len());
    for layer in layers.iter().take(most) {
        if within(&rest) {
            break;
        }
        kept.insert(layer.name.clone());
        let next = bench.effect(&kept, || progress.step())?;
        let lost = |effect: &Effect| points(effect.drop);
        let reason = format!(
            "without it alone the squared error of the masks falls from {:.2e} to {:.2e}; keeping it changes the loss from {} to {} points",
            all.mask_mse,
            layer.without.mask_mse,
            lost(&rest),
            lost(&next)
        );
        keep.push(Kept { layer: layer.name.clone(), reason });
        rest = next;
    }
    let met = within(&rest);
    Ok(Budget { points: budget_points, keep, rest, met })
}
