//! Writes ONNX nodes and constants under unique, readable names.

use std::collections::HashSet;

use amis_artifacts::onnx::{
    AttributeProto, AttributeType, Batch, DataType, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    ValueInfoProto,
};

/// Operator set of our graphs: the first with `LayerNormalization`, and one that JetPack 5's TensorRT 8.5 reads.
pub(crate) const OPSET: i64 = 17;
/// IR version that came with it.
const IR_VERSION: i64 = 8;

/// A value in the graph, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(String);

impl Value {
    /// An optional input that is left out.
    pub(crate) fn none() -> Self {
        Self(String::new())
    }
}

/// A graph being written. Nodes stand in the order in which they are added, so every value is made before it is used.
pub(crate) struct GraphBuilder {
    graph: GraphProto,
    batch: Batch,
    names: HashSet<String>,
}

impl GraphBuilder {
    /// An empty graph for `batch` images at once.
    pub(crate) fn new(name: &str, batch: Batch) -> Self {
        Self { graph: GraphProto { name: Some(name.to_owned()), ..GraphProto::default() }, batch, names: HashSet::new() }
    }

    /// A float32 input `[B, ..sizes]`.
    pub(crate) fn input(&mut self, name: &str, sizes: &[usize]) -> Value {
        let name = self.unique(name);
        self.graph.input.push(ValueInfoProto::sized(&name, DataType::Float, self.batched(sizes)));
        Value(name)
    }

    /// Declares a value `[B, ..sizes]` as a float32 output, under its own name.
    pub(crate) fn output(&mut self, value: &Value, sizes: &[usize]) {
        self.graph.output.push(ValueInfoProto::sized(&value.0, DataType::Float, self.batched(sizes)));
    }

    fn batched(&self, sizes: &[usize]) -> Vec<DimensionValue> {
        std::iter::once(self.batch.dimension()).chain(sizes.iter().map(|&n| DimensionValue::DimValue(n as i64))).collect()
    }

    /// A float32 constant, row-major.
    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Value {
        self.initializer(name, shape, DataType::Float, data.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A float32 constant of these sizes for every image of the batch: `[B, ..sizes]`.
    pub(crate) fn for_every_image(&mut self, name: &str, sizes: &[usize], data: &[f32]) -> Value {
        let of = |batch: usize| [&[batch], sizes].concat();
        match self.batch {
            Batch::Fixed(n) => self.floats(name, &of(n.into()), &data.repeat(n.into())),
            Batch::Dynamic(_) => {
                let once = self.floats(name, &of(1), data);
                let sizes = self.ints(&format!("{name}.sizes"), sizes);
                let count = self.batch_size();
                let shape = self.op(&format!("{name}.shape"), "Concat", &[&count, &sizes], vec![int("axis", 0)]);
                self.op(&format!("{name}.repeated"), "Expand", &[&once, &shape], vec![])
            }
        }
    }

    /// Number of images in a dynamic batch, `[1]`.
    fn batch_size(&mut self) -> Value {
        let name = "batch.size";
        if !self.names.contains(name) {
            let input = Value(self.graph.input.first().map(|i| i.name().to_owned()).unwrap_or_default());
            let shape = self.op("batch.shape", "Shape", &[&input], vec![]);
            let [start, end] = [("start", 0), ("end", 1)].map(|(part, n)| self.ints(&format!("{name}.{part}"), &[n]));
            self.op(name, "Slice", &[&shape, &start, &end], vec![]);
        }
        Value(name.to_owned())
    }

    /// A constant list of integers.
    pub(crate) fn ints(&mut self, name: &str, data: &[usize]) -> Value {
        self.initializer(name, &[data.len()], DataType::Int64, data.iter().flat_map(|&v| (v as i64).to_le_bytes()).collect())
    }

    /// A float32 number that several nodes may share: the same name always means the same number.
    pub(crate) fn scalar(&mut self, name: &str, value: f32) -> Value {
        if self.names.contains(name) { Value(name.to_owned()) } else { self.floats(name, &[], &[value]) }
    }

    fn initializer(&mut self, name: &str, shape: &[usize], data_type: DataType, raw_data: Vec<u8>) -> Value {
        let name = self.unique(name);
        let tensor =
            TensorProto { name: Some(name.clone()), dims: dims(shape), data_type: Some(data_type.into()), raw_data: Some(raw_data), ..TensorProto::default() };
        self.graph.initializer.push(tensor);
        Value(name)
    }

    /// A node with one output, which has the node's name.
    pub(crate) fn op(&mut self, name: &str, op_type: &str, inputs: &[&Value], attributes: Vec<AttributeProto>) -> Value {
        let name = self.unique(name);
        self.push(&name, op_type, inputs, vec![name.clone()], attributes);
        Value(name)
    }

    /// Cuts `x` along `axis` into parts of these sizes, named `name.<part>`.
    pub(crate) fn split<const N: usize>(&mut self, name: &str, x: &Value, axis: i64, parts: [(&str, usize); N]) -> [Value; N] {
        let name = self.unique(name);
        let sizes = self.ints(&format!("{name}.sizes"), &parts.map(|(_, size)| size));
        let outputs = parts.map(|(part, _)| self.unique(&format!("{name}.{part}")));
        self.push(&name, "Split", &[x, &sizes], outputs.to_vec(), vec![int("axis", axis)]);
        outputs.map(Value)
    }

    /// `x` as `[B, ..sizes]`.
    pub(crate) fn reshape(&mut self, name: &str, x: &Value, sizes: &[usize]) -> Value {
        let shape = self.ints(&format!("{name}.shape"), &[&[self.batch.reshape()], sizes].concat());
        self.op(name, "Reshape", &[x, &shape], vec![])
    }

    /// `x` with its dimensions in another order.
    pub(crate) fn transpose(&mut self, name: &str, x: &Value, order: &[i64]) -> Value {
        self.op(name, "Transpose", &[x], vec![ints("perm", order)])
    }

    fn push(&mut self, name: &str, op_type: &str, inputs: &[&Value], output: Vec<String>, attribute: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            name: Some(name.to_owned()),
            op_type: Some(op_type.to_owned()),
            input: inputs.iter().map(|v| v.0.clone()).collect(),
            output,
            attribute,
            ..NodeProto::default()
        });
    }

    /// `name`, with a number behind it if it is taken.
    fn unique(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut count = 1;
        while !self.names.insert(free.clone()) {
            count += 1;
            free = format!("{name}_{count}");
        }
        free
    }

    /// The model around the graph, with metadata by key.
    pub(crate) fn finish(self, metadata: &[(&str, String)]) -> ModelProto {
        let entry = |(key, value): &(&str, String)| StringStringEntryProto { key: Some((*key).to_owned()), value: Some(value.clone()) };
        ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
            producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(self.graph),
            metadata_props: metadata.iter().map(entry).collect(),
            ..ModelProto::default()
        }
    }
}

fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&n| n as i64).collect()
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind.into()), ..AttributeProto::default() }
}

/// An integer attribute.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// A list of integers as attribute.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// A number as attribute.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// A text attribute.
pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, AttributeType::String) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number_and_a_scalar_is_shared() {
        let mut graph = GraphBuilder::new("test", Batch::Fixed(1));
        let x = graph.input("x", &[1]);
        assert_eq!(graph.op("y", "Erf", &[&x], vec![]), Value("y".into()));
        assert_eq!(graph.op("y", "Erf", &[&x], vec![]), Value("y_2".into()));
        assert_eq!(graph.scalar("one", 1.0), graph.scalar("one", 1.0));
        assert_eq!(graph.finish(&[]).graph.map(|g| (g.node.len(), g.initializer.len())), Some((2, 1)));
    }
}
