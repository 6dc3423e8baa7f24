//! The layers that encoder and decoder are made of. Tokens are `[B, T, D]` everywhere.

use amis_artifacts::model_spec::{LAYER_NORM_EPS, MLP_RATIO};

use super::builder::{GraphBuilder, Value, float, int};
use super::params::Params;
use crate::Result;

/// Linear layer: MatMul with the transposed weight, then Add. The weight `<name>.weight` `[inputs, out]` is a constant of its
/// own, so that a quantizer finds both sides of the product.
pub(crate) fn linear(graph: &mut GraphBuilder, params: &Params<'_>, name: &str, x: &Value, inputs: usize, out: usize) -> Result<Value> {
    let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
    let weight = graph.floats(&weight_name, &[inputs, out], &params.transposed(&weight_name, out, inputs)?);
    let bias = graph.floats(&bias_name, &[out], params.get(&bias_name, &[out])?);
    let product = graph.op(name, "MatMul", &[x, &weight], vec![]);
    Ok(graph.op(&format!("{name}.add"), "Add", &[&product, &bias], vec![]))
}

/// LayerNorm over the last dimension, as one operator: decomposed it overflows in FP16.
pub(crate) fn layer_norm(graph: &mut GraphBuilder, params: &Params<'_>, name: &str, x: &Value, dim: usize) -> Result<Value> {
    let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
    let weight = graph.floats(&weight_name, &[dim], params.get(&weight_name, &[dim])?);
    let bias = graph.floats(&bias_name, &[dim], params.get(&bias_name, &[dim])?);
    let attributes = vec![int("axis", -1), float("epsilon", LAYER_NORM_EPS as f32)];
    Ok(graph.op(name, "LayerNormalization", &[x, &weight, &bias], attributes))
}

/// GELU in its exact form, `x (1 + erf(x / sqrt 2)) / 2`, in the order of operators that ONNX Runtime and TensorRT fuse.
pub(crate) fn gelu(graph: &mut GraphBuilder, name: &str, x: &Value) -> Value {
    let sqrt_2 = graph.scalar("constant.sqrt_2", std::f32::consts::SQRT_2);
    let one = graph.scalar("constant.one", 1.0);
    let half = graph.scalar("constant.half", 0.5);
    let scaled = graph.op(&format!("{name}.scaled"), "Div", &[x, &sqrt_2], vec![]);
    let erf = graph.op(&format!("{name}.erf"), "Erf", &[&scaled], vec![]);
    let shifted = graph.op(&format!("{name}.shifted"), "Add", &[&erf, &one], vec![]);
    let product = graph.op(&format!("{name}.product"), "Mul", &[x, &shifted], vec![]);
    graph.op(name, "Mul", &[&product, &half], vec![])
}

/// Sizes of a transformer block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockSizes {
    /// Tokens T.
    pub(crate) tokens: usize,
    /// Width D.
    pub(crate) dim: usize,
    /// Attention heads.
    pub(crate) heads: usize,
}

/// Pre-norm transformer block: `x + attention(norm1(x))`, then `x + mlp(norm2(x))`.
pub(crate) fn block(graph: &mut GraphBuilder, params: &Params<'_>, name: &str, x: &Value, sizes: BlockSizes) -> Result<Value> {
    let dim = sizes.dim;
    let normed = layer_norm(graph, params, &format!("{name}.norm1"), x, dim)?;
    let attended = attention(graph, params, &format!("{name}.attn"), &normed, sizes)?;
    let x = graph.op(&format!("{name}.residual1"), "Add", &[x, &attended], vec![]);
    let normed = layer_norm(graph, params, &format!("{name}.norm2"), &x, dim)?;
    let hidden_dim = dim * MLP_RATIO as usize;
    let hidden = linear(graph, params, &format!("{name}.mlp.fc1"), &normed, dim, hidden_dim)?;
    let hidden = gelu(graph, &format!("{name}.mlp.gelu"), &hidden);
    let out = linear(graph, params, &format!("{name}.mlp.fc2"), &hidden, hidden_dim, dim)?;
    Ok(graph.op(&format!("{name}.residual2"), "Add", &[&x, &out], vec![]))
}

/// Multi-head self-attention: `softmax(q k^T / sqrt(D / heads)) v`.
fn attention(graph: &mut GraphBuilder, params: &Params<'_>, name: &str, x: &Value, sizes: BlockSizes) -> Result<Value> {
    let BlockSizes { tokens, dim, heads } = sizes;
    let head_dim = dim / heads;
    let qkv = linear(graph, params, &format!("{name}.qkv"), x, dim, 3 * dim)?;
    let [q, k, v] = graph.split(&format!("{name}.split"), &qkv, 2, [("q", dim), ("k", dim), ("v", dim)]);
    // The scale on q touches T x D values, on the scores it would be heads x T x T, and keeps the product small in FP16.
    let scale = graph.scalar(&format!("constant.attention_scale_{head_dim}"), (head_dim as f32).powf(-0.5));
    let q = graph.op(&format!("{name}.q.scaled"), "Mul", &[&q, &scale], vec![]);
    let mut to_heads = |part: &str, x: &Value, order: &[i64]| {
        let x = graph.reshape(&format!("{name}.{part}.heads"), x, &[tokens, heads, head_dim]);
        graph.transpose(&format!("{name}.{part}"), &x, order)
    };
    let q = to_heads("q", &q, &[0, 2, 1, 3]);
    let k_transposed = to_heads("k", &k, &[0, 2, 3, 1]);
    let v = to_heads("v", &v, &[0, 2, 1, 3]);
    let scores = graph.op(&format!("{name}.scores"), "MatMul", &[&q, &k_transposed], vec![]);
    let weights = graph.op(&format!("{name}.softmax"), "Softmax", &[&scores], vec![int("axis", -1)]);
    let mixed = graph.op(&format!("{name}.mixed"), "MatMul", &[&weights, &v], vec![]);
    let mixed = graph.transpose(&format!("{name}.mixed.tokens"), &mixed, &[0, 2, 1, 3]);
    let mixed = graph.reshape(&format!("{name}.mixed.flat"), &mixed, &[tokens, dim]);
    linear(graph, params, &format!("{name}.proj"), &mixed, dim, dim)
}
