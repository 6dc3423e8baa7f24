//! What a precision costs: graphs of one checkpoint on real images, against its float32 graph and against labels.

mod images;
pub(crate) mod measure;
mod picture;
mod reproduction;
mod text;

use std::path::{Path, PathBuf};

use amis_artifacts::bundle::Quality;
use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use amis_artifacts::onnx::{self, ModelProto};
use amis_artifacts::preprocess::{Preprocessor, fit_labels};
use serde::{Deserialize, Serialize};

pub use images::{Choice, Images};
pub use reproduction::{MAX_DIFFERENCE, Reproduction};
pub(crate) use text::{points, table};

use crate::passes::{Precision, TARGET_KEY};
use crate::{Error, Result};
use measure::{Measured, Reference, Runner};

/// Version of the file's format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Most mean IoU that an FP16 graph may lose, 0..1.
pub const FP16_DROP: f64 = 0.001;
/// Most mean IoU that an INT8 graph may lose, 0..1.
pub const INT8_DROP: f64 = 0.005;
/// Least share of the pixels to which an INT8 graph must give the float32 graph's class.
pub const INT8_AGREEMENT: f64 = 0.985;
/// Images that are drawn for every graph.
const WORST: usize = 3;

/// Graphs on the same images; the first is the float32 graph that the others are held against. As JSON it is the file that
/// `amis-export bundle --verification` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// [`FORMAT_VERSION`] at the time of writing.
    pub format_version: u32,
    /// SHA-256 of the checkpoint's manifest.
    pub checkpoint_sha256: String,
    /// SHA-256 of the images' names, one a line.
    pub list_sha256: String,
    /// Names of the classes, in order of the ids.
    pub classes: Vec<String>,
    /// Whether the float32 graph does as well as the trainer measured.
    pub reproduction: Reproduction,
    /// The graphs.
    pub graphs: Vec<Compared>,
}

/// One graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// The file.
    pub path: PathBuf,
    /// Its hash.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// "fp32", "fp16" or "int8".
    pub precision: String,
    /// Whether it has FP16 values, which were rounded in float32 arithmetic: a device's own kernels may round elsewhere.
    pub emulated: bool,
    /// The numbers that go into a bundle.
    pub quality: Quality,
    /// Mean squared difference of the masks to the float32 graph's.
    pub mask_mse: f64,
    /// Mean IoU of the float32 graph less that of this one, 0..1; none without labels.
    pub drop: Option<f64>,
    /// Where it loses more than its precision may; empty for a graph that can be used.
    pub misses: Vec<String>,
    /// Images with the least agreement.
    pub worst: Vec<Worst>,
}

/// An image on which a graph differs from the float32 graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worst {
    /// Name of the image.
    pub image: String,
    /// Share of its pixels that get the same class, 0..1.
    pub argmax_agreement: f64,
    /// Picture of it, if asked for: image, classes of the float32 graph, of this graph, labels, and in red where the two graphs differ.
    pub picture: Option<PathBuf>,
}

/// How graphs are compared.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folder for pictures of the worst images of every graph; none: no pictures.
    pub pictures: Option<PathBuf>,
    /// Threads of one inference; 0 takes one a physical core.
    pub threads: usize,
}

impl Comparison {
    /// Reads the file.
    ///
    /// # Errors
    /// Unreadable, too large, or of another format version.
    pub fn read(path: &Path) -> Result<Self> {
        let comparison: Self = files::read_json(path, "verification")?;
        if comparison.format_version != FORMAT_VERSION {
            let reason = format!("format version {}, this tool reads {FORMAT_VERSION}", comparison.format_version);
            return Err(amis_artifacts::Error::Malformed { what: "verification", path: path.into(), reason }.into());
        }
        Ok(comparison)
    }

    /// What was measured of the graph with this hash.
    pub fn of(&self, sha256: &str) -> Option<&Compared> {
        self.graphs.iter().find(|g| g.sha256 == sha256)
    }
}

/// Runs the float32 graph `onnx` and then `others` on all images, at the size of the network's input. `progress` is called after every image of every graph.
///
/// # Errors
/// A graph that does not fit the checkpoint or gives values that are not finite, an image or label that cannot be read, no ONNX Runtime, the disk.
pub fn compare(checkpoint: &Checkpoint, onnx: &Path, others: &[PathBuf], images: &Images, options: &Options, mut progress: impl FnMut()) -> Result<Comparison> {
    let (first, runner) = File::open(onnx, checkpoint, options.threads)?;
    if first.precision != Precision::Fp32.name() || runner.emulated() {
        let reason = format!("it is {}, expected the float32 graph that others are held against", first.precision);
        return Err(Error::Mismatch { path: onnx.into(), reason });
    }
    let (mut reference, measured) = Reference::new(runner, checkpoint, images, &mut progress)?;
    let float_miou = measured.miou();
    let mut graphs = vec![first.compared(&measured, None, false, images, vec![])];
    for path in others {
        let (file, mut runner) = File::open(path, checkpoint, options.threads)?;
        let measured = reference.measure(&mut runner, checkpoint, images, &mut progress)?;
        let worst = worst(&measured, images, options, &file, &mut reference, &mut runner, checkpoint)?;
        graphs.push(file.compared(&measured, float_miou, runner.emulated(), images, worst));
    }
    Ok(Comparison {
        format_version: FORMAT_VERSION,
        checkpoint_sha256: checkpoint.sha256()?,
        list_sha256: images.list_sha256(),
        classes: checkpoint.manifest.classes.iter().map(|c| c.name.clone()).collect(),
        reproduction: Reproduction::new(checkpoint, images, float_miou)?,
        graphs,
    })
}

/// A graph's file.
struct File {
    path: PathBuf,
    sha256: String,
    bytes: u64,
    precision: String,
}

impl File {
    fn open(path: &Path, checkpoint: &Checkpoint, threads: usize) -> Result<(Self, Runner)> {
        let bytes = files::read_limited(path, "an ONNX model", onnx::MAX_MODEL_BYTES)?;
        let model = onnx::parse(&bytes, path)?;
        let file = Self { path: path.into(), sha256: files::sha256(&bytes), bytes: bytes.len() as u64, precision: precision(&model) };
        Ok((file, Runner::open(model, path, checkpoint, threads)?))
    }

    fn compared(self, measured: &Measured, float_miou: Option<f64>, emulated: bool, images: &Images, worst: Vec<Worst>) -> Compared {
        let Self { path, sha256, bytes, precision } = self;
        let classes = if images.labelled() { measured.confusion.classes() } else { 0 };
        let quality = Quality {
            images: images.len(),
            argmax_agreement: measured.mean_agreement(),
            miou: measured.miou(),
            iou: (0..classes).map(|c| measured.confusion.iou(c)).collect(),
        };
        let drop = float_miou.zip(quality.miou).map(|(float, own)| float - own);
        let misses = misses(&precision, drop, quality.argmax_agreement);
        Compared { path, sha256, bytes, precision, emulated, quality, mask_mse: measured.mask_mse, drop, misses, worst }
    }
}

/// Precision that a graph was written for: weakly typed ones are float32 by their types.
fn precision(model: &ModelProto) -> String {
    let target = model.metadata(TARGET_KEY).and_then(|value| value.rsplit_once('-'));
    target.map_or_else(|| model.precision(), |(_, precision)| precision).to_owned()
}

/// Where a graph loses more than its precision may.
fn misses(precision: &str, drop: Option<f64>, agreement: f64) -> Vec<String> {
    let (most, least) = match precision {
        "fp16" => (FP16_DROP, None),
        "int8" => (INT8_DROP, Some(INT8_AGREEMENT)),
        _ => return vec![],
    };
    let lost = drop.filter(|&d| d > most).map(|d| format!("it loses {:.2} points of mean IoU, at most {:.1} are allowed", 100.0 * d, 100.0 * most));
    let other = least.filter(|&least| agreement < least);
    let other = other.map(|least| format!("{:.2} % of the pixels get the float32 graph's class, at least {:.1} % must", 100.0 * agreement, 100.0 * least));
    lost.into_iter().chain(other).collect()
}

/// The images with the least agreement, drawn if there is a folder for them.
fn worst(
    measured: &Measured,
    images: &Images,
    options: &Options,
    file: &File,
    reference: &mut Reference,
    runner: &mut Runner,
    checkpoint: &Checkpoint,
) -> Result<Vec<Worst>> {
    let agreement = &measured.agreement;
    let mut order: Vec<usize> = (0..agreement.len()).filter(|&i| agreement[i] < 1.0).collect();
    order.sort_by(|&a, &b| agreement[a].total_cmp(&agreement[b]));
    let spec = &checkpoint.manifest.image_spec;
    let mut preprocessor = Preprocessor::new(spec.clone());
    let mut input = vec![0.0; spec.input_len()];
    let mut draw = |index: usize, dir: &PathBuf| -> Result<PathBuf> {
        let (image, labels) = images.read(index)?;
        preprocessor.run(&image.rgb, image.width_px, image.height_px, &mut input)?;
        let labels = labels.map(|l| fit_labels(spec, &l, image.width_px, image.height_px)).transpose()?;
        let (_, map) = runner.run(&input)?;
        let rgb = preprocessor.fit(&image.rgb, image.width_px, image.height_px)?.0;
        let stem = file.path.file_stem().map(|s| s.to_string_lossy()).unwrap_or_default();
        let path = dir.join(format!("{stem}-{}.png", images.name(index).replace(['/', '\\'], "_")));
        picture::write(&path, &checkpoint.manifest.classes, rgb, spec.width_px, [&reference.map(index)?, map], labels.as_deref())?;
        Ok(path)
    };
    let mut one = |index: usize| -> Result<Worst> {
        let picture = options.pictures.as_ref().map(|dir| draw(index, dir)).transpose()?;
        Ok(Worst { image: images.name(index).to_owned(), argmax_agreement: agreement[index], picture })
    };
    order.into_iter().take(WORST).map(&mut one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_precision_has_its_limits() {
        assert_eq!(misses("fp32", Some(0.3), 0.1), [""; 0]);
        assert_eq!(misses("fp16", Some(0.001), 0.9), [""; 0]);
        assert_eq!(misses("fp16", Some(0.0011), 0.9), ["it loses 0.11 points of mean IoU, at most 0.1 are allowed"]);
        assert_eq!(misses("int8", Some(-0.01), 0.985), [""; 0]);
        let both = misses("int8", Some(0.02), 0.9);
        assert_eq!(both.len(), 2);
        assert_eq!(both[1], "90.00 % of the pixels get the float32 graph's class, at least 98.5 % must");
        assert_eq!(misses("int8", None, 0.99), [""; 0]);
    }
}
