//! Writes a small data set of synthetic scenes in VOC layout, with image lists for an incremental task.

use std::fs;
use std::path::Path;

use amis_artifacts::files;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::scene::{Scene, class_names};
use crate::{Error, Result, labels as label_maps};

/// Name of the task: four classes, then `tree`, then `person`. Its lists are `ImageSets/Steps/4-1-1/<step>.txt`.
pub const TASK: &str = "4-1-1";
/// Most images that a list may get.
pub const MAX_IMAGES: usize = 100_000;
/// Classes that belong to each step.
const STEPS: [&[u8]; 3] = [&[1, 2, 3, 4], &[5], &[6]];
/// Share of an image that its step's classes must cover.
const MIN_SHARE: f64 = 0.06;
/// Visually lossless for pictures of this size, a third of the bytes of 100.
const JPEG_QUALITY: u8 = 92;
const STAMP: &str = "synth.json";

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthOptions {
    /// Training images of each step; every image belongs to one step, and shows that step's classes.
    pub step_images: [usize; 3],
    /// Validation images.
    pub val_images: usize,
    /// Width of the images.
    pub width_px: u32,
    /// Height of the images.
    pub height_px: u32,
    /// Other seeds give other images.
    pub seed: u32,
}

/// Left in the finished folder, so that it is recognised.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// Raised whenever the same options would give other images.
    generator: u32,
    options: SynthOptions,
}

/// Writes the data set into `dir`; a finished one with the same options is left as it is.
///
/// The folder appears when all is written, so an interrupted run leaves nothing that looks like a data set.
/// The labels hold every class in every image: what a step may see of them is the label mapping's business.
///
/// # Errors
/// `dir` holds something else, sizes or numbers are impossible, or the disk is full.
pub fn write(dir: &Path, options: &SynthOptions) -> Result<()> {
    for &images in options.step_images.iter().chain([&options.val_images]) {
        if !(1..=MAX_IMAGES).contains(&images) {
            return Err(Error::SynthSize { images });
        }
    }
    Scene::new(options.width_px, options.height_px, 0)?;
    let stamp = Stamp { generator: 2, options: options.clone() };
    if finished(dir, &stamp)? {
        return Ok(());
    }
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| io("create", parent, e))?;
    let work = tempfile::Builder::new().prefix(".synth-").tempdir_in(parent).map_err(|e| io("create", parent, e))?;
    write_set(work.path(), options)?;
    files::write_json(&work.path().join(STAMP), &stamp)?;
    publish(work, dir)
}

/// True if `dir` is what would be written, false if it may be written.
fn finished(dir: &Path, stamp: &Stamp) -> Result<bool> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io("list", dir, e)),
        Err(_) | Ok(true) => return Ok(false),
        Ok(false) => {}
    }
    let in_use = |reason| Err(Error::FolderInUse { path: dir.into(), reason });
    let path = dir.join(STAMP);
    if !path.exists() {
        return in_use(format!("it has no {STAMP}"));
    }
    let found: Stamp = files::read_json(&path, "stamp of a synthetic data set")?;
    if found == *stamp { Ok(true) } else { in_use(format!("its {STAMP} says {found:?}, asked for is {stamp:?}")) }
}

fn publish(work: tempfile::TempDir, dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Temporary folders are private; the data set is for everybody who may read where it lies.
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).map_err(|e| io("change", work.path(), e))?;
    fs::rename(work.path(), dir).map_err(|e| io("create", dir, e))?;
    // Under its new name it is no longer temporary.
    let _ = work.keep();
    Ok(())
}

fn write_set(root: &Path, options: &SynthOptions) -> Result<()> {
    for folder in ["JPEGImages", "SegmentationClass"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).map_err(|e| io("create", &path, e))?;
    }
    let mut all = Vec::new();
    for (step, &count) in options.step_images.iter().enumerate() {
        let names = images(root, options, &format!("step{step}"), step as u32, count, STEPS[step])?;
        write_list(root, &format!("ImageSets/Steps/{TASK}/{step}.txt"), &names)?;
        all.extend(names);
    }
    write_list(root, "ImageSets/Segmentation/train.txt", &all)?;
    // Every validation image shows something of the last class or the one before.
    let names = images(root, options, "val", 9, options.val_images, &[5, 6])?;
    write_list(root, "ImageSets/Segmentation/val.txt", &names)?;
    write_list(root, "classes.txt", class_names())
}

/// Paints `count` images that show `classes`, returns their names.
fn images(root: &Path, options: &SynthOptions, prefix: &str, group: u32, count: usize, classes: &[u8]) -> Result<Vec<String>> {
    let paint = |number: usize| {
        let name = format!("{prefix}_{number:05}");
        let (rgb, labels) = street(options, group, number as u64, classes)?;
        write_jpeg(&root.join(format!("JPEGImages/{name}.jpg")), &rgb, options.width_px, options.height_px)?;
        label_maps::write(&root.join(format!("SegmentationClass/{name}.png")), &labels, options.width_px, options.height_px)?;
        Ok(name)
    };
    (0..count).into_par_iter().map(paint).collect()
}

/// The first street of this image's sequence that shows enough of the classes.
fn street(options: &SynthOptions, group: u32, number: u64, classes: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut rgb, mut labels) = (Vec::new(), Vec::new());
    for attempt in 0..200 {
        let seed = (u64::from(options.seed) << 32 | u64::from(group) << 28) + (number << 8) + attempt;
        let scene = Scene::new(options.width_px, options.height_px, seed)?;
        scene.frame((seed % 509) as f64, &mut rgb, &mut labels);
        let shown = labels.iter().filter(|v| classes.contains(v)).count();
        if shown as f64 >= MIN_SHARE * labels.len() as f64 {
            break;
        }
    }
    Ok((rgb, labels))
}

fn write_list<S: AsRef<str>>(root: &Path, relative: &str, lines: &[S]) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.as_ref());
        text.push('\n');
    }
    Ok(files::write_atomic(&root.join(relative), text.as_bytes())?)
}

fn write_jpeg(path: &Path, rgb: &[u8], width_px: u32, height_px: u32) -> Result<()> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .encode(rgb, width_px, height_px, image::ExtendedColorType::Rgb8)
        .map_err(|e| Error::Encode { path: path.into(), reason: e.to_string() })?;
    fs::write(path, bytes).map_err(|e| io("write", path, e))
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    amis_artifacts::Error::Io { action, path: path.into(), source }.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options() -> SynthOptions {
        SynthOptions { step_images: [3, 2, 2], val_images: 2, width_px: 64, height_px: 48, seed: 5 }
    }

    fn lines(root: &Path, relative: &str) -> Vec<String> {
        fs::read_to_string(root.join(relative)).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_training_image_belongs_to_one_step_and_all_files_are_there() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("deep/set");
        write(&root, &options()).unwrap();
        let mut steps: Vec<String> = (0..3).flat_map(|step| lines(&root, &format!("ImageSets/Steps/{TASK}/{step}.txt"))).collect();
        assert_eq!(steps, lines(&root, "ImageSets/Segmentation/train.txt"));
        steps.extend(lines(&root, "ImageSets/Segmentation/val.txt"));
        assert_eq!(steps.len(), 9);
        steps.dedup();
        assert_eq!(steps.len(), 9);
        for name in &steps {
            assert!(root.join(format!("JPEGImages/{name}.jpg")).is_file() && root.join(format!("SegmentationClass/{name}.png")).is_file());
        }
        assert_eq!(lines(&root, "classes.txt"), class_names());
        assert_eq!(fs::read_dir(root.parent().unwrap()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn a_finished_set_is_kept_and_a_foreign_folder_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("set");
        write(&root, &options()).unwrap();
        let classes = root.join("classes.txt");
        let before = fs::metadata(&classes).unwrap().modified().unwrap();
        write(&root, &options()).unwrap();
        assert_eq!(fs::metadata(&classes).unwrap().modified().unwrap(), before);
        let other = SynthOptions { seed: 6, ..options() };
        assert!(matches!(write(&root, &other), Err(Error::FolderInUse { .. })));
        fs::remove_file(root.join(STAMP)).unwrap();
        assert!(matches!(write(&root, &options()), Err(Error::FolderInUse { .. })));
        assert!(matches!(write(&root, &SynthOptions { val_images: 0, ..options() }), Err(Error::SynthSize { images: 0 })));
    }
}
