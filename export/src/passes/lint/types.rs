//! Types along the edges, as far as the operators are known here.

use std::collections::HashMap;

use amis_artifacts::onnx::{DataType, NodeProto};

use super::view::{View, input, is, name, output};
use super::{Findings, Rule, shown};
use crate::passes::edit;

/// Operators whose inputs are all of one type, which the result has too.
const SAME: &[&str] = &[
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Max",
    "Min",
    "Sum",
    "MatMul",
    "Gemm",
    "Conv",
    "ConvTranspose",
    "Concat",
    "LayerNormalization",
    "Erf",
    "Sqrt",
    "Exp",
    "Log",
    "Sigmoid",
    "Softmax",
    "Relu",
    "Gelu",
    "Tanh",
    "Neg",
    "Abs",
    "GlobalAveragePool",
    "AveragePool",
    "MaxPool",
    "BatchNormalization",
];
/// Operators whose result has the type of the first input, whatever the others are.
const FIRST: &[&str] = &[
    "Reshape",
    "Transpose",
    "Slice",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Gather",
    "Expand",
    "Flatten",
    "Identity",
    "Pad",
    "Tile",
    "Pow",
    "Clip",
    "Resize",
    "ReduceMean",
    "ReduceL2",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
];

pub(crate) fn check(view: &View<'_>, findings: &mut Findings) {
    let mut types: HashMap<&str, DataType> = view.graph.initializer.iter().map(|t| (t.name(), edit::data_type(t))).collect();
    types.extend(view.graph.input.iter().filter_map(|i| Some((i.name(), i.element_type()?))));
    for node in &view.graph.node {
        let of = |at: usize| types.get(input(node, at)).copied();
        let made = if matches!(node.op_type(), "QuantizeLinear" | "DequantizeLinear") {
            quantization(view, node, of, findings)
        } else if !matches!(node.domain(), "" | "ai.onnx") {
            None
        } else if SAME.contains(&node.op_type()) {
            same(node, &types, findings)
        } else if FIRST.contains(&node.op_type()) {
            of(0)
        } else if is(node, "Cast") {
            edit::attribute(node, "to").and_then(|a| DataType::try_from(i32::try_from(a.i()).ok()?).ok())
        } else if is(node, "Shape") {
            Some(DataType::Int64)
        } else {
            view.constants.get(output(node)).map(|t| edit::data_type(t))
        };
        if let Some(made) = made {
            types.extend(node.output.iter().map(|o| (o.as_str(), made)));
        }
    }
    for value in &view.graph.output {
        if let (Some(found), Some(expected)) = (types.get(value.name()), value.element_type())
            && *found != expected
        {
            findings.add(Rule::Types, value.name(), format!("is declared as {expected:?}, its node gives {found:?}"));
        }
    }
}

/// All inputs of one type.
fn same(node: &NodeProto, types: &HashMap<&str, DataType>, findings: &mut Findings) -> Option<DataType> {
    let mut known = node.input.iter().filter_map(|i| Some((i.as_str(), *types.get(i.as_str())?)));
    let (first, found) = known.next()?;
    if let Some((other, differs)) = known.find(|(_, t)| *t != found) {
        findings.add(Rule::Types, name(node), format!("takes {} as {found:?} and {} as {differs:?}", shown(first), shown(other)));
    }
    Some(found)
}

/// QuantizeLinear takes what its scale is and gives int8; DequantizeLinear gives what its scale is. FP16 scales exist from operator set 19.
fn quantization(view: &View<'_>, node: &NodeProto, of: impl Fn(usize) -> Option<DataType>, findings: &mut Findings) -> Option<DataType> {
    let scale = of(1);
    if scale == Some(DataType::Float16) && view.opset < 19 {
        findings.add(Rule::Types, name(node), format!("has an FP16 scale in operator set {}, which is known from 19", view.opset));
    }
    if is(node, "QuantizeLinear") {
        if let (Some(data), Some(scale)) = (of(0), scale)
            && data != scale
        {
            findings.add(Rule::Types, name(node), format!("takes {data:?} with a scale of {scale:?}"));
        }
        return of(2).or(Some(DataType::Uint8));
    }
    if let Some(data) = of(0).filter(|&t| t != DataType::Int8) {
        findings.add(Rule::Types, name(node), format!("dequantizes {data:?}, expected Int8"));
    }
    scale
}
