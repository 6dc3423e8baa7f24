//! States of started steps: `state/<step>-<iteration>.safetensors` with a manifest of the same name, the last two of a step.

use std::fs;
use std::path::{Path, PathBuf};

use amis_artifacts::weights::{self, Weights};
use amis_artifacts::{Error as ArtifactError, files};
use serde::{Deserialize, Serialize};

use crate::optim::Scaler;
use crate::{Error, Result};

/// States of a step that are kept: the newest, and one for the case that it is damaged.
const KEPT: usize = 2;

/// The manifest of a state.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    step: usize,
    iteration: usize,
    /// As text: a number of JSON need not be read as the float that was written, and the best is compared with equal ones.
    best_miou: Option<String>,
    seconds: f64,
    updates: i64,
    scaler: Option<Scaler>,
    tensors_sha256: String,
}

/// Everything needed to go on with a step: all randomness follows from seed and iteration, so no generator is saved.
#[derive(Debug)]
pub(super) struct State {
    pub(super) step: usize,
    /// Iterations done.
    pub(super) iteration: usize,
    /// Updates done: fewer than iterations where the scaler left some out.
    pub(super) updates: i64,
    pub(super) scaler: Option<Scaler>,
    /// Mean IoU of the best weights so far.
    pub(super) best_miou: Option<f64>,
    /// Time spent on the step so far, over all starts.
    pub(super) seconds: f64,
    pub(super) model: Weights,
    pub(super) optimizer: Weights,
    /// Empty before the first validation.
    pub(super) best: Weights,
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("state")
}

/// Saves a state: tensors first, then the manifest that makes them count. Older states than the one before are removed.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn save(dir: &Path, state: State) -> Result<()> {
    let folder = folder(dir);
    let mut tensors = Weights::new();
    for (prefix, part) in [("model", state.model), ("optimizer", state.optimizer), ("best", state.best)] {
        tensors.extend(part.into_iter().map(|(name, tensor)| (format!("{prefix}/{name}"), tensor)));
    }
    let bytes = weights::to_bytes(&tensors)?;
    let path = folder.join(format!("{}-{}.json", state.step, state.iteration));
    let manifest = Manifest {
        step: state.step,
        iteration: state.iteration,
        best_miou: state.best_miou.map(|v| v.to_string()),
        seconds: state.seconds,
        updates: state.updates,
        scaler: state.scaler,
        tensors_sha256: files::sha256(&bytes),
    };
    files::write_atomic(&tensors_of(&path), &bytes)?;
    files::write_json(&path, &manifest)?;
    for old in manifests(&folder, state.step).into_iter().skip(KEPT) {
        remove(&old);
    }
    Ok(())
}

/// The newest whole state of a step, if any was saved. A damaged one is named in the log and removed, and the one before is taken.
///
/// # Errors
/// All saved states are damaged; they are left where they are.
pub(super) fn load(dir: &Path, step: usize) -> Result<Option<State>> {
    let mut damaged: Vec<(PathBuf, Error)> = Vec::new();
    for manifest in manifests(&folder(dir), step) {
        match read(&manifest) {
            Err(error) => damaged.push((manifest, error)),
            Ok(state) => {
                for (manifest, error) in damaged {
                    tracing::warn!("{}; going on from the state before, iteration {}", describe(&error), state.iteration);
                    remove(&manifest);
                }
                return Ok(Some(state));
            }
        }
    }
    let reasons: Vec<String> = damaged.iter().map(|(_, error)| describe(error)).collect();
    if reasons.is_empty() { Ok(None) } else { Err(Error::State { step, path: folder(dir), reason: reasons.join("; ") }) }
}

/// An error with its cause, in one line.
fn describe(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Removes the states of a finished step, and what killed processes have left.
pub(super) fn clear(dir: &Path, step: usize) {
    let folder = folder(dir);
    for manifest in manifests(&folder, step) {
        remove(&manifest);
    }
    // Goes only if no state of another step is left in it.
    let _ = fs::remove_dir(&folder);
}

/// Removes the files in which killed processes were writing, and tensors that never got their manifest.
pub(super) fn tidy(dir: &Path) {
    let folder = folder(dir);
    let half = |path: &PathBuf| path.extension().is_some_and(|e| e == "safetensors") && !path.with_extension("json").exists();
    for path in entries(&folder).into_iter().filter(half) {
        let _ = fs::remove_file(path);
    }
    let steps = entries(dir).into_iter().filter(|path| path.is_dir() && path != &folder);
    let removed: usize = steps.chain([dir.to_path_buf(), folder.clone()]).map(|folder| files::remove_temporaries(&folder)).sum();
    if removed > 0 {
        tracing::info!("{removed} half-written files of a killed process removed");
    }
}

fn read(path: &Path) -> Result<State> {
    let manifest: Manifest = files::read_json(path, "training state")?;
    let tensors = tensors_of(path);
    let bytes = files::read_limited(&tensors, "training state", weights::MAX_WEIGHTS_BYTES)?;
    let found = files::sha256(&bytes);
    if found != manifest.tensors_sha256 {
        return Err(ArtifactError::Hash { path: tensors, found, expected: manifest.tensors_sha256 }.into());
    }
    let mut state = State {
        step: manifest.step,
        iteration: manifest.iteration,
        best_miou: manifest.best_miou.and_then(|text| text.parse().ok()),
        seconds: manifest.seconds,
        updates: manifest.updates,
        scaler: manifest.scaler,
        model: Weights::new(),
        optimizer: Weights::new(),
        best: Weights::new(),
    };
    for (name, tensor) in weights::parse(&bytes, &tensors)? {
        let (part, name) = name.split_once('/').unwrap_or(("", &name));
        let target = match part {
            "model" => &mut state.model,
            "optimizer" => &mut state.optimizer,
            _ => &mut state.best,
        };
        target.insert(name.to_owned(), tensor);
    }
    Ok(state)
}

/// Manifests of a step, the newest first.
fn manifests(folder: &Path, step: usize) -> Vec<PathBuf> {
    let iteration = |path: PathBuf| {
        let (of, iteration) = path.file_name()?.to_str()?.strip_suffix(".json")?.split_once('-')?;
        (of.parse() == Ok(step)).then_some((iteration.parse::<usize>().ok()?, path))
    };
    let mut found: Vec<_> = entries(folder).into_iter().filter_map(iteration).collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

fn tensors_of(manifest: &Path) -> PathBuf {
    manifest.with_extension("safetensors")
}

/// The manifest goes first: tensors without one do not count.
fn remove(manifest: &Path) {
    let _ = fs::remove_file(manifest);
    let _ = fs::remove_file(tensors_of(manifest));
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
