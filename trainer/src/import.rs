//! A checkpoint of the reference code (MBS), or bare weights of ours, as a checkpoint folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use amis_artifacts::checkpoint::{self, Checkpoint, CheckpointManifest};
use amis_artifacts::classes::ClassList;
use amis_artifacts::files;
use amis_artifacts::image_spec::{Fit, ImageSpec};
use amis_artifacts::metrics::{ConfusionMatrix, StepMetrics};
use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::preprocess::Preprocessor;
use amis_artifacts::weights::{HostTensor, Weights};
use amis_data::scene::{self, Scene};
use tch::{Device, Tensor};

use crate::Result;
use crate::foreign::names::{blocks, prefixes};
use crate::foreign::{ForeignWeights, foreign};
use crate::model::{GAMMA, HEAD_DIM, Segmenter, initial_weights, resize_position, to_host};
use crate::pretrained::{EncoderSizes, LoadReport, Resized, listed, position_grid};

/// A tensor of every reference checkpoint; what stands before it is the network's place in the file.
const ANCHOR: &str = "decoder.cls_emb.0";
const POSITION: &str = "encoder.pos_embed";
/// Frames of the synthetic street whose logits verify exports of the checkpoint.
const SAMPLES: usize = 2;

/// What the weights do not say.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Background and the classes in the order of the network's output.
    pub classes: ClassList,
    /// Attention heads of the encoder; none for width / 64.
    pub heads: Option<u32>,
    /// Attention heads of the decoder; none for width / 64.
    pub decoder_heads: Option<u32>,
    /// Height and width of the input, in evaluation and on the device; none for the size that the position embedding is for.
    pub size_px: Option<[u32; 2]>,
    /// How a frame of another shape is fitted.
    pub fit: Fit,
    /// Side of the training crops that later steps use: the position embedding is resized to it. None leaves it as it is.
    pub crop_px: Option<u32>,
    /// Adds a Global Attention Block whose gates are closed, so that the network computes what it did.
    pub gab: bool,
    /// Makes the classes of all steps the classes of a base step.
    pub as_base: bool,
}

/// Reads a reference checkpoint and writes a checkpoint folder.
///
/// # Errors
/// A file that is not read, tensors that are missing or beyond the network, classes that do not fit, a folder that holds a checkpoint.
pub fn import(path: &Path, out: &Path, options: &ImportOptions) -> Result<(Checkpoint, LoadReport)> {
    if out.join("checkpoint.json").exists() {
        return Err(foreign(path, format!("{} holds a checkpoint already", out.display()), "give another --out, or delete that folder"));
    }
    let mut file = ForeignWeights::open(path)?;
    let prefix = prefix(&file)?;
    let found = sizes(&file, &prefix, options)?;
    let (mut weights, mut report) = load(&mut file, &prefix, &found)?;
    let Found { mut groups, model, mut position_grid } = found;
    if groups.classes() != options.classes.len() {
        let reason = format!("the network has {} classes by step {:?}, {} names are given", groups.classes(), groups.0, options.classes.len());
        return Err(foreign(path, reason, "name all classes in the order of the network's output, background first"));
    }
    if options.as_base {
        merge_groups(&mut weights, &groups, model.dim as usize);
        groups = Groups(vec![1, groups.classes() as u32 - 1]);
    }
    if let Some(crop_px) = options.crop_px {
        let to = [crop_px / model.patch_px; 2];
        if to[0] == 0 || crop_px % model.patch_px != 0 {
            return Err(foreign(path, format!("a crop of {crop_px} px, expected a multiple of its patch {}", model.patch_px), "give another --crop"));
        }
        if to != position_grid {
            let resized = resize_position(&weights[POSITION], position_grid, to)?;
            weights.insert(POSITION.into(), resized);
            report.matched.retain(|name| name != POSITION);
            report.resized.push(Resized { name: POSITION.into(), from: position_grid, to });
            position_grid = to;
        }
    }
    let [height_px, width_px] = options.size_px.unwrap_or(position_grid.map(|n| n * model.patch_px));
    let image_spec = ImageSpec::imagenet(height_px, width_px, options.fit);
    image_spec.validate(model.patch_px)?;
    let step = groups.0.len() - 2;
    let metrics = StepMetrics::new(step, &options.classes, &groups, ConfusionMatrix::new(groups.classes()));
    let network = Segmenter::new(&model, &groups, position_grid, &weights, Device::Cpu, false)?;
    let samples = samples(&network, &image_spec)?;
    let manifest = CheckpointManifest {
        format_version: checkpoint::FORMAT_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        step,
        classes: options.classes.clone(),
        groups,
        image_spec,
        model,
        position_grid,
        config: serde_json::json!({ "imported": &report }),
        weights_sha256: String::new(),
        parent_sha256: None,
        image_lists: vec![],
    };
    Ok((checkpoint::write(out, manifest, &weights, &samples, &metrics)?, report))
}

/// The network in a file, from names and shapes.
struct Found {
    groups: Groups,
    model: ModelSpec,
    position_grid: [u32; 2],
}

fn prefix(file: &ForeignWeights) -> Result<String> {
    let mut found = prefixes(file.names(), ANCHOR);
    if let [_, others @ ..] = found.as_slice()
        && !others.is_empty()
    {
        tracing::info!("{} holds {} networks: the one under {:?} is taken, not {}", file.path().display(), found.len(), found[0], listed(others));
    }
    if !found.is_empty() {
        return Ok(found.swap_remove(0));
    }
    // Says what it is, if it is nothing of the kind.
    crate::pretrained::encoder_prefix(file)?;
    let advice = "an encoder alone is no checkpoint: name the file as train.pretrained and train a base step on it";
    Err(foreign(file.path(), format!("it has an encoder, but no class embeddings ({ANCHOR})"), advice))
}

fn sizes(file: &ForeignWeights, prefix: &str, options: &ImportOptions) -> Result<Found> {
    let encoder = EncoderSizes::of(file, &format!("{prefix}encoder."))?;
    let shape = |name: &str| file.tensors().get(&format!("{prefix}{name}")).map(|t| t.shape.as_slice());
    let mut groups = Vec::new();
    while let Some(shape) = shape(&format!("decoder.cls_emb.{}", groups.len())) {
        let &[1, classes @ 1..=255, _] = shape else {
            return Err(foreign(file.path(), format!("decoder.cls_emb.{} has shape {shape:?}, expected [1, classes, width]", groups.len()), DAMAGED));
        };
        groups.push(classes as u32);
    }
    let groups = Groups(groups);
    groups.validate()?;
    let heads = |given: Option<u32>| given.unwrap_or((encoder.dim / HEAD_DIM).max(1));
    let gab = options.gab || shape(GAMMA).is_some();
    let model = ModelSpec {
        patch_px: encoder.patch_px,
        dim: encoder.dim,
        depth: encoder.depth,
        heads: heads(options.heads),
        decoder_depth: blocks(file.names(), &format!("{prefix}decoder.blocks.")),
        decoder_heads: heads(options.decoder_heads),
        gab,
    };
    model.validate()?;
    Ok(Found { groups, model, position_grid: position_grid(file, &format!("{prefix}encoder."))? })
}

const DAMAGED: &str = "the file is cut down, or of another network; reference checkpoints have the names of the MBS code's Segmenter";

/// All tensors of the network. What the file lacks may be the Global Attention Block alone: its gates are closed then (AMIS.md section 2).
fn load(file: &mut ForeignWeights, prefix: &str, found: &Found) -> Result<(Weights, LoadReport)> {
    let path: PathBuf = file.path().into();
    let has_gab = file.tensors().contains_key(&format!("{prefix}{GAMMA}"));
    let mut weights = initial_weights(&found.model, &found.groups, found.position_grid, 0);
    let (mut matched, mut left_in_network) = (Vec::new(), Vec::new());
    for (name, tensor) in &weights {
        match file.tensors().get(&format!("{prefix}{name}")) {
            Some(found) if found.shape == tensor.shape => matched.push(name.clone()),
            Some(found) => return Err(foreign(&path, format!("{name} has shape {:?}, expected {:?}", found.shape, tensor.shape), DAMAGED)),
            None if !has_gab && name.starts_with("decoder.gab.") => left_in_network.push(name.clone()),
            None => return Err(foreign(&path, format!("{name} is missing, expected one of shape {:?}", tensor.shape), DAMAGED)),
        }
    }
    let names: BTreeSet<String> = matched.iter().map(|name| format!("{prefix}{name}")).collect();
    let left_in_file: Vec<String> = file.names().filter(|name| !names.contains(*name)).map(str::to_owned).collect();
    // The reference's encoder has a classification head that nothing uses.
    let is_strange = |name: &&String| {
        name.strip_prefix(prefix).is_some_and(|own| (own.starts_with("encoder.") && !own.starts_with("encoder.head")) || own.starts_with("decoder."))
    };
    let strange: Vec<String> = left_in_file.iter().filter(is_strange).cloned().collect();
    if !strange.is_empty() {
        return Err(foreign(&path, format!("its network has tensors that ours has not: {}", listed(&strange)), DAMAGED));
    }
    for (name, tensor) in file.read(names.iter().map(String::as_str))? {
        weights.insert(name[prefix.len()..].to_owned(), tensor);
    }
    if !left_in_network.is_empty()
        && let Some(gamma) = weights.get_mut(GAMMA)
    {
        gamma.data.fill(0.0);
    }
    let sha256 = files::sha256_file(&path)?;
    Ok((weights, LoadReport { file: path, sha256, prefix: prefix.into(), matched, resized: vec![], left_in_file, left_in_network }))
}

/// Joins the parameters of all groups behind the background into those of one.
fn merge_groups(weights: &mut Weights, groups: &Groups, dim: usize) {
    let classes = groups.classes() - 1;
    for (name, shape) in [("cls_emb", vec![1, classes, dim]), ("mask_norm.weight", vec![classes]), ("mask_norm.bias", vec![classes])] {
        let parts = (1..groups.0.len()).filter_map(|k| weights.remove(&format!("decoder.{name}.{k}")));
        let data = parts.flat_map(|tensor| tensor.data).collect();
        weights.insert(format!("decoder.{name}.1"), HostTensor { shape, data });
    }
}

/// Frames of the synthetic street with the network's logits: there are no validation images here.
fn samples(network: &Segmenter, spec: &ImageSpec) -> Result<Weights> {
    let side = |px: u32| px.clamp(scene::MIN_SIDE_PX, scene::MAX_SIDE_PX);
    let (width, height) = (side(spec.width_px), side(spec.height_px));
    let (scene, mut preprocessor) = (Scene::new(width, height, 1)?, Preprocessor::new(spec.clone()));
    let (mut rgb, mut labels) = (Vec::new(), Vec::new());
    let mut input = vec![0.0; SAMPLES * spec.input_len()];
    for (i, image) in input.chunks_exact_mut(spec.input_len()).enumerate() {
        scene.frame(i as f64, &mut rgb, &mut labels);
        preprocessor.run(&rgb, width, height, image)?;
    }
    let shape = vec![SAMPLES, 3, spec.height_px as usize, spec.width_px as usize];
    let sizes: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    let images = Tensor::f_from_slice(&input)?.f_reshape(&sizes)?;
    let logits = network.logits(&images);
    Ok(Weights::from([("input".to_owned(), HostTensor { shape, data: input }), ("logits".to_owned(), to_host(&logits)?)]))
}

/// Writes the weights of a checkpoint for other programs (see [`crate::foreign::write`]).
///
/// # Errors
/// A damaged checkpoint, or a file that cannot be written.
pub fn export_weights(checkpoint: &Path, out: &Path) -> Result<usize> {
    let checkpoint = Checkpoint::open(checkpoint)?;
    let weights = checkpoint.weights()?;
    if checkpoint.manifest.model.gab {
        tracing::warn!("the network has a Global Attention Block (decoder.gab.*), which the reference code does not know");
    }
    crate::foreign::write(out, &weights)?;
    Ok(weights.len())
}
