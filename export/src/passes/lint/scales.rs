//! Rules about the numbers of QuantizeLinear and DequantizeLinear.

use std::collections::BTreeMap;

use amis_artifacts::onnx::{DataType, NodeProto};

use super::view::{View, input, is, name, output};
use super::{Expected, Findings, Rule, shown};
use crate::passes::edit;
use crate::passes::qdq::LEVELS;

pub(crate) fn check(view: &View<'_>, expected: &Expected<'_>, findings: &mut Findings) {
    for node in &view.graph.node {
        let quantizes = is(node, "QuantizeLinear");
        if !quantizes && !is(node, "DequantizeLinear") {
            continue;
        }
        let Some(scales) = scales(view, node, findings) else { continue };
        zero_points(view, node, quantizes, scales.len(), findings);
        axis(view, node, quantizes, scales.len(), findings);
        if let (true, [scale], Some(ranges)) = (quantizes, &scales[..], expected.ranges) {
            range(view, node, *scale, ranges, findings);
        }
        if let (false, Some(source)) = (quantizes, view.made_by(input(node, 0), "QuantizeLinear")) {
            // Shared constants are the usual case and need no look at the values.
            let same = input(source, 1) == input(node, 1) || view.constants.get(input(source, 1)).and_then(|t| edit::floats(t)).as_ref() == Some(&scales);
            if !same {
                findings.add(Rule::Pair, name(node), format!("has another scale than {}", shown(name(source))));
            }
        }
    }
}

/// The scales of a node, if they can be known.
fn scales(view: &View<'_>, node: &NodeProto, findings: &mut Findings) -> Option<Vec<f32>> {
    let Some(tensor) = view.constants.get(input(node, 1)) else {
        findings.add(Rule::Scale, name(node), format!("its scale {} is no constant", shown(input(node, 1))));
        return None;
    };
    let Some(scales) = edit::floats(tensor).filter(|s| !s.is_empty()) else {
        findings.add(Rule::Scale, name(node), format!("its scale {} is not readable as float32 or float16 in this file", shown(input(node, 1))));
        return None;
    };
    if let Some((at, scale)) = scales.iter().enumerate().find(|(_, s)| !(s.is_finite() && **s > 0.0)) {
        findings.add(Rule::Scale, name(node), format!("its scale is {scale} at position {at}, expected a positive finite number"));
    }
    Some(scales)
}

fn zero_points(view: &View<'_>, node: &NodeProto, quantizes: bool, scales: usize, findings: &mut Findings) {
    let mut wrong = |reason: String| findings.add(Rule::ZeroPoint, name(node), reason);
    let zero = input(node, 2);
    if zero.is_empty() {
        // DequantizeLinear without one takes the type of its data.
        if quantizes {
            wrong("has no zero point, which means uint8; expected int8 zeros".into());
        }
        return;
    }
    let Some(tensor) = view.constants.get(zero) else { return wrong(format!("its zero point {} is no constant", shown(zero))) };
    match (edit::data_type(tensor), edit::integers(tensor)) {
        (DataType::Int8, Some(values)) if values.len() != scales => wrong(format!("has {} zero points for {scales} scales", values.len())),
        (DataType::Int8, Some(values)) => {
            if let Some(value) = values.iter().find(|&&v| v != 0) {
                wrong(format!("its zero point is {value}, expected 0"));
            }
        }
        (DataType::Int8, None) => wrong(format!("its zero point {} is not readable in this file", shown(zero))),
        (found, _) => wrong(format!("its zero point is {found:?}, expected Int8")),
    }
}

/// One scale for an activation; for a weight one or as many as output channels, along their dimension.
fn axis(view: &View<'_>, node: &NodeProto, quantizes: bool, scales: usize, findings: &mut Findings) {
    let mut wrong = |reason: String| findings.add(Rule::Axis, name(node), reason);
    if edit::attribute(node, "block_size").is_some_and(|a| a.i() != 0) {
        return wrong("has blocks; expected one scale a tensor or an output channel".into());
    }
    if scales == 1 && view.constants.get(input(node, 1)).is_some_and(|t| t.dims.len() <= 1) {
        return;
    }
    let data = input(node, 0);
    let source = if quantizes { data } else { view.made_by(data, "QuantizeLinear").map_or(data, |q| input(q, 0)) };
    let Some(tensor) = view.constants.get(source) else {
        return wrong(format!("has {scales} scales for the activation {}, expected one", shown(source)));
    };
    let rank = tensor.dims.len() as i64;
    let given = edit::attribute(node, "axis").map_or(1, |a| a.i());
    let axis = if given < 0 { given.saturating_add(rank) } else { given };
    let Some(&size) = usize::try_from(axis).ok().and_then(|at| tensor.dims.get(at)) else {
        return wrong(format!("its axis is {given}, but {} has {rank} dimensions", shown(source)));
    };
    if size != scales as i64 {
        return wrong(format!("has {scales} scales along axis {given} of {}, whose size is {size}", shown(source)));
    }
    if quantizes {
        return;
    }
    for (consumer, at) in view.consumers(output(node)) {
        let channels = match (consumer.op_type(), at) {
            ("MatMul", 1) => rank - 1,
            ("Conv", 1) => 0,
            ("ConvTranspose", 1) => 1,
            ("Gemm", 1) if edit::attribute(consumer, "transB").is_some_and(|a| a.i() != 0) => 0,
            ("Gemm", 1) => 1,
            ("MatMul" | "Gemm" | "Conv", 0) => {
                return wrong(format!("is the left side of {} with a scale a channel, expected one scale", shown(name(consumer))));
            }
            _ => continue,
        };
        if axis != channels {
            return wrong(format!("its axis is {axis}, the output channels of {} are along {channels}", shown(name(consumer))));
        }
    }
}

/// The scale of an activation is the one that its range gives, up to FP16's rounding.
fn range(view: &View<'_>, node: &NodeProto, scale: f32, ranges: &BTreeMap<String, f32>, findings: &mut Findings) {
    let mut source = input(node, 0);
    if view.constants.contains_key(source) {
        return;
    }
    if let Some(cast) = view.made_by(source, "Cast") {
        source = input(cast, 0);
    }
    match ranges.get(source) {
        None => findings.add(Rule::Range, name(node), format!("{} has no range in the calibration", shown(source))),
        Some(amax) if ((scale - amax / LEVELS) / scale).abs() > 1e-3 && (scale - amax / LEVELS).abs() > 6e-8 => {
            findings.add(Rule::Range, name(node), format!("its scale is {scale}, the range of {} gives {}", shown(source), amax / LEVELS));
        }
        Some(_) => {}
    }
}
