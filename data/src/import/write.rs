//! Paints the label maps and writes the data set.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use amis_artifacts::classes::{BACKGROUND, ClassList};
use amis_artifacts::files;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use rayon::prelude::*;

use super::classes::Table;
use super::fill::Region;
use super::pictures::Found;
use super::shapes::{Export, Picture};
use super::{Format, ImportOptions, Imported, ImportedClass, annotation};
use crate::{Error, Result, images, labels};

/// Quality of images that are written anew because they were stored turned.
const JPEG_QUALITY: u8 = 95;

/// What painting one picture gave.
struct Painted {
    pixels: Box<[u64; 256]>,
    holes: usize,
    invisible: usize,
}

/// Writes images, label maps, the class list and the lists.
///
/// # Errors
/// A shape that cannot be painted, an image that cannot be read, or a full disk.
pub(super) fn data_set(
    options: &ImportOptions,
    format: Format,
    export: &Export,
    table: &Table,
    found: &[Found],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Imported> {
    table.check(export)?;
    export.pictures.iter().try_for_each(Picture::check)?;
    let done = AtomicUsize::new(0);
    let one = |(picture, file): (&Picture, &Found)| {
        let (values, painted) = paint(picture, table, export.large_first)?;
        let target = options.out.join(format!("labels/{}.png", file.name));
        make_folder(&target)?;
        labels::write(&target, &values, picture.size.0, picture.size.1)?;
        bring(file, &options.out)?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, found.len());
        Ok(painted)
    };
    let all = export.pictures.par_iter().zip(found).map(one).collect::<Result<Vec<_>>>()?;
    let (train, val) = write_lists(options, &table.classes, found)?;
    let class = |class: &amis_artifacts::classes::Class| ImportedClass {
        id: class.id,
        name: class.name.clone(),
        pixels: all.iter().map(|p| p.pixels[usize::from(class.id)]).sum(),
    };
    Ok(Imported {
        format,
        images: found.len(),
        train,
        val,
        annotations: export.pictures.iter().map(|p| p.shapes.len()).sum(),
        holes: all.iter().map(|p| p.holes).sum(),
        invisible: all.iter().map(|p| p.invisible).sum(),
        left_out: export.left_out.clone(),
        turned: found.iter().filter(|f| f.orientation != Orientation::NoTransforms).count(),
        classes: table.classes.iter().map(class).collect(),
    })
}

/// The label map of a picture.
fn paint(picture: &Picture, table: &Table, large_first: bool) -> Result<(Vec<u8>, Painted)> {
    let (width, height) = picture.size;
    let mut plane = vec![BACKGROUND; width as usize * height as usize];
    let mut regions = Vec::with_capacity(picture.shapes.len());
    for shape in &picture.shapes {
        let region = Region::of(&shape.area, picture.size).ok_or_else(|| picture.wrong(&shape.place, "its polygon is too intricate to be painted"))?;
        regions.push((region, table.value(&shape.class)));
    }
    if large_first {
        regions.sort_by_key(|(region, _)| std::cmp::Reverse(region.pixels()));
    }
    for (region, value) in &regions {
        region.paint(&mut plane, width, *value);
    }
    let mut pixels = Box::new([0; 256]);
    plane.iter().for_each(|&value| pixels[usize::from(value)] += 1);
    let invisible = regions.iter().filter(|(region, _)| region.pixels() == 0).count();
    Ok((plane, Painted { pixels, holes: regions.iter().map(|(region, _)| region.holes).sum(), invisible }))
}

/// Puts the image beside its labels: the file itself (linked where that is possible), or upright pixels where it is stored turned.
fn bring(file: &Found, out: &Path) -> Result<()> {
    let is_png = file.path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
    let target = out.join(format!("images/{}.{}", file.name, if is_png { "png" } else { "jpg" }));
    make_folder(&target)?;
    let io = |source| amis_artifacts::Error::Io { action: "write", path: target.clone(), source };
    if target.exists() {
        let same = |path: &Path| path.canonicalize().ok();
        if same(&target) == same(&file.path) {
            // The data set is made where the images are; what belongs to the user is not written over.
            let help = "give another folder with --out";
            let turned = || annotation(&file.path, "the image", "it is stored turned, and lies where it would be written upright", help);
            return if file.orientation == Orientation::NoTransforms { Ok(()) } else { Err(turned()) };
        }
        fs::remove_file(&target).map_err(io)?;
    }
    if file.orientation == Orientation::NoTransforms {
        return match fs::hard_link(&file.path, &target) {
            Ok(()) => Ok(()),
            Err(_) => Ok(fs::copy(&file.path, &target).map(drop).map_err(io)?),
        };
    }
    let stored = images::read_rgb(&file.path)?;
    let wrong = |reason: String| Error::Picture { path: file.path.clone(), reason };
    let pixels = image::RgbImage::from_raw(stored.width_px, stored.height_px, stored.rgb).ok_or_else(|| wrong("its size is wrong".into()))?;
    let mut upright = image::DynamicImage::from(pixels);
    upright.apply_orientation(file.orientation);
    let mut bytes = Vec::new();
    let written = if is_png {
        upright.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png)
    } else {
        upright.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
    };
    written.map_err(|e| Error::Encode { path: target.clone(), reason: e.to_string() })?;
    Ok(fs::write(&target, bytes).map_err(io)?)
}

fn make_folder(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    Ok(fs::create_dir_all(folder).map_err(|source| amis_artifacts::Error::Io { action: "create", path: folder.into(), source })?)
}

/// Writes `classes.txt`, `train.txt` and `val.txt`; returns the lengths of the lists.
fn write_lists(options: &ImportOptions, classes: &ClassList, found: &[Found]) -> Result<(usize, usize)> {
    let mut names: Vec<(String, &str)> = found.iter().map(|f| (files::sha256(f.name.as_bytes()), f.name.as_str())).collect();
    names.sort();
    let share = |hash: &str| u32::from_str_radix(&hash[..8], 16).map_or(1.0, |n| f64::from(n) / f64::from(u32::MAX));
    let mut val = names.iter().take_while(|(hash, _)| share(hash) < options.val_share).count();
    if options.val_share > 0.0 && names.len() > 1 {
        val = val.clamp(1, names.len() - 1); // neither list is left empty
    }
    let write = |file: &str, part: &[(String, &str)]| {
        let mut lines: Vec<&str> = part.iter().map(|(_, name)| *name).collect();
        lines.sort_unstable();
        write_lines(&options.out.join(file), &lines)
    };
    write("val.txt", &names[..val])?;
    write("train.txt", &names[val..])?;
    write_lines(&options.out.join("classes.txt"), &classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>())?;
    Ok((names.len() - val, val))
}

fn write_lines(path: &Path, lines: &[&str]) -> Result<()> {
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    Ok(files::write_atomic(path, text.as_bytes())?)
}
