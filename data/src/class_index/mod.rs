//! Which classes each image shows.

mod kept;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use amis_artifacts::classes::{BACKGROUND, IGNORE};
use amis_artifacts::files;
use rayon::prelude::*;

use kept::{Kept, Stamp};

use crate::folder::DataFolder;
use crate::{Error, Result, labels};

/// Largest text list that is read.
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// Image names with the foreground class ids (1..=254, sorted) that each image shows, in order of the list.
pub type ClassIndex = Vec<(String, Vec<u8>)>;

/// A foreground class as the published class lists count it: from 0, background left out.
struct Foreground(u8);

impl Foreground {
    /// The class id, which counts background as 0.
    fn id(&self) -> u8 {
        self.0 + 1
    }
}

/// Reads a published class list: a line has an image name and the foreground classes in it, counted from 0; the index has their ids.
///
/// # Errors
/// Unreadable, empty, a name twice, or something that is no class number.
pub fn read(path: &Path) -> Result<ClassIndex> {
    let bytes = files::read_limited(path, "class index", MAX_INDEX_BYTES)?;
    let wrong = |reason: String| Error::List { path: path.into(), reason };
    let mut index = ClassIndex::new();
    let mut seen = std::collections::HashSet::new();
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let class = |word: &str| match word.parse::<u8>() {
            Ok(class) if class < IGNORE - 1 => Ok(Foreground(class).id()),
            _ => Err(wrong(format!("line {}: {word:?} is no class number, expected 0 to {}", number + 1, IGNORE - 2))),
        };
        let mut classes = words.map(class).collect::<Result<Vec<u8>>>()?;
        classes.sort_unstable();
        classes.dedup();
        if !seen.insert(name.to_owned()) {
            return Err(wrong(format!("line {} repeats {name}", number + 1)));
        }
        index.push((name.to_owned(), classes));
    }
    if index.is_empty() { Err(wrong("it names no image".into())) } else { Ok(index) }
}

/// The classes in the label maps of these images, in order of `names`. Each label map is read once, in parallel: what is found is kept on disk for the
/// next start (beside the label maps, or in the user's cache folder), as long as the file stays as it is.
///
/// `progress` is called from the worker threads with the number of label maps read, and the number of those to read.
///
/// # Errors
/// A label map is missing or cannot be read.
pub fn of(folder: &DataFolder, names: &[String], progress: &(dyn Fn(usize, usize) + Sync)) -> Result<ClassIndex> {
    let now = SystemTime::now();
    let stamps = names.par_iter().map(|name| Stamp::of(&folder.label_path(name))).collect::<Result<Vec<_>>>()?;
    let kept = Kept::of(folder);
    let mut entries = kept.read();
    let is_known = |name: &String, stamp: &Stamp| entries.get(name).is_some_and(|(known, _)| known == stamp);
    let unknown: Vec<(&String, Stamp)> = names.iter().zip(stamps).filter(|(name, stamp)| !is_known(name, stamp)).collect();
    let done = AtomicUsize::new(0);
    let one = |(name, stamp): &(&String, Stamp)| {
        let classes = classes_shown(folder, name)?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, unknown.len());
        Ok(((*name).clone(), (*stamp, classes)))
    };
    let found = unknown.par_iter().map(one).collect::<Result<Vec<_>>>()?;
    if !found.is_empty() {
        entries.extend(found);
        kept.write(entries.clone(), now);
    }
    let entry = |name: &String| (name.clone(), entries.get(name).map(|(_, classes)| classes.clone()).unwrap_or_default());
    Ok(names.iter().map(entry).collect())
}

fn classes_shown(folder: &DataFolder, name: &str) -> Result<Vec<u8>> {
    let mut shown = [false; 256];
    for value in labels::read(&folder.label_path(name))?.values {
        shown[usize::from(value)] = true;
    }
    Ok((BACKGROUND + 1..IGNORE).filter(|&id| shown[usize::from(id)]).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::read as read_index;

    #[test]
    fn a_damaged_list_names_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.txt");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_index(&path)
        };
        assert_eq!(read("a 0 14 0\nb\n").unwrap(), [("a".to_owned(), vec![1, 15]), ("b".to_owned(), vec![])]);
        for (text, part) in [("a 1\nb x\n", "line 2"), ("a 254\n", "line 1"), ("a 1\na 2\n", "line 2 repeats a"), ("", "names no image")] {
            assert!(read(text).unwrap_err().to_string().contains(part));
        }
    }
}
