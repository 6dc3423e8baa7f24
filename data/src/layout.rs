//! How data sets lie on disk, and what their label values mean.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::DataSet;
use crate::{Error, Result};

/// Which folders a data set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// PASCAL VOC 2012, or one's own data in its folders: `JPEGImages/`, a label folder, `ImageSets/`, and `classes.txt` if they are not VOC's classes.
    #[default]
    Voc,
    /// ADE20K in the release of the MIT Scene Parsing Challenge 2016, `ADEChallengeData2016`: 20,210 training and 2,000 validation images,
    /// 150 classes, `images/{training,validation}/` and `annotations/{training,validation}/`.
    Ade20k,
    /// Any images and label PNGs: `images/`, `labels/`, `classes.txt`, and lists such as `train.txt`.
    Folder,
}

/// What value 0 of a label map says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// None of the classes is there: background, in training and in evaluation.
    Background,
    /// Nobody has said what is there: background in training, as everything that is not taught, and ignored in evaluation, as in the reference code.
    Unlabelled,
}

impl Layout {
    /// Folder of the images below the root.
    pub(crate) fn images(self) -> &'static str {
        match self {
            Self::Voc => "JPEGImages",
            Self::Ade20k | Self::Folder => "images",
        }
    }

    /// Folder of the label maps below the root, unless the configuration names another.
    pub fn labels(self) -> &'static str {
        match self {
            Self::Voc => "SegmentationClass",
            Self::Ade20k => "annotations",
            Self::Folder => "labels",
        }
    }

    /// List of all training images, unless the configuration names another.
    pub fn train_list(self) -> &'static str {
        match self {
            Self::Voc => "ImageSets/Segmentation/train.txt",
            Self::Ade20k => "training",
            Self::Folder => "train.txt",
        }
    }

    /// List of the validation images, unless the configuration names another.
    pub fn val_list(self) -> &'static str {
        match self {
            Self::Voc => "ImageSets/Segmentation/val.txt",
            Self::Ade20k => "validation",
            Self::Folder => "val.txt",
        }
    }

    /// Whose published tasks can be asked for by name.
    pub fn data_set(self) -> DataSet {
        match self {
            Self::Voc => DataSet::Voc,
            Self::Ade20k => DataSet::Ade20k,
            Self::Folder => DataSet::Own,
        }
    }

    /// What value 0 of a label map says.
    ///
    /// ADE20K's annotations hold 0 for "other objects" and 1 to 150 for the classes, so the values are the class ids as they stand. Nothing is
    /// shifted when they are read; only the published class lists count from 0, and `class_index::read` turns their numbers into ids.
    pub fn zero(self) -> Zero {
        match self {
            Self::Voc | Self::Folder => Zero::Background,
            Self::Ade20k => Zero::Unlabelled,
        }
    }

    /// The data set's own root: the folder given, or one below it where the archive is unpacked.
    pub(crate) fn find_root(self, given: &Path) -> Result<PathBuf> {
        let below: &[&str] = match self {
            Self::Voc => &["", "VOC2012", "VOCdevkit/VOC2012"],
            Self::Ade20k => &["", "ADEChallengeData2016"],
            Self::Folder => &[""],
        };
        let roots = || below.iter().map(|part| if part.is_empty() { given.to_owned() } else { given.join(part) });
        if self == Self::Ade20k
            && let Some(root) = roots().find(|root| is_full_ade20k(root))
        {
            return Err(Error::FullAde20k { path: root });
        }
        let missing = || Error::NoDataSet { root: given.into(), images: self.images(), below: below[1..].join(", ") };
        roots().find(|root| root.join(self.images()).is_dir()).ok_or_else(missing)
    }
}

/// The full ADE20K (thousands of classes in colour-coded parts) has an index file, and sorts its images by scene below `ADE/`.
fn is_full_ade20k(root: &Path) -> bool {
    let marks = ["index_ade20k.pkl", "index_ade20k.mat", "ADE20K_2021_17_01", "ADE20K_2016_07_26", "images/ADE"];
    marks.iter().any(|mark| root.join(mark).exists())
}
