//! The frames that a device tries a model on, with the classes that the float32 graph gives them.

use std::collections::BTreeMap;
use std::path::Path;

use amis_artifacts::bundle::{BundleManifest, FileEntry, SelfTest, SelfTestFrame};
use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::preprocess::denormalize;
use amis_data::images::read_rgb;
use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
use amis_runtime::model::Model;
use amis_runtime::source::{Frame, in_folder};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use super::{CPU, FLOAT, Request};
use crate::{Error, Result};

/// Frames that are taken from a checkpoint.
const FRAMES: usize = 3;

/// Adds the self-test to a manifest, with its files to `contents`, and tries the other graphs for the CPU on it.
///
/// # Errors
/// No frames, no float32 graph, a graph that does not run, [`Error::SelfTest`] for one that agrees too little.
pub(super) fn add(manifest: &mut BundleManifest, contents: &mut BTreeMap<String, Vec<u8>>, checkpoint: &Checkpoint, request: &Request<'_>) -> Result<()> {
    let frames = match request.self_test {
        Some(dir) => of_folder(dir)?,
        None => of_checkpoint(checkpoint)?,
    };
    let packed = request.graphs.iter().find(|g| g.target == CPU && g.precision == FLOAT).map(|g| g.path.as_path());
    let reference = packed.or(request.reference).ok_or(Error::NoReference)?;
    let maps = maps(manifest, reference, FLOAT, &frames)?;
    let mut entries = Vec::new();
    for (index, (frame, map)) in frames.iter().zip(&maps).enumerate() {
        let mut file = |name: &str, pixels: &[u8], color| -> Result<FileEntry> {
            let file = format!("self-test-{index}.{name}.png");
            contents.insert(file.clone(), png(pixels, frame, color)?);
            Ok(FileEntry { file, ..FileEntry::default() })
        };
        entries.push(SelfTestFrame { image: file("image", &frame.rgb, ExtendedColorType::Rgb8)?, map: file("map", map, ExtendedColorType::L8)? });
    }
    for graph in request.graphs.iter().filter(|g| g.target == CPU && g.path != reference) {
        let found = self::maps(manifest, &graph.path, &graph.precision, &frames)?;
        let pixels = found.iter().flatten().zip(maps.iter().flatten());
        let (same, all) = pixels.fold((0usize, 0usize), |(same, all), (a, b)| (same + usize::from(a == b), all + 1));
        let agreement = same as f64 / all as f64;
        if agreement < request.min_agreement {
            return Err(Error::SelfTest { path: graph.path.clone(), agreement, min_agreement: request.min_agreement });
        }
    }
    manifest.self_test = Some(SelfTest { frames: entries, min_agreement: request.min_agreement, max_latency_ms: request.max_latency_ms });
    Ok(())
}

/// The first inputs that the trainer left, as the pictures that they were made of: the same from step to step, so that patches do not carry them again.
fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Vec<Frame>> {
    let (samples, spec) = (checkpoint.samples()?, &checkpoint.manifest.image_spec);
    let frame = |input: &[f32]| -> Result<Frame> {
        Ok(Frame { rgb: denormalize(spec, input)?, width_px: spec.width_px, height_px: spec.height_px, ..Frame::default() })
    };
    samples.input.chunks_exact(spec.input_len()).take(FRAMES).map(frame).collect()
}

fn of_folder(dir: &Path) -> Result<Vec<Frame>> {
    let frame = |path: &std::path::PathBuf| -> Result<Frame> {
        let image = read_rgb(path)?;
        Ok(Frame { rgb: image.rgb, width_px: image.width_px, height_px: image.height_px, ..Frame::default() })
    };
    in_folder(dir, None)?.iter().map(frame).collect()
}

/// Class maps of a graph, by the code that the device runs.
fn maps(manifest: &BundleManifest, graph: &Path, precision: &str, frames: &[Frame]) -> Result<Vec<Vec<u8>>> {
    let backend = OnnxRuntime::open(graph, &Options::default())?;
    let mut model = Model::new(graph, manifest.clone(), precision, Box::new(backend))?;
    let map = |frame: &Frame| -> Result<Vec<u8>> {
        let mut map = Vec::new();
        model.predict(0, frame, &mut map)?;
        Ok(map)
    };
    frames.iter().map(map).collect()
}

fn png(pixels: &[u8], frame: &Frame, color: ExtendedColorType) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Best, FilterType::Adaptive);
    let written = encoder.write_image(pixels, frame.width_px, frame.height_px, color);
    let malformed = |e: image::ImageError| amis_artifacts::Error::Malformed { what: "frame", path: "self-test".into(), reason: e.to_string() };
    written.map_err(malformed)?;
    Ok(out)
}
