use std::path::Path;

use amis_artifacts::bundle::{self, BundleManifest, Parent};

use crate::{Error, Result};

/// Names the bundle `path`, packed or unpacked, as the parent of a manifest, after checking that a device which has it can go on with the new one.
///
/// # Errors
/// [`Error::Parent`], saying what does not follow; classes that do not extend the parent's; a damaged parent.
pub(super) fn follow(manifest: &mut BundleManifest, path: &Path) -> Result<()> {
    let parent = if path.is_dir() { bundle::read_folder(path)? } else { bundle::read_manifest(path)? };
    let wrong = |reason: String| Err(Error::Parent { path: path.into(), reason });
    if parent.name != manifest.name {
        return wrong(format!("its name is {}, the new one's {}", parent.name, manifest.name));
    }
    if parent.version >= manifest.version {
        return wrong(format!("its version is {}, the new one's {}, expected a higher one", parent.version, manifest.version));
    }
    manifest.classes.must_extend(&parent.classes)?;
    if let Some(graph) = parent.graphs.iter().find(|old| manifest.graphs.iter().all(|new| new.target != old.target)) {
        return wrong(format!("it has a graph for {}, the new one has none, so that these devices could not go on", graph.target));
    }
    manifest.parent = Some(Parent { version: parent.version, manifest_sha256: bundle::manifest_sha256(path)? });
    Ok(())
}
