//! What the device feeds its network is what the trainer validated with.
#![allow(clippy::unwrap_used)]

use amis_artifacts::image_spec::{Fit, ImageSpec};
use amis_artifacts::preprocess::Preprocessor;
use amis_data::folder::DataFolder;
use amis_data::layout::Layout;
use amis_data::loader::{Loader, LoaderOptions};
use amis_data::synth::{self, SynthOptions};
use amis_runtime::source::{self, Frame, Next};

#[test]
fn runtime_and_validation_agree_within_one_grey_level_for_every_fit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    synth::write(&root, &SynthOptions { step_images: [1, 1, 1], val_images: 3, width_px: 75, height_px: 53, seed: 2 }).unwrap();
    let data = DataFolder::open(Layout::Voc, &root, "SegmentationClass").unwrap();
    for fit in [Fit::Stretch, Fit::Letterbox, Fit::Crop] {
        let spec = ImageSpec::imagenet(48, 64, fit);
        let names = data.read_list("ImageSets/Segmentation/val.txt").unwrap();
        let options = LoaderOptions {
            folder: data.clone(),
            names,
            mapping: std::array::from_fn(|i| i as u8),
            spec: spec.clone(),
            augment: None,
            batch: 1,
            own: 0..1,
            seed: 0,
            first_iteration: 0,
            end_iteration: None,
            workers: 1,
            cache_bytes: 0,
        };
        let images = root.join("JPEGImages");
        let list = root.join("ImageSets/Segmentation/val.txt");
        let mut source = source::open(&format!("dir:{}?list={}", images.display(), list.display())).unwrap();
        let (mut frame, mut preprocessor) = (Frame::default(), Preprocessor::new(spec.clone()));
        let mut input = vec![0.0; spec.input_len()];
        let mut compared = 0;
        for batch in Loader::start(options).unwrap() {
            let batch = batch.unwrap();
            assert_eq!(source.next(&mut frame).unwrap(), Next::Frame);
            preprocessor.run(&frame.rgb, frame.width_px, frame.height_px, &mut input).unwrap();
            let plane = input.len() / 3;
            for (place, (runtime, trainer)) in input.iter().zip(&batch.input).enumerate() {
                let grey_levels = (runtime - trainer).abs() * spec.std[place / plane] * 255.0;
                assert!(grey_levels <= 1.0, "{fit:?}, {}: {grey_levels} grey levels apart at {place}", frame.name);
            }
            compared += 1;
        }
        assert_eq!(compared, 3);
        assert_eq!(source.next(&mut frame).unwrap(), Next::End);
    }
}
