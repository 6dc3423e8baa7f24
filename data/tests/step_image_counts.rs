//! Every published count of images a step comes out of the class lists.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use amis_data::class_index::{self, ClassIndex};
use amis_data::protocol::{DataSet, Setting, Task, select};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    classes: Vec<Vec<u8>>,
    overlapped: Vec<usize>,
    disjoint: Option<Vec<usize>>,
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn index(name: &str) -> ClassIndex {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.txt");
    std::fs::write(&path, zstd::decode_all(fixture(name).as_slice()).unwrap()).unwrap();
    class_index::read(&path).unwrap()
}

#[test]
fn all_tasks_have_the_published_classes_and_counts() {
    let all: BTreeMap<String, Expected> = serde_json::from_slice(&fixture("step_image_counts.json")).unwrap();
    let (voc, ade) = (index("voc_train_cls.txt.zst"), index("ade_train_cls.txt.zst"));
    assert_eq!((voc.len(), ade.len()), (10_582, 20_210));
    let mut counts = 0;
    for (key, expected) in &all {
        let (data_set, name) = key.split_once('/').unwrap();
        let (data_set, index) = if data_set == "voc" { (DataSet::Voc, &voc) } else { (DataSet::Ade20k, &ade) };
        let task = Task::published(data_set, name).unwrap();
        let mut classes = task.steps.clone();
        classes[0].insert(0, 0);
        assert_eq!(classes, expected.classes, "{key}");
        let settings = [(Setting::Overlapped, Some(&expected.overlapped)), (Setting::Disjoint, expected.disjoint.as_ref())];
        for (setting, images) in settings {
            for (step, &images) in images.into_iter().flatten().enumerate() {
                assert_eq!(select(index, &task, step, setting).unwrap().len(), images, "{key}, step {step}, {setting:?}");
                counts += 1;
            }
        }
    }
    let tasks = Task::names(DataSet::Voc).len() + Task::names(DataSet::Ade20k).len();
    assert_eq!((all.len(), tasks), (38, 38), "every task is in the fixture");
    assert!(counts > 300, "{counts} counts compared");
}
