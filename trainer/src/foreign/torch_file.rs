//! Files of `torch.save`, PyTorch 1.6 and later: a zip archive with a pickle, `data.pkl`, and the bytes of each storage, `data/<key>`.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use amis_artifacts::weights::{HostTensor, Weights};
use zip::ZipArchive;
use zip::read::ZipReadOptions;

use super::element::{Element, Layout, gather};
use super::pickle::{self, Flaw, Id, Node, Pickle};

/// Most entries of an archive: one a storage.
const MAX_ENTRIES: usize = 100_000;
/// Largest `data.pkl`, in bytes; about 200 a tensor are used.
const MAX_PICKLE_BYTES: u64 = 32 << 20;
/// Deepest nesting of dicts in which tensors are looked for.
const MAX_DEPTH: usize = 8;
/// Most entries of dicts that are looked at.
const MAX_VISITS: usize = 1 << 20;
/// Longest name of a tensor, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// A tensor in the archive.
#[derive(Debug, Clone)]
pub(super) struct StoredTensor {
    /// Name of its storage.
    key: String,
    pub(super) element: Element,
    pub(super) layout: Layout,
}

/// An opened archive.
#[derive(Debug)]
pub(super) struct TorchFile<R> {
    archive: ZipArchive<R>,
    /// Folder of all entries, with its slash.
    folder: String,
    /// Tensors by their path through the dicts, joined by dots.
    pub(super) tensors: BTreeMap<String, StoredTensor>,
}

impl<R: Read + Seek> TorchFile<R> {
    /// Reads the list of tensors.
    pub(super) fn open(reader: R) -> Result<Self, Flaw> {
        let mut archive = ZipArchive::new(reader).map_err(|e| Flaw::Malformed(e.to_string()))?;
        if archive.len() > MAX_ENTRIES {
            return Err(Flaw::Malformed(format!("{} entries in the archive, at most {MAX_ENTRIES} are read", archive.len())));
        }
        let folder = folder(&archive).map_err(Flaw::Malformed)?;
        if archive.index_for_name(&format!("{folder}byteorder")).is_some() {
            let order = read_entry(&mut archive, &format!("{folder}byteorder"), 16).map_err(Flaw::Malformed)?;
            if order != b"little" {
                return Err(Flaw::Malformed("it was written on a big-endian machine".into()));
            }
        }
        let program = read_entry(&mut archive, &format!("{folder}data.pkl"), MAX_PICKLE_BYTES).map_err(Flaw::Malformed)?;
        let mut search = Search { pickle: &pickle::run(&program)?, path: String::new(), visits: 0, found: BTreeMap::new() };
        search.visit(search.pickle.root, 0).map_err(Flaw::Malformed)?;
        Ok(Self { tensors: search.found, archive, folder })
    }

    /// Values of some of the tensors; each storage is read once.
    pub(super) fn read<'a>(&mut self, names: impl Iterator<Item = &'a str>, limit_bytes: u64) -> Result<Weights, String> {
        let mut by_storage: BTreeMap<&str, Vec<(&str, &StoredTensor)>> = BTreeMap::new();
        for name in names {
            let tensor = self.tensors.get(name).ok_or_else(|| format!("no tensor {name}"))?;
            by_storage.entry(&tensor.key).or_default().push((name, tensor));
        }
        let mut weights = Weights::new();
        for (key, tensors) in by_storage {
            let bytes = read_entry(&mut self.archive, &format!("{}data/{key}", self.folder), limit_bytes)?;
            for (name, tensor) in tensors {
                let data = gather(&bytes, tensor.element, &tensor.layout).map_err(|e| format!("tensor {name}: {e}"))?;
                weights.insert(name.to_owned(), HostTensor { shape: tensor.layout.shape.clone(), data });
            }
        }
        Ok(weights)
    }
}

/// The folder that `data.pkl` lies in.
fn folder<R: Read + Seek>(archive: &ZipArchive<R>) -> Result<String, String> {
    let names: Vec<_> = archive.file_names().filter_map(Result::ok).collect();
    let mut folders = names.iter().filter_map(|name| name.strip_suffix("data.pkl")).filter(|folder| folder.is_empty() || folder.ends_with('/'));
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder.to_owned()),
        (Some(_), Some(_)) => Err("more than one data.pkl in the archive".into()),
        _ if names.iter().any(|name| name.ends_with(".npy")) => Err("it is an archive of NumPy arrays (.npz), as JAX writes them".into()),
        _ => Err("no data.pkl in the archive: torch.save did not write it".into()),
    }
}

/// Bytes of an entry, which PyTorch stores as they are.
fn read_entry<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str, limit_bytes: u64) -> Result<Vec<u8>, String> {
    let wrong = |reason: String| format!("entry {name}: {reason}");
    let index = archive.index_for_name(name).ok_or_else(|| wrong("it is missing".into()))?;
    // PyTorch can be told to leave check sums out; it then writes 0.
    let unchecked = archive.by_index_raw(index).map_err(|e| wrong(e.to_string()))?.crc32() == 0;
    let entry = archive.by_index_with_options(index, ZipReadOptions::new().ignore_crc32(unchecked)).map_err(|e| wrong(e.to_string()))?;
    if entry.size() > limit_bytes {
        return Err(wrong(format!("{} bytes, at most {limit_bytes} are read", entry.size())));
    }
    let mut bytes = Vec::new();
    let size = entry.size();
    entry.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 != size { Err(wrong(format!("{} bytes, expected {size}", bytes.len()))) } else { Ok(bytes) }
}

/// A walk through the dicts of a pickle.
struct Search<'a> {
    pickle: &'a Pickle,
    path: String,
    visits: usize,
    found: BTreeMap<String, StoredTensor>,
}

impl Search<'_> {
    fn visit(&mut self, id: Id, depth: usize) -> Result<(), String> {
        let pickle = self.pickle;
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err(format!("more than {MAX_VISITS} entries in its dicts"));
        }
        match &pickle.nodes[id] {
            Node::Dict(entries) if depth < MAX_DEPTH => {
                for &(key, value) in entries {
                    let length = self.path.len();
                    match &pickle.nodes[key] {
                        Node::Text(key) if self.path.len() + key.len() < MAX_NAME_BYTES => self.path.push_str(key),
                        Node::Int(key) if self.path.len() < MAX_NAME_BYTES => self.path.push_str(&key.to_string()),
                        _ => continue,
                    }
                    if matches!(pickle.nodes[value], Node::Dict(_)) {
                        self.path.push('.');
                    }
                    self.visit(value, depth + 1)?;
                    self.path.truncate(length);
                }
            }
            Node::Tensor(tensor) => {
                let Node::Text(key) = &pickle.nodes[tensor.storage.key] else { return Ok(()) };
                if key.len() > MAX_NAME_BYTES {
                    return Err("a storage with an endless name".into());
                }
                let stored = StoredTensor { key: key.clone(), element: tensor.storage.element, layout: tensor.layout.clone() };
                self.found.insert(self.path.clone(), stored);
            }
            _ => {}
        }
        Ok(())
    }
}
