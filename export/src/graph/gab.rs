//! Global Attention Block (AMIS.md section 2), between `proj_dec` and the decoder's blocks.
//!
//! What does not depend on the image becomes a constant, computed in float64: the prototypes `t_k`, the values `W_v t_k`, and the
//! keys with the query's matrix and the scale in them, because `(W_q g) . (W_k t_k) / sqrt(D) = g . (W_q^T W_k t_k / sqrt(D))`.

use super::builder::{GraphBuilder, Value, int, ints};
use super::layers::{gelu, layer_norm, linear};
use super::params::Params;
use crate::Result;

/// Adds the block to patch tokens `x` `[B, N, D]`. `embeddings` `[C, D]` are those of all classes, `groups` how many belong to each task.
///
/// # Errors
/// A weight is missing or has another shape.
pub(crate) fn gab(graph: &mut GraphBuilder, params: &Params<'_>, x: &Value, dim: usize, groups: &[u32], embeddings: &[f32]) -> Result<Value> {
    let name = "decoder.gab";
    let (keys, values) = keys_and_values(params, dim, groups, embeddings)?;
    let keys = graph.floats(&format!("{name}.keys"), &[dim, groups.len()], &keys);
    let values = graph.floats(&format!("{name}.values"), &[groups.len(), dim], &values);

    let normed = layer_norm(graph, params, &format!("{name}.norm"), x, dim)?;
    let global = graph.op(&format!("{name}.global"), "ReduceMean", &[&normed], vec![ints("axes", &[1]), int("keepdims", 1)]);
    let scores = graph.op(&format!("{name}.scores"), "MatMul", &[&global, &keys], vec![]);
    let attention = graph.op(&format!("{name}.softmax"), "Softmax", &[&scores], vec![int("axis", -1)]);
    let attended = graph.op(&format!("{name}.attended"), "MatMul", &[&attention, &values], vec![]);
    let context = graph.op(&format!("{name}.context"), "Add", &[&global, &attended], vec![]);

    let hidden = linear(graph, params, &format!("{name}.fc1"), &context, dim, dim / 4)?;
    let hidden = gelu(graph, &format!("{name}.gelu"), &hidden);
    let gate = linear(graph, params, &format!("{name}.fc2"), &hidden, dim / 4, dim)?;
    let channel_gate = graph.op(&format!("{name}.channel_gate"), "Sigmoid", &[&gate], vec![]);

    let gated = graph.op(&format!("{name}.gated"), "Mul", &[&normed, &channel_gate], vec![]);
    let score = linear(graph, params, &format!("{name}.spatial"), &gated, dim, 1)?;
    let spatial_gate = graph.op(&format!("{name}.spatial_gate"), "Sigmoid", &[&score], vec![]);

    let gamma_name = format!("{name}.gamma");
    let gamma = graph.floats(&gamma_name, &[dim], params.get(&gamma_name, &[dim])?);
    let channel_weight = graph.op(&format!("{name}.channel_weight"), "Mul", &[&channel_gate, &gamma], vec![]);
    let weighted = graph.op(&format!("{name}.weighted"), "Mul", &[x, &channel_weight], vec![]);
    let weighted = graph.op(&format!("{name}.update"), "Mul", &[&weighted, &spatial_gate], vec![]);
    Ok(graph.op(name, "Add", &[x, &weighted], vec![]))
}

/// `W_q^T W_k t_k / sqrt(D)` as `[D, K]`, and `W_v t_k` as `[K, D]`.
fn keys_and_values(params: &Params<'_>, dim: usize, groups: &[u32], embeddings: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
    let matrix = |part: &str| params.get(&format!("decoder.gab.{part}.weight"), &[dim, dim]);
    let (wq, wk, wv) = (matrix("wq")?, matrix("wk")?, matrix("wv")?);
    let mut keys = vec![0.0; dim * groups.len()];
    let mut values = Vec::with_capacity(keys.len());
    let mut rows = embeddings.chunks_exact(dim);
    for (k, &classes) in groups.iter().enumerate() {
        let mut prototype = vec![0.0; dim];
        for row in rows.by_ref().take(classes as usize) {
            prototype.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) / f64::from(classes));
        }
        values.extend(times(wv, &prototype).map(|v| v as f32));
        let key: Vec<f64> = times(wk, &prototype).collect();
        for i in 0..dim {
            let sum: f64 = (0..dim).map(|o| f64::from(wq[o * dim + i]) * key[o]).sum();
            keys[i * groups.len() + k] = (sum / (dim as f64).sqrt()) as f32;
        }
    }
    Ok((keys, values))
}

/// A square matrix times a vector.
fn times(matrix: &[f32], vector: &[f64]) -> impl Iterator<Item = f64> {
    matrix.chunks_exact(vector.len()).map(move |row| row.iter().zip(vector).map(|(&a, b)| f64::from(a) * b).sum())
}

#[cfg(test)]
#[path = "gab_tests.rs"]
mod tests;
