//! Mask transformer: patch tokens `[B, N, D]` to masks `[B, C, h, w]`.

use amis_artifacts::checkpoint::CheckpointManifest;
use amis_artifacts::model_spec::MASK_NORM_EPS;

use super::builder::{GraphBuilder, Value, int, ints};
use super::gab::gab;
use super::grid;
use super::layers::{BlockSizes, block, layer_norm, linear};
use super::params::Params;
use crate::Result;

/// Smallest norm that a feature is divided by: `eps` of PyTorch's `normalize`.
const NORMALIZE_EPS: f32 = 1e-12;

/// Adds the decoder, its last node named `masks`.
///
/// # Errors
/// A weight is missing or has another shape than the manifest says.
pub(crate) fn decoder(graph: &mut GraphBuilder, params: &Params<'_>, manifest: &CheckpointManifest, encoded: &Value) -> Result<Value> {
    let (model, dim) = (&manifest.model, manifest.model.dim as usize);
    let (groups, classes) = (&manifest.groups.0, manifest.groups.classes());
    let [h, w] = grid(manifest);
    let embeddings = params.grouped("decoder.cls_emb", groups, |n| vec![1, n, dim])?;

    let mut x = linear(graph, params, "decoder.proj_dec", encoded, dim, dim)?;
    if model.gab {
        x = gab(graph, params, &x, dim, groups, &embeddings)?;
    }
    let embeddings = graph.for_every_image("decoder.cls_emb", &[classes, dim], &embeddings);
    let mut x = graph.op("decoder.tokens", "Concat", &[&x, &embeddings], vec![int("axis", 1)]);
    let sizes = BlockSizes { tokens: h * w + classes, dim, heads: model.decoder_heads as usize };
    for index in 0..model.decoder_depth {
        x = block(graph, params, &format!("decoder.blocks.{index}"), &x, sizes)?;
    }
    let x = layer_norm(graph, params, "decoder.decoder_norm", &x, dim)?;
    let [patches, classes_x] = graph.split("decoder.split", &x, 1, [("patches", h * w), ("classes", classes)]);
    let patches = feature(graph, params, "patch", &patches, dim)?;
    let class_features = feature(graph, params, "classes", &classes_x, dim)?;
    let class_features = graph.transpose("decoder.classes.transposed", &class_features, &[0, 2, 1]);
    let masks = graph.op("decoder.masks", "MatMul", &[&patches, &class_features], vec![]);
    let masks = mask_norm(graph, params, groups, classes, &masks)?;
    let masks = graph.transpose("decoder.masks.planes", &masks, &[0, 2, 1]);
    Ok(graph.reshape("masks", &masks, &[classes, h, w]))
}

/// Projects tokens and scales each to length 1: `x = x @ proj; x / max(|x|, eps)`.
fn feature(graph: &mut GraphBuilder, params: &Params<'_>, part: &str, x: &Value, dim: usize) -> Result<Value> {
    let name = format!("decoder.proj_{part}");
    // These two are plain parameters, used as `x @ proj`, so they stand as they are.
    let weight = graph.floats(&format!("{name}.weight"), &[dim, dim], params.get(&name, &[dim, dim])?);
    let x = graph.op(&name, "MatMul", &[x, &weight], vec![]);
    let norm = graph.op(&format!("{name}.norm"), "ReduceL2", &[&x], vec![ints("axes", &[-1]), int("keepdims", 1)]);
    let smallest = graph.scalar("constant.normalize_eps", NORMALIZE_EPS);
    let norm = graph.op(&format!("{name}.norm.max"), "Max", &[&norm, &smallest], vec![]);
    Ok(graph.op(&format!("{name}.normalized"), "Div", &[&x, &norm], vec![]))
}

/// Normalises the classes of every patch, `[B, N, C]`: `(x - mean) / (std + eps) * weight + bias` with the unbiased deviation,
/// which is the length of `x - mean` over `sqrt(C - 1)`.
fn mask_norm(graph: &mut GraphBuilder, params: &Params<'_>, groups: &[u32], classes: usize, x: &Value) -> Result<Value> {
    let name = "decoder.mask_norm";
    let last = || vec![ints("axes", &[-1]), int("keepdims", 1)];
    let mean = graph.op(&format!("{name}.mean"), "ReduceMean", &[x], last());
    let centred = graph.op(&format!("{name}.centred"), "Sub", &[x, &mean], vec![]);
    let length = graph.op(&format!("{name}.length"), "ReduceL2", &[&centred], last());
    let factor = graph.scalar(&format!("{name}.factor"), ((classes - 1) as f64).powf(-0.5) as f32);
    let deviation = graph.op(&format!("{name}.std"), "Mul", &[&length, &factor], vec![]);
    let eps = graph.scalar(&format!("{name}.eps"), MASK_NORM_EPS as f32);
    let deviation = graph.op(&format!("{name}.std_eps"), "Add", &[&deviation, &eps], vec![]);
    let scaled = graph.op(&format!("{name}.scaled"), "Div", &[&centred, &deviation], vec![]);
    let [weight, bias] = ["weight", "bias"].map(|part| -> Result<Value> {
        let part = format!("{name}.{part}");
        let values = params.grouped(&part, groups, |n| vec![n])?;
        Ok(graph.floats(&part, &[classes], &values))
    });
    let weighted = graph.op(&format!("{name}.weighted"), "Mul", &[&scaled, &weight?], vec![]);
    Ok(graph.op(name, "Add", &[&weighted, &bias?], vec![]))
}
