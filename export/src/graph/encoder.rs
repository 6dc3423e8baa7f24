//! ViT encoder: image `[B, 3, H, W]` to patch tokens `[B, N, D]`.

use amis_artifacts::checkpoint::CheckpointManifest;

use super::builder::{GraphBuilder, Value, int, ints};
use super::layers::{BlockSizes, block, layer_norm};
use super::params::Params;
use super::{grid, position};
use crate::Result;

/// Adds the encoder.
///
/// # Errors
/// A weight is missing or has another shape than the manifest says.
pub(crate) fn encoder(graph: &mut GraphBuilder, params: &Params<'_>, manifest: &CheckpointManifest, image: &Value) -> Result<Value> {
    let (model, dim) = (&manifest.model, manifest.model.dim as usize);
    let patches: usize = grid(manifest).iter().product();
    let embedded = patch_embed(graph, params, image, model.patch_px as usize, dim, patches)?;
    let (cls, positions) = positions(params, manifest)?;
    let positions = graph.floats("encoder.pos_embed", &[1, patches, dim], &positions);
    let embedded = graph.op("encoder.positioned", "Add", &[&embedded, &positions], vec![]);
    let cls = graph.for_every_image("encoder.cls_token", &[1, dim], &cls);
    let mut x = graph.op("encoder.tokens", "Concat", &[&cls, &embedded], vec![int("axis", 1)]);
    let sizes = BlockSizes { tokens: 1 + patches, dim, heads: model.heads as usize };
    for index in 0..model.depth {
        x = block(graph, params, &format!("encoder.blocks.{index}"), &x, sizes)?;
    }
    let x = layer_norm(graph, params, "encoder.norm", &x, dim)?;
    let [start, end, axis] = [("start", 1), ("end", 1 + patches), ("axis", 1)].map(|(part, n)| graph.ints(&format!("encoder.patches.{part}"), &[n]));
    Ok(graph.op("encoder.patches", "Slice", &[&x, &start, &end, &axis], vec![]))
}

/// A convolution whose kernel and stride are the patch: a Linear on every patch.
fn patch_embed(graph: &mut GraphBuilder, params: &Params<'_>, image: &Value, patch: usize, dim: usize, patches: usize) -> Result<Value> {
    let name = "encoder.patch_embed.proj";
    let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
    let shape = [dim, 3, patch, patch];
    let weight = graph.floats(&weight_name, &shape, params.get(&weight_name, &shape)?);
    let bias = graph.floats(&bias_name, &[dim], params.get(&bias_name, &[dim])?);
    let side = [patch as i64; 2];
    let maps = graph.op(name, "Conv", &[image, &weight, &bias], vec![ints("kernel_shape", &side), ints("strides", &side)]);
    let flat = graph.reshape("encoder.patch_embed.flat", &maps, &[dim, patches]);
    Ok(graph.transpose("encoder.patch_embed", &flat, &[0, 2, 1]))
}

/// The cls token with its position added `[D]`, and the positions of the input's grid `[N, D]`.
fn positions(params: &Params<'_>, manifest: &CheckpointManifest) -> Result<(Vec<f32>, Vec<f32>)> {
    let dim = manifest.model.dim as usize;
    let stored = manifest.position_grid.map(|n| n as usize);
    let all = params.get("encoder.pos_embed", &[1, 1 + stored[0] * stored[1], dim])?;
    let (cls_position, cells) = all.split_at(dim);
    let cls = params.get("encoder.cls_token", &[1, 1, dim])?.iter().zip(cls_position).map(|(token, position)| token + position).collect();
    Ok((cls, position::resize(cells, stored, grid(manifest), dim)))
}
