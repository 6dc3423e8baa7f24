//! A data set on disk: its images, label maps, lists and classes.

use std::path::{Path, PathBuf};

use amis_artifacts::classes::{ClassList, IGNORE};

use crate::images::{self, EXTENSIONS, RgbImage};
use crate::labels::{self, LabelMap};
use crate::layout::Layout;
use crate::{Error, Result, class_names, lists};

/// A folder with images and label maps of the same names.
#[derive(Debug, Clone)]
pub struct DataFolder {
    layout: Layout,
    root: PathBuf,
    /// Name of the label folder.
    labels: String,
}

impl DataFolder {
    /// Opens the data set at `root`, or below it where the archive's own folders are; `labels` is the label folder's name, usually [`Layout::labels`].
    ///
    /// # Errors
    /// The image or the label folder is not there, or it is a release that cannot be used.
    pub fn open(layout: Layout, root: &Path, labels: &str) -> Result<Self> {
        let folder = Self { layout, root: layout.find_root(root)?, labels: labels.trim_matches('/').into() };
        if folder.label_dir().is_dir() { Ok(folder) } else { Err(Error::NoFolder { path: folder.label_dir() }) }
    }

    /// The folder that holds images and labels.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which folders it has.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Name of the label folder below the root.
    pub(crate) fn labels(&self) -> &str {
        &self.labels
    }

    /// Where the label maps lie.
    pub fn label_dir(&self) -> PathBuf {
        self.root.join(&self.labels)
    }

    /// Where the image of this name lies.
    pub fn image_path(&self, name: &str) -> PathBuf {
        let path = |extension: &str| self.root.join(format!("{}/{name}.{extension}", self.layout.images()));
        EXTENSIONS.into_iter().map(path).find(|p| p.is_file()).unwrap_or_else(|| path(EXTENSIONS[0]))
    }

    /// Where the label map of this name lies.
    pub fn label_path(&self, name: &str) -> PathBuf {
        self.root.join(format!("{}/{name}.png", self.labels))
    }

    /// Reads an image with its labels.
    ///
    /// # Errors
    /// One of the files is missing or damaged, or their sizes differ.
    pub fn read_pair(&self, name: &str) -> Result<(RgbImage, LabelMap)> {
        self.read_pair_into(name, (Vec::new(), Vec::new()))
    }

    /// [`Self::read_pair`] into memory that is there already.
    pub(crate) fn read_pair_into(&self, name: &str, (rgb, values): (Vec<u8>, Vec<u8>)) -> Result<(RgbImage, LabelMap)> {
        let image = images::read_rgb_into(&self.image_path(name), rgb)?;
        let path = self.label_path(name);
        let labels = labels::read_into(&path, values)?;
        if (image.width_px, image.height_px) != (labels.width_px, labels.height_px) {
            let expected = [image.width_px, image.height_px];
            return Err(Error::SizesDiffer { path, found: [labels.width_px, labels.height_px], expected });
        }
        Ok((image, labels))
    }

    /// Image names of a list: a text file with one name a line, relative to the root, such as `ImageSets/Segmentation/train.txt`; or a folder below
    /// the image folder, such as `training`, which stands for all images in it (`.`: all there are).
    ///
    /// # Errors
    /// Unreadable, empty, a name twice, or a line that is no name.
    pub fn read_list(&self, list: &str) -> Result<Vec<String>> {
        let images = self.root.join(self.layout.images());
        let part = if list == "." { "" } else { list.trim_matches('/') };
        if !self.root.join(list).is_file() && (list == "." || lists::is_name(part)) && images.join(part).is_dir() {
            return lists::images_in(&images, part);
        }
        lists::read(&self.root.join(list), self.layout.images(), &self.labels)
    }

    /// The data set's classes: those of `classes.txt` (one name a line, background first), or of the release.
    ///
    /// # Errors
    /// The file is missing where the layout needs one, or is no usable list.
    pub fn classes(&self) -> Result<ClassList> {
        let path = self.root.join("classes.txt");
        match class_names::published(self.layout.data_set()) {
            Some(published) if self.layout == Layout::Ade20k || !path.exists() => published,
            _ => Ok(ClassList::read_names(&path)?),
        }
    }

    /// Class ids of the classes of every step.
    ///
    /// # Errors
    /// A name that the data set does not have; the message lists those it has.
    pub fn class_ids(&self, steps: &[Vec<String>]) -> Result<Vec<Vec<u8>>> {
        let classes = self.classes()?;
        let known = || classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = |name: &String| Error::UnknownClass { name: name.clone(), root: self.root.clone(), known: known() };
        let id = |name: &String| classes.by_name(name).map(|c| c.id).ok_or_else(|| unknown(name));
        steps.iter().map(|names| names.iter().map(id).collect()).collect()
    }

    /// Values that a label map may hold: the classes, and [`IGNORE`] where the layout knows it. ADE20K does not: a 255 there comes from ids that
    /// were shifted already.
    ///
    /// # Errors
    /// As [`Self::classes`].
    pub fn label_values(&self) -> Result<Vec<u8>> {
        let ignored = (self.layout != Layout::Ade20k).then_some(IGNORE);
        Ok(self.classes()?.iter().map(|c| c.id).chain(ignored).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn folder(layout: Layout, folders: &[&str], files: &[&str]) -> (tempfile::TempDir, Result<DataFolder>) {
        let dir = tempfile::tempdir().unwrap();
        folders.iter().for_each(|sub| fs::create_dir_all(dir.path().join(sub)).unwrap());
        files.iter().for_each(|file| fs::write(dir.path().join(file), "").unwrap());
        let opened = DataFolder::open(layout, dir.path(), layout.labels());
        (dir, opened)
    }

    fn voc() -> (tempfile::TempDir, DataFolder) {
        let (dir, folder) = folder(Layout::Voc, &["JPEGImages", "SegmentationClass"], &[]);
        (dir, folder.unwrap())
    }

    #[test]
    fn lists_that_could_mislead_are_refused_with_the_line() {
        let (dir, folder) = voc();
        let read = |text: &str| {
            fs::write(dir.path().join("list.txt"), text).unwrap();
            folder.read_list("list.txt")
        };
        assert_eq!(read("a\r\n\nsub/b \nwith space\n").unwrap(), ["a", "sub/b", "with space"]);
        for (text, part) in [
            ("a\nb\na\n", "line 3 repeats a"),
            ("\n\n", "names no image"),
            ("a\n../b\n", "line 2"),
            ("/etc/x\n", "line 1"),
            ("a.jpg a.png\n", "line 1"),
            ("a.jpg\n", "line 1"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("list.txt"), "{message}");
        }
        assert!(folder.read_list("absent.txt").is_err());
    }

    #[test]
    fn the_lists_of_segmentationclassaug_are_pairs_of_paths_in_the_folders_in_use() {
        let (dir, folder) = voc();
        let read = |text: &str| {
            fs::write(dir.path().join("list.txt"), text).unwrap();
            folder.read_list("list.txt")
        };
        assert_eq!(read("/JPEGImages/2007_000032.jpg /SegmentationClass/2007_000032.png\n").unwrap(), ["2007_000032"]);
        for text in ["/JPEGImages/a.jpg /SegmentationClassAug/a.png", "/JPEGImages/a.jpg /SegmentationClass/b.png", "/x/a.jpg /SegmentationClass/a.png"] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains("line 1") && message.contains("/SegmentationClass/NAME.png"), "{message}");
        }
    }

    #[test]
    fn classes_come_from_the_file_or_the_release() {
        let (dir, folder) = voc();
        assert_eq!(folder.classes().unwrap().get(15).unwrap().name, "person");
        assert!(folder.class_ids(&[vec!["road".into()]]).unwrap_err().to_string().contains("no class road"));
        fs::write(dir.path().join("classes.txt"), "background\nroad\n").unwrap();
        assert_eq!(folder.class_ids(&[vec!["road".into()]]).unwrap(), [[1]]);
        assert_eq!(folder.label_values().unwrap(), [0, 1, 255]);
        let (_dir, own) = self::folder(Layout::Folder, &["images", "labels"], &[]);
        assert!(own.unwrap().classes().unwrap_err().to_string().contains("classes.txt"));
    }

    #[test]
    fn the_root_may_be_a_folder_above() {
        for parts in [["VOC2012", "JPEGImages", "SegmentationClass"], ["VOCdevkit/VOC2012", "JPEGImages", "SegmentationClass"]] {
            let folders: Vec<String> = parts[1..].iter().map(|part| format!("{}/{part}", parts[0])).collect();
            let (dir, opened) = folder(Layout::Voc, &folders.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
            assert_eq!(opened.unwrap().root(), dir.path().join(parts[0]));
        }
        let (_dir, nothing) = folder(Layout::Voc, &["images"], &[]);
        let message = nothing.unwrap_err().to_string();
        assert!(message.contains("JPEGImages") && message.contains("VOCdevkit/VOC2012"), "{message}");
        let (_dir, unlabelled) = folder(Layout::Voc, &["JPEGImages"], &[]);
        assert!(matches!(unlabelled, Err(Error::NoFolder { .. })));
    }

    #[test]
    fn ade20k_is_read_by_folder_and_its_full_release_is_refused() {
        let folders = ["images/training", "images/validation", "annotations/training"];
        let (_dir, ade) = folder(Layout::Ade20k, &folders, &["images/training/ADE_train_00000002.jpg", "images/training/ADE_train_00000001.jpg"]);
        let ade = ade.unwrap();
        assert_eq!(ade.read_list("training").unwrap(), ["training/ADE_train_00000001", "training/ADE_train_00000002"]);
        assert!(ade.read_list("validation").unwrap_err().to_string().contains("no image"));
        assert_eq!(ade.label_values().unwrap(), (0..=150).collect::<Vec<u8>>());
        for mark in ["index_ade20k.pkl", "ADE20K_2021_17_01"] {
            let (_dir, full) = folder(Layout::Ade20k, &["images"], &[mark]);
            assert!(matches!(full, Err(Error::FullAde20k { .. })), "{mark}");
        }
    }

    #[test]
    fn any_folder_lists_its_images_and_refuses_two_of_one_name() {
        let (dir, own) = folder(Layout::Folder, &["images/line 1", "labels"], &["images/line 1/b c.JPG", "images/line 1/a.png", "images/line 1/notes.txt"]);
        let own = own.unwrap();
        assert_eq!(own.read_list("line 1").unwrap(), ["line 1/a", "line 1/b c"]);
        assert_eq!(own.image_path("line 1/b c"), dir.path().join("images/line 1/b c.JPG"));
        assert_eq!(own.read_list(".").unwrap(), ["line 1/a", "line 1/b c"]);
        fs::write(dir.path().join("images/line 1/a.jpeg"), "").unwrap();
        assert!(own.read_list("line 1").unwrap_err().to_string().contains("two images are called line 1/a"));
    }
}
