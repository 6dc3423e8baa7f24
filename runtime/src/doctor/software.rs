use std::collections::HashMap;

use serde::Serialize;

use super::{Files, Finding, Report, State};

/// Folders with libraries, on Arm and x86-64.
const LIBRARIES: [&str; 4] = ["usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/local/cuda/lib64", "usr/lib"];
/// Folders with the headers of TensorRT.
const HEADERS: [&str; 4] = ["usr/include/aarch64-linux-gnu", "usr/include/x86_64-linux-gnu", "usr/include", "usr/local/tensorrt/include"];

/// NVIDIA's software.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Software {
    /// Version of Jetson Linux: "36.4.7".
    pub l4t: Option<String>,
    /// JetPack, as exactly as it is known: "6.2.1+b38", "6".
    pub jetpack: Option<String>,
    /// CUDA's libraries.
    pub cuda: Option<Installed>,
    /// TensorRT.
    pub tensorrt: Option<Installed>,
    /// cuDNN.
    pub cudnn: Option<Installed>,
}

/// A version, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// The version.
    pub version: String,
    /// The file that says so.
    pub found_in: String,
}

pub(super) fn examine(files: &Files, report: &mut Report, onnxruntime: Option<&crate::Error>) {
    let l4t = files.text("etc/nv_tegra_release").and_then(|text| l4t_version(&text));
    let jetpack = package_versions(files, &["nvidia-jetpack"]).remove("nvidia-jetpack");
    let cuda = files.text("usr/local/cuda/version.json").and_then(|text| {
        let value: HashMap<String, HashMap<String, String>> = serde_json::from_str(&text).ok()?;
        Some(Installed { version: value.get("cuda")?.get("version")?.clone(), found_in: "/usr/local/cuda/version.json".into() })
    });
    let software = Software {
        jetpack: jetpack.or_else(|| l4t.as_deref().and_then(jetpack_of).map(str::to_owned)),
        cuda: cuda.or_else(|| library(files, "libcudart.so.")),
        tensorrt: library(files, "libnvinfer.so."),
        cudnn: library(files, "libcudnn.so."),
        l4t,
    };
    match (&software.l4t, &software.jetpack) {
        (Some(l4t), Some(jetpack)) => report.good("JetPack", format!("{jetpack}, Jetson Linux {l4t}")),
        (Some(l4t), None) => report.advise("JetPack", format!("Jetson Linux {l4t}"), "graphs are written for JetPack 5, 6 and 7; flash one of these"),
        (None, _) if report.jetson => report.advise("JetPack", "no /etc/nv_tegra_release".into(), "is this NVIDIA's system? Flash the board with JetPack 6"),
        _ => {}
    }
    let install = if report.jetson { "sudo apt-get install nvidia-jetpack" } else { "needed for engines only; the CPU runs graphs without it" };
    for (topic, found) in [("CUDA", &software.cuda), ("TensorRT", &software.tensorrt), ("cuDNN", &software.cudnn)] {
        match found {
            Some(Installed { version, found_in }) => report.good(topic, format!("{version} ({found_in})")),
            None if report.jetson && topic != "cuDNN" => report.advise(topic, "not installed".into(), install),
            None => report.good(topic, format!("not installed; {install}")),
        }
    }
    if software.tensorrt.is_some() && !HEADERS.iter().any(|folder| files.path(folder).join("NvInfer.h").exists()) {
        let advice = "sudo apt-get install g++ libnvinfer-dev libnvonnxparsers-dev, which the shim is compiled with";
        report.advise("TensorRT", "its headers are not installed".into(), advice);
    }
    match (&report.onnxruntime, onnxruntime) {
        (Some(library), _) => report.good("ONNX Runtime", format!("{} ({})", library.build, library.path.display())),
        (None, error) => {
            let help = error.and_then(miette::Diagnostic::help).map(|help| help.to_string());
            let found = error.map(ToString::to_string).unwrap_or_default();
            report.findings.push(Finding { topic: "ONNX Runtime", state: State::Missing, found, advice: help });
        }
    }
    report.software = software;
}

/// "36.4.7" from `# R36 (release), REVISION: 4.7, ...`.
fn l4t_version(text: &str) -> Option<String> {
    let major = text.trim_start_matches(['#', ' ']).strip_prefix('R')?.split([' ', ',']).next()?;
    let minor = text.split("REVISION:").nth(1)?.split(',').next()?.trim();
    let numbers = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit() || c == '.');
    (numbers(major) && numbers(minor)).then(|| format!("{major}.{minor}"))
}

/// JetPack of a Jetson Linux, where graphs are written for it.
fn jetpack_of(l4t: &str) -> Option<&'static str> {
    match l4t.split('.').next()? {
        "35" => Some("5"),
        "36" => Some("6"),
        "38" | "39" => Some("7"),
        _ => None,
    }
}

/// Versions of packages that dpkg has installed.
fn package_versions(files: &Files, names: &[&str]) -> HashMap<String, String> {
    let status = files.text("var/lib/dpkg/status").unwrap_or_default();
    let field = |paragraph: &str, name: &str| paragraph.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()));
    let wanted = |paragraph: &str| {
        let name = field(paragraph, "Package").filter(|name| names.contains(&name.as_str()))?;
        let installed = field(paragraph, "Status").is_none_or(|status| status.ends_with(" installed"));
        installed.then_some((name, field(paragraph, "Version")?))
    };
    status.split("\n\n").filter_map(wanted).collect()
}

/// A library by the file with the longest version in its name, as packages install it.
fn library(files: &Files, name: &str) -> Option<Installed> {
    LIBRARIES.iter().find_map(|folder| {
        let names = files.names(folder);
        let file = names.iter().filter(|file| file.starts_with(name)).max_by_key(|file| file.len())?;
        Some(Installed { version: file[name.len()..].to_owned(), found_in: format!("/{folder}/{file}") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_line_is_read_or_not_understood() {
        let line = "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, DATE: Thu Sep 18 22:54:44 UTC 2025";
        assert_eq!(l4t_version(line).as_deref(), Some("36.4.7"));
        for text in ["", "# R (release), REVISION: 4", "# R36 (release)", "# R36, REVISION: x", "R"] {
            assert_eq!(l4t_version(text), None, "{text}");
        }
        assert_eq!((jetpack_of("35.4.1"), jetpack_of("32.7.1")), (Some("5"), None));
    }
}
