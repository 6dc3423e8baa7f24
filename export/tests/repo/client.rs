use std::path::{Path, PathBuf};

use amis_artifacts::release::{RELEASE_KEY, Release};
use tough::{FilesystemTransport, IntoVec, Repository, RepositoryLoader, TargetName};
use url::Url;

/// A device: what it trusts and what it remembers.
pub struct Client {
    site: PathBuf,
    root: Vec<u8>,
    memory: tempfile::TempDir,
}

impl Client {
    /// A device that got the first root.
    pub fn new(site: &Path) -> Self {
        Self { site: site.into(), root: std::fs::read(site.join("metadata/1.root.json")).unwrap(), memory: tempfile::tempdir().unwrap() }
    }

    /// Loads the repository with all checks.
    pub fn load(&self) -> Result<Repository, Box<tough::error::Error>> {
        let url = |folder| Url::from_directory_path(self.site.canonicalize().unwrap().join(folder)).unwrap();
        let loader = RepositoryLoader::new(&self.root, url("metadata"), url("targets")).transport(FilesystemTransport).datastore(self.memory.path());
        runtime().block_on(loader.load()).map_err(Box::new)
    }

    /// Releases with their channels, after fetching each file.
    pub fn releases(&self) -> Vec<(String, String)> {
        let repository = self.load().unwrap();
        let mut found = Vec::new();
        for (name, target) in &repository.targets().signed.targets {
            let release: Release = serde_json::from_value(target.custom[RELEASE_KEY].clone()).unwrap();
            assert_eq!(fetch(&repository, name).len() as u64, target.length);
            found.push((format!("{}-{}", release.name, release.version), release.channels.join(" ")));
        }
        found.sort();
        found
    }
}

/// A file of the repository, verified.
pub fn fetch(repository: &Repository, name: &TargetName) -> Vec<u8> {
    runtime().block_on(async { repository.read_target(name).await.unwrap().unwrap().into_vec().await.unwrap() })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}
