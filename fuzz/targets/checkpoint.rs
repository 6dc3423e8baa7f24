#![no_main]
//! Manifests of checkpoints.

use std::cell::LazyCell;

use amis_artifacts::checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DIR: LazyCell<tempfile::TempDir> = LazyCell::new(amis_fuzz::folder);
}

fuzz_target!(|bytes: &[u8]| {
    DIR.with(|dir| {
        amis_fuzz::file(dir, "checkpoint.json", bytes);
        let _ = Checkpoint::open(dir.path());
    });
});
