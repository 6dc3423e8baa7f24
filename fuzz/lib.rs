//! What the targets share.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder for one target, in memory where the machine has that.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder for temporary files")
}

/// The bytes as a file, which is what the readers take.
pub fn file(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).expect("room for the input");
    path
}

/// The bytes as zstd, unless they are that already: the fuzzer would hardly find a way through the compression.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) { bytes.to_vec() } else { zstd::encode_all(bytes, 1).expect("memory for the input") }
}
