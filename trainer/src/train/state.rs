use std::fs;
use std::path::{Path, PathBuf};

use amis_artifacts::files;
use amis_artifacts::weights::{self, Weights};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Where a started step stands: `state.json` names the tensors file that belongs to it.
#[derive(Debug, Serialize, Deserialize)]
struct StateManifest {
    step: usize,
    iteration: usize,
    best_miou: Option<f64>,
    tensors: String,
    tensors_sha256: String,
}

/// Everything needed to go on with a step: all randomness follows from seed and iteration, so no generator is saved.
#[derive(Debug)]
pub(super) struct State {
    pub(super) step: usize,
    /// Iterations done; also the number of updates.
    pub(super) iteration: usize,
    /// Mean IoU of the best weights so far.
    pub(super) best_miou: Option<f64>,
    pub(super) model: Weights,
    pub(super) optimizer: Weights,
    /// Empty before the first validation.
    pub(super) best: Weights,
}

/// Saves the state so that either the one before or this one is found afterwards.
pub(super) fn save(dir: &Path, state: State) -> Result<()> {
    let mut tensors = Weights::new();
    for (prefix, part) in [("model", state.model), ("optimizer", state.optimizer), ("best", state.best)] {
        tensors.extend(part.into_iter().map(|(name, tensor)| (format!("{prefix}/{name}"), tensor)));
    }
    let bytes = weights::to_bytes(&tensors)?;
    let name = format!("state-{}-{}.safetensors", state.step, state.iteration);
    files::write_atomic(&dir.join(&name), &bytes)?;
    let manifest = StateManifest {
        step: state.step,
        iteration: state.iteration,
        best_miou: state.best_miou,
        tensors: name.clone(),
        tensors_sha256: files::sha256(&bytes),
    };
    files::write_json(&dir.join("state.json"), &manifest)?;
    remove_tensors(dir, Some(&name));
    Ok(())
}

/// The saved state of a step, if there is one and it is whole.
pub(super) fn load(dir: &Path, step: usize) -> Result<Option<State>> {
    let path = dir.join("state.json");
    if !path.exists() {
        return Ok(None);
    }
    let manifest: StateManifest = files::read_json(&path, "training state")?;
    if manifest.step != step {
        return Ok(None);
    }
    let tensors = dir.join(&manifest.tensors);
    let bytes = files::read_limited(&tensors, "training state", weights::MAX_WEIGHTS_BYTES)?;
    let found = files::sha256(&bytes);
    if found != manifest.tensors_sha256 {
        return Err(amis_artifacts::Error::Hash { path: tensors, found, expected: manifest.tensors_sha256 }.into());
    }
    let mut state =
        State { step, iteration: manifest.iteration, best_miou: manifest.best_miou, model: Weights::new(), optimizer: Weights::new(), best: Weights::new() };
    for (name, tensor) in weights::parse(&bytes, &tensors)? {
        let (part, name) = name.split_once('/').unwrap_or(("", &name));
        let target = match part {
            "model" => &mut state.model,
            "optimizer" => &mut state.optimizer,
            _ => &mut state.best,
        };
        target.insert(name.to_owned(), tensor);
    }
    Ok(Some(state))
}

/// Removes the state of a finished step.
pub(super) fn clear(dir: &Path) {
    // Left-over state is harmless: it names a step that is finished.
    let _ = fs::remove_file(dir.join("state.json"));
    remove_tensors(dir, None);
}

fn remove_tensors(dir: &Path, keep: Option<&str>) {
    let is_old = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("state-") && name.ends_with(".safetensors") && Some(name) != keep
    };
    for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).filter(is_old) {
        let _ = fs::remove_file(path);
    }
}
