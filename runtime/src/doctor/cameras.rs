use std::fs::OpenOptions;
use std::io::ErrorKind;

use serde::Serialize;

use super::{Files, Report};

/// A video device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Camera {
    /// Its file: "/dev/video0".
    pub device: String,
    /// Name that its driver gives.
    pub name: String,
    /// Whether this user may use it.
    pub usable: bool,
}

pub(super) fn examine(files: &Files, report: &mut Report) {
    for entry in files.names("sys/class/video4linux").into_iter().filter(|name| name.starts_with("video")) {
        let name = files.text(&format!("sys/class/video4linux/{entry}/name")).unwrap_or_default();
        let opened = OpenOptions::new().read(true).write(true).open(files.path(&format!("dev/{entry}")));
        let found = format!("/dev/{entry}: {name}");
        match &opened {
            Ok(_) => report.good("camera", found),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                report.advise("camera", format!("{found}, not for this user"), "sudo usermod -aG video $USER, then log in again");
            }
            Err(e) => {
                report.advise("camera", format!("{found}: {e}"), "another program may hold it (fuser -v /dev/video*), or its driver has failed (sudo dmesg)")
            }
        }
        report.cameras.push(Camera { device: format!("/dev/{entry}"), name, usable: opened.is_ok() });
    }
    if report.cameras.is_empty() {
        report.good("camera", "none".into());
    }
}
