#![allow(clippy::unwrap_used)]
use amis_artifacts::onnx::{DataType, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use proptest::prelude::*;

use super::*;
use crate::graph::builder::int;
use crate::passes::edit::{constant, float_constant, node};

/// `y = dequantized(x) @ dequantized(w)`, `w` int8 `[4, 2]` with a scale for each of the two columns.
fn good() -> ModelProto {
    let zeros = |name: &str, n: usize| constant(name, DataType::Int8, if n == 1 { &[] } else { &[2] }, vec![0; n]);
    let graph = GraphProto {
        node: vec![
            node("q", "QuantizeLinear", &["x", "x.scale", "zero"], "x.q", vec![]),
            node("dq", "DequantizeLinear", &["x.q", "x.scale", "zero"], "x.dq", vec![]),
            node("wdq", "DequantizeLinear", &["w", "w.scale", "w.zero"], "w.dq", vec![int("axis", 1)]),
            node("product", "MatMul", &["x.dq", "w.dq"], "y", vec![]),
        ],
        initializer: vec![
            float_constant("x.scale", &[], &[0.5]),
            float_constant("w.scale", &[2], &[0.5, 0.25]),
            constant("w", DataType::Int8, &[4, 2], vec![1; 8]),
            zeros("zero", 1),
            zeros("w.zero", 2),
        ],
        input: vec![ValueInfoProto::tensor("x", DataType::Float, &[3, 4])],
        output: vec![ValueInfoProto::tensor("y", DataType::Float, &[3, 2])],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..ModelProto::default() }
}

/// Rules that the good graph breaks after a change.
fn after(change: impl FnOnce(&mut GraphProto)) -> Vec<&'static str> {
    let mut model = good();
    change(model.graph.as_mut().unwrap());
    lint(&model, &Expected::default()).iter().map(|f| f.rule.name()).collect()
}

fn set(graph: &mut GraphProto, name: &str, tensor: amis_artifacts::onnx::TensorProto) {
    *graph.initializer.iter_mut().find(|t| t.name() == name).unwrap() = tensor;
}

#[test]
fn a_good_graph_has_no_finding() {
    assert_eq!(after(|_| ()), [""; 0]);
}

#[test]
fn every_rule_finds_what_it_is_for() {
    let push = |g: &mut GraphProto, n: NodeProto| g.node.push(n);
    assert_eq!(after(|g| g.node.swap(0, 1)), ["order"]);
    assert_eq!(after(|g| push(g, node("again", "Erf", &["x"], "y", vec![]))), ["order"]);
    assert_eq!(after(|g| g.output[0].name = Some("nowhere".into())), ["order"]);
    assert_eq!(after(|g| push(g, node("erf", "Erf", &["x.q"], "z", vec![]))), ["pair"]);
    assert_eq!(after(|g| g.output.push(ValueInfoProto::tensor("x.q", DataType::Int8, &[3, 4]))), ["pair"]);
    assert_eq!(
        after(|g| {
            g.initializer.push(float_constant("other", &[], &[0.25]));
            g.node[1].input[1] = "other".into();
        }),
        ["pair"]
    );
    let second = |from: &'static str| {
        move |g: &mut GraphProto| {
            g.node.insert(2, node("q2", "QuantizeLinear", &[from, "x.scale", "zero"], "x.q2", vec![]));
            g.node.insert(3, node("dq2", "DequantizeLinear", &["x.q2", "x.scale", "zero"], "x.dq2", vec![]));
        }
    };
    assert_eq!(after(second("x")), ["twice"]);
    assert_eq!(after(second("x.dq")), ["twice"]);
    // Along the inputs of the product, outside the tensor, and of another length.
    assert_eq!(
        after(|g| {
            set(g, "w.scale", float_constant("w.scale", &[4], &[0.5; 4]));
            set(g, "w.zero", constant("w.zero", DataType::Int8, &[4], vec![0; 4]));
            g.node[2].attribute = vec![int("axis", 0)];
        }),
        ["axis"]
    );
    assert_eq!(after(|g| g.node[2].attribute = vec![int("axis", i64::MIN)]), ["axis"]);
    assert_eq!(after(|g| g.node[2].attribute = vec![int("axis", 0)]), ["axis"]);
    assert_eq!(after(|g| set(g, "x.scale", float_constant("x.scale", &[4], &[0.5; 4]))), ["zero-point", "axis", "zero-point", "axis"]);
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(after(|g| set(g, "w.scale", float_constant("w.scale", &[2], &[0.5, bad]))), ["scale"]);
    }
    assert_eq!(after(|g| g.node[2].input[1] = "x".into()), ["scale"]);
    assert_eq!(after(|g| set(g, "w.scale", float_constant("w.scale", &[3], &[0.5; 2]))), ["scale"]);
    assert_eq!(after(|g| set(g, "w.zero", constant("w.zero", DataType::Int8, &[2], vec![0, 3]))), ["zero-point"]);
    assert_eq!(after(|g| g.node[0].input.truncate(2)), ["zero-point", "types"]);
    assert_eq!(after(|g| set(g, "zero", constant("zero", DataType::Uint8, &[], vec![0]))), ["zero-point", "zero-point", "types"]);
    assert_eq!(after(|g| g.output[0] = ValueInfoProto::tensor("y", DataType::Float16, &[3, 2])), ["types"]);
    assert_eq!(after(|g| set(g, "x.scale", constant("x.scale", DataType::Float16, &[], vec![0, 0x38]))), ["types"; 5]);
    let nested = amis_artifacts::onnx::AttributeProto { g: Some(GraphProto::default()), ..int("body", 0) };
    assert_eq!(after(|g| g.node[3].attribute.push(nested)), ["unchecked"]);
}

#[test]
fn a_batch_that_is_dynamic_only_in_a_part_is_found() {
    let named =
        |name: &str, size: i64| ValueInfoProto::sized(name, DataType::Float, [DimensionValue::DimParam("batch".into()), DimensionValue::DimValue(size)]);
    let with = |sizes: &[i64], output: ValueInfoProto| {
        after(|g| {
            let raw = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
            g.initializer.push(constant("sizes", DataType::Int64, &[sizes.len() as i64], raw));
            g.node.push(node("reshaped", "Reshape", &["y", "sizes"], "z", vec![]));
            g.input[0] = named("x", 4);
            g.output = vec![output];
        })
    };
    let fixed = || ValueInfoProto::tensor("z", DataType::Float, &[3, 2]);
    assert_eq!(with(&[0, 2], named("z", 2)), [""; 0]);
    assert_eq!(with(&[-1, 1], named("z", 1)), [""; 0]);
    assert_eq!(with(&[0, 2], fixed()), ["batch"]);
    assert_eq!(with(&[3, 2], named("z", 2)), ["batch"]);
    assert_eq!(with(&[1, 6], fixed()), ["batch", "batch"]);
}

#[test]
fn layer_norm_in_its_parts_is_found_where_it_may_not_be() {
    let mut model = good();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(float_constant("eps", &[], &[1e-5]));
    for (op, inputs, out) in [
        ("ReduceMean", &["x"][..], "mean"),
        ("Sub", &["x", "mean"], "centred"),
        ("Mul", &["centred", "centred"], "square"),
        ("ReduceMean", &["square"], "variance"),
        ("Add", &["variance", "eps"], "moved"),
        ("Sqrt", &["moved"], "deviation"),
    ] {
        graph.node.push(node(out, op, inputs, out, vec![]));
    }
    let rules = |decomposed_layer_norm| lint(&model, &Expected { ranges: None, decomposed_layer_norm }).iter().map(|f| f.rule).collect::<Vec<_>>();
    assert_eq!(rules(false), [Rule::LayerNorm]);
    assert_eq!(rules(true), []);
}

#[test]
fn a_scale_that_is_not_its_range_is_found() {
    let with = |ranges: &[(&str, f32)]| {
        let ranges = ranges.iter().map(|(n, a)| ((*n).to_owned(), *a)).collect();
        lint(&good(), &Expected { ranges: Some(&ranges), decomposed_layer_norm: false }).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(with(&[("x", 63.5)]), [""; 0]);
    assert_eq!(with(&[("x", 60.0)]), ["q: its scale is 0.5, the range of x gives 0.47244096 (range)"]);
    assert_eq!(with(&[]), ["q: x has no range in the calibration (range)"]);
}

#[test]
fn a_name_cannot_write_to_the_terminal() {
    let mut model = good();
    model.graph.as_mut().unwrap().node[3].name = Some(format!("\u{1b}[2J{}", "x".repeat(1000)));
    model.graph.as_mut().unwrap().node[3].input[0] = "\u{7}".into();
    let text = lint(&model, &Expected::default())[0].to_string();
    assert!(!text.chars().any(char::is_control) && text.len() < 500, "{text}");
}

proptest! {
    /// Any wiring of known operators ends, with a bounded number of findings.
    #[test]
    fn any_graph_ends(edges in prop::collection::vec((0usize..9, 0usize..24, 0usize..24, 0usize..24, -9i64..9), 0..40)) {
        let ops = ["QuantizeLinear", "DequantizeLinear", "MatMul", "Sqrt", "Add", "ReduceMean", "Mul", "Cast", "Gemm"];
        let mut model = good();
        let graph = model.graph.as_mut().unwrap();
        let names = ["x", "x.q", "x.dq", "w", "w.dq", "x.scale", "w.scale", "zero", "w.zero", "", "y"];
        let value = |i: usize| names.get(i).map_or_else(|| format!("v{i}"), |n| (*n).to_owned());
        for (op, a, b, out, axis) in edges {
            graph.node.push(node("n", ops[op], &[&value(a), &value(b), "zero"], &value(out), vec![int("axis", axis), int("to", axis)]));
        }
        prop_assert!(lint(&model, &Expected::default()).len() <= MAX_FINDINGS);
    }

    /// Tensors whose sizes, types and bytes do not fit each other.
    #[test]
    fn any_constant_is_survived(dims in prop::collection::vec(prop_oneof![any::<i64>(), -2i64..5], 0..4), kind in 0i32..12, raw in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut model = good();
        for name in ["x.scale", "zero", "w.scale", "w.zero", "w"] {
            let mut tensor = constant(name, DataType::Float, &dims, raw.clone());
            tensor.data_type = Some(kind);
            set(model.graph.as_mut().unwrap(), name, tensor);
        }
        let _ = lint(&model, &Expected::default());
    }

    #[test]
    fn damaged_files_are_survived(flips in prop::collection::vec((0usize..400, any::<u8>()), 1..6)) {
        use prost::Message;
        let mut bytes = good().encode_to_vec();
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
        }
        if let Ok(model) = ModelProto::decode(&bytes[..]) {
            let _ = lint(&model, &Expected::default());
        }
    }
}
