//! The Segmenter as an ONNX graph of our own writing: static shapes (but for the batch, if asked), constants folded, nodes named after the network's parts.

pub(crate) mod builder;
mod decoder;
mod encoder;
mod gab;
mod layers;
mod params;
mod position;

use std::path::Path;

use amis_artifacts::checkpoint::{Checkpoint, CheckpointManifest};
use amis_artifacts::onnx::{self, ModelProto};
use amis_artifacts::weights::Weights;

use crate::Result;
use crate::passes::lint;
pub use amis_artifacts::onnx::{Batch, MAX_BATCH, MAX_BATCH_KEY};
use builder::{GraphBuilder, Value, text};
use params::Params;

/// Metadata key: SHA-256 of the checkpoint's manifest.
pub const CHECKPOINT_KEY: &str = "amis.checkpoint_sha256";
/// Metadata key: version of the tool that wrote the graph.
pub const TOOL_KEY: &str = "amis.tool_version";
/// Metadata key: training step.
pub const STEP_KEY: &str = "amis.step";
/// Metadata key: class names in order of the output, as a JSON list.
pub const CLASSES_KEY: &str = "amis.classes";

/// What the graph ends in. It has one output, as the runtime expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// `masks` `[B, C, H/P, W/P]`, upsampled behind the graph: what devices run.
    Masks,
    /// `logits` `[B, C, H, W]`, upsampled in the graph.
    Logits,
}

/// Writes the graph of a checkpoint for one image at a time to `out`, atomically.
///
/// # Errors
/// As [`export_batch`].
pub fn export(checkpoint: &Checkpoint, output: Output, out: &Path) -> Result<ModelProto> {
    export_batch(checkpoint, output, Batch::Fixed(1), out)
}

/// Writes the graph of a checkpoint for `batch` images at once to `out`, atomically.
///
/// # Errors
/// Damaged checkpoint, a weight that is missing, not finite or of another shape, a finding of the linter, or the disk.
pub fn export_batch(checkpoint: &Checkpoint, output: Output, batch: Batch, out: &Path) -> Result<ModelProto> {
    let model = segmenter_batch(&checkpoint.manifest, &checkpoint.weights()?, &checkpoint.sha256()?, output, batch)?;
    lint::require(&model, &lint::Expected::default())?;
    onnx::write(out, &model)?;
    Ok(model)
}

/// The graph of a network for one image at a time.
///
/// # Errors
/// As [`segmenter_batch`].
pub fn segmenter(manifest: &CheckpointManifest, weights: &Weights, checkpoint_sha256: &str, output: Output) -> Result<ModelProto> {
    segmenter_batch(manifest, weights, checkpoint_sha256, output, Batch::Fixed(1))
}

/// The graph of a network, input `image` `[B, 3, H, W]` normalised as the manifest's image spec says. `checkpoint_sha256` goes into the metadata.
/// The manifest has to be valid, as [`Checkpoint::open`] makes sure.
///
/// # Errors
/// A weight that is missing, not finite or of another shape.
pub fn segmenter_batch(manifest: &CheckpointManifest, weights: &Weights, checkpoint_sha256: &str, output: Output, batch: Batch) -> Result<ModelProto> {
    let params = Params(weights);
    let mut graph = GraphBuilder::new("segmenter", batch);
    let [height, width] = [manifest.image_spec.height_px, manifest.image_spec.width_px].map(|n| n as usize);
    let classes = manifest.groups.classes();
    let image = graph.input("image", &[3, height, width]);
    let encoded = encoder::encoder(&mut graph, &params, manifest, &image)?;
    let masks = decoder::decoder(&mut graph, &params, manifest, &encoded)?;
    match output {
        Output::Masks => {
            let [h, w] = grid(manifest);
            graph.output(&masks, &[classes, h, w]);
        }
        Output::Logits => {
            let logits = upsample(&mut graph, &masks, manifest.model.patch_px);
            graph.output(&logits, &[classes, height, width]);
        }
    }
    let names: Vec<&str> = manifest.classes.iter().map(|c| c.name.as_str()).collect();
    let mut metadata = vec![
        (TOOL_KEY, env!("CARGO_PKG_VERSION").to_owned()),
        (CHECKPOINT_KEY, checkpoint_sha256.to_owned()),
        (STEP_KEY, manifest.step.to_string()),
        (CLASSES_KEY, serde_json::json!(names).to_string()),
    ];
    if let Batch::Dynamic(max) = batch {
        metadata.push((MAX_BATCH_KEY, max.to_string()));
    }
    Ok(graph.finish(&metadata))
}

/// Bilinear upsampling with half-pixel centres (`align_corners = false`) from one value a patch to one a pixel.
fn upsample(graph: &mut GraphBuilder, masks: &Value, patch_px: u32) -> Value {
    let scales = graph.floats("logits.scales", &[4], &[1.0, 1.0, patch_px as f32, patch_px as f32]);
    let attributes = vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")];
    graph.op("logits", "Resize", &[masks, &Value::none(), &scales], attributes)
}

/// Rows and columns of patches.
fn grid(manifest: &CheckpointManifest) -> [usize; 2] {
    [manifest.image_spec.height_px, manifest.image_spec.width_px].map(|side| (side / manifest.model.patch_px) as usize)
}
