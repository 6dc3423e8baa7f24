//! What the loader promises about order, resuming, ends and errors.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use amis_artifacts::image_spec::{Fit, ImageSpec};
use amis_artifacts::preprocess::{Preprocessor, fit_labels};
use amis_data::augment::Augment;
use amis_data::folder::DataFolder;
use amis_data::label_mapping;
use amis_data::loader::{Batch, Loader, LoaderOptions, iterations_per_epoch};

fn options(folder: &DataFolder, batch: usize) -> LoaderOptions {
    LoaderOptions {
        folder: folder.clone(),
        names: folder.read_list("ImageSets/Segmentation/train.txt").unwrap(),
        mapping: label_mapping::train(&[vec![1, 2, 3, 4], vec![5], vec![6]], 0).unwrap(),
        spec: ImageSpec::imagenet(24, 32, Fit::Crop),
        augment: Some(Augment::default()),
        batch,
        own: 0..batch,
        seed: 7,
        first_iteration: 0,
        end_iteration: Some(9),
        workers: 2,
        cache_bytes: 1 << 20,
    }
}

fn load(options: LoaderOptions) -> Vec<Batch> {
    Loader::start(options).unwrap().map(Result::unwrap).collect()
}

#[test]
fn neither_workers_nor_cache_nor_the_start_change_a_batch() {
    let (_dir, folder) = common::data_set();
    let all = load(options(&folder, 3));
    assert_eq!(all.iter().map(|b| b.iteration).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    for (workers, cache_bytes) in [(1, 0), (3, 20_000), (5, usize::MAX)] {
        assert!(load(LoaderOptions { workers, cache_bytes, ..options(&folder, 3) }) == all, "{workers} workers, cache {cache_bytes}");
    }
    assert!(load(LoaderOptions { first_iteration: 5, ..options(&folder, 3) }) == all[5..]);
    assert!(load(LoaderOptions { seed: 8, ..options(&folder, 3) }) != all);
    assert!(load(LoaderOptions { first_iteration: 9, ..options(&folder, 3) }).is_empty());
}

#[test]
fn shares_of_a_batch_are_the_batch() {
    let (_dir, folder) = common::data_set();
    for augment in [Some(Augment::default()), None] {
        let options = LoaderOptions { augment, end_iteration: augment.map(|_| 9), ..options(&folder, 5) };
        let shares = [0..2, 2..3, 3..5].map(|own| load(LoaderOptions { own, ..options.clone() }));
        for (number, whole) in load(options).into_iter().enumerate() {
            let join = |mut parts: Batch, share: &Vec<Batch>| {
                let own = share[number].clone();
                assert_eq!(own.iteration, number);
                parts.names.extend(own.names);
                parts.input.extend(own.input);
                parts.labels.extend(own.labels);
                parts
            };
            let nothing = Batch { iteration: number, names: Vec::new(), input: Vec::new(), labels: Vec::new() };
            assert!(shares.iter().fold(nothing, join) == whole, "batch {number}");
        }
    }
}

#[test]
fn batches_that_are_given_back_change_nothing() {
    let (_dir, folder) = common::data_set();
    for options in [options(&folder, 3), LoaderOptions { augment: None, end_iteration: None, ..options(&folder, 3) }] {
        let all = load(options.clone());
        let mut loader = Loader::start(options).unwrap();
        let mut count = 0;
        while let Some(batch) = loader.next() {
            let mut batch = batch.unwrap();
            assert!(batch == all[count]);
            batch.input.fill(f32::NAN);
            batch.labels.fill(99);
            loader.give_back(batch);
            count += 1;
        }
        assert_eq!(count, all.len());
    }
}

#[test]
fn an_epoch_shows_each_image_once_and_drops_the_rest() {
    let (_dir, folder) = common::data_set();
    assert_eq!(iterations_per_epoch(7, 3, true), 2);
    let all = load(options(&folder, 3));
    for epoch in all.chunks_exact(2) {
        let names: HashSet<&String> = epoch.iter().flat_map(|batch| &batch.names).collect();
        assert_eq!(names.len(), 6);
    }
    let order = |batch: &Batch| batch.names.clone();
    assert_ne!(order(&all[0]), order(&all[2]), "epochs are shuffled differently");
    for batch in &all {
        assert_eq!((batch.input.len(), batch.labels.len()), (3 * 3 * 24 * 32, 3 * 24 * 32));
        assert!(batch.labels.iter().all(|&v| v <= 4 || v == 255), "labels are mapped");
    }
}

#[test]
fn fewer_images_than_a_batch_repeat_with_other_augmentation() {
    let (_dir, folder) = common::data_set();
    assert_eq!(iterations_per_epoch(7, 16, true), 1);
    let all = load(LoaderOptions { end_iteration: None, ..options(&folder, 16) });
    assert_eq!(all.len(), 1);
    let batch = &all[0];
    assert_eq!((batch.names.len(), batch.names.iter().collect::<HashSet<_>>().len()), (16, 7));
    assert_eq!(batch.names[0], batch.names[7]);
    let image = |number: usize| &batch.input[number * 3 * 24 * 32..][..3 * 24 * 32];
    assert!(image(0) != image(7));
}

#[test]
fn validation_is_in_order_complete_and_the_devices_own_preprocessing() {
    let (_dir, folder) = common::data_set();
    let options = LoaderOptions { augment: None, end_iteration: None, ..options(&folder, 3) };
    let (names, spec, mapping) = (options.names.clone(), options.spec.clone(), options.mapping);
    let all = load(options);
    assert_eq!(all.iter().map(|b| b.names.len()).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(all.iter().flat_map(|b| b.names.clone()).collect::<Vec<_>>(), names);
    let (image, labels) = folder.read_pair(&names[6]).unwrap();
    let mut input = vec![0.0; spec.input_len()];
    Preprocessor::new(spec.clone()).run(&image.rgb, 64, 48, &mut input).unwrap();
    assert!(all[2].input == input);
    let labels = fit_labels(&spec, &labels.values, 64, 48).unwrap();
    assert_eq!(all[2].labels, labels.iter().map(|&v| mapping[usize::from(v)]).collect::<Vec<_>>());
}

#[test]
fn an_unreadable_file_comes_out_as_an_error_and_ends_the_loader() {
    let (_dir, folder) = common::data_set();
    let broken = options(&folder, 3).names[4].clone();
    std::fs::write(folder.image_path(&broken), b"no picture").unwrap();
    let results: Vec<_> = Loader::start(LoaderOptions { end_iteration: Some(50), ..options(&folder, 3) }).unwrap().collect();
    let (last, good) = results.split_last().unwrap();
    assert!(last.as_ref().unwrap_err().to_string().contains(&broken));
    assert!(good.len() < 6 && good.iter().all(Result::is_ok));
}

#[test]
fn dropping_it_early_stops_the_threads() {
    let (_dir, folder) = common::data_set();
    let start = Instant::now();
    for taken in 0..4 {
        let mut loader = Loader::start(LoaderOptions { end_iteration: Some(1_000_000), ..options(&folder, 3) }).unwrap();
        assert_eq!(loader.by_ref().take(taken).count(), taken);
        assert_eq!(loader.remaining(), 1_000_000 - taken);
    }
    // Joining is part of dropping: a thread that went on would not be waited for this shortly.
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn numbers_without_sense_are_refused() {
    let (_dir, folder) = common::data_set();
    let refused = |options: LoaderOptions| Loader::start(options).unwrap_err().to_string();
    assert!(refused(options(&folder, 0)).contains("batch of 0"));
    assert!(refused(LoaderOptions { workers: 0, ..options(&folder, 3) }).contains("0 worker"));
    assert!(refused(LoaderOptions { own: 1..4, ..options(&folder, 3) }).contains("positions 1..4 of a batch of 3"));
    assert!(refused(LoaderOptions { names: Vec::new(), ..options(&folder, 3) }).contains("no images"));
    let narrow = Augment { scale: [0.0, 1.0], ..Augment::default() };
    assert!(refused(LoaderOptions { augment: Some(narrow), ..options(&folder, 3) }).contains("scale"));
}
