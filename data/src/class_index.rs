//! Which classes each image shows.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use amis_artifacts::classes::{BACKGROUND, IGNORE};
use amis_artifacts::files;
use rayon::prelude::*;

use crate::voc::VocFolder;
use crate::{Error, Result, labels};

/// Largest text list that is read.
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// Image names with the foreground class ids (1..=254, sorted) that each image shows, in order of the list.
pub type ClassIndex = Vec<(String, Vec<u8>)>;

/// Reads a text list: a line has an image name and the *0-based foreground* classes in it, so that id = number + 1.
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
            Ok(class) if class < IGNORE - 1 => Ok(class + 1),
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

/// Finds the classes in the label maps, in parallel. `progress` is called from the worker threads with the number of images done.
///
/// # Errors
/// A label map cannot be read.
pub fn scan(folder: &VocFolder, names: &[String], progress: &(dyn Fn(usize) + Sync)) -> Result<ClassIndex> {
    let done = AtomicUsize::new(0);
    let one = |name: &String| {
        let mut shown = [false; 256];
        for value in labels::read(&folder.label_path(name))?.values {
            shown[usize::from(value)] = true;
        }
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        Ok((name.clone(), (BACKGROUND + 1..IGNORE).filter(|&id| shown[usize::from(id)]).collect()))
    };
    names.par_iter().map(one).collect()
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
