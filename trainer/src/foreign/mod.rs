//! Weights of other programs: safetensors files, and the `.pth` files of PyTorch, read without Python.
//!
//! A `.pth` file holds a pickle, which in Python may run anything. Here a small machine reads it that knows tensors and plain data,
//! calls nothing, and refuses every other name. Sizes, counts and nesting are limited, and no more memory is taken than the file is large
//! (float32 takes twice what half precision takes in a file).

mod element;
pub(crate) mod names;
mod pickle;
mod torch_file;
mod torch_write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use amis_artifacts::weights::{MAX_WEIGHTS_BYTES, Weights};
use amis_artifacts::{Error as ArtifactError, files};
use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result};
pub use element::Element;
use element::{Layout, gather};
use pickle::Flaw;
use torch_file::TorchFile;

/// Most values that are read from a file, as a multiple of its length in bytes: tensors may share their values, but not without end.
const MAX_SHARING: usize = 4;

const FORMAT_ADVICE: &str = "weights are read from safetensors files and from what torch.save of PyTorch 1.6 or later writes; \
    for anything else, load it in Python and write its state_dict with safetensors.torch.save_file";

/// A file of weights: names and shapes are read, values when they are asked for.
#[derive(Debug)]
pub struct ForeignWeights<R = BufReader<File>> {
    path: PathBuf,
    length_bytes: u64,
    tensors: BTreeMap<String, ForeignTensor>,
    source: Source<R>,
}

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Type of its values in the file.
    pub element: Element,
}

#[derive(Debug)]
enum Source<R> {
    Safetensors(Vec<u8>),
    Torch(TorchFile<R>),
}

impl ForeignWeights {
    /// Opens a safetensors or `.pth` file; its first bytes decide which it is.
    ///
    /// # Errors
    /// Unreadable, damaged, of another format, too large, or a pickle that names something that is no part of weights.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| ArtifactError::Io { action: "read", path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if !about.is_file() {
            return Err(foreign(path, "it is no file", FORMAT_ADVICE));
        }
        Self::from_reader(BufReader::new(file), about.len(), path)
    }
}

impl<R: Read + Seek> ForeignWeights<R> {
    /// As [`ForeignWeights::open`], from anything that can be read at any place; `path` is for messages.
    ///
    /// # Errors
    /// As [`ForeignWeights::open`].
    pub fn from_reader(mut reader: R, length_bytes: u64, path: &Path) -> Result<Self> {
        if length_bytes > MAX_WEIGHTS_BYTES {
            return Err(ArtifactError::TooLarge { what: "weights file", path: path.into(), found_bytes: length_bytes, limit_bytes: MAX_WEIGHTS_BYTES }.into());
        }
        let io = |source| ArtifactError::Io { action: "read", path: path.into(), source };
        let mut head = Vec::new();
        reader.by_ref().take(9).read_to_end(&mut head).map_err(io)?;
        reader.rewind().map_err(io)?;
        let (tensors, source) = match head.as_slice() {
            [b'P', b'K', ..] => open_torch(reader, path)?,
            // A safetensors file: the length of its header, then JSON.
            [_, _, _, _, _, _, _, _, b'{'] => open_safetensors(reader, length_bytes, path)?,
            // The protocol of a pickle: the format of PyTorch before 1.6.
            [0x80, ..] => {
                let advice = "load it in Python and save it again with torch.save, or write its state_dict with safetensors.torch.save_file";
                return Err(foreign(path, "a bare pickle, as PyTorch before 1.6 wrote it", advice));
            }
            _ => return Err(foreign(path, "neither safetensors nor written by torch.save", FORMAT_ADVICE)),
        };
        Ok(Self { path: path.into(), length_bytes, tensors, source })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors by name. In a `.pth` file with nested dicts a name is the path through them, joined by dots.
    pub fn tensors(&self) -> &BTreeMap<String, ForeignTensor> {
        &self.tensors
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tensors.keys().map(String::as_str)
    }

    /// Values of some tensors as float32.
    ///
    /// # Errors
    /// A name that is not there, damaged values, values that are no finite floating-point numbers.
    pub fn read<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone) -> Result<Weights> {
        let values: usize = names
            .clone()
            .filter_map(|name| self.tensors.get(name))
            .map(|t| Layout::contiguous(&t.shape).elements().unwrap_or(usize::MAX))
            .fold(0, usize::saturating_add);
        let limit = usize::try_from(self.length_bytes).unwrap_or(usize::MAX).saturating_mul(MAX_SHARING);
        let weights = if values > limit {
            Err(format!("its tensors claim {values} values, far more than a file of {} bytes holds", self.length_bytes))
        } else {
            match &mut self.source {
                Source::Torch(file) => file.read(names, self.length_bytes),
                Source::Safetensors(bytes) => read_safetensors(bytes, names),
            }
        };
        let weights = weights.map_err(|reason| foreign(&self.path, reason, "the file is damaged; copy it again from its source"))?;
        for (name, tensor) in &weights {
            if let Some(value) = tensor.data.iter().find(|v| !v.is_finite()) {
                return Err(foreign(
                    &self.path,
                    format!("tensor {name} holds {value}"),
                    "these weights come from a training that diverged; take an earlier checkpoint",
                ));
            }
        }
        Ok(weights)
    }
}

type Opened<R> = (BTreeMap<String, ForeignTensor>, Source<R>);

fn open_torch<R: Read + Seek>(reader: R, path: &Path) -> Result<Opened<R>> {
    let file = TorchFile::open(reader).map_err(|flaw| match flaw {
        Flaw::Refused(name) => Error::RefusedPickle { path: path.into(), name },
        Flaw::Malformed(reason) => foreign(path, reason, FORMAT_ADVICE),
    })?;
    let about = |t: &torch_file::StoredTensor| ForeignTensor { shape: t.layout.shape.clone(), element: t.element };
    Ok((file.tensors.iter().map(|(name, tensor)| (name.clone(), about(tensor))).collect(), Source::Torch(file)))
}

fn open_safetensors<R: Read>(reader: R, length_bytes: u64, path: &Path) -> Result<Opened<R>> {
    let mut bytes = Vec::new();
    reader.take(length_bytes).read_to_end(&mut bytes).map_err(|source| ArtifactError::Io { action: "read", path: path.into(), source })?;
    let parsed = SafeTensors::deserialize(&bytes).map_err(|e| foreign(path, e.to_string(), FORMAT_ADVICE))?;
    let tensors = parsed.tensors().into_iter().map(|(name, view)| (name, ForeignTensor { shape: view.shape().to_vec(), element: element_of(view.dtype()) }));
    Ok((tensors.collect(), Source::Safetensors(bytes)))
}

fn read_safetensors<'a>(bytes: &[u8], names: impl Iterator<Item = &'a str>) -> std::result::Result<Weights, String> {
    let parsed = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let one = |name: &str| {
        let view = parsed.tensor(name).map_err(|e| e.to_string())?;
        let data = gather(view.data(), element_of(view.dtype()), &Layout::contiguous(view.shape())).map_err(|e| format!("tensor {name}: {e}"))?;
        Ok((name.to_owned(), amis_artifacts::weights::HostTensor { shape: view.shape().to_vec(), data }))
    };
    names.map(one).collect()
}

fn element_of(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F64 => Element::F64,
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        _ => Element::Other,
    }
}

/// Writes weights for other programs: `.safetensors`, or `.pth` and `.pt`, which `torch.load` reads with `weights_only=True`.
///
/// # Errors
/// Another ending, or a folder that cannot be written.
pub fn write(path: &Path, weights: &Weights) -> Result<()> {
    let bytes = match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => amis_artifacts::weights::to_bytes(weights)?,
        Some("pth" | "pt") => torch_write::to_bytes(weights).map_err(|e| foreign(path, e.to_string(), "write a .safetensors file"))?,
        _ => return Err(Error::Ending { path: path.into() }),
    };
    Ok(files::write_atomic(path, &bytes)?)
}

/// An error about a file of another program.
pub(crate) fn foreign(path: &Path, reason: impl Into<String>, advice: impl Into<String>) -> Error {
    Error::Foreign { path: path.into(), reason: reason.into(), advice: advice.into() }
}
