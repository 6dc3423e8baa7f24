//! What a signed TUF repository says of its files: releases (bundles) and patches between them.
//!
//! Both stand in the field `custom` of their entry in `targets.json`, so that they are signed, and are read by the device before it fetches anything.
//! Files are called `<name>-<version>.amis` and `<name>-<parent>-<version>.patch`.

use serde::{Deserialize, Serialize};

/// Key of [`Release`] in a target's `custom`.
pub const RELEASE_KEY: &str = "amis_release";
/// Key of [`Patch`] in a target's `custom`.
pub const PATCH_KEY: &str = "amis_patch";
/// Key in `timestamp.json` of the time at which it was signed, in seconds since 1970: devices without a clock take it as the least that it can be.
pub const SIGNED_AT_KEY: &str = "amis_signed_at";

/// A bundle in the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Name of the model.
    pub name: String,
    /// Its version; counts up.
    pub version: u64,
    /// SHA-256 of its `manifest.json`, which has the hashes of all its files.
    pub manifest_sha256: String,
    /// Sum of its files' sizes.
    pub unpacked_bytes: u64,
    /// Channels that it is in: "stable", "canary".
    pub channels: Vec<String>,
    /// Which devices it is for.
    #[serde(default)]
    pub devices: Devices,
}

/// Which devices a release is for. An empty list asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Names of boards, as in `boards/`: "orin-nano".
    #[serde(default)]
    pub boards: Vec<String>,
    /// Major versions of JetPack.
    #[serde(default)]
    pub jetpacks: Vec<u32>,
    /// Tags of which the device has to have one.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What a device says of itself to be chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceTraits {
    /// Name of the board; none if it is none of ours.
    pub board: Option<String>,
    /// Major version of JetPack; none on other machines.
    pub jetpack: Option<u32>,
    /// Tags that the owner gave it.
    pub tags: Vec<String>,
}

impl Devices {
    /// Whether a device is meant.
    pub fn includes(&self, device: &DeviceTraits) -> bool {
        let board = self.boards.is_empty() || device.board.as_ref().is_some_and(|b| self.boards.contains(b));
        let jetpack = self.jetpacks.is_empty() || device.jetpack.is_some_and(|j| self.jetpacks.contains(&j));
        let tags = self.tags.is_empty() || self.tags.iter().any(|t| device.tags.contains(t));
        board && jetpack && tags
    }
}

/// A patch that makes a release from its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// Name of the model.
    pub name: String,
    /// Version that it makes.
    pub version: u64,
    /// SHA-256 of the `manifest.json` of the bundle that it starts from.
    pub parent_manifest_sha256: String,
}

/// Name of a release's file.
pub fn bundle_file(name: &str, version: u64) -> String {
    format!("{name}-{version}.amis")
}

/// Name of a patch's file.
pub fn patch_file(name: &str, parent: u64, version: u64) -> String {
    format!("{name}-{parent}-{version}.patch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_for_devices_that_meet_every_list_that_is_not_empty() {
        let nano = DeviceTraits { board: Some("orin-nano".into()), jetpack: Some(6), tags: vec!["yard".into(), "north".into()] };
        assert!(Devices::default().includes(&nano) && Devices::default().includes(&DeviceTraits::default()));
        let north = Devices { boards: vec!["orin-nano".into()], jetpacks: vec![5, 6], tags: vec!["north".into()] };
        assert!(north.includes(&nano) && !north.includes(&DeviceTraits::default()));
        assert!(!north.includes(&DeviceTraits { jetpack: Some(7), ..nano.clone() }) && !north.includes(&DeviceTraits { tags: vec![], ..nano }));
    }
}
