//! What is known of a device before there is a program of ours on it.

use serde::Serialize;

use super::ssh::{Ssh, quote};
use crate::{Error, Result};

/// Lines of the script begin so: login shells may say more.
const MARK: &str = "amis:";

/// What a device says of itself.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facts {
    /// Processor, as `uname -m` calls it.
    pub processor: String,
    /// Who is logged in.
    pub login: String,
    /// Whether that is root.
    pub root: bool,
    /// `amis-run` on the device.
    pub program: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Model, from the device tree.
    pub model: Option<String>,
    /// First line of `/etc/nv_tegra_release`.
    pub l4t: Option<String>,
    /// Seconds that its clock is ahead of ours.
    pub clock_ahead_s: i64,
    /// Whose the device's folder is; who is logged in, if there is none yet.
    pub owner: String,
    /// Free space for the device's folder.
    pub free_bytes: u64,
    /// Whether systemd runs there.
    pub systemd: bool,
    /// ONNX Runtime by the login's environment or `/etc/amis/run.env`.
    #[serde(skip)]
    pub(super) onnxruntime: Option<String>,
    /// Folder of the person who is logged in.
    #[serde(skip)]
    pub(super) home: String,
}

impl Facts {
    /// Asks a device. `root` is its folder for releases, `prefix` where its program was unpacked to, if not by a package.
    ///
    /// # Errors
    /// [`Error::Ssh`]; it is no Linux.
    pub(super) fn ask(ssh: &Ssh, root: &str, prefix: Option<&str>) -> Result<Self> {
        let program = prefix.map_or_else(|| "amis-run".to_owned(), |prefix| format!("{prefix}/bin/amis-run"));
        let answer = ssh.run(&format!("asked={}\nfolder={}\n{SCRIPT}", quote(&program), quote(root)))?;
        let value = |name: &str| {
            let line = answer.out.lines().find_map(|line| line.strip_prefix(MARK)?.strip_prefix(name)?.strip_prefix('='))?;
            Some(line.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let unsuited = |reason: String| Error::Unsuited { to: ssh.to().into(), reason, advice: "amis-run is for Linux on Arm and x86, 64 bits".into() };
        let kernel = value("kernel").unwrap_or_default();
        if kernel != "Linux" {
            return Err(unsuited(format!("its system calls itself {kernel:?}, expected Linux")));
        }
        let login = value("login").unwrap_or_default();
        let now = jiff::Timestamp::now().as_second();
        Ok(Self {
            processor: value("processor").unwrap_or_default(),
            root: value("uid").as_deref() == Some("0"),
            program: value("program"),
            version: value("version").and_then(|text| Some(text.split_whitespace().next_back()?.to_owned())),
            model: value("model"),
            l4t: value("l4t"),
            clock_ahead_s: value("time").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0) - now,
            owner: value("owner").unwrap_or_else(|| login.clone()),
            login,
            free_bytes: value("free").and_then(|text| text.parse().ok()).unwrap_or(0),
            systemd: matches!(value("systemd").as_deref(), Some("running" | "degraded" | "starting" | "initializing")),
            onnxruntime: value("onnxruntime"),
            home: value("home").unwrap_or_default(),
        })
    }

    /// What a command of the owner of the device's folder begins with.
    pub(super) fn as_owner(&self) -> String {
        match (self.owner == self.login, self.root) {
            (true, _) => String::new(),
            (false, true) => format!("runuser -u {} -- ", quote(&self.owner)),
            (false, false) => format!("sudo -n -u {} -- ", quote(&self.owner)),
        }
    }

    /// What a command of root begins with.
    pub(super) fn as_root(&self) -> &'static str {
        if self.root { "" } else { "sudo -n -- " }
    }
}

const SCRIPT: &str = r#"
say() { printf 'amis:%s=%s\n' "$1" "$2"; }
say kernel "$(uname -s)"
say processor "$(uname -m)"
say login "$(id -un)"
say uid "$(id -u)"
say home "$HOME"
say time "$(date +%s)"
program=$(command -v "$asked")
say program "$program"
[ -z "$program" ] || say version "$("$program" --version 2>/dev/null | head -n 1)"
say model "$(tr -d '\0' 2>/dev/null </proc/device-tree/model)"
say l4t "$(head -n 1 /etc/nv_tegra_release 2>/dev/null)"
say onnxruntime "${ORT_DYLIB_PATH:-$(sed -n 's/^ORT_DYLIB_PATH=//p' /etc/amis/run.env 2>/dev/null | tail -n 1)}"
[ ! -d "$folder" ] || say owner "$(stat -c %U "$folder")"
while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
set -- $(stat -f -c '%a %S' "$folder")
say free "$((${1:-0} * ${2:-0}))"
say systemd "$(systemctl is-system-running 2>/dev/null)"
exit 0
"#;
