use amis_artifacts::classes::{BACKGROUND, ClassList, IGNORE, palette_color};
use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::preprocess;

use crate::Result;

/// A network input `[3, H, W]` as a picture (RGB, `H * W * 3` bytes), half covered by the colours of `ids` `[H, W]`; background stays as it is.
///
/// # Errors
/// The input has another length than the specification says.
pub fn overlay(input: &[f32], ids: &[u8], spec: &ImageSpec, classes: &ClassList) -> Result<Vec<u8>> {
    let mut rgb = preprocess::denormalize(spec, input)?;
    for (pixel, &id) in rgb.chunks_exact_mut(3).zip(ids).filter(|(_, id)| **id != BACKGROUND) {
        let color = classes.get(id).map_or(palette_color(IGNORE), |c| c.color);
        pixel.iter_mut().zip(color).for_each(|(value, color)| *value = value.midpoint(color));
    }
    Ok(rgb)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use amis_artifacts::image_spec::Fit;
    use amis_artifacts::preprocess::Preprocessor;

    use super::*;

    #[test]
    fn background_shows_the_image_and_classes_their_colour_as_well() {
        let (spec, classes) = (ImageSpec::imagenet(1, 2, Fit::Stretch), ClassList::from_names(&["background", "a"]).unwrap());
        let mut input = vec![0.0; 6];
        Preprocessor::new(spec.clone()).normalize(&[10, 20, 30, 100, 110, 120], &mut input).unwrap();
        let color = classes.get(1).unwrap().color;
        let half = |value: u8, channel: usize| value.midpoint(color[channel]);
        assert_eq!(overlay(&input, &[0, 1], &spec, &classes).unwrap(), [10, 20, 30, half(100, 0), half(110, 1), half(120, 2)]);
    }
}
