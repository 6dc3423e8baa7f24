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
fn a_class_index_comes_from_the_label_maps_and_each_is_read_once() {
    let (dir, folder) = common::data_set();
    let names = folder.read_list("ImageSets/Segmentation/val.txt").unwrap();
    // Old enough to be kept.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let read = AtomicUsize::new(0);
    let index = || {
        read.store(0, Ordering::Relaxed);
        let index = class_index::of(&folder, &names, &|_, _| {
            read.fetch_add(1, Ordering::Relaxed);
        });
        (index, read.load(Ordering::Relaxed))
    };
    let (first, count) = index();
    let first = first.unwrap();
    assert_eq!(count, 3);
    for (name, classes) in &first {
        let mut values = labels::read(&folder.label_path(name)).unwrap().values;
        values.sort_unstable();
        values.dedup();
        assert_eq!(*classes, values.into_iter().filter(|&v| v != 0).collect::<Vec<_>>());
    }
    assert_eq!(first.iter().map(|(name, _)| name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    let (again, count) = index();
    assert_eq!((again.unwrap(), count), (first.clone(), 0));

    // Another content of the same length and time of modification is noticed.
    let path = folder.label_path(&names[1]);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    write_grey(&path, 64, 48, &[0; 64 * 48]);
    fs::File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    let (changed, count) = index();
    assert_eq!((changed.unwrap()[1].1.len(), count), (0, 1));

    let kept = dir.path().join("set/.amis-class-index/SegmentationClass.json");
    fs::write(&kept, "{").unwrap();
    assert_eq!(index().1, 3, "a damaged index is left out");
    fs::remove_file(&path).unwrap();
    assert!(index().0.unwrap_err().to_string().contains(&names[1]));
}
