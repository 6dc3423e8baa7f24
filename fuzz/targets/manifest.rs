#![no_main]
//! Manifests of bundles.

use std::cell::LazyCell;

use amis_artifacts::bundle;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DIR: LazyCell<tempfile::TempDir> = LazyCell::new(amis_fuzz::folder);
}

fuzz_target!(|bytes: &[u8]| {
    DIR.with(|dir| {
        amis_fuzz::file(dir, bundle::MANIFEST, bytes);
        if let Ok(manifest) = bundle::read_folder(dir.path()) {
            let _ = bundle::verify_folder(dir.path());
            let _ = manifest.require_runtime(dir.path(), "0.1.0");
            assert!(manifest.unpacked_bytes() <= bundle::MAX_BUNDLE_BYTES);
        }
    });
});
