//! `*.engine`: a TensorRT plan in a container of ours, so that no bytes reach TensorRT that were not built for it here.
//!
//! | bytes | hold |
//! | --- | --- |
//! | 8 | `AMISENG` and a zero |
//! | 4, 4, 8 | format version, bytes of the header, bytes of the plan; little-endian |
//! | 32 | SHA-256 of everything else but the first 8 bytes: the numbers, the header, the plan |
//! | ... | the header: [`EngineHeader`] as JSON |
//! | ... | the plan |

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result, files};

/// Version of the container that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Largest engine file in bytes.
pub const MAX_ENGINE_BYTES: u64 = 4 << 30;
/// Most bytes of a header.
pub const MAX_HEADER_BYTES: u32 = 1 << 20;

/// First bytes of an engine file.
pub const MAGIC: [u8; 8] = *b"AMISENG\0";
/// Bytes before the header.
const PREFIX: usize = 8 + 4 + 4 + 8 + 32;
const WHAT: &str = "engine";

/// A GPU, as far as an engine depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Name that the driver gives: "Orin".
    pub name: String,
    /// Compute capability: "8.7".
    pub compute_capability: String,
    /// Streaming multiprocessors; Orin Nano, NX and AGX differ in nothing else that can be asked for.
    pub cores: u32,
}

/// What an engine runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltFor {
    /// The GPU of the machine that built it.
    Gpu(Gpu),
    /// Ahead of time, for GPUs of these compute capabilities; none: what TensorRT chose.
    ComputeCapabilities(Vec<String>),
}

/// Everything that an engine depends on: it is used for this and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineKey {
    /// Product and version: "TensorRT 10.3.0".
    pub tensorrt: String,
    /// The GPU.
    pub built_for: BuiltFor,
    /// "fp32", "fp16" or "int8".
    pub precision: String,
    /// SHA-256 of the ONNX file.
    pub graph_sha256: String,
    /// Options of the build that were asked for, by name.
    pub options: BTreeMap<String, String>,
}

impl EngineKey {
    /// Whether the engine with this key, in file `path`, may be used where `here` is asked for. One built ahead of time fits every
    /// GPU of its compute capabilities.
    ///
    /// # Errors
    /// The first field that differs, found and expected.
    pub fn require(&self, here: &Self, path: &Path) -> Result<()> {
        let refuse = |Difference { field, found, expected }| Error::ForeignEngine { path: path.into(), field, found, expected };
        self.fits(here).map_err(refuse)
    }

    fn fits(&self, here: &Self) -> std::result::Result<(), Difference> {
        let same = |field: &str, found: &dyn ToString, expected: &dyn ToString| {
            let difference = Difference { field: field.to_owned(), found: found.to_string(), expected: expected.to_string() };
            if difference.found == difference.expected { Ok(()) } else { Err(difference) }
        };
        same("TensorRT version", &self.tensorrt, &here.tensorrt)?;
        match (&self.built_for, &here.built_for) {
            (BuiltFor::Gpu(found), BuiltFor::Gpu(expected)) => {
                same("GPU name", &found.name, &expected.name)?;
                same("compute capability", &found.compute_capability, &expected.compute_capability)?;
                same("core count", &found.cores, &expected.cores)?;
            }
            (BuiltFor::ComputeCapabilities(found), BuiltFor::Gpu(gpu)) if found.is_empty() || found.contains(&gpu.compute_capability) => {}
            (BuiltFor::ComputeCapabilities(found), BuiltFor::Gpu(gpu)) => same("compute capability", &found.join(", "), &gpu.compute_capability)?,
            (found, expected) => same("GPU", found, expected)?,
        }
        same("precision", &self.precision, &here.precision)?;
        same("graph", &self.graph_sha256, &here.graph_sha256)?;
        let none = "not set".to_owned();
        for name in self.options.keys().chain(here.options.keys()) {
            let value = |key: &Self| key.options.get(name).unwrap_or(&none).clone();
            same(&format!("build option {name}"), &value(self), &value(here))?;
        }
        Ok(())
    }
}

impl fmt::Display for BuiltFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu(gpu) => write!(f, "{}, compute capability {}, {} multiprocessors", gpu.name, gpu.compute_capability, gpu.cores),
            Self::ComputeCapabilities(list) if list.is_empty() => f.write_str("TensorRT's own choice of GPUs"),
            Self::ComputeCapabilities(list) => write!(f, "compute capability {}", list.join(", ")),
        }
    }
}

/// Why an engine does not fit.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    /// Field of the key, in words.
    field: String,
    /// What the engine has.
    found: String,
    /// What is needed.
    expected: String,
}

/// What stands before the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineHeader {
    /// What the engine depends on.
    pub key: EngineKey,
    /// Layers of the network before TensorRT fused them.
    pub layers: u64,
    /// Version of the tool that built it.
    pub tool_version: String,
}

/// A container's bytes.
///
/// # Errors
/// A header over [`MAX_HEADER_BYTES`].
pub fn encode(header: &EngineHeader, plan: &[u8], path: &Path) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(header).map_err(|e| malformed(path, e.to_string()))?;
    let header_bytes = u32::try_from(json.len()).ok().filter(|&n| n <= MAX_HEADER_BYTES);
    let header_bytes = header_bytes.ok_or_else(|| malformed(path, format!("its header has {} bytes, at most {MAX_HEADER_BYTES} are allowed", json.len())))?;
    let mut numbers = [0; 16];
    numbers[..4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    numbers[4..8].copy_from_slice(&header_bytes.to_le_bytes());
    numbers[8..].copy_from_slice(&(plan.len() as u64).to_le_bytes());
    let digest = digest(&numbers, &json, plan);
    Ok([&MAGIC[..], &numbers, &digest, &json, plan].concat())
}

/// Writes an engine, atomically.
///
/// # Errors
/// As [`encode`], or the disk.
pub fn write(path: &Path, header: &EngineHeader, plan: &[u8]) -> Result<()> {
    files::write_atomic(path, &encode(header, plan, path)?)
}

/// Reads an engine: header and plan, both whole.
///
/// # Errors
/// Unreadable; no container, such as a raw plan; cut, longer or changed; of another version of the format.
pub fn read(path: &Path) -> Result<(EngineHeader, Vec<u8>)> {
    decode(files::read_limited(path, "an engine", MAX_ENGINE_BYTES)?, path)
}

/// The engine in these bytes; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn decode(mut bytes: Vec<u8>, path: &Path) -> Result<(EngineHeader, Vec<u8>)> {
    let wrong = |reason: String| malformed(path, reason);
    if !bytes.starts_with(&MAGIC) {
        return Err(wrong("it does not begin as one; a plan that another tool has written has no key and is not used".into()));
    }
    let Some((prefix, rest)) = bytes.split_at_checked(PREFIX) else {
        return Err(wrong(format!("it has {} bytes, its beginning alone has {PREFIX}", bytes.len())));
    };
    let (numbers, stated) = (&prefix[8..24], &prefix[24..]);
    let number = |at: usize, len: usize| numbers[at..at + len].iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    let (version, header_bytes, plan_bytes) = (number(0, 4), number(4, 4), number(8, 8));
    if version != u64::from(FORMAT_VERSION) {
        return Err(wrong(format!("it has version {version} of the format, expected {FORMAT_VERSION}")));
    }
    let expected = header_bytes.checked_add(plan_bytes).filter(|_| header_bytes <= u64::from(MAX_HEADER_BYTES));
    if expected != Some(rest.len() as u64) {
        return Err(wrong(format!("{} bytes follow its beginning, expected {header_bytes} of header and {plan_bytes} of plan", rest.len())));
    }
    let (json, plan) = rest.split_at(header_bytes as usize);
    let found = digest(numbers, json, plan);
    if found != stated {
        return Err(Error::Hash { path: path.into(), found: files::hex(&found), expected: files::hex(stated) });
    }
    let header = serde_json::from_slice(json).map_err(|e| wrong(e.to_string()))?;
    bytes.drain(..PREFIX + header_bytes as usize);
    Ok((header, bytes))
}

/// Whether the file begins as an engine.
///
/// # Errors
/// Unreadable.
pub fn is_engine(path: &Path) -> Result<bool> {
    let io = |source| Error::Io { action: "read", path: path.into(), source };
    let mut start = Vec::new();
    File::open(path).map_err(io)?.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(io)?;
    Ok(start == MAGIC)
}

fn digest(numbers: &[u8], json: &[u8], plan: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    [numbers, json, plan].into_iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

fn malformed(path: &Path, reason: String) -> Error {
    Error::Malformed { what: WHAT, path: path.into(), reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn orin() -> Gpu {
        Gpu { name: "Orin".into(), compute_capability: "8.7".into(), cores: 8 }
    }

    fn header() -> EngineHeader {
        let key = EngineKey {
            tensorrt: "TensorRT 10.3.0".into(),
            built_for: BuiltFor::Gpu(orin()),
            precision: "int8".into(),
            graph_sha256: files::sha256(b"graph"),
            options: BTreeMap::from([("dla_core".into(), "0".into())]),
        };
        EngineHeader { key, layers: 3, tool_version: "test".into() }
    }

    fn container(plan: &[u8]) -> Vec<u8> {
        encode(&header(), plan, Path::new("x")).unwrap()
    }

    fn refusal(bytes: Vec<u8>) -> String {
        decode(bytes, Path::new("x.engine")).unwrap_err().to_string()
    }

    #[test]
    fn an_engine_comes_back_and_leads_only_to_its_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.engine");
        write(&path, &header(), b"plan").unwrap();
        assert!(is_engine(&path).unwrap());
        let (found, plan) = read(&path).unwrap();
        assert_eq!((&found, plan.as_slice()), (&header(), &b"plan"[..]));
        found.key.require(&header().key, &path).unwrap();

        let other_gpu = |change: fn(&mut Gpu)| {
            let mut gpu = orin();
            change(&mut gpu);
            EngineKey { built_for: BuiltFor::Gpu(gpu), ..header().key }
        };
        let others = [
            (EngineKey { tensorrt: "TensorRT 10.7.0".into(), ..header().key }, "TensorRT version is TensorRT 10.3.0, expected TensorRT 10.7.0"),
            (other_gpu(|gpu| gpu.name = "NVIDIA Thor".into()), "GPU name is Orin, expected NVIDIA Thor"),
            (other_gpu(|gpu| gpu.compute_capability = "11.0".into()), "compute capability is 8.7, expected 11.0"),
            (other_gpu(|gpu| gpu.cores = 16), "core count is 8, expected 16"),
            (EngineKey { precision: "fp16".into(), ..header().key }, "precision is int8, expected fp16"),
            (EngineKey { graph_sha256: "other".into(), ..header().key }, "graph is "),
            (EngineKey { options: BTreeMap::new(), ..header().key }, "build option dla_core is 0, expected not set"),
        ];
        for (here, words) in others {
            let error = found.key.require(&here, &path).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_engine_built_ahead_of_time_fits_the_gpus_of_its_capabilities() {
        let here = header().key;
        let built_for = |list: &[&str]| EngineKey { built_for: BuiltFor::ComputeCapabilities(list.iter().map(|s| (*s).into()).collect()), ..header().key };
        assert_eq!(built_for(&["8.6", "8.7"]).fits(&here), Ok(()));
        assert_eq!(built_for(&[]).fits(&here), Ok(()));
        assert_eq!(built_for(&["8.6"]).fits(&built_for(&["8.6"])), Ok(()));
        let difference = built_for(&["8.6", "8.9"]).fits(&here).unwrap_err();
        assert_eq!((difference.field.as_str(), difference.found.as_str(), difference.expected.as_str()), ("compute capability", "8.6, 8.9", "8.7"));
        assert_eq!(here.fits(&built_for(&["8.7"])).unwrap_err().field, "GPU");
    }

    #[test]
    fn what_is_no_whole_engine_is_refused_in_words() {
        assert!(refusal(b"ftrt raw plan of TensorRT".to_vec()).contains("does not begin as one"));
        assert!(refusal(MAGIC.to_vec()).contains("8 bytes"));
        assert!(refusal([container(b"plan"), b"more".to_vec()].concat()).contains("4 of plan"));
        let mut newer = container(b"plan");
        newer[8] = 2;
        assert!(refusal(newer).contains("version 2 of the format, expected 1"));
        let mut changed = container(b"plan");
        *changed.last_mut().unwrap() ^= 1;
        assert!(refusal(changed).contains("SHA-256"));
    }

    proptest! {
        #[test]
        fn every_changed_byte_and_every_cut_is_refused(plan in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, flip in 1u8.., cut: prop::sample::Index) {
            let whole = container(&plan);
            prop_assert_eq!(decode(whole.clone(), Path::new("x")).unwrap().1, plan);
            let mut changed = whole.clone();
            changed[at.index(whole.len())] ^= flip;
            prop_assert!(decode(changed, Path::new("x")).is_err());
            prop_assert!(decode(whole[..cut.index(whole.len())].to_vec(), Path::new("x")).is_err());
        }

        #[test]
        fn any_bytes_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let begun = [&MAGIC[..], &bytes].concat();
            prop_assert!(decode(bytes, Path::new("x")).is_err());
            prop_assert!(decode(begun, Path::new("x")).is_err());
        }
    }
}
