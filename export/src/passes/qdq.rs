//! Explicit quantization: QuantizeLinear and DequantizeLinear at the inputs and weights of Linears, everything else as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use amis_artifacts::onnx::{DataType, GraphProto, Linear, ModelProto, NodeProto, TensorProto, linears};
use half::f16;

use super::edit::{self, constant, float_constant, node};
use super::target::WeightStorage;
use crate::graph::builder::int;
use crate::{Error, Result};

/// Largest quantized value; the range is symmetric, -128 is not used for weights.
pub(crate) const LEVELS: f32 = 127.0;
/// The zero point of everything.
const ZERO: &str = "constant.zero_point";

/// How the pass writes.
pub(crate) struct Options<'a> {
    /// How weights are stored.
    pub weights: WeightStorage,
    /// Rounds scales to FP16, so that a conversion to FP16 afterwards changes none of them.
    pub half_scales: bool,
    /// Layers that stay as they are.
    pub keep: &'a BTreeSet<String>,
    /// Quantized graph whose scales of weights are kept where they fit, so that weights that hardly moved stay the same numbers.
    pub parent: Option<&'a ModelProto>,
}

/// Quantizes the Linears of one of our graphs; `ranges` has the largest magnitude of every tensor that goes into one. Symmetric int8 with zero
/// point 0: one scale a tensor for inputs, one an output channel for weights. A tensor gets one pair, however many Linears take it. Gives the
/// names of the layers, and the number of channels that have the parent's scale.
///
/// # Errors
/// No Linears, a name in `keep` that is none, a graph quantized already, a range that is missing or no positive finite number.
pub(crate) fn quantize(model: &mut ModelProto, ranges: &BTreeMap<String, f32>, options: &Options<'_>) -> Result<(Vec<String>, usize)> {
    let graph = edit::graph(model)?;
    let fail = |reason: String| Err(Error::Pass { reason });
    if graph.node.iter().any(|n| n.op_type() == "QuantizeLinear" || n.op_type() == "DequantizeLinear") {
        return fail("it is quantized already".into());
    }
    let mut linears = linears(graph);
    if let Some(name) = options.keep.iter().find(|&name| !linears.iter().any(|l| l.name == *name)) {
        let names: Vec<&str> = linears.iter().map(|l| l.name.as_str()).collect();
        return fail(format!("it has no Linear {name:?} to keep; it has {}", names.join(", ")));
    }
    linears.retain(|l| !options.keep.contains(&l.name));
    if linears.is_empty() {
        return fail("it has no Linear left to quantize; this pass knows the graphs of `amis-export onnx`".into());
    }
    let mut writer = Writer { options, ranges, done: HashSet::new(), pending: Vec::new(), constants: Vec::new(), scales_kept: 0 };
    writer.constants.push(constant(ZERO, DataType::Int8, &[], vec![0]));
    let by_name: HashMap<String, TensorProto> = linears.iter().map(|l| l.weight.clone()).map(|name| (name.clone(), weight(graph, &name))).collect();
    let mut selected = linears.iter().peekable();
    let mut nodes = Vec::with_capacity(graph.node.len() + 3 * linears.len());
    for (index, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        if let Some(linear) = selected.next_if(|l| l.node == index) {
            node.input[0] = writer.activation(&linear.input)?;
            node.input[1] = writer.weight(linear, &by_name[&linear.weight])?;
            nodes.append(&mut writer.pending);
        }
        nodes.push(node);
    }
    graph.node = nodes;
    graph.initializer.append(&mut writer.constants);
    edit::remove_unused_constants(graph);
    let scales_kept = writer.scales_kept;
    Ok((linears.into_iter().map(|l| l.name).collect(), scales_kept))
}

fn weight(graph: &GraphProto, name: &str) -> TensorProto {
    graph.initializer.iter().find(|t| t.name() == name).cloned().unwrap_or_default()
}

/// Makes pairs, each once.
struct Writer<'a> {
    options: &'a Options<'a>,
    ranges: &'a BTreeMap<String, f32>,
    done: HashSet<String>,
    pending: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    scales_kept: usize,
}

impl Writer<'_> {
    /// Q/DQ on the tensor `x`; gives the name of the result.
    fn activation(&mut self, x: &str) -> Result<String> {
        let result = format!("{x}.dequantized");
        if self.done.insert(x.to_owned()) {
            let wrong = |reason: String| Error::Range { tensor: x.to_owned(), reason };
            let &amax = self.ranges.get(x).ok_or_else(|| wrong("has no range in the calibration".into()))?;
            if !(amax.is_finite() && amax > 0.0) {
                return Err(wrong(format!("has the range {amax}, expected a positive finite number")));
            }
            let scale = format!("{x}.scale");
            self.constants.push(float_constant(&scale, &[], &[self.scale(amax).ok_or_else(|| wrong(format!("has the range {amax}, too large for FP16")))?]));
            let quantized = format!("{x}.quantized");
            self.pending.push(node(&format!("{x}.quantize"), "QuantizeLinear", &[x, &scale, ZERO], &quantized, vec![]));
            self.pending.push(node(&format!("{x}.dequantize"), "DequantizeLinear", &[&quantized, &scale, ZERO], &result, vec![]));
        }
        Ok(result)
    }

    /// The weight of a Linear as int8 behind a DequantizeLinear, or float32 with a pair; gives the name of the result.
    fn weight(&mut self, linear: &Linear, tensor: &TensorProto) -> Result<String> {
        let name = &linear.weight;
        let result = format!("{name}.dequantized");
        if !self.done.insert(name.clone()) {
            return Ok(result);
        }
        let wrong = |reason: &str| Error::Weight { name: name.clone(), reason: reason.to_owned() };
        let values = edit::floats(tensor).ok_or_else(|| wrong("is no float32 constant in the file"))?;
        let channels = Channels::new(tensor, linear.out_axis);
        let scales = channels.largest(&values).into_iter().map(|amax| self.scale(amax)).collect::<Option<Vec<f32>>>();
        let mut scales = scales.ok_or_else(|| wrong("is not finite, or too large for FP16"))?;
        let [scale, zero, quantized] = ["scale", "zero_point", "quantized"].map(|part| format!("{name}.{part}"));
        if let Some(old) = self.options.parent.and_then(|parent| scales_of(parent, &scale)).filter(|old| old.len() == scales.len()) {
            let (own_error, old_error) = (channels.squared_errors(&values, &scales), channels.squared_errors(&values, &old));
            for (channel, scale) in scales.iter_mut().enumerate().filter(|(c, _)| old_error[*c] <= MAX_ERROR * own_error[*c]) {
                *scale = old[channel];
                self.scales_kept += 1;
            }
        }
        let count = scales.len() as i64;
        let axis = || vec![int("axis", linear.out_axis as i64)];
        self.constants.push(float_constant(&scale, &[count], &scales));
        self.constants.push(constant(&zero, DataType::Int8, &[count], vec![0; scales.len()]));
        match self.options.weights {
            WeightStorage::Int8 => {
                let steps = |(i, &w): (usize, &f32)| level(w, scales[channels.of(i)]) as i8 as u8;
                self.constants.push(constant(&quantized, DataType::Int8, &tensor.dims, values.iter().enumerate().map(steps).collect()));
            }
            WeightStorage::Float => {
                self.pending.push(node(&format!("{name}.quantize"), "QuantizeLinear", &[name, &scale, &zero], &quantized, axis()));
            }
        }
        self.pending.push(node(&format!("{name}.dequantize"), "DequantizeLinear", &[&quantized, &scale, &zero], &result, axis()));
        Ok(result)
    }

    /// The scale of a range: positive and finite whatever the range; none if FP16 cannot hold it.
    fn scale(&self, amax: f32) -> Option<f32> {
        let scale = amax / LEVELS;
        let scale = if self.options.half_scales { f16::from_f32(scale).max(f16::MIN_POSITIVE_SUBNORMAL).to_f32() } else { scale.max(f32::MIN_POSITIVE) };
        scale.is_finite().then_some(scale)
    }
}

/// A parent's scale is kept where the squared error of a channel's weights grows by no more than a tenth.
const MAX_ERROR: f64 = 1.1;

/// The scales of this name in a quantized graph, if they are usable.
fn scales_of(graph: &ModelProto, name: &str) -> Option<Vec<f32>> {
    // The conversion to FP16 gives its constants names of their own.
    let is_it = |t: &&TensorProto| t.name() == name || t.name().strip_suffix(".fp16") == Some(name);
    let tensor = graph.graph.as_ref()?.initializer.iter().find(is_it)?;
    edit::floats(tensor).filter(|scales| scales.iter().all(|s| s.is_normal() && *s > 0.0))
}

/// Quantized value of a weight.
fn level(weight: f32, scale: f32) -> f32 {
    (weight / scale).round_ties_even().clamp(-LEVELS, LEVELS)
}

/// Output channels of a weight, along one of its dimensions.
struct Channels {
    count: usize,
    /// Values from one channel to the next.
    stride: usize,
}

impl Channels {
    fn new(tensor: &TensorProto, axis: usize) -> Self {
        let sizes: Vec<usize> = tensor.dims.iter().map(|&d| d.max(0) as usize).collect();
        Self { count: sizes[axis], stride: sizes[axis + 1..].iter().product::<usize>().max(1) }
    }

    /// Channel of a value.
    fn of(&self, index: usize) -> usize {
        index / self.stride % self.count
    }

    /// Sum of the squared errors of every channel with these scales.
    fn squared_errors(&self, values: &[f32], scales: &[f32]) -> Vec<f64> {
        let mut errors = vec![0.0; self.count];
        for (i, &value) in values.iter().enumerate() {
            let channel = self.of(i);
            let error = f64::from(level(value, scales[channel]) * scales[channel] - value);
            errors[channel] += error * error;
        }
        errors
    }

    /// Largest magnitude of every channel. A channel of zeros gets that of the whole tensor, a tensor of zeros 1: a scale of 0 is refused by parsers.
    fn largest(&self, values: &[f32]) -> Vec<f32> {
        let mut largest = vec![0f32; self.count];
        for (i, v) in values.iter().enumerate() {
            // `f32::max` would hide a value that is not a number.
            let of = &mut largest[self.of(i)];
            *of = if v.is_nan() { f32::INFINITY } else { of.max(v.abs()) };
        }
        let all = largest.iter().copied().fold(0.0, f32::max);
        largest.iter_mut().filter(|amax| **amax == 0.0).for_each(|amax| *amax = if all > 0.0 { all } else { 1.0 });
        largest
    }
}
