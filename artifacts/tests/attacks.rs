//! Bundles made to do harm, by `attacks/make.py` with the tools of others: each ends with the error of the rule that it breaks, and writes nothing outside.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::Path;

use amis_artifacts::Error;
use amis_artifacts::bundle::{self, MAX_BUNDLE_BYTES};
use miette::Diagnostic;

/// The fixtures with the last part of the code of their error; a good one has none.
const EXPECTED: [(&str, &str); 41] = [
    ("good", ""),
    ("name-parent", "bundle_name"),
    ("name-absolute", "bundle_name"),
    ("name-folder", "bundle_name"),
    ("manifest-names-parent", "bundle_manifest"),
    ("symlink", "bundle_kind"),
    ("symlink-first", "bundle_kind"),
    ("hardlink", "bundle_kind"),
    ("device", "bundle_kind"),
    ("fifo", "bundle_kind"),
    ("folder", "bundle_kind"),
    ("pax", "bundle_kind"),
    ("gnu-long-name", "bundle_kind"),
    ("gnu-sparse", "bundle_kind"),
    ("twice", "bundle_twice"),
    ("manifest-twice", "bundle_unlisted"),
    ("unlisted", "bundle_unlisted"),
    ("missing", "bundle_missing"),
    ("longer", "bundle_size"),
    ("other-hash", "bundle_hash"),
    ("no-manifest", "bundle_no_manifest"),
    ("empty", "bundle_stream"),
    ("manifest-of-5-mib", "bundle_no_manifest"),
    ("huge-bytes", "bundle_large"),
    ("huge-version", "bundle_manifest"),
    ("huge-image", "bundle_manifest"),
    ("deep-json", "bundle_manifest"),
    ("format-1", "bundle_format"),
    ("no-json", "bundle_manifest"),
    ("trailing-64-mib", "bundle_trailing"),
    ("trailing-text", "bundle_trailing"),
    ("entry-of-1-tib", "bundle_size"),
    ("manifest-of-1-tib", "bundle_no_manifest"),
    ("window-of-2-gib", "bundle_stream"),
    ("cut", "bundle_stream"),
    ("cut-by-one", "bundle_stream"),
    ("flipped", "bundle_stream"),
    ("no-zstd", "bundle_stream"),
    ("over-2-gib", "bundle_large"),
    ("nowhere", "io"),
    ("a-folder", "io"),
];

/// Unpacks one into a folder of its own; gives the code of its error. The folder around it must hold nothing else afterwards.
fn unpack(path: &Path, name: &str) -> String {
    let around = tempfile::tempdir().unwrap();
    let into = around.path().join("into");
    let result = bundle::unpack(path, &into);
    let left: Vec<_> = fs::read_dir(around.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty() || left == ["into"], "{name} left {left:?}");
    assert_eq!(into.join("manifest.json").exists(), result.is_ok(), "{name}: a folder with a manifest is whole");
    result.map_or_else(|e: Error| e.code().unwrap().to_string().rsplit("::").next().unwrap().to_owned(), |_| String::new())
}

#[test]
fn every_attack_ends_with_its_error_and_writes_nothing_outside() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let made = tempfile::tempdir().unwrap();
    File::create(made.path().join("over-2-gib.amis")).unwrap().set_len(MAX_BUNDLE_BYTES + 1).unwrap();
    fs::create_dir(made.path().join("a-folder.amis")).unwrap();
    for (name, expected) in EXPECTED {
        let file = format!("{name}.amis");
        let path = [fixtures.join(&file), made.path().join(&file)].into_iter().find(|p| p.exists()).unwrap_or("nowhere".into());
        assert_eq!(unpack(&path, name), expected, "{name}");
        assert!(!Path::new("/tmp/escaped").exists(), "{name}");
    }
    let known = |path: &Path| EXPECTED.iter().any(|(name, _)| path.file_stem().unwrap() == *name);
    let fixtures = fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "amis"));
    assert_eq!(fixtures.filter(|path| !known(path)).count(), 0, "a fixture that nothing is expected of");
}
