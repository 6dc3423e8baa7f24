//! The services on the device, where systemd runs.

use std::thread;
use std::time::{Duration, Instant};

use super::ssh::quote;
use super::{Deployment, Event, State, failed};
use crate::{Error, Result};

const SERVICE: &str = "amis-run.service";
const TIMER: &str = "amis-update.timer";
/// How long a run may take from its start to the first frame.
const PATIENCE: Duration = Duration::from_secs(150);

/// What the unit says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unit {
    /// Folder of the device that it serves.
    root: Option<String>,
    /// File with the source and the sink.
    environment: Option<String>,
}

impl Unit {
    fn parse(text: &str) -> Self {
        let mut unit = Self::default();
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("ExecStart=") {
                let mut words = command.split_whitespace();
                unit.root = words.find(|word| *word == "--root").and_then(|_| words.next()).map(str::to_owned);
            }
            if let Some(file) = line.strip_prefix("EnvironmentFile=") {
                unit.environment = Some(file.trim_start_matches('-').to_owned());
            }
        }
        unit
    }
}

impl Deployment<'_> {
    /// Says what to show, enables the services, starts them, and waits until the run serves `version`. Gives the sink.
    ///
    /// # Errors
    /// No rights; the service does not start, with the last lines of its journal.
    pub(super) fn services(&mut self, version: u64) -> Result<Option<String>> {
        let root = self.options.root.clone();
        let by_hand = format!("amis-run run --root {root} --source v4l2:/dev/video0 --sink web:127.0.0.1:8080");
        if !self.facts.systemd {
            self.step("services", State::Left, format!("systemd does not run there; start it by hand: {by_hand}"));
            return Ok(None);
        }
        if self.options.dry_run && self.facts.program.is_none() {
            self.step("services", State::Would, format!("enable and start {SERVICE}"));
            return Ok(None);
        }
        let unit = Unit::parse(&self.ssh.run(&format!("systemctl cat {SERVICE} 2>/dev/null"))?.out);
        let (Some(served), Some(environment)) = (&unit.root, &unit.environment) else {
            self.step("services", State::Left, format!("there is no {SERVICE}; start it by hand: {by_hand}"));
            return Ok(None);
        };
        if *served != root {
            self.step("services", State::Left, format!("{SERVICE} serves {served}, not {root}; start it by hand: {by_hand}"));
            return Ok(None);
        }
        let old = self.ssh.run(&format!("cat {} 2>/dev/null", quote(environment)))?.out;
        let mut new = old.clone();
        for (name, value) in [("AMIS_SOURCE", &self.options.source), ("AMIS_SINK", &self.options.sink)] {
            if let Some(value) = value {
                new = with_variable(&new, name, value);
            }
        }
        let sink = new.lines().rev().find_map(|line| line.strip_prefix("AMIS_SINK=")).map(str::to_owned);
        if new != old {
            self.write_environment(environment, &new)?;
        }
        let mut units = vec![(SERVICE, new != old)];
        let config = format!("{root}/update.toml");
        if self.options.repository.is_some() || self.ssh.run(&self.owner(&format!("test -e {}", quote(&config))))?.code == 0 {
            units.push((TIMER, false));
        }
        let mut started = false;
        for (unit, changed) in units {
            let runs = self.ssh.run(&format!("systemctl is-enabled -q {unit} && systemctl is-active -q {unit}"))?.code == 0;
            let action = match (runs, changed) {
                (true, false) => {
                    self.step("services", State::There, format!("{unit} is enabled and runs"));
                    continue;
                }
                (true, true) => "restart",
                (false, _) => "enable --now",
            };
            if self.options.dry_run {
                self.step("services", State::Would, format!("systemctl {action} {unit}"));
                continue;
            }
            let answer = self.ssh.run(&format!("{}systemctl {action} {unit}", self.facts.as_root()))?;
            if answer.code != 0 {
                return Err(self.not_started(format!("systemctl {action} {unit}"), answer.messages));
            }
            started |= unit == SERVICE;
            self.step("services", State::Done, format!("systemctl {action} {unit}"));
        }
        if !self.options.dry_run {
            self.wait(version, if started { State::Done } else { State::There })?;
        }
        Ok(sink)
    }

    fn write_environment(&mut self, path: &str, text: &str) -> Result<()> {
        if self.options.dry_run {
            self.step("services", State::Would, format!("write source and sink to {path}"));
            return Ok(());
        }
        let script = format!("umask 022; cat >{0}.new && mv {0}.new {0}", quote(path));
        let answer = self.ssh.send(&format!("{}sh -c {}", self.facts.as_root(), quote(&script)), &mut text.as_bytes(), &mut |_| {})?;
        if answer.code != 0 {
            return Err(failed(&self.ssh, format!("write {path}"), &answer));
        }
        self.step("services", State::Done, format!("source and sink are in {path}"));
        Ok(())
    }

    /// Waits until the run on the device serves a release.
    fn wait(&mut self, version: u64, state: State) -> Result<()> {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.status()? {
                let run = &status["run"];
                let statistics = &run["statistics"];
                // With several cameras each has its own; they share the model.
                let camera = statistics["cameras"].as_array().and_then(|cameras| cameras.first()).unwrap_or(statistics);
                if run["running"] == true && camera["model"]["version"] == version && camera["frames"].as_u64() > Some(0) {
                    (self.watch)(Event::Quiet);
                    self.step("run", state, format!("version {version} serves, process {}", run["pid"]));
                    return Ok(());
                }
                if run["running"] == true {
                    last = format!("{} frames, version {}", camera["frames"], camera["model"]["version"]);
                }
            }
            (self.watch)(Event::Working { line: "waiting for the first picture", share: None });
            thread::sleep(Duration::from_millis(500));
        }
        (self.watch)(Event::Quiet);
        Err(self.not_started(format!("wait {} s for a picture of version {version}", PATIENCE.as_secs()), last))
    }

    /// With what the service has told the journal.
    fn not_started(&self, tried: String, reason: String) -> Error {
        let asked = self.ssh.run(&format!("{}journalctl -u {SERVICE} -n 5 -o cat --no-pager 2>/dev/null", self.facts.as_root()));
        let journal = asked.map(|answer| answer.out.trim().to_owned()).unwrap_or_default();
        let reason = [reason, journal].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
        Error::Device {
            to: self.ssh.to().into(),
            tried,
            reason: if reason.is_empty() { "it says nothing".into() } else { reason },
            advice: "on the device: systemctl status amis-run; is the camera there (`amis-run devices`)? --source names another one".into(),
        }
    }
}

/// An environment file with a variable set.
fn with_variable(text: &str, name: &str, value: &str) -> String {
    let line = format!("{name}={value}");
    let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
    match text.lines().rev().find(is_it) {
        Some(old) => text.lines().map(|l| if l == old { line.as_str() } else { l }).fold(String::new(), |all, l| all + l + "\n"),
        None => format!("{}{}{line}\n", text.trim_end(), if text.trim_end().is_empty() { "" } else { "\n" }),
    }
}

/// How a person gets to what a sink shows.
pub(super) fn web_address(sink: &str, host: &str, to: &str) -> Option<String> {
    let (address, port) = sink.strip_prefix("web:")?.split('?').next()?.rsplit_once(':')?;
    match address {
        "127.0.0.1" | "localhost" | "[::1]" => Some(format!("http://127.0.0.1:{port}/ after `ssh -N -L {port}:{address}:{port} {to}`")),
        "0.0.0.0" | "[::]" => Some(format!("http://{host}:{port}/")),
        address => Some(format!("http://{address}:{port}/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_unit_says_whom_it_serves() {
        let unit = Unit::parse(include_str!("../../../runtime/systemd/amis-run.service"));
        assert_eq!(unit, Unit { root: Some("/var/lib/amis".into()), environment: Some("/etc/amis/run.env".into()) });
        assert_eq!(Unit::parse("ExecStart=/bin/true --root\n"), Unit::default());
    }

    #[test]
    fn an_environment_keeps_what_is_not_set() {
        let text = "# what\nAMIS_SOURCE=v4l2:/dev/video0\nORT=x\n";
        let new = with_variable(text, "AMIS_SOURCE", "synthetic:?a=1&b=2");
        assert_eq!(new, "# what\nAMIS_SOURCE=synthetic:?a=1&b=2\nORT=x\n");
        assert_eq!(with_variable(&new, "AMIS_SOURCE", "synthetic:?a=1&b=2"), new);
        assert_eq!(with_variable("", "AMIS_SINK", "null:"), "AMIS_SINK=null:\n");
    }

    #[test]
    fn an_address_is_one_that_works_from_here() {
        let of = |sink: &str| web_address(sink, "10.0.0.7", "me@jet");
        assert_eq!(of("web:0.0.0.0:8080").as_deref(), Some("http://10.0.0.7:8080/"));
        assert_eq!(of("web:127.0.0.1:8080?quality=80").as_deref(), Some("http://127.0.0.1:8080/ after `ssh -N -L 8080:127.0.0.1:8080 me@jet`"));
        assert_eq!((of("null:"), of("web:")), (None, None));
    }
}
