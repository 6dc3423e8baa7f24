//! Files of labelme: one JSON file an image.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use amis_artifacts::files;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rayon::prelude::*;
use serde::Deserialize;

use super::annotation;
use super::shapes::{Area, Export, Picture, Ring, Runs, Shape, ellipse, rectangle};
use crate::{Result, labels};

/// Largest file, in bytes: the image may be in it.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// How deep below the folder files are looked for.
const MAX_DEPTH: usize = 16;

#[derive(Deserialize)]
struct File {
    shapes: Vec<Drawn>,
    #[serde(rename = "imagePath")]
    image_path: String,
    #[serde(rename = "imageHeight")]
    height: u32,
    #[serde(rename = "imageWidth")]
    width: u32,
}

#[derive(Deserialize)]
struct Drawn {
    label: String,
    points: Vec<[f64; 2]>,
    #[serde(default = "polygon")]
    shape_type: String,
    #[serde(default)]
    mask: Option<String>,
}

fn polygon() -> String {
    "polygon".into()
}

/// Whether a JSON file is one of labelme's.
pub(super) fn is_one(path: &Path) -> Result<bool> {
    #[derive(Deserialize)]
    struct Mark {
        shapes: Option<serde::de::IgnoredAny>,
    }
    let bytes = files::read_limited(path, "annotation file", 1 << 30)?;
    Ok(serde_json::from_slice::<Mark>(&bytes).is_ok_and(|mark| mark.shapes.is_some()))
}

/// Reads a folder of files, or one file.
///
/// # Errors
/// No file there, or one that cannot be understood.
pub(super) fn read(from: &Path) -> Result<Export> {
    let mut paths = Vec::new();
    if from.is_dir() {
        find(from, 0, &mut paths)?
    } else {
        paths.push(from.into())
    }
    paths.sort();
    if paths.is_empty() {
        return Err(annotation(from, "the folder", "it has no JSON file", "name the folder that labelme saved its files in"));
    }
    let read: Vec<(Picture, Vec<String>)> = paths.par_iter().map(|path| read_file(path, from)).collect::<Result<_>>()?;
    let mut export = Export::default();
    for (picture, left_out) in read {
        left_out.into_iter().for_each(|kind| *export.left_out.entry(kind).or_default() += 1);
        export.pictures.push(picture);
    }
    let names: BTreeSet<&String> = export.pictures.iter().flat_map(|p| &p.shapes).map(|s| &s.class).collect();
    export.class_names = names.into_iter().cloned().collect();
    Ok(export)
}

fn find(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<()> {
    let io = |source| amis_artifacts::Error::Io { action: "list", path: folder.into(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() && depth < MAX_DEPTH {
            find(&path, depth + 1, paths)?;
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
            paths.push(path);
        }
    }
    Ok(())
}

/// One file; also the kinds of what is no region.
fn read_file(path: &Path, from: &Path) -> Result<(Picture, Vec<String>)> {
    let bytes = files::read_limited(path, "labelme file", MAX_FILE_BYTES)?;
    let file: File = serde_json::from_slice(&bytes).map_err(|e| {
        let help = "this is no labelme file with shapes, imagePath, imageHeight and imageWidth; move other JSON files elsewhere, or save it again";
        annotation(path, format!("line {}", e.line()), e.to_string(), help)
    })?;
    // The path is relative to the file; names are relative to the folder that is read.
    let folder = path.parent().and_then(|p| p.strip_prefix(from).ok()).unwrap_or(Path::new(""));
    let file_name = tidy(&format!("{}/{}", folder.display(), file.image_path.replace('\\', "/")));
    let mut picture = Picture { source: path.into(), file_name, size: (file.width, file.height), shapes: Vec::new() };
    let mut left_out = Vec::new();
    for (number, drawn) in file.shapes.into_iter().enumerate() {
        let place = format!("shape {} ({})", number + 1, drawn.label);
        let wrong = |reason: String| picture.wrong(&place, reason);
        let two = || <[[f64; 2]; 2]>::try_from(drawn.points.as_slice()).map_err(|_| wrong(format!("{} points, expected 2", drawn.points.len())));
        let area = match drawn.shape_type.as_str() {
            "polygon" | "oriented_rectangle" => Area::Rings(vec![to_edges(drawn.points, picture.size)]),
            "rectangle" => {
                let [a, b] = two()?;
                Area::Rings(vec![to_edges(rectangle(a, b, 0.0), picture.size)])
            }
            "circle" => {
                let [center, rim] = two()?;
                let radius = (rim[0] - center[0]).hypot(rim[1] - center[1]);
                Area::Rings(vec![ellipse(center, [radius; 2])])
            }
            "mask" => {
                let text = drawn.mask.as_deref().ok_or_else(|| wrong("a mask without its picture".into()))?;
                Area::Runs(mask(path, text, two()?).map_err(wrong)?)
            }
            kind => {
                left_out.push(kind.chars().take(40).collect());
                continue;
            }
        };
        picture.shapes.push(Shape { place, class: drawn.label, area });
    }
    Ok((picture, left_out))
}

/// labelme lets no corner lie beyond the first edge of the last pixel: those there are meant to reach the image's edge.
fn to_edges(ring: Ring, (width, height): (u32, u32)) -> Ring {
    let reach = |at: f64, side: u32| if at >= f64::from(side) - 1.0 { at.max(f64::from(side)) } else { at };
    ring.into_iter().map(|[x, y]| [reach(x, width), reach(y, height)]).collect()
}

/// A mask: a PNG that fills the box from the first point to the second, both within.
fn mask(path: &Path, text: &str, [from, to]: [[f64; 2]; 2]) -> std::result::Result<Runs, String> {
    let png = BASE64_STANDARD.decode(text).map_err(|e| format!("its mask is no base64 text: {e}"))?;
    let picture = labels::decode(png, path, Vec::new()).map_err(|e| format!("its mask is no PNG of one bit or grey: {e}"))?;
    let corner = |at: f64| if (0.0..1e6).contains(&at) { Ok(at as u32) } else { Err(format!("its mask begins at {at}")) };
    let (left, top, right, bottom) = (corner(from[0])?, corner(from[1])?, corner(to[0])?, corner(to[1])?);
    let expected = (u64::from(right) + 1).checked_sub(left.into()).zip((u64::from(bottom) + 1).checked_sub(top.into()));
    if expected != Some((picture.width_px.into(), picture.height_px.into())) {
        return Err(format!("its mask has {}x{} pixels and its points are ({left}, {top}) and ({right}, {bottom})", picture.width_px, picture.height_px));
    }
    let mut counts = Vec::new();
    for same in picture.values.chunk_by(|a, b| (*a > 0) == (*b > 0)) {
        if counts.is_empty() && same[0] > 0 {
            counts.push(0);
        }
        counts.push(same.len() as u32);
    }
    Ok(Runs { left, top, width: picture.width_px, height: picture.height_px, by_column: false, counts })
}

/// Takes `.` and `a/..` out of a relative path; a leading `..` stays and is refused later.
fn tidy(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." && parts.last().is_some_and(|last| *last != "..") {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}
