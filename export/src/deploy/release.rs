//! The bundle on the device: copied, tried there, current.

use amis_artifacts::bundle::{self, BundleManifest};
use amis_runtime::update::Choice;
use serde_json::Value;

use super::copy::Local;
use super::ssh::quote;
use super::{Deployment, Event, State, failed, megabytes};
use crate::{Error, Result};

/// Room that stays free, in bytes.
const SPARE_BYTES: u64 = 64 << 20;
/// Exit code of amis-run when something is missing on the device: the file is good, and the next try takes it.
const ENVIRONMENT: i32 = 4;

impl Deployment<'_> {
    /// Whether the device has exactly this bundle as its current release.
    ///
    /// # Errors
    /// It has another one of this version, a newer one, or one that is still on trial.
    pub(super) fn has_release(&self, manifest: &BundleManifest) -> Result<bool> {
        let Some(status) = self.status()? else { return Ok(false) };
        let Some(current) = status["current"].as_u64() else { return Ok(false) };
        let unsuited = |reason: String, advice: &str| Err(Error::Unsuited { to: self.ssh.to().into(), reason, advice: advice.into() });
        let name = status["name"].as_str().unwrap_or_default();
        if name != manifest.name {
            return unsuited(
                format!("it runs {name}, and this is {}", manifest.name),
                "a device keeps its model; for another one give it another folder, by --root",
            );
        }
        if current > manifest.version {
            return unsuited(format!("it runs version {current}, and this is {}", manifest.version), "`amis-run rollback` on the device goes back");
        }
        if current == manifest.version {
            let path = format!("{}/releases/{current}/{}", self.options.root, bundle::MANIFEST);
            let answer = self.ssh.run(&self.owner(&format!("sha256sum <{}", quote(&path))))?;
            if answer.out.split_whitespace().next() == Some(&bundle::manifest_sha256(&self.options.bundle)?) {
                return Ok(true);
            }
            return unsuited(format!("it has another bundle of version {current}"), "pack this one with a higher --version");
        }
        if status["phase"].get("probation").is_some() {
            return Err(Error::Device {
                to: self.ssh.to().into(),
                tried: format!("install version {}", manifest.version),
                reason: format!("version {current} is still on trial there"),
                advice: "its run ends the trial after probation_minutes of update.toml, 10 if nothing is said; `amis-run status` shows it".into(),
            });
        }
        Ok(false)
    }

    /// Refuses what would not fit, before anything is copied.
    ///
    /// # Errors
    /// [`Error::Device`] with both numbers.
    pub(super) fn room(&self, manifest: &BundleManifest, bundle_bytes: u64, package_bytes: u64) -> Result<()> {
        // A program takes about four times its package, and the package lies there too.
        let needed = bundle_bytes + manifest.unpacked_bytes() + 5 * package_bytes + SPARE_BYTES;
        if self.facts.free_bytes >= needed {
            return Ok(());
        }
        Err(Error::Device {
            to: self.ssh.to().into(),
            tried: format!("find {} on the disk of {}", megabytes(needed), self.options.root),
            reason: format!("{} are free", megabytes(self.facts.free_bytes)),
            advice: "make room there: sudo apt-get clean; df -h. Or name a folder on another disk by --root".into(),
        })
    }

    /// Copies the bundle and lets the device try and install it.
    ///
    /// # Errors
    /// The link breaks; no graph does there what it should.
    pub(super) fn install(&mut self, manifest: &BundleManifest, there: bool) -> Result<()> {
        let title = format!("{} version {}", manifest.name, manifest.version);
        if there {
            self.step("bundle", State::There, format!("{title} is the current release"));
            return Ok(());
        }
        let path = self.options.bundle.clone();
        let local = Local::open(&path)?;
        if self.options.dry_run {
            self.step("bundle", State::Would, format!("copy {} and install {title}", megabytes(local.bytes)));
            return Ok(());
        }
        let target = format!("{}/downloads/{}", self.options.root, local.sha256);
        let sent = local.copy(&self.ssh, &self.facts.as_owner(), &target, self.watch)?;
        let script = self.amis_run(&format!("install {}", quote(&target)));
        let watch = &mut *self.watch;
        let answer = self.ssh.follow(&script, &mut |line| watch(Event::Working { line: words(line), share: share(line) }));
        watch(Event::Quiet);
        let answer = answer?;
        if answer.code != ENVIRONMENT {
            self.ssh.run(&self.owner(&format!("rm -f {}", quote(&target))))?;
        }
        if answer.code != 0 {
            return Err(failed(&self.ssh, format!("install {title}"), &answer));
        }
        let kept = local.bytes - sent.min(local.bytes);
        let kept = if kept > 0 { format!(", {} were there from an earlier try", megabytes(kept)) } else { String::new() };
        self.step("bundle", State::Done, format!("copied {}{kept}; {title} is installed", megabytes(sent)));
        Ok(())
    }

    /// What the device measured of a release's graphs.
    ///
    /// # Errors
    /// The file that says so cannot be read.
    pub(super) fn choice(&self, version: u64) -> Result<Choice> {
        let path = format!("{}/releases/{version}/choice.json", self.options.root);
        let answer = self.ssh.run(&self.owner(&format!("cat {}", quote(&path))))?;
        serde_json::from_str(&answer.out).map_err(|e| Error::Device {
            to: self.ssh.to().into(),
            tried: format!("read {path}"),
            reason: if answer.code == 0 { e.to_string() } else { answer.messages },
            advice: "if the amis-run there is newer than this amis-export, take them of the same version".into(),
        })
    }

    /// `amis-run status` of the device's folder; none where nothing was installed yet.
    ///
    /// # Errors
    /// [`Error::Ssh`], or its folder cannot be read.
    pub(super) fn status(&self) -> Result<Option<Value>> {
        if self.facts.program.is_none() {
            return Ok(None);
        }
        // The command would make the folder.
        let script = format!("[ ! -e {} ] || exec {}", quote(&format!("{}/state.json", self.options.root)), self.amis_run_words("status"));
        let answer = self.ssh.run(&self.owner(&script))?;
        match (answer.code, answer.out.trim()) {
            (0, "") => Ok(None),
            (0, json) => Ok(serde_json::from_str(json).ok()),
            _ => Err(failed(&self.ssh, "ask for its status".into(), &answer)),
        }
    }
}

/// A line of the log without its level.
fn words(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix("INFO").or_else(|| line.strip_prefix("WARN")).unwrap_or(line).trim_start()
}

/// How much is done when the log says `graph 2 of 3: fp16, engine 40 %`, 0 to 1.
fn share(line: &str) -> Option<f64> {
    let (place, rest) = words(line).strip_prefix("graph ")?.split_once(':')?;
    let (number, of) = place.split_once(" of ")?;
    let (number, of): (f64, f64) = (number.parse().ok()?, of.parse().ok()?);
    // The self-test comes last, and is short.
    let percent = if rest.ends_with("self-test") { 95.0 } else { rest.rsplit_once("engine ")?.1.strip_suffix(" %")?.parse::<f64>().ok()? * 0.95 };
    (of >= 1.0 && number >= 1.0).then(|| ((number - 1.0 + percent / 100.0) / of).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_how_much_is_done() {
        assert_eq!(share(" INFO graph 2 of 4: int8, engine 0 %"), Some(0.25));
        assert_eq!(share("graph 1 of 1: fp16, self-test"), Some(0.95));
        for line in ["", "INFO graph", "graph 0 of 0: fp32, self-test", "graph 1 of x: fp32, self-test", "graph 1 of 2: fp32", "WARN the disk is full"] {
            assert_eq!(share(line), None, "{line}");
        }
    }
}
