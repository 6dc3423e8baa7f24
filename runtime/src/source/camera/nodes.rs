use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::sys::{self, Capabilities};

/// `V4L2_CAP_VIDEO_CAPTURE`.
const VIDEO_CAPTURE: u32 = 0x1;
/// `V4L2_CAP_VIDEO_CAPTURE_MPLANE`.
const MULTIPLANAR: u32 = 0x1000;
/// `V4L2_CAP_STREAMING`.
const STREAMING: u32 = 0x0400_0000;

/// What tells a camera from others, also when it comes back under another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    driver: String,
    card: String,
    bus: String,
}

impl From<Capabilities> for Identity {
    fn from(capabilities: Capabilities) -> Self {
        Self { driver: capabilities.driver, card: capabilities.card, bus: capabilities.bus }
    }
}

impl Identity {
    fn same_model(&self, other: &Self) -> bool {
        (&self.driver, &self.card) == (&other.driver, &other.card)
    }
}

/// Whether a node gives pictures, be it in a way that is not supported.
pub(super) fn captures(capabilities: &Capabilities) -> bool {
    capabilities.flags & (VIDEO_CAPTURE | MULTIPLANAR) != 0
}

/// Refuses nodes that give no pictures: cameras have nodes for metadata too.
pub(super) fn must_capture(capabilities: &Capabilities) -> Result<(), String> {
    let flags = capabilities.flags;
    if flags & MULTIPLANAR != 0 {
        return Err("it captures into several planes a picture (multi-planar interface), which is not supported".into());
    }
    if flags & VIDEO_CAPTURE == 0 || flags & STREAMING == 0 {
        return Err(format!("it gives no pictures (capabilities {flags:#010x}); a camera has several nodes"));
    }
    Ok(())
}

/// Nodes that capture, in order of their numbers, each with what it is. Nodes that cannot be opened are left out.
pub(super) fn capture_nodes() -> Vec<(PathBuf, Identity)> {
    let of = |path: PathBuf| {
        let capabilities = sys::capabilities(&v4l::Device::with_path(&path).ok()?).ok()?;
        must_capture(&capabilities).ok()?;
        Some((path, Identity::from(capabilities)))
    };
    video_nodes().into_iter().filter_map(of).collect()
}

/// `/dev/video0`, `/dev/video1`, ...: those that are there, in order.
pub(super) fn video_nodes() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("video").and_then(|number| number.parse::<u32>().ok());
    let by_number: BTreeMap<u32, PathBuf> = entries.filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path()))).collect();
    by_number.into_values().collect()
}

/// Names in a folder of `/dev/v4l` that stay the same when a camera is plugged in again, by the node that they lead to.
pub(super) fn stable_names(folder: &str) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut names: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(Path::new("/dev/v4l").join(folder)).into_iter().flatten().flatten() {
        if let Ok(node) = entry.path().canonicalize() {
            names.entry(node).or_default().push(entry.path());
        }
    }
    names
}

/// Finds a camera again: under its own path, at the same port, or as the only one of its model.
pub(super) fn find(camera: &Identity, path: &Path, nodes: &[(PathBuf, Identity)]) -> Option<PathBuf> {
    let own = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let models: Vec<&(PathBuf, Identity)> = nodes.iter().filter(|(_, identity)| identity.same_model(camera)).collect();
    let own = models.iter().find(|(node, _)| *node == own);
    let port = models.iter().find(|(_, identity)| identity == camera);
    let only = if let [only] = models.as_slice() { Some(only) } else { None };
    own.or(port).or(only).map(|(node, _)| node.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identity(card: &str, bus: &str) -> Identity {
        Identity { driver: "uvcvideo".into(), card: card.into(), bus: bus.into() }
    }

    #[test]
    fn a_camera_is_found_by_path_then_port_then_model() {
        let node = |number: u32, card: &str, bus: &str| (PathBuf::from(format!("/nonexistent/video{number}")), identity(card, bus));
        let camera = identity("C920", "usb-1");
        let at = |nodes: &[(PathBuf, Identity)]| find(&camera, Path::new("/nonexistent/video0"), nodes).map(|p| p.display().to_string());
        assert_eq!(at(&[node(0, "C920", "usb-2"), node(1, "C920", "usb-1")]).as_deref(), Some("/nonexistent/video0"));
        assert_eq!(at(&[node(1, "C920", "usb-2"), node(2, "C920", "usb-1")]).as_deref(), Some("/nonexistent/video2"));
        assert_eq!(at(&[node(0, "BRIO", "usb-1"), node(3, "C920", "usb-7")]).as_deref(), Some("/nonexistent/video3"));
        assert_eq!(at(&[node(1, "C920", "usb-2"), node(2, "C920", "usb-3")]), None);
        assert_eq!(at(&[]), None);
    }

    #[test]
    fn only_nodes_with_pictures_are_cameras() {
        let with = |flags| must_capture(&Capabilities { driver: String::new(), card: String::new(), bus: String::new(), flags });
        assert!(with(0x0420_0001).is_ok());
        // Metadata of a webcam.
        assert!(with(0x04a0_0000).unwrap_err().contains("gives no pictures"));
        assert!(with(0x0420_1000).unwrap_err().contains("multi-planar"));
    }
}
