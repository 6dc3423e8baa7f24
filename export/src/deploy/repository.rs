//! Where the device's updates come from, and whom it trusts with them.

use super::ssh::quote;
use super::{Deployment, Source, State, failed};
use crate::{Error, Result};
use amis_artifacts::files;

/// Largest root metadata, in bytes.
const MAX_ROOT_BYTES: u64 = 1 << 20;
/// Exit code of amis-run for what no second try makes better.
const WRONG_INPUT: i32 = 3;

impl Deployment<'_> {
    /// Puts address and trust in place. A repository that the device does not reach is told, and changes nothing else.
    ///
    /// # Errors
    /// The device trusts another repository; the root is none; its folder cannot be written.
    pub(super) fn repository(&mut self, source: &Source) -> Result<()> {
        let trust = files::read_limited(&source.trust, "root metadata", MAX_ROOT_BYTES)?;
        let root = self.options.root.clone();
        let (config, trusted) = (format!("{root}/update.toml"), format!("{root}/tuf/trusted.json"));
        let old = self.ssh.run(&self.owner(&format!("cat {} 2>/dev/null", quote(&config))))?.out;
        let new = with_repository(&old, &source.repository);
        let hash = self.ssh.run(&self.owner(&format!("sha256sum <{} 2>/dev/null", quote(&trusted))))?.out;
        let is_trusted = hash.split_whitespace().next() == Some(files::sha256(&trust).as_str());
        if old == new && is_trusted {
            self.step("repository", State::There, source.repository.clone());
            return Ok(());
        }
        if self.options.dry_run {
            self.step("repository", State::Would, format!("take updates from {}, and trust {}", source.repository, source.trust.display()));
            return Ok(());
        }
        if old != new {
            let script = format!("mkdir -p {} && cat >{1}.new && mv {1}.new {1}", quote(&root), quote(&config));
            let answer = self.ssh.send(&self.owner(&script), &mut new.as_bytes(), &mut |_| {})?;
            if answer.code != 0 {
                return Err(failed(&self.ssh, format!("write {config}"), &answer));
            }
        }
        let given = format!("{root}/1.root.json.given");
        let script = format!("cat >{}", quote(&given));
        let answer = self.ssh.send(&self.owner(&script), &mut trust.as_slice(), &mut |_| {})?;
        if answer.code != 0 {
            return Err(failed(&self.ssh, format!("write {given}"), &answer));
        }
        let answer = self.ssh.run(&self.amis_run(&format!("update --trust {} --check", quote(&given))))?;
        self.ssh.run(&self.owner(&format!("rm -f {}", quote(&given))))?;
        match answer.code {
            0 => self.step("repository", State::Done, format!("updates come from {}", source.repository)),
            WRONG_INPUT => return Err(failed(&self.ssh, format!("trust {}", source.repository), &answer)),
            _ => {
                let Error::Device { reason, .. } = failed(&self.ssh, String::new(), &answer) else { return Ok(()) };
                self.step("repository", State::Note, format!("updates will come from {}; now the device does not get there: {reason}", source.repository));
            }
        }
        Ok(())
    }
}

/// `update.toml` with this repository; what its owner wrote beside it stays.
fn with_repository(text: &str, repository: &str) -> String {
    let line = format!("repository = {}", toml::Value::String(repository.to_owned()));
    let is_key = |line: &&str| line.trim_start().strip_prefix("repository").is_some_and(|rest| rest.trim_start().starts_with('='));
    match text.lines().find(is_key) {
        Some(old) => text.replacen(old, &line, 1),
        None => format!("{line}\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owners_settings_stay_when_the_repository_changes() {
        let new = with_repository("", "https://a.example/\"x\"");
        assert_eq!(new.parse::<toml::Table>().ok().and_then(|t| Some(t["repository"].as_str()?.to_owned())).as_deref(), Some("https://a.example/\"x\""));
        assert_eq!(with_repository(&new, "https://a.example/\"x\""), new);
        let text = "# mine\nname = \"street\"\nrepository=\"http://old\"\ntags = [\"north\"]\n";
        assert_eq!(with_repository(text, "/media/stick"), "# mine\nname = \"street\"\nrepository = \"/media/stick\"\ntags = [\"north\"]\n");
    }
}
