//! The Linear layers of a graph: what calibration observes and quantization changes, found in one place.

use std::collections::{HashMap, HashSet};

use super::{GraphProto, NodeProto, TensorProto};

/// Start of the names of GAB's nodes.
const GAB: &str = "decoder.gab.";

/// Operator that a Linear is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearOp {
    /// `MatMul` with a constant weight `[inputs, out]`, then `Add` of a constant bias.
    MatMul,
    /// `Gemm` with constant weight and bias, the weight `[inputs, out]` or transposed.
    Gemm,
    /// `Conv` that touches every pixel once (kernel = stride, no padding): a Linear on every patch, weight `[out, channels, h, w]`.
    PatchConv,
}

/// A Linear layer: names of its values in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Place of its product in `graph.node`.
    pub node: usize,
    /// Name of that node, or of its output where it has none.
    pub name: String,
    /// How it is written.
    pub op: LinearOp,
    /// The tensor it takes, not a constant.
    pub input: String,
    /// The constant weight.
    pub weight: String,
    /// Axis of the weight that counts the output channels.
    pub out_axis: usize,
}

/// The Linear layers of a graph, in the order of its nodes: qkv, proj, fc1, fc2, proj_dec and the patch embedding of our networks.
///
/// A product of two tensors (attention), one with a constant but without bias (the projections before `mask_norm`) and a weight that is no
/// float32 constant of the graph are none; neither are GAB's layers, which work on one token or give one channel.
pub fn linears(graph: &GraphProto) -> Vec<Linear> {
    let constants: HashMap<&str, &TensorProto> = graph.initializer.iter().map(|t| (t.name(), t)).collect();
    let mut consumers: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
    for node in &graph.node {
        for input in &node.input {
            consumers.entry(input).or_default().push(node);
        }
    }
    let outputs: HashSet<&str> = graph.output.iter().map(|o| o.name()).collect();
    let linear = |(place, node): (usize, &NodeProto)| {
        let [input, weight_name, ..] = &node.input[..] else { return None };
        let weight = constants.get(weight_name.as_str()).filter(|t| t.data_type == Some(super::DataType::Float.into()))?;
        let product = node.output.first()?;
        let (op, out_axis) = match node.op_type() {
            "MatMul" if weight.dims.len() == 2 => {
                let [add] = consumers.get(product.as_str())?[..] else { return None };
                let bias = add.input.iter().find(|i| *i != product).and_then(|i| constants.get(i.as_str()))?;
                let fits = add.op_type() == "Add" && bias.dims == weight.dims[1..] && !outputs.contains(product.as_str());
                fits.then_some((LinearOp::MatMul, 1))?
            }
            "Gemm" if weight.dims.len() == 2 => {
                let transposed = |name: &str| int(node, name).unwrap_or(0) != 0;
                constants.get(node.input.get(2)?.as_str())?;
                (!transposed("transA")).then_some((LinearOp::Gemm, usize::from(!transposed("transB"))))?
            }
            "Conv" => is_patch_conv(node, weight).then_some((LinearOp::PatchConv, 0))?,
            _ => return None,
        };
        if constants.contains_key(input.as_str()) || input.is_empty() {
            return None;
        }
        let name = if node.name().is_empty() { product } else { node.name() };
        if name.starts_with(GAB) {
            return None;
        }
        Some(Linear { node: place, name: name.to_owned(), op, input: input.clone(), weight: weight_name.clone(), out_axis })
    };
    graph.node.iter().enumerate().filter_map(linear).collect()
}

fn is_patch_conv(node: &NodeProto, weight: &TensorProto) -> bool {
    let ints = |name: &str| node.attribute.iter().find(|a| a.name() == name).map(|a| &a.ints[..]);
    let auto_pad = node.attribute.iter().find(|a| a.name() == "auto_pad").map(|a| a.s());
    weight.dims.len() == 4
        && ints("strides") == Some(&weight.dims[2..])
        && ints("pads").is_none_or(|pads| pads.iter().all(|&p| p == 0))
        && ints("dilations").is_none_or(|d| d.iter().all(|&d| d == 1))
        && int(node, "group").unwrap_or(1) == 1
        && matches!(auto_pad, None | Some(b"NOTSET" | b"VALID"))
}

fn int(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name() == name)?.i
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{AttributeProto, DataType};

    fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
        let input = inputs.iter().map(|&i| i.to_owned()).collect();
        NodeProto { input, output: vec![output.into()], name: Some(output.into()), op_type: Some(op.into()), attribute, ..NodeProto::default() }
    }

    fn constant(name: &str, dims: &[i64]) -> TensorProto {
        TensorProto { name: Some(name.into()), dims: dims.to_vec(), data_type: Some(DataType::Float.into()), ..TensorProto::default() }
    }

    fn ints(name: &str, ints: &[i64]) -> AttributeProto {
        AttributeProto { name: Some(name.into()), ints: ints.to_vec(), ..AttributeProto::default() }
    }

    #[test]
    fn linears_are_found_and_nothing_else() {
        let flag = AttributeProto { name: Some("transB".into()), i: Some(1), ..AttributeProto::default() };
        let graph = GraphProto {
            node: vec![
                node("Conv", &["image", "kernel", "bias"], "patches", vec![ints("strides", &[4, 4])]),
                node("Conv", &["image", "kernel", "bias"], "overlapping", vec![ints("strides", &[2, 2])]),
                node("Conv", &["image", "kernel", "bias"], "padded", vec![ints("strides", &[4, 4]), ints("pads", &[1, 1, 1, 1])]),
                node("MatMul", &["patches", "weight"], "product", vec![]),
                node("Add", &["bias", "product"], "linear", vec![]),
                node("MatMul", &["linear", "weight"], "without bias", vec![]),
                node("MatMul", &["linear", "without bias"], "attention", vec![]),
                node("Add", &["attention", "bias"], "shifted", vec![]),
                node("Gemm", &["linear", "wide", "bias"], "gemm", vec![flag]),
                node("MatMul", &["linear", "weight"], "decoder.gab.fc1", vec![]),
                node("Add", &["decoder.gab.fc1", "bias"], "decoder.gab.fc1.add", vec![]),
                node("MatMul", &["weight", "weight"], "folded", vec![]),
                node("Add", &["folded", "bias"], "constant", vec![]),
            ],
            initializer: vec![constant("kernel", &[8, 3, 4, 4]), constant("weight", &[8, 8]), constant("wide", &[8, 5]), constant("bias", &[8])],
            ..GraphProto::default()
        };
        let found: Vec<_> = linears(&graph).into_iter().map(|l| (l.name, l.op, l.input, l.weight, l.out_axis)).collect();
        let expected = |name: &str, op, input: &str, weight: &str, axis| (name.to_owned(), op, input.to_owned(), weight.to_owned(), axis);
        assert_eq!(
            found,
            [
                expected("patches", LinearOp::PatchConv, "image", "kernel", 0),
                expected("product", LinearOp::MatMul, "patches", "weight", 1),
                expected("gemm", LinearOp::Gemm, "linear", "wide", 0)
            ]
        );
    }
}
