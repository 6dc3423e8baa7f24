//! `calibration.json`: the range of every tensor that an INT8 graph quantizes, and what it was measured on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image_spec::ImageSpec;
use crate::{Error, Result, files};

/// Version of the table's format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Most tensors in a table.
pub const MAX_TENSORS: usize = 100_000;
/// Most images in a table.
pub const MAX_IMAGES: usize = 1_000_000;

/// How a range is chosen from a histogram of absolute values. In text: `max`, `percentile:99.99`, `entropy`, `mse`, `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Method {
    /// The largest value seen.
    Max,
    /// The value that this share of all values (in percent, over 0 up to 100) does not exceed.
    Percentile(f64),
    /// The range whose quantized histogram diverges least from the true one (Kullback-Leibler).
    Entropy,
    /// The range with the least squared error of the values.
    Mse,
    /// Of the others the one with the least squared error of the layers' outputs, per tensor.
    Auto,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Percentile(percent) => write!(f, "percentile:{percent}"),
            Self::Entropy => f.write_str("entropy"),
            Self::Mse => f.write_str("mse"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let percentile = || text.strip_prefix("percentile:")?.parse().ok().filter(|p: &f64| *p > 0.0 && *p <= 100.0).map(Self::Percentile);
        match text {
            "max" => Ok(Self::Max),
            "entropy" => Ok(Self::Entropy),
            "mse" => Ok(Self::Mse),
            "auto" => Ok(Self::Auto),
            _ => percentile().ok_or_else(|| format!("{text:?} is no method, expected max, entropy, mse, auto or percentile:P with P over 0 up to 100")),
        }
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.to_string()
    }
}

/// Everything that the ranges depend on: a table holds for this and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationKey {
    /// SHA-256 of the FP32 ONNX file, its weights included.
    pub graph_sha256: String,
    /// [`images_sha256`] of the images.
    pub images_sha256: String,
    /// Method asked for.
    pub method: Method,
    /// How an image became the network's input.
    pub image_spec: ImageSpec,
    /// Version of the tool that measured.
    pub tool_version: String,
}

/// SHA-256 of a set of images, from the SHA-256 of each one's content: their order and names do not matter.
pub fn images_sha256<S: AsRef<str>>(contents_sha256: &[S]) -> String {
    let mut sorted: Vec<&str> = contents_sha256.iter().map(AsRef::as_ref).collect();
    sorted.sort_unstable();
    files::sha256(sorted.join("\n").as_bytes())
}

/// The range of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRange {
    /// Values from `-amax` to `amax` are kept, others are cut; finite and over 0. The scale of symmetric int8 is `amax / 127`.
    pub amax: f32,
    /// Method that gave it; never [`Method::Auto`].
    pub method: Method,
    /// Values seen.
    pub samples: u64,
    /// SHA-256 of the histogram that it was chosen from.
    pub histogram_sha256: String,
}

/// One of the images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationImage {
    /// File name, for people.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// How well a class is covered, by the predictions of the network that is calibrated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassCoverage {
    /// Name, or "class 3" where the graph has none.
    pub class: String,
    /// Chosen images that show it.
    pub images: usize,
    /// Positions of the mask in these images that are of this class.
    pub positions: u64,
}

/// `calibration.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationTable {
    /// [`FORMAT_VERSION`] at the time of writing.
    pub format_version: u32,
    /// What the table holds for.
    pub key: CalibrationKey,
    /// Range by name of the tensor in the graph.
    pub tensors: BTreeMap<String, TensorRange>,
    /// The images, in the order in which they were chosen.
    pub images: Vec<CalibrationImage>,
    /// Coverage by class, in order of the ids.
    pub coverage: Vec<ClassCoverage>,
    /// What a person should know about it.
    pub warnings: Vec<String>,
}

impl CalibrationTable {
    /// Reads a table.
    ///
    /// # Errors
    /// Unreadable, too large, of another format version, or with a range that is not finite and over 0.
    pub fn read(path: &Path) -> Result<Self> {
        let table: Self = files::read_json(path, "calibration table")?;
        table.validate(path)?;
        Ok(table)
    }

    /// Writes the table, atomically. The same table gives the same bytes.
    ///
    /// # Errors
    /// A table that [`Self::read`] would refuse, or the disk.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.validate(path)?;
        files::write_json(path, self)
    }

    /// Checks that the table of the file `path` (for the message) holds for `expected`. A caller that knows only a part of the key takes the rest
    /// from the table: `CalibrationKey { graph_sha256, ..table.key.clone() }`.
    ///
    /// # Errors
    /// [`Error::Stale`], naming the first field that differs.
    pub fn check(&self, path: &Path, expected: &CalibrationKey) -> Result<()> {
        let CalibrationKey { graph_sha256, images_sha256, method, image_spec, tool_version } = &self.key;
        let spec = |spec: &ImageSpec| serde_json::to_string(spec).unwrap_or_default();
        let fields = [
            ("graph_sha256", graph_sha256.clone(), expected.graph_sha256.clone()),
            ("images_sha256", images_sha256.clone(), expected.images_sha256.clone()),
            ("method", method.to_string(), expected.method.to_string()),
            ("image_spec", spec(image_spec), spec(&expected.image_spec)),
            ("tool_version", tool_version.clone(), expected.tool_version.clone()),
        ];
        match fields.into_iter().find(|(_, found, expected)| found != expected) {
            Some((field, found, expected)) => Err(Error::Stale { path: path.into(), field, found, expected }),
            None => Ok(()),
        }
    }

    fn validate(&self, path: &Path) -> Result<()> {
        let wrong = |reason: String| Err(Error::Malformed { what: "calibration table", path: path.into(), reason });
        if self.format_version != FORMAT_VERSION {
            return wrong(format!("format version {}, this tool reads {FORMAT_VERSION}", self.format_version));
        }
        self.key.image_spec.validate(1)?;
        if self.tensors.is_empty() || self.tensors.len() > MAX_TENSORS {
            return wrong(format!("{} tensors, expected 1 to {MAX_TENSORS}", self.tensors.len()));
        }
        for (name, range) in &self.tensors {
            // A scale that is subnormal counts as 0 on a GPU.
            if !range.amax.is_finite() || range.amax / 127.0 < f32::MIN_POSITIVE {
                return wrong(format!("the range of {name} is {}, expected a finite number over 0", range.amax));
            }
            if range.method == Method::Auto {
                return wrong(format!("the method of {name} is auto, expected the one that was chosen"));
            }
        }
        if self.images.is_empty() || self.images.len() > MAX_IMAGES {
            return wrong(format!("{} images, expected 1 to {MAX_IMAGES}", self.images.len()));
        }
        let contents: BTreeSet<&str> = self.images.iter().map(|i| i.sha256.as_str()).collect();
        let contents: Vec<&str> = contents.into_iter().collect();
        if contents.len() != self.images.len() || images_sha256(&contents) != self.key.images_sha256 {
            return wrong("its list of images is not the one that its key states".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image_spec::Fit;
    use proptest::prelude::*;

    fn table() -> CalibrationTable {
        let images: Vec<_> = ["a", "b"].map(|name| CalibrationImage { name: format!("{name}.jpg"), sha256: files::sha256(name.as_bytes()) }).into();
        let key = CalibrationKey {
            graph_sha256: files::sha256(b"graph"),
            images_sha256: images_sha256(&images.iter().map(|i| &i.sha256).collect::<Vec<_>>()),
            method: Method::Auto,
            image_spec: ImageSpec::imagenet(64, 64, Fit::Stretch),
            tool_version: "0.1.0".into(),
        };
        let range = TensorRange { amax: 3.7, method: Method::Percentile(99.99), samples: 4096, histogram_sha256: files::sha256(b"histogram") };
        let coverage = vec![ClassCoverage { class: "road".into(), images: 2, positions: 17 }];
        CalibrationTable {
            format_version: FORMAT_VERSION,
            key,
            tensors: BTreeMap::from([("encoder.norm".into(), range)]),
            images,
            coverage,
            warnings: vec!["2 images".into()],
        }
    }

    #[test]
    fn a_table_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calibration.json");
        table().write(&path).unwrap();
        assert_eq!(CalibrationTable::read(&path).unwrap(), table());
    }

    #[test]
    fn a_stale_table_is_refused_with_the_field_that_differs() {
        let (table, path) = (table(), Path::new("calibration.json"));
        table.check(path, &table.key).unwrap();
        type Change = fn(&mut CalibrationKey);
        let changes: [(&str, Change); 5] = [
            ("graph_sha256", |k| k.graph_sha256 = "0".into()),
            ("images_sha256", |k| k.images_sha256 = "0".into()),
            ("method", |k| k.method = Method::Max),
            ("image_spec", |k| k.image_spec.mean[0] = 0.5),
            ("tool_version", |k| k.tool_version = "0.2.0".into()),
        ];
        for (name, change) in changes {
            let mut key = table.key.clone();
            change(&mut key);
            let error = table.check(path, &key).unwrap_err();
            assert!(matches!(error, Error::Stale { field, .. } if field == name), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn order_and_names_of_images_do_not_matter_but_their_contents_do() {
        assert_eq!(images_sha256(&["a", "b"]), images_sha256(&["b", "a"]));
        assert_ne!(images_sha256(&["a", "b"]), images_sha256(&["a", "c"]));
        assert_ne!(images_sha256(&["a", "b"]), images_sha256(&["a"]));
    }

    #[test]
    fn a_range_that_makes_no_scale_is_neither_written_nor_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calibration.json");
        for amax in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
            let mut bad = table();
            bad.tensors.get_mut("encoder.norm").unwrap().amax = amax;
            assert!(bad.write(&path).unwrap_err().to_string().contains("encoder.norm"), "{amax}");
            files::write_json(&path, &bad).unwrap();
            assert!(CalibrationTable::read(&path).is_err(), "{amax}");
        }
    }

    #[test]
    fn methods_are_text() {
        for method in [Method::Max, Method::Percentile(99.999), Method::Entropy, Method::Mse, Method::Auto] {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        for text in ["", "percentile", "percentile:0", "percentile:101", "percentile:NaN", "Max"] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn damaged_tables_never_panic(cut in 0usize..1500, flips in prop::collection::vec((0usize..1500, any::<u8>()), 0..4)) {
            let mut bytes = serde_json::to_vec_pretty(&table()).unwrap();
            bytes.truncate(cut);
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            if let Ok(table) = serde_json::from_slice::<CalibrationTable>(&bytes) {
                let _ = table.validate(Path::new("x"));
            }
        }
    }
}
