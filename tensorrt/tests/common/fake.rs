//! The stand-in for shim, TensorRT and CUDA driver: `tensorrt/tests/fake/fake.cpp`, compiled here. The runtime's tests use it too.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use amis_tensorrt::{Error, Flavor, Library, Locations};

/// Its file. Opened as the shim, it also answers as the CUDA driver of this process, because of its soname.
pub(crate) fn shim() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tensorrt");
    let inputs = [sources.join("tests/fake/fake.cpp"), sources.join("shim/amis_trt.h")];
    let mut hasher = DefaultHasher::new();
    inputs.iter().for_each(|path| std::fs::read(path).unwrap().hash(&mut hasher));
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("libfake-{:016x}.so", hasher.finish()));
    if !shared.exists() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let own = folder.path().join("fake.so");
        let mut command = Command::new("c++");
        command.args(["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libcuda.so", "-o"]).arg(&own);
        command.arg("-I").arg(sources.join("shim")).arg(&inputs[0]);
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
