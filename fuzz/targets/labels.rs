#![no_main]
//! Label maps: PNG.

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static DIR: LazyCell<tempfile::TempDir> = LazyCell::new(amis_fuzz::folder);
}

fuzz_target!(|bytes: &[u8]| {
    DIR.with(|dir| {
        let path = amis_fuzz::file(dir, "labels.png", bytes);
        if let Ok(map) = amis_data::labels::read(&path) {
            assert_eq!(map.values.len(), map.width_px as usize * map.height_px as usize);
        }
    });
});
