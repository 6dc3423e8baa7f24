use std::collections::{BTreeSet, HashMap};

use amis_artifacts::checkpoint::{Checkpoint, ImageListRef};
use amis_artifacts::classes::ClassList;
use amis_artifacts::files::sha256;
use amis_artifacts::model_spec::Groups;
use amis_data::folder::DataFolder;
use amis_data::protocol::{Task, select};
use amis_data::{class_index, doctor, label_mapping};
use serde_json::Value;

use crate::config::{Config, StepImages};
use crate::{Error, Result};

/// What a configuration means on its data set.
#[derive(Debug)]
pub struct Plan {
    /// The data set.
    pub folder: DataFolder,
    /// Label values of every step's classes in the data set.
    pub steps: Vec<Vec<u8>>,
    /// Background and the classes of all steps, in the order of the network's output.
    pub classes: ClassList,
    /// Label values that the data set may hold.
    pub known_values: Vec<u8>,
    /// Training images of every step; none of the steps up to `train.base_checkpoint`, which are not trained.
    pub images: Vec<Vec<String>>,
    /// Validation images.
    pub val: Vec<String>,
}

impl Plan {
    /// Opens the data set and finds the images of every step.
    ///
    /// # Errors
    /// Unknown class names, missing lists, a step without images.
    pub fn new(config: &Config) -> Result<Self> {
        Self::with_progress(config, &|_, _| {})
    }

    /// [`Self::new`], which reads every label map the first time where steps are found by classes: `progress` is called with the number read, and
    /// the number of those to read. What was found is kept on disk.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_progress(config: &Config, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Self> {
        let folder = DataFolder::open(config.data.layout, &config.data.root, &config.data.labels)?;
        let steps = folder.class_ids(&config.task.steps)?;
        label_mapping::check_steps(&steps)?;
        let names: Vec<&str> = std::iter::once("background").chain(config.task.steps.iter().flatten().map(String::as_str)).collect();
        let images = step_images(config, &folder, &steps, given_steps(config), progress)?;
        let val = folder.read_list(&config.task.val)?;
        let known_values = folder.label_values()?;
        Ok(Self { classes: ClassList::from_names(&names)?, folder, steps, known_values, images, val })
    }

    /// Reads every image and label map that the run uses, once; `progress` is called with the number done.
    pub fn check(&self, progress: &(dyn Fn(usize) + Sync)) -> doctor::Report {
        let names: BTreeSet<&String> = self.images.iter().flatten().chain(&self.val).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        doctor::check(&self.folder, &names, &self.known_values, progress)
    }

    /// Class groups up to a step.
    pub fn groups(&self, step: usize) -> Groups {
        Groups::from_steps(&self.steps[..=step].iter().map(Vec::len).collect::<Vec<_>>())
    }

    /// Image lists of a step, by hash.
    pub fn list_refs(&self, step: usize) -> Vec<ImageListRef> {
        let list = |role: &str, names: &[String]| ImageListRef { role: role.into(), images: names.len(), sha256: sha256(names.join("\n").as_bytes()) };
        vec![list("train", &self.images[step]), list("val", &self.val)]
    }
}

/// How many steps come with `train.base_checkpoint`. What is wrong with it is said before training starts.
fn given_steps(config: &Config) -> usize {
    config.train.base_checkpoint.as_ref().and_then(|base| Checkpoint::open(base).ok()).map_or(0, |base| base.manifest.step + 1)
}

/// Images of every step from `first` on; the steps before need none.
fn step_images(config: &Config, folder: &DataFolder, steps: &[Vec<u8>], first: usize, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Vec<Vec<String>>> {
    match &config.task.images {
        StepImages::Lists { lists } => {
            let read = |step| {
                let list = format!("{lists}/{step}.txt");
                match folder.read_list(&list) {
                    Err(amis_data::Error::List { reason, .. }) if reason.contains("no image") => Err(Error::NoImages { step, list }),
                    names => Ok(names?),
                }
            };
            if !config.task.offline {
                return (0..steps.len()).map(|step| if step < first { Ok(Vec::new()) } else { read(step) }).collect();
            }
            // An image that several steps show is seen once an epoch, like the others.
            let mut seen = BTreeSet::new();
            let mut all = read(0)?;
            for step in (1..).take_while(|step| folder.root().join(format!("{lists}/{step}.txt")).is_file()) {
                all.extend(read(step)?);
            }
            all.retain(|name| seen.insert(name.clone()));
            Ok(vec![all])
        }
        StepImages::Classes { list, setting } => {
            let names = folder.read_list(list)?;
            let index = class_index::of(folder, &names, progress)?;
            let task = Task::new(&config.task.name, config.data.layout.data_set(), steps.to_vec())?;
            let images = |step| match select(&index, &task, step, *setting) {
                Err(amis_data::Error::EmptyStep { .. }) => Err(Error::NoImages { step, list: list.clone() }),
                names => Ok(names?),
            };
            (0..steps.len()).map(|step| if step < first { Ok(Vec::new()) } else { images(step) }).collect()
        }
    }
}

/// The configuration as it is kept with every checkpoint.
pub(super) fn resolved(config: &Config) -> Result<Value> {
    serde_json::to_value(config).map_err(|e| Error::Config { path: "config.json".into(), reason: e.to_string() })
}

/// Keys that may differ between two starts of the same run.
pub(crate) const FREE_KEYS: [&str; 5] = [".data.root", ".train.workers", ".train.save_every_s", ".train.accumulate", ".train.batch_auto"];

/// First key whose values differ, with both values.
pub(super) fn first_difference(key: &str, found: &Value, own: &Value) -> Option<String> {
    if FREE_KEYS.contains(&key) {
        return None;
    }
    match (found, own) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: HashMap<&String, ()> = a.keys().chain(b.keys()).map(|k| (k, ())).collect();
            let mut keys: Vec<&String> = keys.into_keys().collect();
            keys.sort();
            keys.into_iter().find_map(|k| first_difference(&format!("{key}.{k}"), a.get(k).unwrap_or(&Value::Null), b.get(k).unwrap_or(&Value::Null)))
        }
        _ if found == own => None,
        _ => Some(format!("{} is {found} there and {own} now", key.trim_start_matches('.'))),
    }
}
