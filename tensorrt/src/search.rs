//! Where the shim and TensorRT's libraries are looked for.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Flavor};

/// Environment variable that names the shim's file.
const SHIM_VARIABLE: &str = "AMIS_TRT_SHIM";

/// Where to find what is opened at run time. Something given is taken from there or not at all.
#[derive(Debug, Clone, Default)]
pub struct Locations {
    /// The shim's file; `None`: beside the executable, in its neighbour `lib/amis`, then where cargo built it.
    pub shim: Option<PathBuf>,
    /// Folder with TensorRT and its ONNX parser; `None`: where the system's loader looks.
    pub libraries: Option<PathBuf>,
}

impl Locations {
    /// What the variables `AMIS_TRT_SHIM` and [`Flavor::library_variable`] say.
    pub fn from_environment(flavor: Flavor) -> Self {
        let path = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { shim: path(SHIM_VARIABLE), libraries: path(flavor.library_variable()) }
    }

    /// The shim's file, which exists.
    pub(crate) fn shim_path(&self, flavor: Flavor) -> Result<PathBuf, Error> {
        let mut places = Places::default();
        let candidates = match &self.shim {
            Some(path) => vec![path.clone()],
            None => default_shims(flavor, &mut places),
        };
        for path in candidates {
            if path.is_file() {
                return Ok(path);
            }
            places.add(&path, "no such file");
        }
        Err(Error::ShimMissing { flavor, places })
    }

    /// TensorRT and its ONNX parser: existing files, or bare names for the loader.
    pub(crate) fn library_paths(&self, flavor: Flavor, major: u32) -> Result<[PathBuf; 2], Error> {
        let names = flavor.library_files(major);
        let Some(folder) = &self.libraries else { return Ok(names.map(PathBuf::from)) };
        let paths = names.map(|name| folder.join(name));
        let mut places = Places::default();
        for path in &paths {
            places.add(path, if path.is_file() { "found" } else { "no such file" });
        }
        if paths.iter().all(|path| path.is_file()) { Ok(paths) } else { Err(Error::LibraryMissing { flavor, places }) }
    }
}

fn default_shims(flavor: Flavor, places: &mut Places) -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    match std::env::current_exe() {
        Ok(executable) => {
            candidates.push(executable.with_file_name(flavor.shim_file()));
            // `bin/amis-run` of a package, which compiles the shim into `lib/amis/`.
            if let Some(prefix) = executable.parent().and_then(Path::parent) {
                candidates.push(prefix.join("lib/amis").join(flavor.shim_file()));
            }
        }
        Err(error) => places.note(format_args!("beside the executable: {error}")),
    }
    let built = env!("AMIS_TRT_SHIM_FOLDER");
    if !built.is_empty() {
        candidates.push(Path::new(built).join(flavor.shim_file()));
    }
    let missing_headers = env!("AMIS_TRT_HEADERS_MISSING");
    if !missing_headers.is_empty() {
        places.note(format_args!("when it was built, headers were looked for in vain: {missing_headers}"));
    }
    candidates
}

/// Places that were looked at in vain; displays as one indented line a place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Places(Vec<String>);

impl Places {
    pub(crate) fn add(&mut self, place: &Path, outcome: impl fmt::Display) {
        self.note(format_args!("{}: {outcome}", place.display()));
    }

    pub(crate) fn note(&mut self, note: impl fmt::Display) {
        self.0.push(note.to_string());
    }
}

impl fmt::Display for Places {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|place| write!(formatter, "\n  - {place}"))
    }
}
