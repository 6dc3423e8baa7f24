//! TensorRT on the GPU: an engine from a file of ours, which is used for what it was built for and nothing else.

use std::path::Path;

use amis_artifacts::bundle::BundleManifest;
use amis_artifacts::engine::{self, BuiltFor, EngineHeader, EngineKey, Gpu};
use amis_artifacts::image_spec::ImageSpec;
use amis_tensorrt::{Execution, Flavor, LayerTime, Library};
use miette::Diagnostic;

use super::Backend;
use crate::kernels::AroundNetwork;
use crate::model::Prediction;
use crate::source::Frame;
use crate::{Error, Result};

/// An engine loaded into TensorRT.
pub struct TensorRt {
    // Before the engine that it goes around.
    around: Option<AroundNetwork>,
    execution: Execution,
    input_shape: [usize; 4],
    output_shape: [usize; 4],
    output: Vec<f32>,
}

impl TensorRt {
    /// Loads an engine for a bundle's graph of this precision, into the TensorRT that `find` opens ([`Library::find`]).
    ///
    /// # Errors
    /// A file that is no whole engine; TensorRT or a GPU is missing; the engine is for another TensorRT, GPU, precision or graph
    /// (named, before TensorRT sees a byte); TensorRT does not take it; or it has not one float32 input `[1, 3, H, W]` and one
    /// float32 output `[1, C, h, w]`.
    pub fn open(
        path: &Path,
        manifest: &BundleManifest,
        precision: &str,
        find: impl FnOnce(Flavor) -> std::result::Result<Library, amis_tensorrt::Error>,
    ) -> Result<Self> {
        let (header, plan) = engine::read(path)?;
        let rtx = header.key.tensorrt.starts_with(&Flavor::Rtx.to_string());
        let library = find(if rtx { Flavor::Rtx } else { Flavor::Enterprise })?;
        header.key.require(&key(&library, &header, manifest, precision)?, path)?;
        let execution = library.load(&plan)?;
        let wrong = |side: &str, shape: &[usize]| Error::Graph { path: path.into(), reason: format!("its {side} is {shape:?}") };
        let shape = |shape: &[usize]| <[usize; 4]>::try_from(shape).ok().filter(|shape| shape[0] == 1);
        let input_shape = shape(execution.input_shape()).filter(|shape| shape[1] == 3).ok_or_else(|| wrong("input", execution.input_shape()))?;
        let output_shape = shape(execution.output_shape()).ok_or_else(|| wrong("output", execution.output_shape()))?;
        tracing::debug!("{} runs {} a CUDA graph", path.display(), if execution.is_graph() { "as" } else { "without" });
        Ok(Self { around: None, execution, input_shape, output_shape, output: vec![0.0; output_shape.iter().product()] })
    }

    /// Lets the GPU do the work around the network too, for frames that become its input by this specification. If it cannot, because NVRTC is missing for
    /// example, a warning says why, and the CPU does that work.
    pub(crate) fn with_kernels(mut self, spec: &ImageSpec) -> Self {
        let [_, classes, h, w] = self.output_shape;
        if self.input_shape == [1, 3, spec.height_px as usize, spec.width_px as usize] {
            let told = |error: &Error| {
                let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
                tracing::warn!("frames are prepared and class maps made on the CPU: {error}{help}");
            };
            self.around = AroundNetwork::load(&self.execution, spec, [classes, h, w]).inspect_err(told).ok();
        }
        self
    }

    /// Runs the engine once and gives the time of every layer, in the order in which they ran.
    ///
    /// # Errors
    /// TensorRT or CUDA fails.
    pub fn time_layers(&mut self) -> Result<Vec<LayerTime>> {
        Ok(self.execution.time_layers()?)
    }

    /// What TensorRT made of the graph's nodes: the JSON of its engine inspector.
    ///
    /// # Errors
    /// TensorRT gives none.
    pub fn inspect(&self) -> Result<String> {
        Ok(self.execution.inspect()?)
    }
}

/// The key that an engine needs here. The options of the build are the engine's own: whoever names the file has chosen them.
fn key(library: &Library, header: &EngineHeader, manifest: &BundleManifest, precision: &str) -> Result<EngineKey> {
    let gpu = amis_tensorrt::Gpu::first()?;
    let built_for = BuiltFor::Gpu(Gpu { name: gpu.name, compute_capability: gpu.compute_capability.to_string(), cores: gpu.cores });
    let graphs = || manifest.graphs.iter().filter(|graph| graph.precision == precision);
    // The bundle may have this precision for several device families.
    let graph = graphs().find(|graph| graph.entry.sha256 == header.key.graph_sha256).or_else(|| graphs().next());
    Ok(EngineKey {
        tensorrt: library.version().to_string(),
        built_for,
        precision: precision.to_owned(),
        graph_sha256: graph.map_or_else(|| format!("none at {precision}: the bundle has no such graph"), |graph| graph.entry.sha256.clone()),
        options: header.key.options.clone(),
    })
}

impl Backend for TensorRt {
    fn input_shape(&self) -> [usize; 4] {
        self.input_shape
    }

    fn output_shape(&self) -> [usize; 4] {
        self.output_shape
    }

    fn infer(&mut self, input: &[f32]) -> Result<&[f32]> {
        let expected: usize = self.input_shape.iter().product();
        if input.len() != expected {
            return Err(Error::Infer { reason: format!("the input has {} values, expected {expected} for {:?}", input.len(), self.input_shape) });
        }
        self.execution.run(input, &mut self.output)?;
        Ok(&self.output)
    }

    fn predict(&mut self, frame: &Frame, map: &mut Vec<u8>) -> Option<Result<Prediction>> {
        Some(self.around.as_mut()?.predict(&mut self.execution, frame, map))
    }
}
