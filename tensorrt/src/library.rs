//! An opened TensorRT.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ffi::{self, Failure, Status};
use crate::{BuildOptions, ComputeCapability, Engine, Error, Flavor, Locations, Places, Progress, Version};

/// TensorRT with its ONNX parser, opened through the shim. Calls take turns, so that each gets its own log; what was put on a GPU runs on in parallel.
#[derive(Debug)]
pub struct Library {
    opened: Arc<ffi::Opened>,
    version: Version,
}

impl Library {
    /// Opens TensorRT from where the environment says ([`Locations::from_environment`]), or else from the usual places.
    ///
    /// # Errors
    /// As [`Library::open`].
    pub fn find(flavor: Flavor) -> Result<Self, Error> {
        Self::open(flavor, &Locations::from_environment(flavor))
    }

    /// Opens TensorRT from `locations`.
    ///
    /// # Errors
    /// The shim or the libraries are missing (lists every place looked at), are something else than their name says,
    /// or do not fit each other.
    pub fn open(flavor: Flavor, locations: &Locations) -> Result<Self, Error> {
        let shim = load_shim(&locations.shim_path(flavor)?, flavor)?;
        let paths = locations.library_paths(flavor, shim.headers().major)?;
        let [tensorrt, parser] = c_paths(flavor, &paths)?;
        let by_loader = locations.libraries.is_none();
        let opened = shim.open(&tensorrt, &parser).map_err(|failure| open_error(flavor, failure, by_loader))?;
        let version = opened.version();
        tracing::debug!("opened {version}");
        Ok(Self { opened: Arc::new(opened), version })
    }

    /// The opened TensorRT, which may be newer than the headers of the shim.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What engines can be built for ahead of time, in ascending order; empty for TensorRT proper.
    pub fn compute_capabilities(&self) -> Vec<ComputeCapability> {
        self.opened.compute_capabilities()
    }

    pub(crate) fn deserialize(&self, plan: &[u8]) -> Result<ffi::Loaded, Failure> {
        self.opened.deserialize(plan)
    }

    /// Parses a serialized ONNX model and builds an engine of it.
    ///
    /// Takes seconds to minutes and all the memory it likes; one build at a time in a process, which had better be one of
    /// its own ([`child`](crate::child)). `on_progress` is called from TensorRT's threads. TensorRT's log goes to `tracing`
    /// (target `tensorrt`) as well as into the result.
    ///
    /// # Errors
    /// A compute capability or another option that this TensorRT does not take, a model that its parser refuses (names
    /// the nodes), or a build that it gives up.
    pub fn build(&self, onnx: &[u8], options: &BuildOptions, on_progress: &(dyn Fn(Progress) + Sync)) -> Result<Engine, Error> {
        let known = self.compute_capabilities();
        if let Some(&asked) = options.compute_capabilities.iter().find(|asked| !known.contains(asked)) {
            return Err(Error::CapabilityUnknown { asked, version: self.version, known });
        }
        let built = self.opened.build(onnx, options, on_progress).map_err(|failure| build_error(self.version, failure))?;
        let ffi::Built { plan, layer_count, timing_cache, log } = built;
        Ok(Engine { version: self.version, plan, layer_count, timing_cache, log })
    }
}

fn load_shim(path: &Path, flavor: Flavor) -> Result<ffi::Shim, Error> {
    let shim = ffi::Shim::load(path)?;
    let found = shim.headers();
    if found.flavor == flavor { Ok(shim) } else { Err(Error::ShimFlavor { path: path.to_owned(), found, expected: flavor }) }
}

fn c_paths(flavor: Flavor, paths: &[PathBuf; 2]) -> Result<[CString; 2], Error> {
    let convert =
        |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::LibraryForeign { flavor, reason: format!("{path:?} holds a zero byte") });
    Ok([convert(&paths[0])?, convert(&paths[1])?])
}

fn open_error(flavor: Flavor, failure: Failure, by_loader: bool) -> Error {
    match failure.status {
        Status::Version => Error::LibraryVersion { flavor, reason: failure.reason },
        Status::Load if by_loader => {
            let mut places = Places::default();
            places.note(format_args!("where the system's loader looks: {}", failure.reason));
            places.note(format_args!("{} names no folder", flavor.library_variable()));
            Error::LibraryMissing { flavor, places }
        }
        _ => Error::LibraryForeign { flavor, reason: failure.reason },
    }
}

fn build_error(version: Version, failure: Failure) -> Error {
    match failure.status {
        Status::Model => Error::Model { version, errors: failure.parser_errors },
        Status::Option => Error::Option { version, reason: failure.reason },
        _ => Error::Build { version, reason: failure.reason, log: failure.log },
    }
}
