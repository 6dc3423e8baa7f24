//! Real images for a comparison, with labels where there are any.

use std::path::{Path, PathBuf};

use amis_artifacts::checkpoint::{Checkpoint, CheckpointManifest};
use amis_artifacts::files::sha256;
use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::preprocess::{Preprocessor, fit_labels};
use amis_data::folder::DataFolder;
use amis_data::images::{RgbImage, read_rgb};
use amis_data::label_mapping::{self, FutureClasses, Mapping};
use amis_data::layout::Layout;
use amis_runtime::source::in_folder;
use serde::Deserialize;

use crate::{Error, Result};

/// Images of a data set with its labels, or a folder of pictures.
pub struct Images {
    names: Vec<String>,
    source: Source,
}

enum Source {
    Labelled { folder: DataFolder, mapping: Box<Mapping> },
    Pictures(PathBuf),
}

/// Which images to take.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Root of a data set, or a folder of pictures; none: the data set that the checkpoint was trained on.
    pub root: Option<PathBuf>,
    /// List of images in the data set; none: the one that the trainer validated on.
    pub list: Option<String>,
    /// At most so many, spread evenly over the list.
    pub limit: Option<usize>,
}

/// The part of a training configuration that says how labels are read. Checkpoints from elsewhere have none.
#[derive(Deserialize)]
struct Config {
    data: Data,
    task: Task,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    layout: Layout,
    root: PathBuf,
    labels: String,
}

#[derive(Deserialize)]
struct Task {
    steps: Vec<Vec<String>>,
    val: String,
    #[serde(default)]
    future_classes: FutureClasses,
}

impl Images {
    /// Opens a data set with its labels as the trainer evaluates this checkpoint, or else a folder of pictures.
    ///
    /// # Errors
    /// No images there, a list that cannot be used, or classes that are not the checkpoint's.
    pub fn open(checkpoint: &Checkpoint, choice: &Choice) -> Result<Self> {
        let manifest = &checkpoint.manifest;
        let config: Option<Config> = serde_json::from_value(manifest.config.clone()).ok();
        let root = choice.root.clone().or_else(|| config.as_ref().map(|c| c.data.root.clone()));
        let root = root
            .ok_or_else(|| Error::NoImages { path: checkpoint.dir.clone(), reason: "the checkpoint does not say on which data set it was trained".into() })?;
        let mut images = match data_set(manifest, config, &root, choice.list.as_deref()) {
            Ok(images) => images,
            Err(error) if choice.list.is_none() => pictures(&root, &error)?,
            Err(error) => return Err(error),
        };
        if let Some(limit) = choice.limit.filter(|&n| n < images.names.len()) {
            let all = images.names.len();
            images.names = (0..limit).map(|i| images.names[i * all / limit].clone()).collect();
        }
        Ok(images)
    }

    /// Number of images.
    #[allow(clippy::len_without_is_empty)] // there is always one
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Name of an image.
    pub(crate) fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// SHA-256 of the names, one a line: as the checkpoint names its lists.
    pub(crate) fn list_sha256(&self) -> String {
        sha256(self.names.join("\n").as_bytes())
    }

    /// Whether there are labels.
    pub(crate) fn labelled(&self) -> bool {
        matches!(self.source, Source::Labelled { .. })
    }

    /// Gives every image to `visit`: its number, the network's input `[3, H, W]`, and its class ids `[H, W]` fitted alike.
    ///
    /// # Errors
    /// A file that is missing or damaged, and those of `visit`.
    pub(crate) fn visit(&self, spec: &ImageSpec, mut visit: impl FnMut(usize, &[f32], Option<&[u8]>) -> Result<()>) -> Result<()> {
        let mut preprocessor = Preprocessor::new(spec.clone());
        let mut input = vec![0.0; spec.input_len()];
        for index in 0..self.names.len() {
            let (image, labels) = self.read(index)?;
            preprocessor.run(&image.rgb, image.width_px, image.height_px, &mut input)?;
            let labels = labels.map(|l| fit_labels(spec, &l, image.width_px, image.height_px)).transpose()?;
            visit(index, &input, labels.as_deref())?;
        }
        Ok(())
    }

    /// An image, and its labels as class ids of the checkpoint.
    ///
    /// # Errors
    /// A file that is missing or damaged.
    pub(crate) fn read(&self, index: usize) -> Result<(RgbImage, Option<Vec<u8>>)> {
        let name = &self.names[index];
        match &self.source {
            Source::Pictures(root) => Ok((read_rgb(&root.join(name))?, None)),
            Source::Labelled { folder, mapping } => {
                let (image, labels) = folder.read_pair(name)?;
                Ok((image, Some(labels.values.into_iter().map(|v| mapping[usize::from(v)]).collect())))
            }
        }
    }
}

/// The data set at `root`, its labels as the checkpoint was trained; where it does not say how, in the first layout that fits.
fn data_set(manifest: &CheckpointManifest, config: Option<Config>, root: &Path, list: Option<&str>) -> Result<Images> {
    let (folder, task) = match config {
        Some(config) => (DataFolder::open(config.data.layout, root, &config.data.labels)?, config.task),
        None => {
            let open = |layout: Layout| DataFolder::open(layout, root, layout.labels());
            let folder = open(Layout::Voc).or_else(|_| open(Layout::Ade20k)).or_else(|_| open(Layout::Folder))?;
            let task = Task { steps: own_steps(manifest), val: folder.layout().val_list().into(), future_classes: FutureClasses::Ignore };
            (folder, task)
        }
    };
    let names = folder.read_list(list.unwrap_or(&task.val))?;
    let mapping = label_mapping::eval(&folder.class_ids(&task.steps)?, manifest.step, task.future_classes, folder.layout().zero())?;
    Ok(Images { names, source: Source::Labelled { folder, mapping: Box::new(mapping) } })
}

/// Names of the classes of every step. The first group is background alone.
fn own_steps(manifest: &CheckpointManifest) -> Vec<Vec<String>> {
    let mut names = manifest.classes.iter().skip(1).map(|c| c.name.clone());
    manifest.groups.0.iter().skip(1).map(|&n| names.by_ref().take(n as usize).collect()).collect()
}

/// All pictures that lie in a folder; `no_data_set` says why it is not taken for more.
fn pictures(root: &Path, no_data_set: &Error) -> Result<Images> {
    let found = |_| Error::NoImages { path: root.into(), reason: format!("there are no pictures in it, and it is no data set: {no_data_set}") };
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let names = in_folder(root, None).map_err(found)?.into_iter().filter_map(name).collect();
    Ok(Images { names, source: Source::Pictures(root.into()) })
}
