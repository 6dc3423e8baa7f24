//! Lists of image names.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use amis_artifacts::files;

use crate::images::EXTENSIONS;
use crate::{Error, Result};

/// Largest text list that is read.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// Longest name in a list.
const MAX_NAME_BYTES: usize = 200;
/// How deep below the image folder images are looked for.
const MAX_DEPTH: usize = 16;

/// Reads a text list: an image name a line, relative to the image folder and without extension. A line may also be a pair of paths below the root,
/// `/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png`, as in the lists that come with SegmentationClassAug; the folders must be `images` and `labels`.
pub(crate) fn read(path: &Path, images: &str, labels: &str) -> Result<Vec<String>> {
    let bytes = files::read_limited(path, "image list", MAX_LIST_BYTES)?;
    let wrong = |reason: String| Err(Error::List { path: path.into(), reason });
    let mut names = Vec::new();
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        if line.is_empty() {
            continue;
        }
        let name = match line.split_once(" /") {
            None => line,
            Some((image, label)) => match (below(image, images), below(label, labels)) {
                (Some(name), Some(same)) if name == same => name,
                _ => return wrong(format!("line {number} is {:?}, expected one name, or /{images}/NAME.jpg /{labels}/NAME.png", shown(line))),
            },
        };
        if !is_name(name) {
            return wrong(format!("line {number} is no image name: {:?}", shown(line)));
        }
        names.push((number, name.to_owned()));
    }
    let mut seen = HashSet::new();
    match names.iter().find(|(_, name)| !seen.insert(name)) {
        Some((number, name)) => wrong(format!("line {number} repeats {name}")),
        None if names.is_empty() => wrong("it names no image".into()),
        None => Ok(names.into_iter().map(|(_, name)| name).collect()),
    }
}

/// Names of all images in the folder `images/part` and the folders in it, sorted; they begin with `part`.
pub(crate) fn images_in(images: &Path, part: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    walk(&images.join(part), part, 0, &mut names)?;
    names.sort();
    let wrong = |reason: String| Err(Error::List { path: images.join(part), reason });
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => wrong(format!("two images are called {}, with different extensions", pair[0])),
        None if names.is_empty() => wrong("the folder has no image".into()),
        None => Ok(names),
    }
}

fn walk(folder: &Path, part: &str, depth: usize, names: &mut Vec<String>) -> Result<()> {
    let io = |source| amis_artifacts::Error::Io { action: "list", path: folder.into(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let text = |part: Option<&std::ffi::OsStr>| part.and_then(|p| p.to_str()).unwrap_or_default().to_owned();
        let (stem, extension) = (text(path.file_stem()), text(path.extension()));
        if path.is_dir() {
            if depth == MAX_DEPTH {
                return Err(Error::List { path, reason: format!("it lies more than {MAX_DEPTH} folders deep") });
            }
            walk(&path, &join(part, &text(path.file_name())), depth + 1, names)?;
        } else if EXTENSIONS.contains(&extension.as_str()) {
            let name = join(part, &stem);
            if !is_name(&name) {
                return Err(Error::List {
                    path,
                    reason: format!("its name cannot be used, expected at most {MAX_NAME_BYTES} bytes without control characters"),
                });
            }
            names.push(name);
        }
    }
    Ok(())
}

fn join(part: &str, name: &str) -> String {
    if part.is_empty() { name.to_owned() } else { format!("{part}/{name}") }
}

/// The name in `/FOLDER/NAME.EXTENSION`.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let path = path.trim().trim_start_matches('/').strip_prefix(folder)?.strip_prefix('/')?;
    Some(path.rsplit_once('.')?.0)
}

/// A relative path without tricks, and without the extension that names in such lists leave out.
pub(crate) fn is_name(name: &str) -> bool {
    let parts_are_plain = name.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.trim() == part);
    let has_extension = name.split(' ').any(|word| word.rsplit_once('.').is_some_and(|(_, end)| EXTENSIONS.contains(&end)));
    parts_are_plain && !has_extension && name.len() <= MAX_NAME_BYTES && !name.contains(|c: char| c.is_control() || c == '\\')
}

fn shown(line: &str) -> String {
    line.chars().take(80).collect()
}
