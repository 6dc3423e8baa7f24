//! Shapes of all values of a graph, from its inputs and constants.

use std::collections::HashMap;

use amis_artifacts::onnx::{GraphProto, NodeProto, TensorProto};

use crate::passes::edit;
use crate::{Error, Result};

/// Most dimensions of a tensor, and most elements: what is more comes from damage.
const MAX_DIMS: usize = 16;
const MAX_ELEMENTS: u64 = 1 << 40;

/// A value of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<u64>,
    /// Whether it is known before the graph runs.
    pub(super) constant: bool,
}

impl Tensor {
    pub(super) fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// All values by name.
pub(super) type Tensors<'a> = HashMap<&'a str, Tensor>;

/// What is known so far.
struct Known<'a> {
    tensors: Tensors<'a>,
    /// Constants with their values.
    initializers: HashMap<&'a str, &'a TensorProto>,
}

/// Shapes of all values of a graph.
///
/// # Errors
/// A size that is not fixed, an operator whose rule is not known and whose outputs the graph does not declare, shapes that do not fit each other.
pub(super) fn infer(graph: &GraphProto) -> Result<Tensors<'_>> {
    let mut known = Known { tensors: HashMap::new(), initializers: graph.initializer.iter().map(|t| (t.name(), t)).collect() };
    for tensor in &graph.initializer {
        known.insert(tensor.name(), dims(&tensor.dims), true)?;
    }
    for input in &graph.input {
        if known.initializers.contains_key(input.name()) {
            continue; // the default of an input, as old exporters write constants
        }
        let shape = input.fixed_tensor().and_then(|(_, shape)| dims(&shape));
        known.insert(input.name(), shape, false)?;
    }
    let declared: HashMap<&str, Vec<u64>> = graph.value_info.iter().filter_map(|v| Some((v.name(), dims(&v.fixed_tensor()?.1)?))).collect();
    for node in &graph.node {
        let constant = node.input.iter().filter(|i| !i.is_empty()).all(|i| known.tensors.get(i.as_str()).is_some_and(|t| t.constant));
        if let (Some(value), [output, ..]) = (edit::attribute(node, "value").and_then(|a| a.t.as_ref()), &node.output[..]) {
            known.initializers.insert(output, value);
        }
        let shapes = match node.output.iter().map(|o| declared.get(o.as_str()).cloned()).collect() {
            Some(shapes) => Some(shapes),
            None => known.outputs(node),
        };
        let shapes = shapes.filter(|s: &Vec<_>| s.len() >= node.output.len());
        for (at, output) in node.output.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
            let shape = shapes.as_ref().and_then(|s| s.get(at).cloned());
            let inputs = || node.input.iter().map(|i| known.tensors.get(i.as_str()).map(|t| &t.shape)).collect::<Vec<_>>();
            let shape = shape.ok_or_else(|| wrong(format!("{} {:?} of inputs {:?}", node.op_type(), node.name(), inputs())))?;
            known.insert(output, Some(shape), constant)?;
        }
    }
    Ok(known.tensors)
}

fn wrong(what: String) -> Error {
    Error::Plan { reason: format!("the shape of {what} is not known") }
}

impl<'a> Known<'a> {
    fn insert(&mut self, name: &'a str, shape: Option<Vec<u64>>, constant: bool) -> Result<()> {
        let elements = |shape: &Vec<u64>| shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let usable = shape.filter(|s| s.len() <= MAX_DIMS && elements(s).is_some_and(|n| n <= MAX_ELEMENTS));
        let shape = usable.ok_or_else(|| wrong(format!("{name:?}")))?;
        self.tensors.insert(name, Tensor { shape, constant });
        Ok(())
    }

    fn shape(&self, node: &NodeProto, at: usize) -> Option<&[u64]> {
        Some(&self.tensors.get(node.input.get(at)?.as_str())?.shape)
    }

    /// Integers of a constant input; none if the input is left out or computed.
    fn integers(&self, node: &NodeProto, at: usize) -> Option<Vec<i64>> {
        edit::integers(self.initializers.get(node.input.get(at)?.as_str())?)
    }

    /// Integers from an input in newer operator sets, from an attribute in older ones.
    fn integers_or(&self, node: &NodeProto, at: usize, name: &str) -> Option<Vec<i64>> {
        self.integers(node, at).or_else(|| edit::attribute(node, name).map(|a| a.ints.clone()))
    }

    /// Shapes of a node's outputs; none if its rule or a shape is not known.
    fn outputs(&self, node: &NodeProto) -> Option<Vec<Vec<u64>>> {
        let int = |name: &str, default: i64| edit::attribute(node, name).map_or(default, |a| a.i());
        let ints = |name: &str| edit::attribute(node, name).map(|a| a.ints.clone());
        let one = |shape: Vec<u64>| Some(vec![shape]);
        match node.op_type() {
            "Constant" => one(dims(&self.initializers.get(node.output.first()?.as_str())?.dims)?),
            "Cast" | "Identity" | "Dropout" | "Erf" | "Gelu" | "Relu" | "Tanh" | "Sigmoid" | "Sqrt" | "Exp" | "Log" | "Neg" | "Abs" | "Reciprocal" | "Clip"
            | "Softmax" | "LayerNormalization" | "HardSigmoid" | "HardSwish" | "LeakyRelu" | "BatchNormalization" => one(self.shape(node, 0)?.to_vec()),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Where" | "Equal" | "Greater" | "Less" => {
                one((0..node.input.len()).try_fold(vec![], |shape, at| broadcast(&shape, self.shape(node, at)?))?)
            }
            "MatMul" => one(product(self.shape(node, 0)?, self.shape(node, 1)?)?),
            "Gemm" => {
                let side = |at: usize, transposed: bool, axis: usize| self.shape(node, at)?.get(axis ^ usize::from(transposed)).copied();
                let (a, b) = (int("transA", 0) != 0, int("transB", 0) != 0);
                (side(0, a, 1)? == side(1, b, 0)?).then_some(vec![vec![side(0, a, 0)?, side(1, b, 1)?]])
            }
            "Conv" => one(convolved(self.shape(node, 0)?, self.shape(node, 1)?, ints("strides"), ints("pads"), ints("dilations"))?),
            "Transpose" => {
                let shape = self.shape(node, 0)?;
                let order = ints("perm").unwrap_or_else(|| (0..shape.len() as i64).rev().collect());
                one(order.iter().map(|&d| shape.get(usize::try_from(d).ok()?).copied()).collect::<Option<_>>()?)
            }
            "Reshape" => one(reshaped(self.shape(node, 0)?, &self.integers(node, 1)?)?),
            "Flatten" => {
                let shape = self.shape(node, 0)?;
                let (outer, inner) = shape.split_at_checked(place(int("axis", 1), shape.len() + 1)?)?;
                one(vec![outer.iter().product(), inner.iter().product()])
            }
            "Concat" => {
                let mut shape = self.shape(node, 0)?.to_vec();
                let axis = place(int("axis", 0), shape.len())?;
                shape[axis] = (0..node.input.len()).try_fold(0u64, |n, at| n.checked_add(*self.shape(node, at)?.get(axis)?))?;
                one(shape)
            }
            "Split" => {
                let shape = self.shape(node, 0)?;
                let axis = place(int("axis", 0), shape.len())?;
                let equal = || vec![(shape[axis] / node.output.len().max(1) as u64) as i64; node.output.len()];
                let sizes = dims(&self.integers_or(node, 1, "split").unwrap_or_else(equal))?;
                let part = |size: u64| shape.iter().enumerate().map(|(d, &n)| if d == axis { size } else { n }).collect();
                (sizes.iter().sum::<u64>() == shape[axis]).then(|| sizes.iter().map(|&size| part(size)).collect())
            }
            "Slice" => one(self.sliced(node)?),
            "Gather" => {
                let (shape, indices) = (self.shape(node, 0)?, self.shape(node, 1)?);
                let axis = place(int("axis", 0), shape.len())?;
                one([&shape[..axis], indices, &shape[axis + 1..]].concat())
            }
            "Unsqueeze" => {
                let mut shape = self.shape(node, 0)?.to_vec();
                let axes = self.integers_or(node, 1, "axes")?;
                let mut axes = axes.iter().map(|&a| place(a, shape.len() + axes.len())).collect::<Option<Vec<_>>>()?;
                axes.sort_unstable();
                axes.iter().try_for_each(|&a| (a <= shape.len()).then(|| shape.insert(a, 1)))?;
                one(shape)
            }
            "Squeeze" => {
                let shape = self.shape(node, 0)?;
                let axes = self.integers_or(node, 1, "axes").map(|axes| axes.iter().map(|&a| place(a, shape.len())).collect::<Option<Vec<_>>>());
                let drop = |d: usize| axes.as_ref().map_or(shape[d] == 1, |axes| axes.as_ref().is_some_and(|axes| axes.contains(&d)));
                one((0..shape.len()).filter(|&d| !drop(d)).map(|d| shape[d]).collect())
            }
            "Expand" => one(broadcast(self.shape(node, 0)?, &dims(&self.integers(node, 1)?)?)?),
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" | "GlobalAveragePool" => {
                let shape = self.shape(node, 0)?;
                let all = (0..shape.len() as i64).skip(if node.op_type() == "GlobalAveragePool" { 2 } else { 0 }).collect();
                let axes = self.integers_or(node, 1, "axes").unwrap_or(all);
                let axes = axes.iter().map(|&a| place(a, shape.len())).collect::<Option<Vec<_>>>()?;
                let keep = int("keepdims", 1) != 0;
                one((0..shape.len()).filter(|d| keep || !axes.contains(d)).map(|d| if axes.contains(&d) { 1 } else { shape[d] }).collect())
            }
            "Resize" => {
                let shape = self.shape(node, 0)?;
                let sizes = match self.integers(node, 3) {
                    Some(sizes) => dims(&sizes)?,
                    None => {
                        let scales = edit::floats(self.initializers.get(node.input.get(2)?.as_str())?)?;
                        shape.iter().zip(&scales).map(|(&n, scale)| (n as f64 * f64::from(*scale)) as u64).collect()
                    }
                };
                (sizes.len() == shape.len()).then_some(vec![sizes])
            }
            _ => None,
        }
    }

    fn sliced(&self, node: &NodeProto) -> Option<Vec<u64>> {
        let mut shape = self.shape(node, 0)?.to_vec();
        let (starts, ends) = (self.integers_or(node, 1, "starts")?, self.integers_or(node, 2, "ends")?);
        let axes = self.integers_or(node, 3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.integers(node, 4).unwrap_or_else(|| vec![1; starts.len()]);
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = place(axis, shape.len())?;
            let len = i64::try_from(shape[axis]).ok()?;
            let within = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at.min(len) };
            // Backwards nothing is known: no exporter of ours or PyTorch's cuts so.
            let kept = (within(end) - within(start)).max(0) as u64;
            shape[axis] = kept.div_ceil(u64::try_from(step).ok().filter(|&s| s > 0)?);
        }
        Some(shape)
    }
}

/// Sizes that are all known.
fn dims(sizes: &[i64]) -> Option<Vec<u64>> {
    sizes.iter().map(|&d| u64::try_from(d).ok()).collect()
}

/// An axis that may count from the end.
fn place(axis: i64, rank: usize) -> Option<usize> {
    let rank = rank as i64;
    usize::try_from(if axis < 0 { axis.checked_add(rank)? } else { axis }).ok().filter(|&a| (a as i64) < rank)
}

fn broadcast(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[u64], d: usize| (d + shape.len()).checked_sub(rank).map_or(1, |d| shape[d]);
    let both = |d: usize| match (size(a, d), size(b, d)) {
        (1, n) | (n, 1) => Some(n),
        (n, m) => (n == m).then_some(n),
    };
    (0..rank).map(both).collect()
}

fn product(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let ([outer_a @ .., m, k], [outer_b @ .., l, n]) = (a, b) else { return None };
    let mut shape = broadcast(outer_a, outer_b)?;
    shape.extend([m, n]);
    (k == l).then_some(shape)
}

fn convolved(x: &[u64], weight: &[u64], strides: Option<Vec<i64>>, pads: Option<Vec<i64>>, dilations: Option<Vec<i64>>) -> Option<Vec<u64>> {
    let ([batch, _, sizes @ ..], [out, _, kernel @ ..]) = (x, weight) else { return None };
    let per_axis = |list: &Option<Vec<i64>>, d: usize, default: u64| list.as_ref().map_or(Some(default), |l| u64::try_from(*l.get(d)?).ok());
    let size = |(d, (&n, &kernel)): (usize, (&u64, &u64))| {
        let reach = per_axis(&dilations, d, 1)?.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
        let padded = n.checked_add(per_axis(&pads, d, 0)?)?.checked_add(per_axis(&pads, d + sizes.len(), 0)?)?;
        padded.checked_sub(reach)?.checked_div(per_axis(&strides, d, 1)?)?.checked_add(1)
    };
    let spatial = sizes.iter().zip(kernel).enumerate().map(size).collect::<Option<Vec<_>>>()?;
    (sizes.len() == kernel.len()).then(|| [&[*batch, *out], &spatial[..]].concat())
}

fn reshaped(shape: &[u64], target: &[i64]) -> Option<Vec<u64>> {
    let elements: u64 = shape.iter().product();
    let fixed = |(d, &size): (usize, &i64)| if size == 0 { shape.get(d).copied() } else { u64::try_from(size).ok() };
    let given = target.iter().enumerate().filter(|&(_, &n)| n != -1).map(fixed).try_fold(1u64, |n, d| n.checked_mul(d?))?;
    let rest = elements.checked_div(given).unwrap_or(0);
    let sizes = target.iter().enumerate().map(|(d, n)| if *n == -1 { Some(rest) } else { fixed((d, n)) }).collect::<Option<Vec<_>>>()?;
    (sizes.iter().try_fold(1u64, |n, &d| n.checked_mul(d)) == Some(elements)).then_some(sizes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use amis_artifacts::onnx::{DataType, ValueInfoProto};
    use proptest::prelude::*;

    fn graph(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> GraphProto {
        GraphProto { node: nodes, initializer, input: vec![ValueInfoProto::tensor("x", DataType::Float, &[1, 6, 4])], ..GraphProto::default() }
    }

    fn ints(name: &str, values: &[i64]) -> TensorProto {
        edit::constant(name, DataType::Int64, &[values.len() as i64], values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    #[test]
    fn each_rule_gives_onnx_s_shape() {
        let constants = vec![
            ints("shape", &[0, 2, -1]),
            ints("starts", &[-2]),
            ints("ends", &[i64::MAX]),
            ints("axis", &[1]),
            ints("sizes", &[1, 5, 3, 4]),
            edit::float_constant("weight", &[4, 7], &[0.0; 28]),
        ];
        let nodes = vec![
            edit::node("", "Reshape", &["x", "shape"], "reshaped", vec![]),
            edit::node("", "Slice", &["x", "starts", "ends", "axis"], "sliced", vec![]),
            edit::node("", "MatMul", &["x", "weight"], "product", vec![]),
            edit::node("", "Unsqueeze", &["product", "axis"], "unsqueezed", vec![]),
            edit::node("", "ReduceMean", &["x"], "mean", vec![]),
            edit::node("", "Add", &["x", "mean"], "sum", vec![]),
        ];
        let graph = graph(nodes, constants);
        let tensors = infer(&graph).unwrap();
        for (name, shape) in [
            ("reshaped", &[1, 2, 12][..]),
            ("sliced", &[1, 2, 4]),
            ("product", &[1, 6, 7]),
            ("unsqueezed", &[1, 1, 6, 7]),
            ("mean", &[1, 1, 1]),
            ("sum", &[1, 6, 4]),
        ] {
            assert_eq!(tensors[name].shape, shape, "{name}");
        }
        assert!(!tensors["sum"].constant && tensors["weight"].constant);
    }

    #[test]
    fn what_is_not_known_is_named() {
        let unknown = graph(vec![edit::node("strange", "NonZero", &["x"], "y", vec![])], vec![]);
        let message = infer(&unknown).unwrap_err().to_string();
        assert!(message.contains("NonZero \"strange\"") && message.contains("[1, 6, 4]"), "{message}");
        let mut declared = unknown;
        declared.value_info.push(ValueInfoProto::tensor("y", DataType::Int64, &[3, 9]));
        assert_eq!(infer(&declared).unwrap()["y"].shape, [3, 9]);
        let misfit = graph(vec![edit::node("", "MatMul", &["x", "x"], "y", vec![])], vec![]);
        assert!(infer(&misfit).is_err());
    }

    proptest! {
        #[test]
        fn no_numbers_in_a_graph_make_it_panic(op in 0..16usize, numbers in prop::collection::vec(any::<i64>(), 0..5), sizes in prop::collection::vec(-1i64..9, 0..5)) {
            let op = ["Reshape", "Slice", "Concat", "Split", "Conv", "Transpose", "Resize", "Unsqueeze", "Squeeze", "Expand", "Gather", "Flatten", "ReduceMean",
                "Gemm", "MatMul", "Add"][op];
            let attribute = ["axis", "perm", "strides", "pads", "dilations", "axes", "split", "keepdims", "starts", "ends"].map(|name| {
                amis_artifacts::onnx::AttributeProto { name: Some(name.into()), i: numbers.first().copied(), ints: numbers.clone(), ..Default::default() }
            });
            let inputs = ["x", "numbers", "numbers", "numbers", "numbers"];
            let mut graph = graph(vec![edit::node("", op, &inputs, "y", attribute.to_vec())], vec![ints("numbers", &numbers)]);
            graph.input[0] = ValueInfoProto::tensor("x", DataType::Float, &sizes);
            let _ = infer(&graph);
        }
    }
}
