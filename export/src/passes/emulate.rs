//! An FP16 graph as a float32 graph whose values are rounded to FP16 where the FP16 graph's are.
//!
//! ONNX Runtime has hardly any FP16 arithmetic on a CPU. It computes such nodes in float32 and takes out the Casts between them: 300 * 300 / 300 in
//! FP16 gives 300 there, and infinity on a device. Casts that a float32 graph brings along are kept.

use std::collections::HashSet;

use amis_artifacts::onnx::{BUILDER_KEY, Builder, DataType, ModelProto, NodeProto};

use super::edit::{self, float_constant, node};
use super::fp16::{self, MOVING};
use crate::Result;
use crate::graph::builder::int;

/// Turns a graph with FP16 values, or one for a weakly typed builder that may choose FP16, into its emulation; another graph stays as it is. Products
/// accumulate in float32 and are rounded once, as in tensor cores; what leaves DequantizeLinear is not rounded, because INT8 products are exact. Gives
/// whether there was something to emulate.
///
/// # Errors
/// A weight that is too large for FP16 or not readable.
pub fn emulate(model: &mut ModelProto) -> Result<bool> {
    let builder = model.metadata(BUILDER_KEY).and_then(|value| serde_json::from_str::<Builder>(value).ok());
    if let Some(builder) = builder.filter(|b| b.flags.iter().any(|f| f == "fp16")) {
        let pinned: HashSet<&str> = builder.float_nodes.iter().map(String::as_str).collect();
        fp16::convert(model, &|n| pinned.contains(n.name()) || matches!(n.op_type(), "QuantizeLinear" | "DequantizeLinear"))?;
    }
    let graph = edit::graph(model)?;
    let mut half = HashSet::new();
    for tensor in graph.initializer.iter_mut().filter(|t| edit::data_type(t) == DataType::Float16) {
        if let Some(values) = edit::floats(tensor) {
            half.insert(tensor.name().to_owned());
            *tensor = float_constant(tensor.name(), &tensor.dims, &values);
        }
    }
    let mut found = !half.is_empty();
    let mut nodes = Vec::with_capacity(2 * graph.node.len());
    for mut old in std::mem::take(&mut graph.node) {
        let to = (old.op_type() == "Cast").then(|| edit::attribute(&old, "to").map(|a| a.i()).unwrap_or_default());
        match (to, &old.input[..], &old.output[..]) {
            (Some(to), [x], [y]) if to == DataType::Float16 as i64 => {
                found = true;
                half.insert(y.clone());
                nodes.extend(rounded(x, y));
            }
            (Some(to), [x], [y]) if to == DataType::Float as i64 && half.contains(x) => nodes.push(node(old.name(), "Identity", &[x], y, vec![])),
            _ => {
                let scale = |n: &NodeProto| n.input.get(1).is_some_and(|i| half.contains(i));
                let is_half = match old.op_type() {
                    "QuantizeLinear" | "Shape" | "Cast" => false,
                    "DequantizeLinear" => scale(&old),
                    _ => old.input.iter().any(|i| half.contains(i)),
                };
                let mut rounding = Vec::new();
                if is_half {
                    let exact = old.op_type() == "DequantizeLinear" || MOVING.contains(&old.op_type());
                    for output in &mut old.output {
                        half.insert(output.clone());
                        if !exact {
                            let unrounded = format!("{output}.unrounded");
                            rounding.extend(rounded(&unrounded, output));
                            *output = unrounded;
                        }
                    }
                }
                nodes.push(old);
                nodes.append(&mut rounding);
            }
        }
    }
    graph.node = nodes;
    Ok(found)
}

/// `y` is `x` rounded to FP16, as float32.
fn rounded(x: &str, y: &str) -> [NodeProto; 2] {
    let half = format!("{y}.half");
    let cast = |name: &str, from: &str, to: &str, kind: DataType| node(name, "Cast", &[from], to, vec![int("to", i64::from(kind as i32))]);
    [cast(&half, x, &half, DataType::Float16), cast(&format!("{y}.rounded"), &half, y, DataType::Float)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use amis_artifacts::onnx::{GraphProto, OperatorSetIdProto, ValueInfoProto, write};
    use amis_runtime::backend::Backend;
    use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
    use half::f16;

    /// `x * 300 / 300` in FP16 between float32 ends, `[1, 3, 1, 1]`.
    fn fp16() -> ModelProto {
        let cast = |x: &str, y: &str, to: DataType| node(y, "Cast", &[x], y, vec![int("to", i64::from(to as i32))]);
        let value = |name: &str| ValueInfoProto::tensor(name, DataType::Float, &[1, 3, 1, 1]);
        let graph = GraphProto {
            name: Some("fp16".into()),
            node: vec![
                cast("x", "x16", DataType::Float16),
                node("product", "Mul", &["x16", "factor"], "product", vec![]),
                node("quotient", "Div", &["product", "factor"], "quotient", vec![]),
                cast("quotient", "y", DataType::Float),
            ],
            initializer: vec![edit::constant("factor", DataType::Float16, &[], f16::from_f32(300.0).to_le_bytes().to_vec())],
            input: vec![value("x")],
            output: vec![value("y")],
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }];
        ModelProto { ir_version: Some(8), graph: Some(graph), opset_import, ..ModelProto::default() }
    }

    #[test]
    fn what_overflows_on_a_device_overflows_here() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.onnx");
        let mut model = fp16();
        assert!(emulate(&mut model).unwrap());
        write(&path, &model).unwrap();
        let mut backend = OnnxRuntime::open(&path, &Options { threads: 1 }).unwrap();
        // 2.0001 is 2 in FP16, and 90,000 is over its end.
        assert_eq!(backend.infer(&[1.0, 2.0001, 300.0]).unwrap(), [1.0, 2.0, f32::INFINITY]);
    }
}
