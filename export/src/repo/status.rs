use std::fs;
use std::path::{Path, PathBuf};

use amis_artifacts::files;
use amis_artifacts::release::Release;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tough::schema::RoleType;

use super::keys::{file_name, ids, threshold};
use super::sign::{expiry, is_due};
use super::store::{Repository, releases};
use crate::Result;

/// From how many days before its end a role is warned about.
const WARNING_DAYS: i64 = 7;
/// Largest report of a device, in bytes.
const MAX_REPORT_BYTES: u64 = 4 << 20;

/// A repository and its devices.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The roles.
    pub roles: Vec<RoleStatus>,
    /// Releases that devices see.
    pub releases: Vec<Release>,
    /// Whether `publish` would change releases.
    pub staged: bool,
    /// What devices reported.
    pub devices: Vec<Device>,
    /// What needs somebody.
    pub warnings: Vec<String>,
}

/// A role.
#[derive(Debug, Serialize)]
pub struct RoleStatus {
    /// Its name.
    pub role: String,
    /// Version of its file.
    pub version: u64,
    /// When devices stop to believe it.
    pub expires: Timestamp,
    /// Whole days until then; negative if it has expired.
    pub days_left: i64,
    /// Whether `publish` renews it if its key is at hand.
    pub due: bool,
    /// Files of its keys.
    pub keys: Vec<String>,
    /// How many have to sign.
    pub threshold: u64,
}

/// What a device reported (`amis-run status --json`), and what that means.
#[derive(Debug, Serialize)]
pub struct Device {
    /// Its name; the name of the file if it does not say.
    pub device: String,
    /// When it reported, as it wrote it.
    pub time: Option<String>,
    /// The model that it runs.
    pub name: Option<String>,
    /// Version that it runs.
    pub current: Option<u64>,
    /// Channel that it follows.
    pub channel: Option<String>,
    /// What it is doing.
    pub phase: Option<String>,
    /// The newest release of its model in its channel.
    pub newest: Option<u64>,
    /// Why it does not run that one; none if it does.
    pub why_not: Option<String>,
}

/// The fields of a report that are used; all may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    device: Option<String>,
    time: Option<Value>,
    name: Option<String>,
    current: Option<u64>,
    phase: Option<String>,
    channel: Option<String>,
    bad: Vec<Bad>,
    last_error: Option<Value>,
}

/// A version that a device tried and left.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bad {
    version: Option<u64>,
    reason: Option<Value>,
}

/// Looks at a repository, and at a folder of devices' reports.
///
/// # Errors
/// The folder of reports cannot be read. A single report that cannot be is told as that device's state.
pub fn status(repository: &Repository, reports: Option<&Path>, now: Timestamp) -> Result<Status> {
    let root = &repository.root.signed;
    let (targets, snapshot, timestamp) = (&repository.targets.signed, &repository.snapshot.signed, &repository.timestamp.signed);
    let role = |role: RoleType, version: std::num::NonZeroU64, expires: Timestamp| RoleStatus {
        role: role.to_string(),
        version: version.get(),
        expires,
        days_left: (expires.as_second() - now.as_second()).div_euclid(24 * 3600),
        due: is_due(role, expires, now),
        keys: ids(root, role).iter().map(|id| file_name(role, id)).collect(),
        threshold: threshold(root, role),
    };
    let roles = vec![
        role(RoleType::Root, root.version, root.expires),
        role(RoleType::Targets, targets.version, targets.expires),
        role(RoleType::Snapshot, snapshot.version, snapshot.expires),
        role(RoleType::Timestamp, timestamp.version, timestamp.expires),
    ];
    let warning = |r: &RoleStatus| {
        if r.expires <= now {
            Some(format!("{} has expired on {}: devices refuse everything until it is signed again", r.role, r.expires))
        } else {
            (r.expires < expiry(now, WARNING_DAYS)).then(|| format!("{} expires on {}, in {} days", r.role, r.expires, r.days_left))
        }
    };
    let warnings = roles.iter().filter_map(warning).collect();
    let releases: Vec<Release> = releases(targets).into_values().collect();
    let devices = match reports {
        Some(folder) => json_files(folder)?.iter().map(|path| device(path, &releases)).collect(),
        None => Vec::new(),
    };
    Ok(Status { roles, releases, staged: repository.staged.is_some(), devices, warnings })
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| amis_artifacts::Error::Io { action: "read", path: folder.into(), source };
    let entries = fs::read_dir(folder).map_err(io)?.collect::<std::io::Result<Vec<_>>>().map_err(io)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    paths.sort();
    Ok(paths)
}

fn device(path: &Path, releases: &[Release]) -> Device {
    let read = files::read_limited(path, "a device's report", MAX_REPORT_BYTES).map_err(|e| e.to_string());
    let (report, unreadable) = match read.and_then(|bytes| serde_json::from_slice::<Report>(&bytes).map_err(|e| e.to_string())) {
        Ok(report) => (report, None),
        Err(reason) => (Report::default(), Some(format!("its report cannot be read: {reason}"))),
    };
    // A device that does not say follows what is for everybody.
    let channel = report.channel.as_deref().unwrap_or("stable");
    let is_for = |r: &&Release| report.name.as_ref() == Some(&r.name) && r.channels.iter().any(|c| c == channel);
    let newest = releases.iter().filter(is_for).map(|r| r.version).max();
    let behind = newest.is_some_and(|newest| report.current.is_none_or(|current| current < newest));
    let why_not = unreadable.or_else(|| behind.then(|| reason(&report, newest)));
    Device {
        device: report.device.unwrap_or_else(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned()),
        time: report.time.as_ref().map(text),
        name: report.name,
        current: report.current,
        channel: report.channel,
        phase: report.phase,
        newest,
        why_not,
    }
}

/// Why a device does not run the newest release: it tried, it failed on the way, or it has not come to it.
fn reason(report: &Report, newest: Option<u64>) -> String {
    let tried = report.bad.iter().find(|bad| bad.version == newest);
    match (tried, &report.last_error, &report.phase) {
        (Some(bad), _, _) => format!("tried and left: {}", bad.reason.as_ref().map_or_else(|| "it gives no reason".to_owned(), text)),
        (None, Some(error), _) if !error.is_null() => text(error),
        (None, _, Some(phase)) => format!("not yet, it is in phase {phase}"),
        (None, _, None) => "not yet".to_owned(),
    }
}

/// Strings as they are, everything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
