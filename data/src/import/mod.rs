//! Drawn annotations become label maps: COCO-style JSON, labelme files and CVAT exports, into a data set in [`Layout::Folder`].
//!
//! The road is [`run`]: read the export, settle the class ids, then paint a label map for every image. What cannot be understood is an error that names
//! file and annotation; nothing is guessed. What cannot be a region (lines, points, tags) is left out and counted.
//!
//! [`Layout::Folder`]: crate::layout::Layout::Folder

mod classes;
mod coco;
mod cvat;
mod fill;
mod labelme;
mod pictures;
mod shapes;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use amis_artifacts::classes::ClassList;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which tool's files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON file with `images`, `annotations` and `categories`: COCO, and what CVAT and others export as "COCO".
    Coco,
    /// A JSON file beside every image, written by labelme.
    Labelme,
    /// "CVAT for images 1.1": one XML file.
    Cvat,
}

/// What to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// COCO's JSON file, CVAT's XML file, or a folder (or one file) of labelme.
    pub from: PathBuf,
    /// Whose files; none to find out by looking.
    pub format: Option<Format>,
    /// Folder that the images' file names are relative to; none to look beside the annotations.
    pub images: Option<PathBuf>,
    /// Folder of the data set to write. Classes that it has already keep their ids.
    pub out: PathBuf,
    /// Classes in order of their ids; none to take those of `out`, and those found behind them.
    pub classes: Option<ClassList>,
    /// Classes whose pixels become 255, which training and evaluation ignore.
    pub ignore: Vec<String>,
    /// Share of the images that go to the validation list, 0 to 1, by a hash of the name: an image stays in its list when others are added.
    pub val_share: f64,
}

/// What was imported.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// Whose files they were.
    pub format: Format,
    /// Images with a label map.
    pub images: usize,
    /// Images on the training list.
    pub train: usize,
    /// Images on the validation list.
    pub val: usize,
    /// Annotations painted.
    pub annotations: usize,
    /// Parts that lie wholly inside another part of their annotation, and were cut out.
    pub holes: usize,
    /// Annotations without a pixel: thinner than a pixel, outside the image, or painted over.
    pub invisible: usize,
    /// What is no region and was left out, by kind.
    pub left_out: BTreeMap<String, usize>,
    /// Images stored turned (EXIF) that were written upright, as they were annotated.
    pub turned: usize,
    /// Classes with their pixels.
    pub classes: Vec<ImportedClass>,
}

/// One class of the new data set.
#[derive(Debug, Serialize)]
pub struct ImportedClass {
    /// Class id.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Pixels with this label.
    pub pixels: u64,
}

/// Reads an export and writes the data set: `images/`, `labels/`, `classes.txt`, `train.txt`, `val.txt`.
///
/// `progress` is called from the worker threads with the number of images done, and the number of all.
///
/// # Errors
/// An export that cannot be understood, an image that is missing or of another size, a class that is not on the list, a full disk.
pub fn run(options: &ImportOptions, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Imported> {
    let format = options.format.map_or_else(|| guess(&options.from), Ok)?;
    let export = match format {
        Format::Coco => coco::read(&options.from)?,
        Format::Labelme => labelme::read(&options.from)?,
        Format::Cvat => cvat::read(&options.from)?,
    };
    let table = classes::Table::new(options, &export)?;
    let pictures = pictures::find(options, &export.pictures)?;
    write::data_set(options, format, &export, &table, &pictures, progress)
}

/// A folder is labelme's, XML is CVAT's, and of JSON files labelme's have shapes.
fn guess(from: &Path) -> Result<Format> {
    let extension = from.extension().unwrap_or_default().to_ascii_lowercase();
    if from.is_dir() {
        return Ok(Format::Labelme);
    }
    match extension.to_str() {
        Some("xml") => Ok(Format::Cvat),
        Some("json") if labelme::is_one(from)? => Ok(Format::Labelme),
        Some("json") => Ok(Format::Coco),
        _ => Err(annotation(from, "the file", "it is neither JSON, nor XML, nor a folder", "name COCO's JSON, CVAT's XML, or labelme's folder")),
    }
}

/// An error about one annotation: where it is, what is wrong, what to do.
fn annotation(path: &Path, place: impl Into<String>, reason: impl Into<String>, help: impl Into<String>) -> Error {
    Error::Annotation { path: path.into(), place: place.into(), reason: reason.into(), help: help.into() }
}

/// What helps against most mistakes in a file that a tool wrote.
const EXPORT_AGAIN: &str = "correct the annotation in the tool that drew it and export again";
