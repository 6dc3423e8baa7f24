//! Inference behind one interface, whatever library or device runs the graph.

pub mod onnxruntime;
pub mod tensorrt;

use crate::Result;
use crate::model::Prediction;
use crate::source::Frame;

/// A loaded graph of fixed shape: input `[1, 3, H, W]`, output `[1, C, h, w]`, both float32.
pub trait Backend: Send {
    /// Input shape `[1, 3, H, W]`.
    fn input_shape(&self) -> [usize; 4];

    /// Output shape `[1, C, h, w]`.
    fn output_shape(&self) -> [usize; 4];

    /// Runs the graph on `input` `[1, 3, H, W]`, row-major. The result `[1, C, h, w]` lives until the next call.
    ///
    /// # Errors
    /// `input` has another length, or the library reports a failure.
    fn infer(&mut self, input: &[f32]) -> Result<&[f32]>;

    /// Class ids of a frame at the frame's size into `map`, where the device does the work around the network too. None: the caller does it on the CPU,
    /// around [`Self::infer`].
    fn predict(&mut self, _frame: &Frame, _map: &mut Vec<u8>) -> Option<Result<Prediction>> {
        None
    }
}
