//! Folders in the layout of PASCAL VOC.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use amis_artifacts::classes::ClassList;
use amis_artifacts::files;

use crate::images::{self, RgbImage};
use crate::labels::{self, LabelMap};
use crate::{Error, Result};

/// Largest image list that is read.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// Longest name in a list.
const MAX_NAME_BYTES: usize = 200;

/// The classes of PASCAL VOC 2012 in order of their ids.
pub const VOC_2012_CLASSES: [&str; 21] = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// A folder with `JPEGImages/<name>.jpg` (or `.png`) and `<label folder>/<name>.png`.
#[derive(Debug, Clone)]
pub struct VocFolder {
    root: PathBuf,
    label_dir: PathBuf,
}

impl VocFolder {
    /// Opens the folder `root`; `label_dir` is the label folder's name in it, usually `SegmentationClass` or `SegmentationClassAug`.
    ///
    /// # Errors
    /// One of the two folders is not there.
    pub fn open(root: &Path, label_dir: &str) -> Result<Self> {
        let folder = Self { root: root.into(), label_dir: root.join(label_dir) };
        for path in [root.join("JPEGImages"), folder.label_dir.clone()] {
            if !path.is_dir() {
                return Err(Error::NoFolder { path });
            }
        }
        Ok(folder)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the image of this name lies.
    pub fn image_path(&self, name: &str) -> PathBuf {
        let path = |extension| self.root.join(format!("JPEGImages/{name}.{extension}"));
        Some(path("png")).filter(|p| p.is_file() && !path("jpg").is_file()).unwrap_or_else(|| path("jpg"))
    }

    /// Where the label map of this name lies.
    pub fn label_path(&self, name: &str) -> PathBuf {
        self.label_dir.join(format!("{name}.png"))
    }

    /// Reads an image with its labels.
    ///
    /// # Errors
    /// One of the files is missing or damaged, or their sizes differ.
    pub fn read_pair(&self, name: &str) -> Result<(RgbImage, LabelMap)> {
        let image = images::read_rgb(&self.image_path(name))?;
        let path = self.label_path(name);
        let labels = labels::read(&path)?;
        if (image.width_px, image.height_px) != (labels.width_px, labels.height_px) {
            let expected = [image.width_px, image.height_px];
            return Err(Error::SizesDiffer { path, found: [labels.width_px, labels.height_px], expected });
        }
        Ok((image, labels))
    }

    /// Reads a list of image names, one a line, from a path relative to the folder, for example `ImageSets/Segmentation/train.txt`.
    ///
    /// # Errors
    /// Unreadable, empty, a name twice, or a line that is no name.
    pub fn read_list(&self, relative: &str) -> Result<Vec<String>> {
        let path = self.root.join(relative);
        let bytes = files::read_limited(&path, "image list", MAX_LIST_BYTES)?;
        let wrong = |reason: String| Err(Error::List { path: path.clone(), reason });
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let (number, name) = (number + 1, line.trim());
            if name.is_empty() {
                continue;
            }
            if !is_name(name) {
                return wrong(format!("line {number} is no image name: {:?}", name.chars().take(80).collect::<String>()));
            }
            if !seen.insert(name.to_owned()) {
                return wrong(format!("line {number} repeats {name}"));
            }
            names.push(name.to_owned());
        }
        if names.is_empty() { wrong("it names no image".into()) } else { Ok(names) }
    }

    /// The class list in `classes.txt`, one name a line, background first. Without that file, the classes of VOC 2012 if `expected` is 21.
    ///
    /// # Errors
    /// No usable list, or another number of classes than `expected`.
    pub fn classes(&self, expected: Option<usize>) -> Result<ClassList> {
        let path = self.root.join("classes.txt");
        let list = match expected {
            Some(21) if !path.exists() => ClassList::from_names(&VOC_2012_CLASSES)?,
            _ => ClassList::read_names(&path)?,
        };
        match expected {
            Some(count) if count != list.len() => Err(Error::List { path, reason: format!("{} classes, expected {count}", list.len()) }),
            _ => Ok(list),
        }
    }
}

/// A relative path without tricks, and without the extension that names in such lists leave out.
fn is_name(name: &str) -> bool {
    let parts_are_plain = name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    parts_are_plain && name.len() <= MAX_NAME_BYTES && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder() -> (tempfile::TempDir, VocFolder) {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["JPEGImages", "SegmentationClass"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let folder = VocFolder::open(dir.path(), "SegmentationClass").unwrap();
        (dir, folder)
    }

    #[test]
    fn lists_that_could_mislead_are_refused_with_the_line() {
        let (dir, folder) = folder();
        let read = |text: &str| {
            std::fs::write(dir.path().join("list.txt"), text).unwrap();
            folder.read_list("list.txt")
        };
        assert_eq!(read("a\r\n\nsub/b \n").unwrap(), ["a", "sub/b"]);
        for (text, part) in
            [("a\nb\na\n", "line 3 repeats a"), ("\n\n", "names no image"), ("a\n../b\n", "line 2"), ("/etc/x\n", "line 1"), ("a.jpg a.png\n", "line 1")]
        {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("list.txt"), "{message}");
        }
        assert!(folder.read_list("absent.txt").is_err());
    }

    #[test]
    fn classes_come_from_the_file_or_are_those_of_voc() {
        let (dir, folder) = folder();
        assert_eq!(folder.classes(Some(21)).unwrap().get(15).unwrap().name, "person");
        assert!(folder.classes(Some(7)).is_err() && folder.classes(None).is_err());
        std::fs::write(dir.path().join("classes.txt"), "background\nroad\n").unwrap();
        assert_eq!(folder.classes(None).unwrap().len(), 2);
        assert!(folder.classes(Some(21)).unwrap_err().to_string().contains("2 classes, expected 21"));
    }

    #[test]
    fn a_folder_without_labels_is_refused() {
        let (dir, _) = folder();
        assert!(matches!(VocFolder::open(dir.path(), "SegmentationClassAug"), Err(Error::NoFolder { .. })));
    }
}
