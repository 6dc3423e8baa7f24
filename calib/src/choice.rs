//! Which images to calibrate with: every class as often as it can be had.

use std::collections::HashSet;
use std::path::PathBuf;

use amis_artifacts::image_spec::ImageSpec;

use crate::feed::feed;
use crate::images::{Image, shuffled};
use crate::network::Network;
use crate::{Error, Progress, Result};

/// So many times the wanted number of images are looked at, at most, to choose from.
const LOOKED_AT: usize = 4;
/// Share of the positions that a class must have in an image to count as shown: less is noise of the prediction.
const MIN_SHARE: f64 = 0.005;

/// Image files, and how many of them to use.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// To choose from.
    pub candidates: &'a [PathBuf],
    /// Used in any case: what earlier steps have kept.
    pub kept: &'a [PathBuf],
    /// Images to use, if there are that many.
    pub count: usize,
    /// Decides which ones.
    pub seed: u64,
}

/// The different images, those kept first, the others in an order that the seed decides.
pub(crate) struct Listed {
    images: Vec<Image>,
    kept: usize,
    count: usize,
    /// Files that had the content of another one.
    pub(crate) repeated: usize,
}

impl Listed {
    /// Reads all files once, for their hashes.
    ///
    /// # Errors
    /// A file cannot be read, or there is none to use.
    pub(crate) fn new(from: Images<'_>) -> Result<Self> {
        let mut known = HashSet::new();
        let mut images = shuffled(from.kept, from.seed, &mut known)?;
        let kept = images.len();
        images.extend(shuffled(from.candidates, from.seed, &mut known)?);
        let repeated = from.kept.len() + from.candidates.len() - images.len();
        let listed = Self { count: from.count.max(kept).min(images.len()), images, kept, repeated };
        if listed.count == 0 { Err(Error::NoImages { candidates: listed.images.len() }) } else { Ok(listed) }
    }

    /// Images that will be chosen.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The images to use: all there are if no more are wanted, else a choice balanced by what the network predicts; those kept in any case.
    ///
    /// # Errors
    /// An image cannot be read, or inference fails.
    pub(crate) fn choose(self, network: &mut Network, spec: &ImageSpec, progress: Progress<'_>) -> Result<Vec<Image>> {
        let Self { mut images, kept, count, .. } = self;
        if images.len() == count {
            return Ok(images);
        }
        images.truncate(kept + count.saturating_mul(LOOKED_AT));
        let mut positions = Vec::new();
        feed(&images, spec, |index, image, input| {
            positions.push(network.classes(&image.path, input)?);
            progress("choosing", index + 1, images.len());
            Ok(())
        })?;
        Ok(balanced(&positions, kept, count).into_iter().map(|index| images[index].clone()).collect())
    }
}

/// Whether an image with these predicted positions by class shows a class.
pub(crate) fn shows(positions: &[u64], class: usize) -> bool {
    let count = positions.get(class).copied().unwrap_or(0);
    count > 0 && count as f64 >= MIN_SHARE * positions.iter().sum::<u64>() as f64
}

/// Up to `count` images, in the order of their choice: the first `kept` in any case, then each time the first one that shows the class which the
/// fewest chosen images show. `positions[image][class]` are the predicted positions; images without classes are taken as they come.
pub(crate) fn balanced(positions: &[Vec<u64>], kept: usize, count: usize) -> Vec<usize> {
    let classes = positions.iter().map(Vec::len).max().unwrap_or(0);
    let mut covered = vec![0; classes];
    let mut is_chosen = vec![false; positions.len()];
    let mut chosen = Vec::new();
    let mut take = |image: usize, is_chosen: &mut [bool], covered: &mut [usize]| {
        is_chosen[image] = true;
        chosen.push(image);
        (0..classes).filter(|&class| shows(&positions[image], class)).for_each(|class| covered[class] += 1);
        chosen.len()
    };
    let mut done = 0;
    for image in 0..kept {
        done = take(image, &mut is_chosen, &mut covered);
    }
    // First image that may still show a class, by class; beyond the last if there is none.
    let mut next = vec![kept; classes];
    while done < count.min(positions.len()) {
        for (class, place) in next.iter_mut().enumerate() {
            while *place < positions.len() && (is_chosen[*place] || !shows(&positions[*place], class)) {
                *place += 1;
            }
        }
        let rarest = (0..classes).filter(|&class| next[class] < positions.len()).min_by_key(|&class| covered[class]);
        let Some(image) = rarest.map(|class| next[class]).or_else(|| is_chosen.iter().position(|chosen| !chosen)) else { break };
        done = take(image, &mut is_chosen, &mut covered);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_classes_are_chosen_first_and_kept_images_count() {
        // 200 images of class 0, of which three show class 1 and one class 2.
        let mut positions = vec![vec![1000, 1, 0]; 200];
        for (image, class) in [(20, 1), (90, 1), (150, 1), (77, 2)] {
            positions[image] = vec![900, 0, 0];
            positions[image][class] = 100;
        }
        let chosen = balanced(&positions, 0, 10);
        assert_eq!(chosen.len(), 10);
        for image in [20, 90, 150, 77] {
            assert!(chosen.contains(&image), "{image} is not in {chosen:?}");
        }
        let mut all = balanced(&positions, 0, 1000);
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());

        // The kept image shows class 1, so class 2 is what is wanted first.
        positions.insert(0, vec![900, 100, 0]);
        assert_eq!(balanced(&positions, 1, 2), [0, 78]);
        assert_eq!(balanced(&positions, 3, 2), [0, 1, 2]);
    }

    #[test]
    fn without_masks_images_are_taken_as_they_come() {
        assert_eq!(balanced(&vec![vec![]; 5], 0, 3), [0, 1, 2]);
    }
}
