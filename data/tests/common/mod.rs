//! A small synthetic data set for the tests.

use amis_data::synth::{SynthOptions, write};
use amis_data::voc::VocFolder;

/// 7 training images and 3 for validation of 64x48 pixels; they go when the folder is dropped.
pub fn data_set() -> (tempfile::TempDir, VocFolder) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    write(&root, &SynthOptions { step_images: [3, 2, 2], val_images: 3, width_px: 64, height_px: 48, seed: 1 }).unwrap();
    let folder = VocFolder::open(&root, "SegmentationClass").unwrap();
    (dir, folder)
}
