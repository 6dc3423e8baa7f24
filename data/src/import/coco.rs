//! COCO-style JSON.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use amis_artifacts::files;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::value::MapAccessDeserializer};

use super::shapes::{Area, Export, Picture, Runs, Shape, ring};
use super::{EXPORT_AGAIN, annotation};
use crate::Result;

/// Largest annotation file, in bytes: twice the training annotations of COCO 2017.
const MAX_FILE_BYTES: u64 = 1 << 30;

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: Id,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<Id>,
    image_id: Id,
    category_id: Id,
    #[serde(default)]
    segmentation: Segmentation,
}

#[derive(Deserialize)]
struct Category {
    id: Id,
    name: String,
}

/// A number, as in COCO; some tools write text.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash, Clone)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

#[derive(Default)]
enum Segmentation {
    /// Boxes and keypoints without a region.
    #[default]
    None,
    Polygons(Vec<Vec<f64>>),
    Mask(Mask),
}

#[derive(Deserialize)]
struct Mask {
    /// Height and width.
    size: [u32; 2],
    counts: Counts,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Plain(Vec<u32>),
    Packed(String),
}

impl<'de> Deserialize<'de> for Segmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Segmentation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of polygons [[x1, y1, x2, y2, ...], ...], or a mask {\"size\": [h, w], \"counts\": ...}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Segmentation, A::Error> {
                let mut polygons = Vec::new();
                while let Some(polygon) = list.next_element()? {
                    polygons.push(polygon);
                }
                Ok(if polygons.is_empty() { Segmentation::None } else { Segmentation::Polygons(polygons) })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Segmentation, A::Error> {
                Mask::deserialize(MapAccessDeserializer::new(map)).map(Segmentation::Mask)
            }

            fn visit_unit<E: de::Error>(self) -> std::result::Result<Segmentation, E> {
                Ok(Segmentation::None)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads an export.
///
/// # Errors
/// Not such a file, or an annotation that contradicts it.
pub(super) fn read(path: &Path) -> Result<Export> {
    let bytes = files::read_limited(path, "COCO annotation file", MAX_FILE_BYTES)?;
    let file: File = serde_json::from_slice(&bytes).map_err(|e| {
        annotation(
            path,
            format!("line {}", e.line()),
            e.to_string(),
            "this is no COCO file with images, annotations and categories; export it again as COCO 1.0",
        )
    })?;
    drop(bytes);
    let wrong = |place: String, reason: String| annotation(path, place, reason, EXPORT_AGAIN);
    let mut categories: HashMap<Id, String> = HashMap::new();
    for category in &file.categories {
        if categories.insert(category.id.clone(), category.name.clone()).is_some() {
            return Err(wrong(format!("category {}", category.id), "its id stands twice".into()));
        }
    }
    let mut export = Export { large_first: true, ..Export::default() };
    let mut place: HashMap<Id, usize> = HashMap::new();
    for image in file.images {
        if place.insert(image.id.clone(), export.pictures.len()).is_some() {
            return Err(wrong(format!("image {}", image.id), "its id stands twice".into()));
        }
        let (file_name, size) = (image.file_name.replace('\\', "/"), (image.width, image.height));
        export.pictures.push(Picture { source: path.into(), file_name, size, shapes: Vec::new() });
    }
    let mut sorted: Vec<&Category> = file.categories.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    let mut seen = HashSet::new();
    export.class_names = sorted.iter().map(|c| c.name.clone()).filter(|name| seen.insert(name.clone())).collect();
    for (number, item) in file.annotations.into_iter().enumerate() {
        let name = item.id.map_or_else(|| format!("annotation number {}", number + 1), |id| format!("annotation {id}"));
        let Some(picture) = place.get(&item.image_id).map(|&at| &mut export.pictures[at]) else {
            return Err(wrong(name, format!("its image_id {} is not among the images", item.image_id)));
        };
        let Some(class) = categories.get(&item.category_id) else {
            return Err(wrong(name, format!("its category_id {} is not among the categories", item.category_id)));
        };
        let area = match item.segmentation {
            Segmentation::None => {
                *export.left_out.entry("annotation without segmentation".into()).or_default() += 1;
                continue;
            }
            Segmentation::Polygons(polygons) => {
                let rings = polygons.iter().map(|flat| ring(flat)).collect::<Option<Vec<_>>>();
                Area::Rings(rings.ok_or_else(|| picture.wrong(&name, "a polygon has an odd number of coordinates"))?)
            }
            Segmentation::Mask(mask) => {
                if (mask.size[1], mask.size[0]) != picture.size {
                    let [found, expected] = [(mask.size[1], mask.size[0]), picture.size].map(|(w, h)| format!("{w}x{h}"));
                    return Err(picture.wrong(&name, format!("its mask has {found} pixels, the image {expected}")));
                }
                let counts = match mask.counts {
                    Counts::Plain(counts) => counts,
                    Counts::Packed(text) => unpack(&text).ok_or_else(|| picture.wrong(&name, "the text of its mask is damaged"))?,
                };
                Area::Runs(Runs { left: 0, top: 0, width: picture.size.0, height: picture.size.1, by_column: true, counts })
            }
        };
        picture.shapes.push(Shape { place: name, class: class.clone(), area });
    }
    Ok(export)
}

/// Run lengths from COCO's text form: characters from `0` on carry 5 bits each, lowest first, and one that says that more follow; from the fourth
/// number on they are differences to the number two places before.
fn unpack(text: &str) -> Option<Vec<u32>> {
    let mut counts: Vec<i64> = Vec::new();
    let mut bytes = text.bytes();
    while let Some(mut byte) = bytes.next() {
        let (mut value, mut shift) = (0i64, 0);
        loop {
            let bits = i64::from(byte.checked_sub(48).filter(|&b| b < 64)?);
            value |= (bits & 31) << shift;
            shift += 5;
            if bits & 32 == 0 {
                if bits & 16 != 0 {
                    value -= 1 << shift;
                }
                break;
            }
            if shift > 35 {
                return None;
            }
            byte = bytes.next()?;
        }
        let before = if counts.len() > 2 { counts[counts.len() - 2] } else { 0 };
        counts.push(Some(before + value).filter(|sum| (0..=i64::from(u32::MAX)).contains(sum))?);
    }
    counts.into_iter().map(|count| u32::try_from(count).ok()).collect()
}
