//! The doctor finds what is wrong, and says where.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use amis_data::{Error, class_index, doctor, labels};

fn write_grey(path: &Path, width: u32, height: u32, values: &[u8]) {
    image::GrayImage::from_raw(width, height, values.to_vec()).unwrap().save(path).unwrap();
}

#[test]
fn each_fault_is_counted_and_named() {
    let (_dir, folder) = common::data_set();
    let names = folder.read_list("ImageSets/Segmentation/train.txt").unwrap();
    let allowed: Vec<u8> = (0..7).chain([255]).collect();
    let calls = AtomicUsize::new(0);
    let count = |_| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let sound = doctor::check(&folder, &names, &allowed, &count);
    assert!(sound.is_sound(), "{:?}", sound.problems);
    assert_eq!(calls.load(Ordering::Relaxed), names.len());
    assert_eq!(sound.pixels.iter().sum::<u64>(), (names.len() * 64 * 48) as u64);

    let mut values = labels::read(&folder.label_path(&names[0])).unwrap().values;
    values[3 * 64 + 17] = 201;
    write_grey(&folder.label_path(&names[0]), 64, 48, &values);
    write_grey(&folder.label_path(&names[1]), 48, 64, &values.iter().map(|_| 0).collect::<Vec<_>>());
    fs::remove_file(folder.image_path(&names[2])).unwrap();
    fs::write(folder.image_path(&names[3]), b"no picture").unwrap();
    image::RgbImage::new(64, 48).save(folder.label_path(&names[4])).unwrap();
    let report = doctor::check(&folder, &names, &allowed, &|_| {});
    assert_eq!((report.images, report.problem_count), (7, 5));
    let found: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert!(matches!(report.problems[0], Error::UnknownLabel { x: 17, y: 3, value: 201, .. }), "{found:?}");
    assert!(matches!(report.problems[1], Error::SizesDiffer { found: [48, 64], expected: [64, 48], .. }), "{found:?}");
    assert!(matches!(report.problems[2], Error::Artifacts(_)), "{found:?}");
    assert!(matches!(report.problems[3], Error::Picture { .. }), "{found:?}");
    assert!(matches!(report.problems[4], Error::LabelFormat { .. }), "{found:?}");
    for (problem, name) in found.iter().zip(&names) {
        assert!(problem.contains(name.as_str()), "{problem} names {name}");
    }
}

#[test]
fn a_class_index_comes_from_the_label_maps() {
    let (_dir, folder) = common::data_set();
    let names = folder.read_list("ImageSets/Segmentation/val.txt").unwrap();
    let index = class_index::scan(&folder, &names, &|_| {}).unwrap();
    for (name, classes) in &index {
        let mut values = labels::read(&folder.label_path(name)).unwrap().values;
        values.sort_unstable();
        values.dedup();
        assert_eq!(*classes, values.into_iter().filter(|&v| v != 0).collect::<Vec<_>>());
    }
    assert_eq!(index.iter().map(|(name, _)| name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    fs::remove_file(folder.label_path(&names[1])).unwrap();
    assert!(class_index::scan(&folder, &names, &|_| {}).unwrap_err().to_string().contains(&names[1]));
}
