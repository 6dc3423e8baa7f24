#![no_main]
//! Bundles: an archive, packed or not. Nothing may be written outside the folder, and a folder with a manifest is whole.

use std::cell::LazyCell;
use std::fs;

use amis_artifacts::bundle;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DIR: LazyCell<tempfile::TempDir> = LazyCell::new(amis_fuzz::folder);
}

fuzz_target!(|bytes: &[u8]| {
    DIR.with(|dir| {
        let path = amis_fuzz::file(dir, "a.amis", &amis_fuzz::packed(bytes));
        let into = dir.path().join("into");
        let unpacked = bundle::unpack(&path, &into);
        assert_eq!(into.join(bundle::MANIFEST).exists(), unpacked.is_ok());
        if let Ok(manifest) = unpacked {
            assert_eq!(bundle::verify_folder(&into).expect("what was unpacked is whole"), manifest);
        }
        assert!(fs::read_dir(dir.path()).expect("the folder").all(|entry| ["a.amis", "into"].iter().any(|name| entry.as_ref().expect("entry").file_name() == *name)));
        let _ = fs::remove_dir_all(&into);
    });
});
