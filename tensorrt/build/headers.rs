//! Where the TensorRT headers are. Shared by the build script and the test that compiles the shim.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder of the headers in the crate `trtx-sys` that match the TensorRT-RTX libraries the project is tested with.
pub(crate) const DOWNLOADED_RTX: &str = "TRT-RTX-1.7";

/// A folder of TensorRT headers, and what else the compiler needs to read them.
pub(crate) struct Headers {
    /// Holds `NvInfer.h` and `NvOnnxParser.h`.
    pub(crate) tensorrt: PathBuf,
    /// Holds `cuda_runtime_api.h`.
    pub(crate) cuda: PathBuf,
    /// The headers are those of TensorRT-RTX.
    pub(crate) is_rtx: bool,
}

impl Headers {
    /// Compiler arguments: system folders, because warnings in NVIDIA's headers are not ours. Folders that the compiler
    /// searches anyway must not be named, or the C++ library no longer finds C's headers behind its own.
    pub(crate) fn include_arguments(&self) -> Vec<OsString> {
        [&self.tensorrt, &self.cuda]
            .into_iter()
            .filter(|folder| !folder.starts_with("/usr/include"))
            .flat_map(|folder| ["-isystem".into(), folder.clone().into_os_string()])
            .collect()
    }
}

/// What a search for headers came to.
pub(crate) struct Search {
    /// At most one set of headers for each of the two products.
    pub(crate) found: Vec<Headers>,
    /// What was looked for in vain, and where.
    pub(crate) missing: Vec<String>,
}

/// Finds headers: in `explicit` if given, else in the system's folders; and TensorRT-RTX's in cargo's download.
///
/// # Errors
/// What is missing in `explicit`.
pub(crate) fn search(explicit: Option<&OsStr>, helper_manifest: &Path) -> Result<Search, String> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    if let Some(folder) = explicit {
        found.push(inspect(Path::new(folder))?);
    } else {
        for folder in system_folders() {
            match inspect(&folder) {
                Ok(headers) => found.push(headers),
                Err(reason) => missing.push(reason),
            }
        }
        found.truncate(1);
    }
    // TensorRT-RTX is no product for a Jetson, which has TensorRT's own headers: do not bother the network there.
    let wants_download = found.is_empty() || (cfg!(target_arch = "x86_64") && !found[0].is_rtx);
    if wants_download {
        match download(helper_manifest).and_then(|folder| inspect(&folder.join(DOWNLOADED_RTX))) {
            Ok(headers) => found.push(headers),
            Err(reason) => missing.push(reason),
        }
    }
    Ok(Search { found, missing })
}

/// Folder `TensorRT-Headers` of the crate `trtx-sys`, which holds one folder of headers a version. Asks cargo for it
/// without the network first.
///
/// # Errors
/// Cargo's own words when it cannot get the crate.
pub(crate) fn download(helper_manifest: &Path) -> Result<PathBuf, String> {
    let text = metadata(helper_manifest, true).or_else(|_| metadata(helper_manifest, false))?;
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    json["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "trtx-sys")
        .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
        .map(|folder| folder.join("TensorRT-Headers"))
        .ok_or_else(|| format!("cargo metadata names no package trtx-sys for {}", helper_manifest.display()))
}

fn metadata(helper_manifest: &Path, offline: bool) -> Result<Vec<u8>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Without the filter, cargo downloads the Windows half of the tree too.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", &platform]);
    command.arg("--manifest-path").arg(helper_manifest);
    if offline {
        command.arg("--offline");
    }
    let output = command.output().map_err(|error| format!("cargo metadata: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(format!("crate trtx-sys: cargo metadata: {}", reason.trim()))
    }
}

/// JetPack and Debian install into the folder of the machine's triple, NVIDIA's archives into /usr/local.
fn system_folders() -> Vec<PathBuf> {
    vec![format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH).into(), "/usr/local/tensorrt/include".into()]
}

/// Takes a folder for what it says it is.
///
/// # Errors
/// What is missing in it.
pub(crate) fn inspect(folder: &Path) -> Result<Headers, String> {
    for name in ["NvInfer.h", "NvOnnxParser.h"] {
        if !folder.join(name).is_file() {
            return Err(format!("{}: no {name}", folder.display()));
        }
    }
    let version = folder.join("NvInferVersion.h");
    let version_text = std::fs::read_to_string(&version).map_err(|error| format!("{}: {error}", version.display()))?;
    Ok(Headers { tensorrt: folder.to_owned(), cuda: cuda_folder(folder)?, is_rtx: version_text.contains("TRT_MAJOR_RTX") })
}

/// CUDA's own folder, or the one above TensorRT's: there lies the small `cuda_runtime_api.h` of `trtx-sys`.
fn cuda_folder(tensorrt: &Path) -> Result<PathBuf, String> {
    let mut folders: Vec<PathBuf> = tensorrt.parent().map(Path::to_owned).into_iter().collect();
    folders.extend(std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("include")));
    folders.extend(["/usr/local/cuda/include", "/usr/include"].map(PathBuf::from));
    folders
        .iter()
        .find(|folder| folder.join("cuda_runtime_api.h").is_file())
        .cloned()
        .ok_or_else(|| format!("{}: TensorRT, but no cuda_runtime_api.h in {folders:?}", tensorrt.display()))
}
