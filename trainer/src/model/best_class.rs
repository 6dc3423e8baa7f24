use tch::{Kind, Tensor};

/// The highest of the scores `[B, C, H, W]` at every pixel, and its class: `[B, H, W]` each, classes as bytes. Of equal scores the first counts.
///
/// libtorch's maximum with its place reads the scores pixel by pixel and takes four times as long on a CPU.
pub(crate) fn best_class(scores: &Tensor) -> (Tensor, Tensor) {
    let classes = scores.size()[1];
    let best = scores.amax([1], true);
    let from_the_end = Tensor::arange_start_step(classes, 0, -1, (Kind::Uint8, scores.device())).view([1, classes, 1, 1]);
    let place = (scores.eq_tensor(&best) * from_the_end).amax([1], false);
    // Where a score is no number none is the highest; that is the last class, which there is at least.
    let class = place.clamp_min(1).neg() + classes;
    (best.squeeze_dim(1), class.to_kind(Kind::Uint8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_maximum_and_its_first_place() {
        tch::manual_seed(1);
        // Few different values, so that many are equal.
        for classes in [1, 2, 17, 255] {
            let scores = Tensor::randint(9, [2, classes, 5, 7], (Kind::Float, tch::Device::Cpu));
            let (best, class) = best_class(&scores);
            let (expected, first) = (scores.amax([1], false), scores.argmax(1, false));
            assert_eq!((best, class.to_kind(Kind::Int64)), (expected, first), "{classes} classes");
        }
    }
}
