//! `update.toml`: where a device's updates come from.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use url::Url;

use super::{Error, Result};

/// Channel of devices that want every release that was found good.
pub const STABLE: &str = "stable";

/// Length of a trial where nothing else is said.
pub const PROBATION_MINUTES: f64 = 10.0;

/// Where updates come from, and what the owner says of the device.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address or folder of the repository, which holds `metadata/` and `targets/`.
    pub repository: String,
    /// What the device takes: "stable", or "canary", which is stable and what is tried before.
    #[serde(default = "stable")]
    pub channel: String,
    /// Name of the model; without it what is installed, or the only one that is offered.
    #[serde(default)]
    pub name: Option<String>,
    /// Name of the device in reports; without it the machine's id.
    #[serde(default)]
    pub device: Option<String>,
    /// What releases may ask for.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Most that is fetched in a second.
    #[serde(default)]
    pub max_kib_per_s: Option<u32>,
    /// How long a new release serves on trial.
    #[serde(default = "ten")]
    pub probation_minutes: f64,
    /// Where the status is sent to after every look for updates.
    #[serde(default)]
    pub report: Option<String>,
}

fn stable() -> String {
    STABLE.to_owned()
}

fn ten() -> f64 {
    PROBATION_MINUTES
}

impl Config {
    /// Reads `update.toml` of a device's folder.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join("update.toml");
        let wrong = |reason: String| Error::Config { path: path.clone(), reason };
        let text = fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
        let config: Self = toml::from_str(&text).map_err(|e| wrong(e.to_string().trim_end().to_owned()))?;
        if !(0.0..=10_000.0).contains(&config.probation_minutes) {
            return Err(wrong(format!("probation_minutes is {}, expected 0 to 10000", config.probation_minutes)));
        }
        if config.max_kib_per_s == Some(0) {
            return Err(wrong("max_kib_per_s is 0, expected at least 1".into()));
        }
        config.urls().map_err(wrong)?;
        Ok(config)
    }

    /// Addresses of the repository's `metadata/` and `targets/`.
    pub(super) fn urls(&self) -> std::result::Result<(Url, Url), String> {
        let text = self.repository.trim_end_matches('/');
        let base = match Url::parse(&format!("{text}/")) {
            Ok(url) if matches!(url.scheme(), "http" | "https" | "file") => url,
            Ok(url) => return Err(format!("repository has the scheme {}, expected http, https, or a folder", url.scheme())),
            Err(_) => {
                let folder = std::path::absolute(text).map_err(|e| e.to_string())?;
                Url::from_directory_path(&folder).map_err(|()| format!("repository {text:?} is neither an address nor a folder"))?
            }
        };
        let join = |name: &str| base.join(name).map_err(|e| e.to_string());
        Ok((join("metadata/")?, join("targets/")?))
    }

    /// Whether releases of this channel are for this device.
    pub(super) fn takes(&self, channels: &[String]) -> bool {
        channels.iter().any(|c| c == STABLE || *c == self.channel)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("update.toml"), text).unwrap();
        Config::read(dir.path())
    }

    #[test]
    fn defaults_hold_and_mistakes_are_named() {
        let config = read("repository = \"https://example.org/amis\"").unwrap();
        assert_eq!((config.channel.as_str(), config.probation_minutes), ("stable", 10.0));
        assert_eq!(config.urls().unwrap().0.as_str(), "https://example.org/amis/metadata/");
        assert_eq!(read("repository = \"/media/stick\"").unwrap().urls().unwrap().1.as_str(), "file:///media/stick/targets/");
        let reason = |text: &str| read(text).unwrap_err().to_string();
        assert!(reason("repository = \"ftp://example.org\"").contains("scheme ftp"));
        assert!(reason("channel = \"stable\"").contains("repository"));
        assert!(reason("repository = \"/x\"\nmax_kib_per_s = 0").contains("at least 1"));
        assert!(reason("repository = \"/x\"\nchanel = \"x\"").contains("chanel"));
        assert!(Config::read(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere/update.toml"));
    }

    #[test]
    fn a_canary_takes_what_is_stable_too() {
        let config = |channel: &str| read(&format!("repository = \"/x\"\nchannel = \"{channel}\"")).unwrap();
        let channels = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        assert!(config("canary").takes(&channels(&["canary"])) && config("canary").takes(&channels(&["stable"])));
        assert!(!config("stable").takes(&channels(&["canary"])) && config("stable").takes(&channels(&["canary", "stable"])));
    }
}
