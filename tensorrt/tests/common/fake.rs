//! The stand-in for shim, TensorRT, CUDA driver and NVRTC: `tensorrt/tests/fake`, compiled here. The runtime's tests use it too.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use amis_tensorrt::{Error, Flavor, Library, Locations};

/// Its file. Opened as the shim, it also answers as the CUDA driver of this process, because of its soname.
pub(crate) fn shim() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tensorrt");
    let kernels = sources.join("../runtime/kernels");
    let folders = [sources.join("tests/fake"), sources.join("shim"), kernels];
    let mut hasher = DefaultHasher::new();
    let files = |folder: &PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut inputs: Vec<PathBuf> = folders.iter().flat_map(files).collect();
    inputs.sort();
    inputs.iter().for_each(|path| std::fs::read(path).unwrap().hash(&mut hasher));
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("libfake-{:016x}.so", hasher.finish()));
    if !shared.exists() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let own = folder.path().join("fake.so");
        let mut command = Command::new("c++");
        command.args(["-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libcuda.so", "-o"]).arg(&own);
        command
            .args(folders.iter().flat_map(|folder| [Path::new("-I"), folder]))
            .args(["fake.cpp", "kernels.cpp", "nvrtc.cpp"].map(|name| folders[0].join(name)));
        assert!(command.status().unwrap().success(), "{command:?}");
        // Whoever comes second leaves the first one's: a file that was replaced would be loaded twice, as two drivers.
        let _ = std::fs::hard_link(own, &shared);
    }
    shared
}

/// It, opened by the way that the real one takes.
pub(crate) fn find(flavor: Flavor) -> Result<Library, Error> {
    Library::open(flavor, &Locations { shim: Some(shim()), libraries: None })
}
