//! Patches for devices that have the release before.

use std::collections::HashMap;
use std::path::Path;

use amis_artifacts::bundle::{self, BundleManifest};
use amis_artifacts::patch;
use amis_artifacts::release::{PATCH_KEY, Patch, patch_file};
use tough::TargetName;
use tough::schema::Target;

use super::add::keep;
use super::sign::damaged;
use super::store::Repository;
use crate::Result;

/// A patch is worth it below this part of the bundle.
const WORTH: f64 = 0.6;

/// The patch from the parent (its manifest and its file) to a release (its manifest and its folder) whose file has `full_bytes`; none if it is not worth it.
pub(super) fn make(
    repository: &Repository,
    parent: (&BundleManifest, &Path),
    new: (&BundleManifest, &Path),
    full_bytes: u64,
) -> Result<Option<(TargetName, Target)>> {
    let scratch = repository.scratch()?;
    let (old_dir, file) = (scratch.path().join("parent"), scratch.path().join("patch"));
    bundle::unpack(parent.1, &old_dir)?;
    let bytes = patch::make(&old_dir, new.1, &file)?;
    if bytes as f64 >= WORTH * full_bytes as f64 {
        return Ok(None);
    }
    // What devices will do with it.
    patch::apply(&old_dir, &file, &scratch.path().join("made"))?;
    let (name, version) = (new.0.name.clone(), new.0.version);
    let target = TargetName::new(patch_file(&name, parent.0.version, version)).map_err(|e| damaged(&file, e))?;
    let entry = Patch { name, version, parent_manifest_sha256: bundle::manifest_sha256(&old_dir)? };
    let custom = serde_json::to_value(&entry).map_err(|e| damaged(&file, e))?;
    let kept = keep(repository, &file, &target, HashMap::from([(PATCH_KEY.to_owned(), custom)]))?;
    Ok(Some((target, kept)))
}
