//! Random colours: the same scene under other light.

use rand::{Rng, RngExt};

/// Shares of red, green and blue in brightness (ITU-R BT.601, as PIL and torchvision have it).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Changes brightness, contrast and saturation of RGB bytes, each by a factor drawn from `1 - strength` to `1 + strength`; torchvision's `ColorJitter` in a fixed order.
pub(crate) fn jitter(rgb: &mut [u8], strength: f32, rng: &mut impl Rng) {
    let [brightness, contrast, saturation] = [(); 3].map(|()| rng.random_range(1.0 - strength..=1.0 + strength));
    let pixels = rgb.as_chunks_mut::<3>().0;
    let luma = |p: &[u8; 3]| LUMA[0] * f32::from(p[0]) + LUMA[1] * f32::from(p[1]) + LUMA[2] * f32::from(p[2]);
    let mean = brightness * pixels.iter().map(luma).sum::<f32>() / pixels.len().max(1) as f32;
    for pixel in pixels {
        let grey = luma(pixel);
        for value in pixel {
            let saturated = grey + saturation * (f32::from(*value) - grey);
            *value = (mean + contrast * (brightness * saturated - mean)).round() as u8; // the cast saturates at 0 and 255
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    #[test]
    fn grey_stays_grey_and_no_strength_changes_nothing() {
        let original: Vec<u8> = (0..=255).flat_map(|v: u8| [v, v, v]).chain([255, 0, 0, 10, 200, 30]).collect();
        let mut same = original.clone();
        jitter(&mut same, 0.0, &mut Pcg64Mcg::seed_from_u64(1));
        assert_eq!(same, original);
        let mut changed = original.clone();
        jitter(&mut changed, 0.4, &mut Pcg64Mcg::seed_from_u64(1));
        assert_ne!(changed, original);
        assert!(changed.as_chunks::<3>().0[..256].iter().all(|p| p[0] == p[1] && p[1] == p[2]), "a grey pixel got a colour");
        // Brighter before is brighter after, but for what is cut off at the ends.
        assert!(changed.as_chunks::<3>().0[..256].is_sorted_by_key(|p| p[0]));
    }

    #[test]
    fn strength_bounds_the_change() {
        let mut rng = Pcg64Mcg::seed_from_u64(2);
        for _ in 0..200 {
            let mut grey = vec![100u8; 3 * 64]; // contrast and saturation do nothing to one grey
            jitter(&mut grey, 0.3, &mut rng);
            assert!((70..=130).contains(&grey[0]), "{}", grey[0]);
        }
    }
}
