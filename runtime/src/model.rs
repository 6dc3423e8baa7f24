//! A bundle made ready to run: graph, preprocessing and the way back from logits to the frame.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amis_artifacts::bundle::{self, BundleManifest};
use amis_artifacts::classes::ClassList;
use amis_artifacts::preprocess::Preprocessor;
use amis_tensorrt::Library;

use crate::backend::Backend;
use crate::backend::onnxruntime::{OnnxRuntime, Options};
use crate::backend::tensorrt::TensorRt;
use crate::class_map::ClassMapper;
use crate::refine::{Refine, RefineOptions};
use crate::source::Frame;
use crate::stats::ModelInfo;
use crate::{Error, Result};

/// Target of the graphs that the CPU backend runs.
pub(crate) const CPU: &str = "cpu";

/// A model that turns frames into class maps.
pub struct Model {
    manifest: BundleManifest,
    classes: Arc<ClassList>,
    precision: String,
    backend: Box<dyn Backend>,
    preprocessor: Preprocessor,
    input: Vec<f32>,
    /// Without a past.
    refine: Option<Refine>,
    /// By number of the camera.
    cameras: Vec<Camera>,
}

/// What belongs to the frames of one camera.
struct Camera {
    /// With its past.
    refine: Option<Refine>,
    /// For frames of this size; cameras keep theirs.
    mapper: Option<((u32, u32), ClassMapper)>,
}

/// How long each part of [`Model::predict`] took. Where the GPU does all of it, its work is in `infer`, and the others are the ways there and back.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Frame to network input.
    pub preprocess: Duration,
    /// The network.
    pub infer: Duration,
    /// Logits to class map.
    pub class_map: Duration,
}

/// What [`Model::predict`] tells of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Prediction {
    /// How long it took.
    pub timing: Timing,
    /// Mean entropy of the probabilities, 0 (sure) to 1 (all classes alike).
    pub entropy: f32,
}

impl Model {
    /// Opens a bundle, packed or in its folder, and loads its graph for the CPU at `precision` ("fp32", "int8"), with `threads` threads (0: one a physical
    /// core); or the engine that was built from one of its graphs of that precision.
    ///
    /// # Errors
    /// A damaged bundle or one for a newer runtime, no such graph, a graph that does not fit the manifest, no ONNX Runtime; with an engine see [`TensorRt::open`].
    pub fn open(path: &Path, precision: &str, threads: usize, engine: Option<&Path>) -> Result<Self> {
        let unpacked = path.is_dir();
        let manifest = if unpacked { bundle::read_folder(path)? } else { bundle::read_manifest(path)? };
        manifest.require_runtime(path, env!("CARGO_PKG_VERSION"))?;
        if let Some(engine) = engine {
            let backend = TensorRt::open(engine, &manifest, precision, Library::find)?.with_kernels(&manifest.image_spec);
            return Self::new(engine, manifest, precision, Box::new(backend));
        }
        let graph = manifest.graph(CPU, precision).ok_or_else(|| no_graph(path, &manifest, precision))?;
        let options = Options { threads };
        let backend = if unpacked {
            OnnxRuntime::open(&path.join(&graph.entry.file), &options)?
        } else {
            let dir = tempfile::tempdir().map_err(|source| amis_artifacts::Error::Io { action: "create", path: std::env::temp_dir(), source })?;
            bundle::unpack(path, dir.path())?;
            OnnxRuntime::open(&dir.path().join(&graph.entry.file), &options)?
        };
        Self::new(path, manifest.clone(), precision, Box::new(backend))
    }

    /// A model from a manifest and the backend that runs its graph; `path` is for messages.
    ///
    /// # Errors
    /// The graph's shapes do not fit the manifest.
    pub fn new(path: &Path, manifest: BundleManifest, precision: &str, backend: Box<dyn Backend>) -> Result<Self> {
        let spec = &manifest.image_spec;
        let expected = [1, 3, spec.height_px as usize, spec.width_px as usize];
        let (input, output) = (backend.input_shape(), backend.output_shape());
        if input != expected || output[1] != manifest.classes.len() {
            let reason = format!("its graph maps {input:?} to {output:?}, its manifest says {expected:?} and {} classes", manifest.classes.len());
            return Err(Error::Graph { path: path.into(), reason });
        }
        let (preprocessor, input) = (Preprocessor::new(spec.clone()), vec![0.0; spec.input_len()]);
        let classes = Arc::new(manifest.classes.clone());
        Ok(Self { manifest, classes, precision: precision.to_owned(), backend, preprocessor, input, refine: None, cameras: Vec::new() })
    }

    /// Refines logits before they become classes.
    ///
    /// # Errors
    /// As [`Refine::new`].
    pub fn refine(&mut self, options: &RefineOptions) -> Result<()> {
        self.refine = Refine::new(options, &self.classes)?;
        self.cameras.clear();
        Ok(())
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &BundleManifest {
        &self.manifest
    }

    /// Its classes.
    pub fn classes(&self) -> &Arc<ClassList> {
        &self.classes
    }

    /// Runs once for every camera on a grey frame of its size, so that the first real one takes no longer than the next.
    pub(crate) fn warm(&mut self, sizes_px: &[(u32, u32)]) -> Result<()> {
        for (number, &(width_px, height_px)) in sizes_px.iter().enumerate().filter(|(_, size)| **size != (0, 0)) {
            let rgb = vec![128; width_px as usize * height_px as usize * 3];
            self.predict(number, &Frame { rgb, width_px, height_px, ..Frame::default() }, &mut Vec::new())?;
        }
        // Grey was no past.
        self.cameras.iter_mut().for_each(|camera| camera.refine.clone_from(&self.refine));
        Ok(())
    }

    /// What it is, for reports.
    pub fn info(&self) -> ModelInfo {
        ModelInfo {
            name: self.manifest.name.clone(),
            version: self.manifest.version,
            precision: self.precision.clone(),
            classes: self.manifest.classes.iter().map(|c| c.name.clone()).collect(),
        }
    }

    /// Class ids of a frame of camera `number` (0, 1, ...) at the frame's size, `width_px * height_px` bytes into `map`; 255 where the network has not seen it.
    /// Smoothing over time is by camera.
    ///
    /// # Errors
    /// A frame that cannot be used, or a failed inference.
    pub fn predict(&mut self, number: usize, frame: &Frame, map: &mut Vec<u8>) -> Result<Prediction> {
        // What is refined is so on the CPU, from masks and input.
        if self.refine.is_none()
            && let Some(done) = self.backend.predict(frame, map)
        {
            return done;
        }
        let start = Instant::now();
        self.preprocessor.run(&frame.rgb, frame.width_px, frame.height_px, &mut self.input)?;
        let prepared = Instant::now();
        let [_, classes, h, w] = self.backend.output_shape();
        let logits = self.backend.infer(&self.input)?;
        let inferred = Instant::now();
        // Of what the network says: refined logits are no probabilities any more.
        let entropy = entropy(logits, classes);
        let spec = &self.manifest.image_spec;
        while self.cameras.len() <= number {
            self.cameras.push(Camera { refine: self.refine.clone(), mapper: None });
        }
        let camera = &mut self.cameras[number];
        let logits = match &mut camera.refine {
            None => logits,
            Some(refine) => refine.run(logits, [classes, h, w], &self.input, (spec.height_px as usize, spec.width_px as usize)),
        };
        let size = (frame.width_px, frame.height_px);
        if camera.mapper.as_ref().is_none_or(|(known, _)| *known != size) {
            camera.mapper = Some((size, ClassMapper::for_frame([classes, h, w], &self.manifest.image_spec, size.0, size.1)?));
        }
        if let Some((_, mapper)) = &mut camera.mapper {
            mapper.run(logits, map)?;
        }
        let timing = Timing { preprocess: prepared - start, infer: inferred - prepared, class_map: inferred.elapsed() };
        Ok(Prediction { timing, entropy })
    }
}

/// Mean over all positions of `[C, h, w]` of the entropy of their probabilities, as a part of the largest that there can be.
pub(crate) fn entropy(logits: &[f32], classes: usize) -> f32 {
    let plane = logits.len() / classes.max(1);
    if plane == 0 || classes < 2 {
        return 0.0;
    }
    let of = |cell: usize| {
        let values = || logits[cell..].iter().step_by(plane);
        let largest = values().copied().fold(f32::NEG_INFINITY, f32::max);
        // With e = exp(l - max), which is what `below` is the logarithm of: the entropy is ln(sum e) - sum(e * (l - max)) / sum(e).
        let (sum, weighted) = values().map(|l| l - largest).fold((0.0, 0.0), |(sum, weighted), below| {
            let e = below.exp();
            (sum + e, weighted + e * below)
        });
        sum.ln() - weighted / sum
    };
    (0..plane).map(of).sum::<f32>() / (plane as f32 * (classes as f32).ln())
}

fn no_graph(path: &Path, manifest: &BundleManifest, precision: &str) -> Error {
    let graphs: Vec<String> = manifest.graphs.iter().map(|g| format!("{} {}", g.target, g.precision)).collect();
    Error::NoGraph { path: path.into(), target: CPU, precision: precision.to_owned(), available: graphs.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::entropy;

    #[test]
    fn entropy_is_from_sure_to_all_alike() {
        assert!((entropy(&[3.0; 12], 4) - 1.0).abs() < 1e-6);
        assert!(entropy(&[60.0, 0.0, 0.0, 0.0], 4) < 1e-6);
        // Two of four alike at one position, all alike at the other: (1/2 + 1) / 2.
        let logits = [50.0, 0.0, 50.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert!((entropy(&logits, 4) - 0.75).abs() < 1e-6);
        assert_eq!(entropy(&[1.0; 4], 1), 0.0);
    }
}
