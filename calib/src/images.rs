//! The image files to choose from, told apart by content.

use std::collections::HashSet;
use std::path::PathBuf;

use amis_artifacts::files;
use rayon::prelude::*;

use crate::Result;

/// An image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

impl Image {
    /// Its name without folders.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The images by content, in an order that the seed decides, whatever the files are called and wherever they lie. Contents in `known` are left out,
/// and those that come twice; all that are listed are `known` afterwards.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn shuffled(paths: &[PathBuf], seed: u64, known: &mut HashSet<String>) -> Result<Vec<Image>> {
    let image = |path: &PathBuf| files::sha256_file(path).map(|sha256| Image { path: path.clone(), sha256 });
    let mut images: Vec<Image> = paths.par_iter().map(image).collect::<std::result::Result<_, _>>()?;
    images.retain(|image| known.insert(image.sha256.clone()));
    images.sort_by_cached_key(|image| files::sha256(format!("{seed} {}", image.sha256).as_bytes()));
    Ok(images)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn contents_and_seed_decide_the_order_and_names_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |prefix: &str, order: [usize; 8]| -> Vec<PathBuf> {
            let path = |(place, content): (usize, usize)| {
                let path = dir.path().join(format!("{prefix}{place}.jpg"));
                std::fs::write(&path, [content as u8]).unwrap();
                path
            };
            order.into_iter().enumerate().map(path).collect()
        };
        let contents = |paths: &[PathBuf], seed| -> Vec<String> {
            let images = shuffled(paths, seed, &mut HashSet::new()).unwrap();
            images.into_iter().map(|i| i.sha256).collect()
        };
        let (first, renamed) = (write("a", [0, 1, 2, 3, 4, 5, 6, 0]), write("b", [6, 5, 4, 3, 2, 1, 0, 1]));
        assert_eq!(contents(&first, 1).len(), 7);
        assert_eq!(contents(&first, 1), contents(&renamed, 1));
        assert_ne!(contents(&first, 1), contents(&first, 2));
        let mut known = HashSet::from([files::sha256(&[3])]);
        assert_eq!(shuffled(&first, 1, &mut known).unwrap().len(), 6);
        assert!(shuffled(&[dir.path().join("absent.jpg")], 1, &mut known).unwrap_err().to_string().contains("absent.jpg"));
    }
}
