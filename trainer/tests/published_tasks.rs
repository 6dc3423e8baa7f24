//! Every published task, from its configuration to the images of its steps: the counts are those of the reference code.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use amis_trainer::config::Config;
use amis_trainer::train::Plan;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    classes: Vec<Vec<u8>>,
    overlapped: Vec<usize>,
    disjoint: Option<Vec<usize>>,
}

/// Folders and lists of a data set that has the published class lists, with label maps of a few pixels that show these classes.
struct DataSet {
    config: &'static str,
    class_list: &'static str,
    images: &'static str,
    labels: &'static str,
    lists: [&'static str; 2],
}

const VOC: DataSet = DataSet {
    config: "voc.toml",
    class_list: "voc_train_cls.txt.zst",
    images: "JPEGImages",
    labels: "SegmentationClassAug",
    lists: ["list/train_aug.txt", "list/val.txt"],
};
const ADE20K: DataSet = DataSet {
    config: "ade20k.toml",
    class_list: "ade_train_cls.txt.zst",
    images: "images/training",
    labels: "annotations/training",
    lists: ["", "images/validation/ADE_val_00000001.jpg"],
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures")
}

impl DataSet {
    fn write(&self, root: &Path) {
        let text = String::from_utf8(zstd::decode_all(fs::read(fixtures().join(self.class_list)).unwrap().as_slice()).unwrap()).unwrap();
        let (images, labels) = (root.join(self.images), root.join(self.labels));
        for folder in [&images, &labels, &root.join("list"), &root.join("images/validation")] {
            fs::create_dir_all(folder).unwrap();
        }
        let mut list = String::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let values: Vec<u8> = std::iter::once(0).chain(words.map(|word| word.parse::<u8>().unwrap() + 1)).collect();
            fs::write(images.join(format!("{name}.jpg")), "").unwrap();
            let mut encoder = png::Encoder::new(fs::File::create(labels.join(format!("{name}.png"))).unwrap(), values.len() as u32, 1);
            encoder.set_depth(png::BitDepth::Eight);
            encoder.write_header().unwrap().write_image_data(&values).unwrap();
            list += &format!("/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\n");
        }
        let [train, val] = self.lists;
        if !train.is_empty() {
            fs::write(root.join(train), list).unwrap();
        }
        fs::write(root.join(val), "/JPEGImages/2007_000033.jpg /SegmentationClassAug/2007_000033.png\n").unwrap();
    }

    fn plan(&self, root: &Path, task: &str, setting: &str) -> (Config, Plan) {
        let settings = [format!("data.root={}", root.display()), format!("task.name={task}"), format!("task.setting={setting}")];
        let config = Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(self.config), &settings).unwrap();
        let plan = Plan::new(&config).unwrap();
        (config, plan)
    }
}

fn check(key: &str, data_set: &DataSet) {
    let dir = tempfile::tempdir().unwrap();
    data_set.write(dir.path());
    let all: BTreeMap<String, Expected> = serde_json::from_slice(&fs::read(fixtures().join("step_image_counts.json")).unwrap()).unwrap();
    let tasks: Vec<_> = all.iter().filter_map(|(name, expected)| Some((name.strip_prefix(key)?, expected))).collect();
    assert!(!tasks.is_empty());
    for (task, expected) in tasks {
        for (setting, counts) in [("overlapped", Some(&expected.overlapped)), ("disjoint", expected.disjoint.as_ref())] {
            let Some(counts) = counts else { continue };
            let (config, plan) = data_set.plan(dir.path(), task, setting);
            assert_eq!(plan.images.iter().map(Vec::len).collect::<Vec<_>>(), *counts, "{task}, {setting}");
            let mut steps = plan.steps.clone();
            steps[0].insert(0, 0);
            assert_eq!(steps, expected.classes, "{task}");
            let of_names = plan.folder.class_ids(&config.task.steps).unwrap();
            assert_eq!(of_names, plan.steps, "{task}: names and ids belong together");
            let names: Vec<&str> = plan.classes.iter().skip(1).map(|c| c.name.as_str()).collect();
            assert_eq!(names, config.task.steps.iter().flatten().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

#[test]
fn all_tasks_of_voc() {
    check("voc/", &VOC);
}

#[test]
fn all_tasks_of_ade20k() {
    check("ade/", &ADE20K);
}
