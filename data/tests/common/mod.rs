//! A small synthetic data set for the tests.

use amis_data::folder::DataFolder;
use amis_data::layout::Layout;
use amis_data::synth::{SynthOptions, write};

/// 7 training images and 3 for validation of 64x48 pixels; they go when the folder is dropped.
pub fn data_set() -> (tempfile::TempDir, DataFolder) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    write(&root, &SynthOptions { step_images: [3, 2, 2], val_images: 3, width_px: 64, height_px: 48, seed: 1 }).unwrap();
    let folder = DataFolder::open(Layout::Voc, &root, "SegmentationClass").unwrap();
    (dir, folder)
}
