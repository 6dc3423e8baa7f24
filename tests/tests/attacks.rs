//! Attacks on a repository: a TUF client alone refuses each for the reason that it is made for, and a device names it and stays as it is.
#![allow(clippy::unwrap_used)]

mod repositories;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use amis_artifacts::bundle::{self, BundleManifest};
use repositories::Forge;
use repositories::attacks::{Attack, Caught, write_all};
use tough::{FilesystemTransport, IntoVec, Repository, RepositoryLoader};
use url::Url;

/// A small bundle, whose graph nobody runs.
fn write_bundle(dir: &Path) -> std::path::PathBuf {
    let manifest: BundleManifest = serde_json::from_value(serde_json::json!({
        "format_version": bundle::FORMAT_VERSION, "name": "yard", "version": 9,
        "classes": [{"id": 0, "name": "background", "color": [0, 0, 0]}, {"id": 1, "name": "road", "color": [128, 0, 0]}],
        "groups": [1, 1],
        "image_spec": amis_artifacts::image_spec::ImageSpec::imagenet(64, 64, amis_artifacts::image_spec::Fit::Stretch),
        "graphs": [{"target": "cpu", "precision": "fp32", "file": "model.cpu-fp32.onnx", "bytes": 0, "sha256": ""}],
        "minimum_runtime": "0.1.0", "miou_all": null,
        "lineage": {"step": 0, "checkpoint_sha256": "00", "weights_sha256": "00", "parent_sha256": null, "config_sha256": "00", "trainer_version": "0.1.0"},
    }))
    .unwrap();
    let path = dir.join("yard-9.amis");
    bundle::write(&path, manifest, &BTreeMap::from([("model.cpu-fp32.onnx".to_owned(), vec![1; 5000])])).unwrap();
    path
}

fn load(root: &[u8], folder: &Path, memory: &Path) -> Result<Repository, Box<dyn Error>> {
    let url = |name| Url::from_directory_path(folder.join(name)).unwrap();
    let loader = RepositoryLoader::new(&root, url("metadata"), url("targets")).transport(FilesystemTransport).datastore(memory);
    runtime().block_on(loader.load()).map_err(Into::into)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn fetch(repository: &Repository) -> Result<Vec<u8>, Box<dyn Error>> {
    let (name, _) = repository.targets().signed.targets.iter().next().unwrap();
    runtime().block_on(async { Ok(repository.read_target(name).await?.ok_or("not there")?.into_vec().await?) })
}

#[test]
fn a_forged_repository_without_an_attack_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = write_bundle(dir.path());
    Forge::new(&bundle).write(&dir.path().join("site"));
    let root = std::fs::read(dir.path().join("site/metadata/1.root.json")).unwrap();
    let memory = tempfile::tempdir().unwrap();
    let repository = load(&root, &dir.path().join("site"), memory.path()).unwrap();
    assert_eq!(fetch(&repository).unwrap(), std::fs::read(bundle).unwrap());
}

#[test]
fn every_attack_is_refused_for_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let attacks = write_all(dir.path(), &write_bundle(dir.path()));
    let mut wrong = Vec::new();
    for attack in attacks {
        let memory = tempfile::tempdir().unwrap();
        let mut root = std::fs::read(&attack.root).unwrap();
        if let Some(before) = &attack.before {
            let seen = load(&root, before, memory.path()).unwrap_or_else(|e| panic!("{}: {}", attack.name, chain(&*e)));
            assert!(seen.targets().signed.targets.is_empty());
            root = serde_json::to_vec(seen.root()).unwrap();
        }
        let loaded = load(&root, &attack.now, memory.path());
        let at_bundle = matches!(attack.caught, Caught::Bundle | Caught::MissingBundle);
        let said = match loaded {
            Err(error) if at_bundle => format!("stopped too early: {}", chain(&*error)),
            Err(error) => chain(&*error),
            Ok(repository) if at_bundle => fetch(&repository).map_or_else(|e| chain(&*e), |_| "accepted".to_owned()),
            Ok(_) => "accepted".to_owned(),
        };
        println!("{:32} {said}", attack.name);
        if !said.contains(attack.says) || said == "accepted" || said.starts_with("stopped") {
            wrong.push(format!("{}: {said}, expected {:?}", attack.name, attack.says));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `amis-run update` on a device, with a repository: exit code and what it says.
fn update(device: &Path, repository: &Path, more: &[&str]) -> (Option<i32>, String) {
    std::fs::write(device.join("update.toml"), format!("repository = {repository:?}\n")).unwrap();
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().skip(1).take(2).find(|f| f.join("amis-run").is_file()).unwrap_or_else(|| panic!("build all programs first: make build"));
    let output = Command::new(folder.join("amis-run")).arg("update").args(more).arg("--root").arg(device).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Exit code and words of a device that catches an attack.
fn expected(attack: &Attack) -> (i32, &'static str) {
    match attack.caught {
        Caught::Signatures => (3, "its signatures do not suffice"),
        Caught::Rollback => (3, "it is older than what was seen of it before"),
        Caught::Expired => (3, "it has expired"),
        Caught::Mixed => (3, "its parts do not belong together"),
        Caught::TooLarge => (3, "it is larger than it may be"),
        Caught::Malformed => (3, "it is damaged"),
        Caught::Bundle => (3, "is not the file that was signed"),
        Caught::Missing | Caught::MissingBundle => (4, "does not arrive"),
    }
}

#[test]
fn a_device_names_every_attack_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let attacks = write_all(dir.path(), &write_bundle(dir.path()));
    // Side by side: where something does not arrive, a device tries for a while.
    let told: Vec<Option<String>> = std::thread::scope(|scope| {
        let running: Vec<_> = attacks.iter().map(|attack| scope.spawn(|| attacked(attack, &dir.path().join(format!("device-{}", attack.name))))).collect();
        running.into_iter().map(|device| device.join().unwrap()).collect()
    });
    let wrong: Vec<String> = told.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Attacks a device; what is not as expected.
fn attacked(attack: &Attack, device: &Path) -> Option<String> {
    std::fs::create_dir(device).unwrap();
    let trust = ["--trust", attack.root.to_str().unwrap()];
    let (code, said) = match &attack.before {
        Some(before) => {
            let seen = update(device, before, &trust);
            assert_eq!(seen.0, Some(0), "{}: {}", attack.name, seen.1);
            update(device, &attack.now, &[])
        }
        None => update(device, &attack.now, &trust),
    };
    let releases = device.join("releases");
    let empty = !releases.exists() || releases.read_dir().unwrap().next().is_none();
    let (wanted, words) = expected(attack);
    let right = code == Some(wanted) && said.contains(words) && empty;
    (!right).then(|| format!("{}: exit code {code:?}, expected {wanted} and {words:?}; nothing installed: {empty}\n{said}", attack.name))
}
