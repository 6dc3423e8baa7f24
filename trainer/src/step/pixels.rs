use tch::{Kind, Tensor, no_grad};

use super::Targets;
use crate::config::Method;
use crate::loss::cross_entropy::cross_entropy;
use crate::loss::distillation::output_distillation;
use crate::model::Segmenter;

/// The terms over pixels: cross-entropy and output distillation.
///
/// They are computed and differentiated image by image, down to the low-resolution masks. Tensors at full size so exist for one image at a time: they take
/// little memory, and a CPU finds them in its cache.
pub(super) struct PixelTerms {
    /// Cross-entropy over `pixels`, without gradient.
    pub(super) cross_entropy: Tensor,
    /// Weighted output distillation over `samples`, without gradient.
    pub(super) output: Option<Tensor>,
    /// Derivative of their sum by the masks `[B, C, h, w]`.
    gradient: Tensor,
}

impl PixelTerms {
    /// Terms of the new network's masks `[B, C, h, w]` for images `[B, 3, H, W]`.
    pub(super) fn new(new: &Segmenter, masks: &Tensor, images: &Tensor, targets: &Targets, [pixels, samples]: [&Tensor; 2], method: &Method) -> Self {
        let distilled = targets.old.as_ref().filter(|_| method.distill_weight != 0.0);
        let image = |i: i64| {
            let of_image = |batch: &Tensor| batch.narrow(0, i, 1);
            let masks = of_image(&masks.detach()).set_requires_grad(true);
            let log_probabilities = new.enlarge(&masks, images).log_softmax(1, None::<Kind>);
            let cross_entropy = cross_entropy(&log_probabilities, &of_image(&targets.labels), &of_image(&targets.weights)) / pixels;
            let output = distilled.map(|old| {
                let probabilities = no_grad(|| new.enlarge(&of_image(&old.masks), images).softmax(1, None::<Kind>));
                let annotated = of_image(&targets.annotated);
                output_distillation(&log_probabilities, &probabilities, &annotated, method.moved) * method.distill_weight / samples
            });
            let sum = output.as_ref().map_or_else(|| cross_entropy.shallow_clone(), |output| &cross_entropy + output);
            let gradient = Tensor::run_backward(&[sum], &[masks], false, false).remove(0);
            (cross_entropy.detach(), output.map(|output| output.detach()), gradient)
        };
        let (mut values, mut outputs, mut gradients) = (vec![], vec![], vec![]);
        for (value, output, gradient) in (0..masks.size()[0]).map(image) {
            values.push(value);
            outputs.extend(output);
            gradients.push(gradient);
        }
        let sum = |values: &[Tensor]| Tensor::stack(values, 0).sum(Kind::Float);
        Self { cross_entropy: sum(&values), output: distilled.map(|_| sum(&outputs)), gradient: Tensor::cat(&gradients, 0) }
    }

    /// A number that is 0 and has the gradient of the terms, down to the network's parameters.
    pub(super) fn carrier(&self, masks: &Tensor) -> Tensor {
        let sum = (masks * &self.gradient).sum(Kind::Float);
        &sum - sum.detach()
    }
}
