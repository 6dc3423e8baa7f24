use std::fmt;

use amis_artifacts::release::Devices;
use amis_export::repo::Status;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

/// A repository's state as tables, warnings last.
pub(super) fn show(status: &Status, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut roles = table(&["role", "version", "expires", "days left", "keys"]);
    for role in &status.roles {
        let keys = format!("{} of {}", role.threshold, role.keys.join(", "));
        roles.add_row([role.role.clone(), role.version.to_string(), role.expires.to_string(), role.days_left.to_string(), keys]);
    }
    writeln!(f, "{roles}")?;
    if status.releases.is_empty() {
        writeln!(f, "no releases")?;
    } else {
        let mut releases = table(&["release", "channels", "for", "unpacked"]);
        for release in &status.releases {
            let name = format!("{}-{}", release.name, release.version);
            let size = format!("{:.1} MB", release.unpacked_bytes as f64 / 1e6);
            releases.add_row([name, release.channels.join(", "), who(&release.devices), size]);
        }
        writeln!(f, "{releases}")?;
    }
    if !status.devices.is_empty() {
        let mut devices = table(&["device", "runs", "channel", "newest", "why not", "reported"]);
        for device in &status.devices {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            let runs = match (&device.name, device.current) {
                (Some(name), Some(version)) => format!("{name}-{version}"),
                _ => "-".into(),
            };
            devices.add_row([
                device.device.clone(),
                runs,
                or_dash(device.channel.clone()),
                or_dash(device.newest.map(|n| n.to_string())),
                or_dash(device.why_not.clone()),
                or_dash(device.time.clone()),
            ]);
        }
        writeln!(f, "{devices}")?;
    }
    for warning in &status.warnings {
        writeln!(f, "warning: {warning}")?;
    }
    write!(f, "{}", if status.staged { "staged changes wait for `amis-export repo publish`" } else { "nothing is staged" })
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header.to_vec());
    table
}

/// Which devices a release is for.
fn who(devices: &Devices) -> String {
    let mut parts = Vec::new();
    if !devices.boards.is_empty() {
        parts.push(devices.boards.join(" or "));
    }
    if !devices.jetpacks.is_empty() {
        parts.push(format!("JetPack {}", devices.jetpacks.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ")));
    }
    if !devices.tags.is_empty() {
        parts.push(format!("tagged {}", devices.tags.join(" or ")));
    }
    if parts.is_empty() { "all".into() } else { parts.join(", ") }
}
