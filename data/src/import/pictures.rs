//! The image files of an export, and the names that they get.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{ImageDecoder, ImageReader};
use rayon::prelude::*;

use super::shapes::Picture;
use super::{ImportOptions, annotation};
use crate::{Error, Result, lists};

/// The file of a picture.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Name in the new data set, without extension.
    pub(super) name: String,
    /// How the stored pixels are turned to stand as they were annotated.
    pub(super) orientation: Orientation,
}

/// Finds the image of every picture and checks its size.
///
/// # Errors
/// A missing image, another size, or two images that would get one name.
pub(super) fn find(options: &ImportOptions, pictures: &[Picture]) -> Result<Vec<Found>> {
    let beside = if options.from.is_dir() { options.from.clone() } else { options.from.parent().unwrap_or(Path::new("")).to_owned() };
    let folders = match &options.images {
        Some(folder) => vec![folder.clone()],
        None => vec![beside.clone(), beside.join("images"), beside.join("../images")],
    };
    let found = pictures.par_iter().map(|picture| find_one(&folders, picture)).collect::<Result<Vec<_>>>()?;
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (number, one) in found.iter().enumerate() {
        if let Some(first) = names.insert(&one.name, number) {
            let reason = format!("{} and {} would both be called {}", pictures[first].file_name, pictures[number].file_name, one.name);
            return Err(annotation(&pictures[number].source, "the images", reason, "every image is annotated once, and names differ without their extensions"));
        }
    }
    Ok(found)
}

fn find_one(folders: &[PathBuf], picture: &Picture) -> Result<Found> {
    // Paths out of the folder, as labelme writes them, lose their way up; tools also drop the folders.
    let inside = picture.file_name.trim_start_matches("../").trim_start_matches('/');
    let plain = inside.rsplit('/').next().unwrap_or(inside);
    let name = inside.rsplit_once('.').map_or(inside, |(stem, _)| stem).to_owned();
    let candidates = folders.iter().flat_map(|folder| [picture.file_name.as_str(), inside, plain].map(|part| folder.join(part)));
    let missing = || {
        let searched = folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
        annotation(&picture.source, format!("image {}", picture.file_name), format!("it is not in {searched}"), "give the folder of the images with --images")
    };
    let path = candidates.into_iter().find(|path| path.is_file()).ok_or_else(missing)?;
    if !lists::is_name(&name) {
        let reason = "its name cannot be used";
        return Err(annotation(&picture.source, format!("image {}", picture.file_name), reason, "give it a shorter name without control characters"));
    }
    let (stored, orientation) = look(&path)?;
    let is_upright = matches!(orientation, Orientation::NoTransforms | Orientation::FlipHorizontal | Orientation::Rotate180 | Orientation::FlipVertical);
    let upright = if is_upright { stored } else { (stored.1, stored.0) };
    if upright == picture.size {
        return Ok(Found { path, name, orientation });
    }
    if stored == picture.size {
        // Annotated as it is stored: the tool did not turn it.
        return Ok(Found { path, name, orientation: Orientation::NoTransforms });
    }
    let [found, expected] = [upright, picture.size].map(|(w, h)| format!("{w}x{h}"));
    let reason = format!("{} has {found} pixels, the annotations are for {expected}", path.display());
    Err(annotation(&picture.source, format!("image {}", picture.file_name), reason, "this is another image, or it was scaled after it was annotated"))
}

/// Size as stored, and orientation.
fn look(path: &Path) -> Result<((u32, u32), Orientation)> {
    let wrong = |reason: String| Error::Picture { path: path.into(), reason };
    let file = std::fs::File::open(path).map_err(|source| amis_artifacts::Error::Io { action: "read", path: path.into(), source })?;
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|e| wrong(e.to_string()))?;
    let mut decoder = reader.into_decoder().map_err(|e| wrong(e.to_string()))?;
    let orientation = decoder.orientation().map_err(|e| wrong(e.to_string()))?;
    Ok((decoder.dimensions(), orientation))
}
