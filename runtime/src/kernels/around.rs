//! The whole road of a frame on the GPU, around an engine.
#![allow(unsafe_code)] // new values go into memory that a CUDA graph refers to

use std::time::Instant;

use amis_artifacts::image_spec::ImageSpec;
use amis_tensorrt::{Execution, Surrounded};

use super::stages::{Kernels, Stages};
use crate::Result;
use crate::model::{Prediction, Timing};
use crate::source::Frame;

/// The kernels that go around one engine.
pub(crate) struct AroundNetwork {
    kernels: Kernels,
    spec: ImageSpec,
    /// Classes, rows and columns of the masks.
    shape: [usize; 3],
    /// For frames of the last one's size; cameras keep theirs.
    ready: Option<Surrounded<Stages>>,
}

impl AroundNetwork {
    /// For an engine whose input has this specification's size, and whose masks have the shape `[classes, h, w]`.
    ///
    /// # Errors
    /// No NVRTC that serves this driver and GPU, or a GPU that fails.
    pub(crate) fn load(execution: &Execution, spec: &ImageSpec, shape: [usize; 3]) -> Result<Self> {
        Ok(Self { kernels: Kernels::load(execution.stream().context())?, spec: spec.clone(), shape, ready: None })
    }

    /// Class ids of a frame at the frame's size into `map`. The kernels' time is in that of the network.
    ///
    /// # Errors
    /// A frame that cannot be used, masks with values that are not finite numbers, or a GPU that fails.
    pub(crate) fn predict(&mut self, execution: &mut Execution, frame: &Frame, map: &mut Vec<u8>) -> Result<Prediction> {
        let start = Instant::now();
        let size_px = (frame.width_px, frame.height_px);
        let known = self.ready.take().filter(|ready| ready.around().size_px() == size_px);
        let ready = match known {
            Some(known) => known,
            None => {
                let stages = Stages::new(self.kernels.clone(), execution.stream(), &self.spec, self.shape, size_px)?;
                let ready = execution.surround(stages)?;
                tracing::debug!(
                    "frames of {}x{} go through kernels on the GPU, {} a CUDA graph",
                    size_px.0,
                    size_px.1,
                    if ready.is_graph() { "as" } else { "without" }
                );
                ready
            }
        };
        let ready = self.ready.insert(ready);
        // SAFETY: the value stays, it gets a new frame.
        unsafe { ready.around_mut() }.put(&frame.rgb)?;
        let prepared = Instant::now();
        execution.run_surrounded(ready)?;
        let inferred = Instant::now();
        let entropy = mean(ready.around().take(map)?, self.shape[0]);
        let timing = Timing { preprocess: prepared - start, infer: inferred - prepared, class_map: inferred.elapsed() };
        Ok(Prediction { timing, entropy })
    }
}

/// The mean of the positions' entropies, as a part of the largest that there can be with so many classes.
pub(super) fn mean(entropies: &[f32], classes: usize) -> f32 {
    if classes < 2 { 0.0 } else { entropies.iter().sum::<f32>() / (entropies.len() as f32 * (classes as f32).ln()) }
}
