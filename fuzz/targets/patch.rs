#![no_main]
//! Patches, packed or not, for the parent in the folder seeds/parent.

use std::cell::LazyCell;
use std::fs;
use std::path::Path;

use amis_artifacts::bundle;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DIR: LazyCell<tempfile::TempDir> = LazyCell::new(amis_fuzz::folder);
}

fuzz_target!(|bytes: &[u8]| {
    DIR.with(|dir| {
        let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/parent");
        let patch = amis_fuzz::file(dir, "patch", &amis_fuzz::packed(bytes));
        let into = dir.path().join("into");
        if amis_artifacts::patch::apply(&parent, &patch, &into).is_ok() {
            bundle::verify_folder(&into).expect("what was made is whole");
        }
        let _ = fs::remove_dir_all(&into);
    });
});
