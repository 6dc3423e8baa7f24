use std::path::{Path, PathBuf};

use amis_artifacts::files;
use amis_artifacts::model_spec::ModelSpec;
use amis_data::augment::Augment;
use amis_data::label_mapping::FutureClasses;
use amis_data::layout::Layout;
use amis_data::protocol::{Setting, Task};
use serde::Deserialize;
use toml::{Table, Value};

use super::{Config, DataConfig, ImageConfig, Method, OptimizerConfig, Preset, StepImages, TaskConfig, TrainConfig};
use crate::model::Backbone;
use crate::{Error, Result};

/// Largest configuration file, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Most epochs of a step: far above any use, and safe to multiply.
const MAX_EPOCHS: usize = 1_000_000;

/// The file as it stands; `gab` and `method` are completed by the preset, the lists by the layout, the steps by the task's name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    data: RawData,
    task: RawTask,
    image: ImageConfig,
    model: RawModel,
    train: TrainConfig,
    #[serde(default)]
    augment: Augment,
    optimizer: OptimizerConfig,
    #[serde(default)]
    method: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawData {
    #[serde(default)]
    layout: Layout,
    root: PathBuf,
    labels: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTask {
    name: String,
    steps: Option<Vec<Vec<String>>>,
    images: Option<StepImages>,
    train: Option<String>,
    setting: Option<Setting>,
    val: Option<String>,
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    future_classes: FutureClasses,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    backbone: Option<Backbone>,
    patch_px: Option<u32>,
    dim: Option<u32>,
    depth: Option<u32>,
    heads: Option<u32>,
    decoder_depth: Option<u32>,
    decoder_heads: Option<u32>,
    gab: Option<bool>,
}

impl RawModel {
    /// Sizes from the backbone's name, or each by its own key; the block is part of AMIS, other presets are networks without it unless the file says so.
    fn spec(&self, preset: Preset) -> std::result::Result<ModelSpec, String> {
        let gab = self.gab.unwrap_or(preset == Preset::Amis);
        let encoder = [("patch_px", self.patch_px), ("dim", self.dim), ("depth", self.depth), ("heads", self.heads)];
        let decoder = [("decoder_depth", self.decoder_depth), ("decoder_heads", self.decoder_heads)];
        let Some(backbone) = self.backbone else {
            let missing = encoder.iter().chain(&decoder).find(|(_, value)| value.is_none());
            let sizes = encoder.map(|(_, value)| value.unwrap_or_default());
            let [decoder_depth, decoder_heads] = decoder.map(|(_, value)| value.unwrap_or_default());
            return match missing {
                Some((key, _)) => Err(format!("model.{key} is missing; without model.backbone every size has to be there")),
                None => Ok(ModelSpec { patch_px: sizes[0], dim: sizes[1], depth: sizes[2], heads: sizes[3], decoder_depth, decoder_heads, gab }),
            };
        };
        if let Some((key, _)) = encoder.iter().find(|(_, value)| value.is_some()) {
            return Err(format!(
                "model.{key} and model.backbone = \"{}\" contradict each other: the backbone says it all, take one of them out",
                backbone.name()
            ));
        }
        let spec = backbone.spec();
        let decoder_depth = self.decoder_depth.unwrap_or(spec.decoder_depth);
        Ok(ModelSpec { decoder_depth, decoder_heads: self.decoder_heads.unwrap_or(spec.decoder_heads), gab, ..spec })
    }
}

impl Config {
    /// Reads a TOML file, applies `key.path=value` overrides, completes it by its preset and checks it.
    ///
    /// # Errors
    /// Unreadable, an unknown or missing key, a value out of range; names the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let bytes = files::read_limited(path, "configuration", MAX_CONFIG_BYTES)?;
        let wrong = |reason: String| Error::Config { path: path.into(), reason };
        let mut table: Table = toml::from_str(&String::from_utf8_lossy(&bytes)).map_err(|e| wrong(e.to_string()))?;
        for setting in overrides {
            set(&mut table, setting).map_err(&wrong)?;
        }
        let raw: RawConfig = table.try_into().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        let config = resolve(raw).map_err(&wrong)?;
        config.validate().map_err(wrong)?;
        Ok(config)
    }

    fn validate(&self) -> std::result::Result<(), String> {
        self.model.validate().map_err(|e| e.to_string())?;
        self.image_spec().validate(self.model.patch_px).map_err(|e| e.to_string())?;
        let positive = |key: &str, value: usize| if value == 0 { Err(format!("{key} is 0, expected at least 1")) } else { Ok(()) };
        positive("train.batch", self.train.batch)?;
        if self.train.accumulate == 0 || !self.train.batch.is_multiple_of(self.train.accumulate) {
            let (batch, parts) = (self.train.batch, self.train.accumulate);
            return Err(format!("train.accumulate is {parts}, expected a number that divides train.batch {batch}"));
        }
        if let Some(norm) = self.optimizer.clip_norm
            && !(norm > 0.0 && norm.is_finite())
        {
            return Err(format!("optimizer.clip_norm is {norm}, expected a number over 0"));
        }
        positive("train.base.epochs", self.train.base.epochs)?;
        positive("train.increment.epochs", self.train.increment.epochs)?;
        for (key, epochs) in [("train.base.epochs", self.train.base.epochs), ("train.increment.epochs", self.train.increment.epochs)] {
            if epochs > MAX_EPOCHS {
                return Err(format!("{key} is {epochs}, expected at most {MAX_EPOCHS}"));
            }
        }
        positive("train.eval_every", self.train.eval_every)?;
        positive("train.workers", self.train.workers)?;
        if self.image.crop_px == 0 || self.image.crop_px > 4096 || !self.image.crop_px.is_multiple_of(self.model.patch_px) {
            return Err(format!("image.crop_px is {}, expected a multiple of model.patch_px {} up to 4096", self.image.crop_px, self.model.patch_px));
        }
        for (key, value) in [("train.base.lr", self.train.base.lr), ("train.increment.lr", self.train.increment.lr)] {
            if !(value > 0.0 && value < 10.0) {
                return Err(format!("{key} is {value}, expected a number between 0 and 10"));
            }
        }
        if !(1..=64).contains(&self.method.boundary_px) {
            return Err(format!("method.boundary_px is {}, expected 1 to 64", self.method.boundary_px));
        }
        let factors = [("pod_factor", self.method.pod_factor), ("pseudo_threshold", self.method.pseudo_threshold)];
        for (key, value) in self.method.weights().into_iter().chain(factors) {
            if !(0.0..=1e6).contains(&value) {
                return Err(format!("method.{key} is {value}, expected a number from 0 to 1e6"));
            }
        }
        if !(0.0..=1.0).contains(&self.optimizer.weight_decay) {
            return Err(format!("optimizer.weight_decay is {}, expected a number from 0 to 1", self.optimizer.weight_decay));
        }
        if self.task.steps.is_empty() || self.task.steps.iter().any(Vec::is_empty) {
            return Err("task.steps needs at least one step, and every step at least one class".into());
        }
        self.augment.validate().map_err(|e| e.to_string())
    }
}

fn resolve(raw: RawConfig) -> std::result::Result<Config, String> {
    let mut method = Table::try_from(Method::preset(raw.train.preset)).map_err(|e| e.to_string())?;
    method.extend(raw.method);
    let labels = raw.data.labels.unwrap_or_else(|| raw.data.layout.labels().into());
    Ok(Config {
        task: resolve_task(raw.task, raw.data.layout)?,
        data: DataConfig { layout: raw.data.layout, root: raw.data.root, labels },
        image: raw.image,
        model: raw.model.spec(raw.train.preset)?,
        train: raw.train,
        augment: raw.augment,
        optimizer: raw.optimizer,
        method: method.try_into().map_err(|e: toml::de::Error| format!("method: {e}"))?,
    })
}

fn resolve_task(raw: RawTask, layout: Layout) -> std::result::Result<TaskConfig, String> {
    let by_name = || Task::published_names(layout.data_set(), &raw.name).map_err(|e| format!("task.steps is missing, and {e}"));
    let images = match (raw.images, raw.train, raw.setting) {
        (Some(images), None, None) => images,
        (Some(_), ..) => return Err("task.images stands beside task.train or task.setting; give one or the other".into()),
        (None, list, setting) => {
            StepImages::Classes { list: list.unwrap_or_else(|| layout.train_list().into()), setting: setting.unwrap_or(Setting::Overlapped) }
        }
    };
    let mut steps = raw.steps.map_or_else(by_name, Ok)?;
    if raw.offline {
        steps = vec![steps.concat()];
    }
    Ok(TaskConfig {
        steps,
        images,
        offline: raw.offline,
        val: raw.val.unwrap_or_else(|| layout.val_list().into()),
        future_classes: raw.future_classes,
        name: raw.name,
    })
}

/// Applies `a.b=value`; the value is TOML, or a string where it does not parse as such.
fn set(table: &mut Table, setting: &str) -> std::result::Result<(), String> {
    let (key, value) = setting.split_once('=').ok_or_else(|| format!("--set {setting}: expected key=value"))?;
    let value =
        toml::from_str::<Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value")).unwrap_or_else(|| Value::String(value.to_owned()));
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut place = table;
    for part in parts {
        let entry = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = entry.as_table_mut().ok_or_else(|| format!("--set {setting}: {part} is a value, not a table"))?;
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(overrides: &[&str]) -> Result<Config> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/demo.toml");
        Config::load(&path, &overrides.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn the_preset_fills_in_what_the_file_leaves_open() {
        let amis = load(&[]).unwrap();
        assert!(amis.model.gab);
        let finetune = load(&["train.preset=finetune"]).unwrap();
        assert!(!finetune.model.gab && !finetune.method.is_more_than_finetuning());
        assert!(load(&["train.preset=finetune", "method.boundary_weight=0.5"]).unwrap().method.is_more_than_finetuning());
        let mixed = load(&["train.preset=mbs", "method.pod_factor=0.5", "model.gab=true", "data.root=some/where"]).unwrap();
        assert!(mixed.model.gab && mixed.method.pod_factor == 0.5 && mixed.data.root == Path::new("some/where"));
    }

    #[test]
    fn a_backbone_gives_all_sizes_and_takes_none_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let demo = include_str!("../../../configs/demo.toml");
        let (before, rest) = demo.split_once("[model]").unwrap();
        let (_, after) = rest.split_once("[train]").unwrap();
        let load = |model: &str| {
            std::fs::write(&path, format!("{before}[model]\n{model}\n[train]{after}")).unwrap();
            Config::load(&path, &[])
        };
        let small = load("backbone = \"vit_small\"").unwrap().model;
        assert_eq!(small, ModelSpec { patch_px: 16, dim: 384, depth: 12, heads: 6, decoder_depth: 2, decoder_heads: 6, gab: true });
        assert_eq!(load("backbone = \"vit_tiny\"\ndecoder_depth = 1").unwrap().model.decoder_depth, 1);
        let both = load("backbone = \"vit_base\"\ndepth = 6").unwrap_err().to_string();
        assert!(both.contains("model.depth and model.backbone = \"vit_base\" contradict"), "{both}");
        let none = load("dim = 96").unwrap_err().to_string();
        assert!(none.contains("model.patch_px is missing"), "{none}");
        let unknown = load("backbone = \"resnet50\"").unwrap_err().to_string();
        assert!(unknown.contains("resnet50") && unknown.contains("vit_base"), "{unknown}");
    }

    #[test]
    fn a_published_task_needs_its_name_and_an_own_one_its_steps() {
        let voc = |settings: &[&str]| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/voc.toml");
            Config::load(&path, &settings.iter().map(|s| s.to_string()).collect::<Vec<_>>())
        };
        let permuted = voc(&["task.name=15-1_b", "task.setting=disjoint"]).unwrap().task;
        assert_eq!((permuted.steps[0][0].as_str(), permuted.steps.len()), ("dog", 6));
        assert_eq!(permuted.images, StepImages::Classes { list: "list/train_aug.txt".into(), setting: Setting::Disjoint });
        assert_eq!(voc(&["task.offline=true"]).unwrap().task.steps[0].len(), 20);
        let message = |settings: &[&str]| voc(settings).unwrap_err().to_string();
        assert!(message(&["task.name=15-2"]).contains("known are: offline, 19-1"), "{}", message(&["task.name=15-2"]));
        assert!(message(&["data.layout=folder"]).contains("task.steps is missing"));
        assert!(message(&["task.images={ lists = \"x\" }"]).contains("beside task.train or task.setting"));
        assert!(message(&["augment.pad_label=3"]).contains("pad_label is 3"));
    }

    #[test]
    fn a_wrong_key_or_value_is_named() {
        let message = |setting: &str| load(&[setting]).unwrap_err().to_string();
        assert!(message("train.batsh=3").contains("batsh"), "{}", message("train.batsh=3"));
        assert!(message("method.nothing=3").contains("nothing"));
        assert!(message("train.batch=0").contains("train.batch is 0"));
        assert!(message("train.accumulate=3").contains("train.accumulate is 3, expected a number that divides train.batch 8"));
        assert!(message("train.accumulate=0").contains("train.accumulate is 0"));
        assert!(message("optimizer.clip_norm=0.0").contains("optimizer.clip_norm is 0"));
        assert!(message("image.crop_px=7").contains("image.crop_px is 7"));
        assert!(message("method.distill_weight=-1").contains("method.distill_weight is -1"));
        assert!(message("optimizer.weight_decay=nan").contains("optimizer.weight_decay is NaN"));
        assert!(message("train").contains("expected key=value"));
        assert!(message("train.batch.x=1").contains("batch is a value"));
    }
}
