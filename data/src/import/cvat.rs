//! XML of CVAT, in its form "CVAT for images 1.1".

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use amis_artifacts::files;
use roxmltree::{Document, Node, ParsingOptions};

use super::shapes::{Area, Export, Picture, Ring, Runs, Shape, ellipse, rectangle};
use super::{EXPORT_AGAIN, annotation};
use crate::Result;

/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Most elements, attributes and texts in it.
const MAX_NODES: u32 = 50_000_000;

/// Reads an export.
///
/// # Errors
/// Not such a file, or a shape that cannot be understood.
pub(super) fn read(path: &Path) -> Result<Export> {
    let bytes = files::read_limited(path, "CVAT annotation file", MAX_FILE_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|e| annotation(path, "the file", e.to_string(), EXPORT_AGAIN))?;
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&text, options)
        .map_err(|e| annotation(path, format!("line {}", e.pos().row), e.to_string(), "the file is no XML or damaged; export it again from CVAT"))?;
    let root = document.root_element();
    let images: Vec<Node<'_, '_>> = root.children().filter(|node| node.has_tag_name("image")).collect();
    if images.is_empty() {
        let found = if root.descendants().any(|node| node.has_tag_name("track")) { "tracks of a video" } else { "no image" };
        return Err(annotation(path, "the file", format!("it has {found}"), "export from CVAT in the format \"CVAT for images 1.1\""));
    }
    let mut export = Export::default();
    for image in images {
        let element = Element { path, node: image };
        let size = (element.number("width")?, element.number("height")?);
        let picture = Picture { source: path.into(), file_name: element.text("name")?.replace('\\', "/"), size, shapes: Vec::new() };
        let picture = read_shapes(picture, element, &mut export)?;
        export.pictures.push(picture);
    }
    // The task's own order of labels; without it, by name.
    let labels = root.descendants().filter(|node| node.has_tag_name("label"));
    export.class_names = labels.filter_map(|node| node.children().find(|c| c.has_tag_name("name"))?.text().map(str::to_owned)).collect();
    let used: BTreeSet<&String> = export.pictures.iter().flat_map(|p| &p.shapes).map(|s| &s.class).collect();
    let missing: Vec<String> = used.into_iter().filter(|name| !export.class_names.contains(name)).cloned().collect();
    export.class_names.extend(missing);
    Ok(export)
}

/// The shapes of an image, by depth and then as they stand in the file.
fn read_shapes(mut picture: Picture, image: Element<'_>, export: &mut Export) -> Result<Picture> {
    let mut shapes: Vec<(i32, Shape)> = Vec::new();
    for node in image.node.children().filter(Node::is_element) {
        let element = Element { path: image.path, node };
        let kind = node.tag_name().name();
        let area = match kind {
            "polygon" => Area::Rings(vec![element.points()?]),
            "box" => {
                let degrees = if node.has_attribute("rotation") { element.number("rotation")? } else { 0.0 };
                Area::Rings(vec![rectangle([element.number("xtl")?, element.number("ytl")?], [element.number("xbr")?, element.number("ybr")?], degrees)])
            }
            "ellipse" => Area::Rings(vec![ellipse([element.number("cx")?, element.number("cy")?], [element.number("rx")?, element.number("ry")?])]),
            "mask" => Area::Runs(Runs {
                left: element.number("left")?,
                top: element.number("top")?,
                width: element.number("width")?,
                height: element.number("height")?,
                by_column: false,
                counts: element.list("rle", ',')?,
            }),
            _ => {
                *export.left_out.entry(kind.chars().take(40).collect()).or_default() += 1;
                continue;
            }
        };
        let depth = if node.has_attribute("z_order") { element.number("z_order")? } else { 0 };
        shapes.push((depth, Shape { place: element.place(), class: element.text("label")?.to_owned(), area }));
    }
    shapes.sort_by_key(|(depth, _)| *depth);
    picture.shapes = shapes.into_iter().map(|(_, shape)| shape).collect();
    Ok(picture)
}

/// An element of the file, for reading its attributes.
#[derive(Clone, Copy)]
struct Element<'a> {
    path: &'a Path,
    node: Node<'a, 'a>,
}

impl<'a> Element<'a> {
    fn place(self) -> String {
        format!("{} in line {}", self.node.tag_name().name(), self.node.document().text_pos_at(self.node.range().start).row)
    }

    fn wrong(self, reason: String) -> crate::Error {
        annotation(self.path, self.place(), reason, EXPORT_AGAIN)
    }

    fn text(self, name: &str) -> Result<&'a str> {
        self.node.attribute(name).ok_or_else(|| self.wrong(format!("it has no {name}")))
    }

    fn parse<T: FromStr>(self, name: &str, text: &str) -> Result<T> {
        let shown: String = text.chars().take(40).collect();
        text.trim().parse().map_err(|_| self.wrong(format!("{name} has {shown:?}, which is no such number")))
    }

    fn number<T: FromStr>(self, name: &str) -> Result<T> {
        self.parse(name, self.text(name)?)
    }

    fn list<T: FromStr>(self, name: &str, separator: char) -> Result<Vec<T>> {
        self.text(name)?.split(separator).map(|part| self.parse(name, part)).collect()
    }

    fn points(self) -> Result<Ring> {
        let point = |pair: &str| {
            let (x, y) = pair.split_once(',').ok_or_else(|| self.wrong(format!("points has {pair:?}, expected x,y")))?;
            Ok([self.parse("points", x)?, self.parse("points", y)?])
        };
        self.text("points")?.split(';').map(point).collect()
    }
}
