//! `amis-run` on the device: there, or put there.

use std::path::{Path, PathBuf};

use super::copy::Local;
use super::ssh::quote;
use super::{Deployment, State, failed, megabytes};
use crate::{Error, Result};

/// A package of `amis-run`, known by its name as `make package` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) path: PathBuf,
    /// `major.minor.patch`.
    pub(super) version: String,
    /// "arm64", "amd64".
    pub(super) architecture: String,
    /// A tarball, and no Debian package.
    pub(super) tar: bool,
}

impl Package {
    /// # Errors
    /// [`Error::Deploy`] if the name is not one of a package.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let parts = |end: &str, between: char| name.strip_suffix(end)?.strip_prefix("amis-run")?.strip_prefix(between)?.split_once(between);
        let (tar, found) = match parts(".deb", '_') {
            Some(found) => (false, Some(found)),
            None => (true, parts(".tar.gz", '-')),
        };
        let Some((version, architecture)) = found else {
            let reason = format!("{name:?} is no package of amis-run, expected amis-run_VERSION_PROCESSOR.deb or amis-run-VERSION-PROCESSOR.tar.gz");
            return Err(Error::Deploy { reason });
        };
        let version = version.split('-').next().unwrap_or(version).to_owned();
        Ok(Self { path: path.to_owned(), version, architecture: architecture.to_owned(), tar })
    }
}

impl Deployment<'_> {
    /// Installs the package where the program is missing or older. Tells whether it did.
    ///
    /// # Errors
    /// The program is missing and there is no package; the package is for another processor; the installation fails.
    pub(super) fn package(&mut self, package: Option<&Package>) -> Result<bool> {
        let (program, version) = (self.facts.program.clone(), self.facts.version.clone());
        let Some(package) = package else {
            let Some(program) = program else {
                return Err(Error::Device {
                    to: self.ssh.to().into(),
                    tried: "find amis-run".into(),
                    reason: "it is not installed there".into(),
                    advice: "`make package`, and name the package for this processor by --package".into(),
                });
            };
            self.step("package", State::There, format!("amis-run {} at {program}", version.as_deref().unwrap_or("of an unknown version")));
            return Ok(false);
        };
        if version.as_deref().is_some_and(|there| parts(there) >= parts(&package.version)) {
            self.step("package", State::There, format!("amis-run {} at {}", version.unwrap_or_default(), program.unwrap_or_default()));
            return Ok(false);
        }
        let what = match &version {
            Some(there) => format!("amis-run {} in place of {there}", package.version),
            None => format!("amis-run {}", package.version),
        };
        let local = Local::open(&package.path)?;
        if self.options.dry_run {
            self.step("package", State::Would, format!("copy {} and install {what}", megabytes(local.bytes)));
            return Ok(false);
        }
        let file_name = package.path.file_name().unwrap_or_default().to_string_lossy();
        let target = format!("{}/.cache/amis-deploy/{file_name}", self.facts.home);
        local.copy(&self.ssh, "", &target, self.watch)?;
        let file = quote(&target);
        let script = match &self.options.prefix {
            Some(prefix) => format!("mkdir -p {0} && tar -C {0} --strip-components=1 --no-same-owner -xzf {file}", quote(prefix)),
            None => {
                let apt = "env DEBIAN_FRONTEND=noninteractive apt-get -y -o Dpkg::Options::=--force-confold install";
                format!("{}{apt} {file} >&2", self.facts.as_root())
            }
        };
        let watch = &mut *self.watch;
        let answer = self.ssh.follow(&script, &mut |line| watch(super::Event::Working { line, share: None }));
        watch(super::Event::Quiet);
        let answer = answer?;
        if answer.code != 0 {
            return Err(failed(&self.ssh, format!("install {what}"), &answer));
        }
        self.ssh.run(&format!("rm -f {file}"))?;
        self.ask_again()?;
        match &self.facts.version {
            Some(found) if parts(found) >= parts(&package.version) => {
                self.step("package", State::Done, format!("installed {what}"));
                Ok(true)
            }
            found => Err(Error::Device {
                to: self.ssh.to().into(),
                tried: format!("install {what}"),
                reason: format!("{} answers afterwards", found.as_deref().unwrap_or("nothing")),
                advice: "another amis-run may come first in the PATH of commands over ssh; with --prefix this program is taken, wherever PATH leads".into(),
            }),
        }
    }
}

/// A version as numbers that compare; what is none counts as 0.
fn parts(version: &str) -> [u64; 3] {
    let mut numbers = version.split(['.', '-', '~', '+']).map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_package_is_known_by_its_name() {
        let of = |name: &str| Package::of(Path::new(name)).map(|p| (p.version, p.architecture, p.tar));
        assert_eq!(of("target/amis-run_0.12.3-1_arm64.deb").unwrap(), ("0.12.3".into(), "arm64".into(), false));
        assert_eq!(of("amis-run-0.1.0-amd64.tar.gz").unwrap(), ("0.1.0".into(), "amd64".into(), true));
        for name in ["amis-run.deb", "amis-run_0.1.0.deb", "ffmpeg_7.0-1_arm64.deb", "amis-run-0.1.0.zip", ""] {
            assert!(matches!(of(name), Err(Error::Deploy { .. })), "{name}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(parts("0.10.0") > parts("0.9.9") && parts("1.0") > parts("0.99.99") && parts("x") == parts("0.0.0"));
    }
}
