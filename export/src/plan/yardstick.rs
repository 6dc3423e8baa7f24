//! ViT-B/16 at 224 px, the network that published times are of: shapes only, its weights hold no numbers.

use amis_artifacts::onnx::{AttributeProto, DataType, GraphProto, TensorProto, ValueInfoProto};

use crate::graph::builder::{int, ints};
use crate::passes::edit;

const TOKENS: i64 = 197;
const DIM: i64 = 768;
const HEADS: i64 = 12;
const BLOCKS: usize = 12;

/// A graph being written; every node is named after what it makes.
struct Writer(GraphProto);

/// The classifier with its head of 1000 classes, batch 1.
pub(super) fn vit_b16() -> GraphProto {
    let mut w = Writer(GraphProto::default());
    w.0.input.push(ValueInfoProto::tensor("image", DataType::Float, &[1, 3, 224, 224]));
    w.0.output.push(ValueInfoProto::tensor("logits", DataType::Float, &[1, 1000]));
    w.constant("kernel", &[DIM, 3, 16, 16]);
    w.constant("kernel.bias", &[DIM]);
    w.node("Conv", &["image", "kernel", "kernel.bias"], "patches", vec![ints("strides", &[16, 16])]);
    w.reshape("patches", "patches.flat", &[1, DIM, TOKENS - 1]);
    w.node("Transpose", &["patches.flat"], "patches.tokens", vec![ints("perm", &[0, 2, 1])]);
    w.constant("class", &[1, 1, DIM]);
    w.node("Concat", &["class", "patches.tokens"], "tokens", vec![int("axis", 1)]);
    w.constant("position", &[1, TOKENS, DIM]);
    w.node("Add", &["tokens", "position"], "x0", vec![]);
    for block in 0..BLOCKS {
        w.block(&format!("x{block}"), &format!("x{}", block + 1));
    }
    w.norm(&format!("x{BLOCKS}"), "normed");
    w.0.initializer.push(edit::constant("first", DataType::Int64, &[], 0i64.to_le_bytes().to_vec()));
    w.node("Gather", &["normed", "first"], "picked", vec![int("axis", 1)]);
    w.linear("picked", "logits", DIM, 1000);
    w.0
}

impl Writer {
    fn constant(&mut self, name: &str, dims: &[i64]) {
        let data_type = Some(DataType::Float.into());
        self.0.initializer.push(TensorProto { name: Some(name.to_owned()), dims: dims.to_vec(), data_type, ..TensorProto::default() });
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.0.node.push(edit::node(output, op, inputs, output, attributes));
    }

    fn reshape(&mut self, x: &str, output: &str, shape: &[i64]) {
        let name = format!("{output}.shape");
        let data = shape.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.0.initializer.push(edit::constant(&name, DataType::Int64, &[shape.len() as i64], data));
        self.node("Reshape", &[x, &name], output, vec![]);
    }

    fn norm(&mut self, x: &str, output: &str) {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{output}.{part}"));
        self.constant(&weight, &[DIM]);
        self.constant(&bias, &[DIM]);
        self.node("LayerNormalization", &[x, &weight, &bias], output, vec![int("axis", -1)]);
    }

    fn linear(&mut self, x: &str, output: &str, inputs: i64, outputs: i64) {
        let [weight, bias, product] = ["weight", "bias", "product"].map(|part| format!("{output}.{part}"));
        self.constant(&weight, &[inputs, outputs]);
        self.constant(&bias, &[outputs]);
        self.node("MatMul", &[x, &weight], &product, vec![]);
        self.node("Add", &[&product, &bias], output, vec![]);
    }

    fn block(&mut self, x: &str, output: &str) {
        let name = |part: &str| format!("{output}.{part}");
        self.norm(x, &name("norm1"));
        self.linear(&name("norm1"), &name("qkv"), DIM, 3 * DIM);
        self.reshape(&name("qkv"), &name("qkv.heads"), &[1, TOKENS, 3, HEADS, DIM / HEADS]);
        self.node("Transpose", &[&name("qkv.heads")], &name("qkv.first"), vec![ints("perm", &[2, 0, 3, 1, 4])]);
        for (place, part) in ["q", "k", "v"].iter().enumerate() {
            let index = name(&format!("{part}.index"));
            self.0.initializer.push(edit::constant(&index, DataType::Int64, &[], (place as i64).to_le_bytes().to_vec()));
            self.node("Gather", &[&name("qkv.first"), &index], &name(part), vec![int("axis", 0)]);
        }
        self.node("Transpose", &[&name("k")], &name("k.turned"), vec![ints("perm", &[0, 1, 3, 2])]);
        self.node("MatMul", &[&name("q"), &name("k.turned")], &name("scores"), vec![]);
        self.constant(&name("scale"), &[]);
        self.node("Mul", &[&name("scores"), &name("scale")], &name("scaled"), vec![]);
        self.node("Softmax", &[&name("scaled")], &name("weights"), vec![int("axis", -1)]);
        self.node("MatMul", &[&name("weights"), &name("v")], &name("mixed"), vec![]);
        self.node("Transpose", &[&name("mixed")], &name("mixed.tokens"), vec![ints("perm", &[0, 2, 1, 3])]);
        self.reshape(&name("mixed.tokens"), &name("mixed.flat"), &[1, TOKENS, DIM]);
        self.linear(&name("mixed.flat"), &name("proj"), DIM, DIM);
        self.node("Add", &[x, &name("proj")], &name("middle"), vec![]);
        self.norm(&name("middle"), &name("norm2"));
        self.linear(&name("norm2"), &name("fc1"), DIM, 4 * DIM);
        self.node("Gelu", &[&name("fc1")], &name("gelu"), vec![]);
        self.linear(&name("gelu"), &name("fc2"), 4 * DIM, DIM);
        self.node("Add", &[&name("middle"), &name("fc2")], output, vec![]);
    }
}
