//! Whether the float32 graph does as well as the trainer measured. A loss of quality is not spoken of before that.

use amis_artifacts::checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};

use super::Images;
use crate::Result;

/// Most that the float32 graph's mean IoU may differ from the trainer's on the same images, 0..1.
pub const MAX_DIFFERENCE: f64 = 0.001;

/// The float32 graph's mean IoU beside the trainer's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reproduction {
    /// What the trainer measured over all classes with background, 0..1.
    pub trainer_miou: Option<f64>,
    /// What the float32 graph has on these images, 0..1.
    pub graph_miou: Option<f64>,
    /// Why the two do not agree, or cannot be compared; none if they are within [`MAX_DIFFERENCE`] on the same images.
    pub problem: Option<String>,
}

impl Reproduction {
    /// Compares; both are at the size of the network's input, with the image spec of the checkpoint.
    ///
    /// # Errors
    /// `metrics.json` is missing or damaged.
    pub(crate) fn new(checkpoint: &Checkpoint, images: &Images, graph_miou: Option<f64>) -> Result<Self> {
        let trainer_miou = checkpoint.metrics()?.all_with_background.miou;
        let validation = checkpoint.manifest.image_lists.iter().find(|l| l.role == "val");
        let problem = match (trainer_miou, graph_miou, validation) {
            (_, None, _) => Some("there are no labels for these images".into()),
            (None, ..) | (.., None) => Some("the trainer left no mean IoU in the checkpoint, or no validation list".into()),
            (_, _, Some(list)) if list.sha256 != images.list_sha256() => {
                Some(format!("these {} images are not the {} that the trainer validated on", images.len(), list.images))
            }
            (Some(trainer), Some(graph), _) if (trainer - graph).abs() > MAX_DIFFERENCE => {
                Some(format!("the float32 graph has {:.2} points of mean IoU, the trainer measured {:.2} on these images", 100.0 * graph, 100.0 * trainer))
            }
            _ => None,
        };
        Ok(Self { trainer_miou, graph_miou, problem })
    }
}
