//! Updates of a device: releases from a signed repository, installed beside the one that serves, on trial for a while, and left again if they are bad.
//!
//! Three programs meet in the device's folder ([`Device`]): the run that serves, the update that fetches and installs, and the person who asks or goes
//! back. What one has done is in `state.json` ([`State`]) before another sees it, and a loss of power at any point leaves the old release or the new one.

mod client;
pub mod clock;
mod config;
mod device;
mod download;
mod error;
mod install;
mod probation;
mod state;
mod transport;
mod trial;

use std::path::{Path, PathBuf};
use std::process::Command;

use amis_artifacts::bundle;
use amis_artifacts::release::DeviceTraits;

pub use client::{Offer, trust};
pub use config::{Config, PROBATION_MINUTES};
pub use device::{Device, Turn};
pub use error::{Attack, Error, Result};
pub use probation::{Probation, Verdict};
pub use state::{Bad, Check, Event, MAX_STARTS, Phase, State};
pub use trial::{Candidate, Choice, Measured, measure, target_here};

use download::Wanted;
use install::Package;
use transport::Fetcher;

/// What came of a look for updates.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The device has the best there is.
    UpToDate,
    /// There is a version, and it was only asked for.
    Offered(u64),
    /// A version was installed and is on trial.
    Installed(State),
}

/// Looks for an update, and unless it is only asked for fetches and installs it; `program` is `amis-run`, which tries graphs in processes of their own; `progress` is told
/// the bytes that have arrived and those that there will be. The result of the look is kept in the state.
///
/// # Errors
/// Whatever is in the way; what serves goes on untouched.
pub fn update(
    device: &Device,
    config: &Config,
    traits: &DeviceTraits,
    only_look: bool,
    program: &mut dyn FnMut() -> Command,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Outcome> {
    let _turn = device.turn()?;
    if let (Phase::Probation { .. }, false) = (device.state()?.phase, only_look) {
        return Err(Error::Refused { reason: "the release that serves is still on trial: nothing newer is taken before that is over".into() });
    }
    let fetcher = Fetcher::new();
    let mut clock_trusted = clock::judge(clock::now_unix_s(), device.state()?.trusted_unix_s).clock_trusted;
    let outcome = client::look(device, config, &fetcher, traits).and_then(|look| {
        clock_trusted = look.judged.clock_trusted;
        match look.offer {
            None => Ok(Outcome::UpToDate),
            Some(offer) if only_look => Ok(Outcome::Offered(offer.release.version)),
            Some(offer) => {
                let max_bytes_per_s = config.max_kib_per_s.map(|kib| u64::from(kib) << 10);
                Taking { device, fetcher: &fetcher, offer: &offer, max_bytes_per_s, program, progress }.take().map(Outcome::Installed)
            }
        }
    });
    let result = match &outcome {
        Ok(Outcome::UpToDate) => "nothing newer is there".to_owned(),
        Ok(Outcome::Offered(version)) => format!("version {version} is there"),
        Ok(Outcome::Installed(state)) => format!("version {} was installed", state.current.unwrap_or_default()),
        Err(error) => error.to_string(),
    };
    let check = Check { unix_s: clock::now_unix_s(), clock_trusted, result, failed: outcome.is_err() };
    device.change(|state| Ok(State { last_check: Some(check), ..state.clone() }))?;
    outcome
}

/// What is needed to take an offer.
struct Taking<'a> {
    device: &'a Device,
    fetcher: &'a Fetcher,
    offer: &'a Offer,
    max_bytes_per_s: Option<u64>,
    program: &'a mut dyn FnMut() -> Command,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Taking<'_> {
    /// Fetches and installs: by a patch where there is one, and if that does not work out by the whole bundle.
    fn take(&mut self) -> Result<State> {
        if let Some(patch) = &self.offer.patch {
            match self.take_file(patch, Package::Patch) {
                Ok(state) => return Ok(state),
                // The version is bad, however it came here.
                Err(error @ Error::Unfit { .. }) => return Err(error),
                Err(error) => tracing::warn!("the patch is left, the whole bundle is taken: {error}"),
            }
        }
        self.take_file(&self.offer.bundle, Package::Bundle)
    }

    fn take_file(&mut self, wanted: &Wanted, package: fn(PathBuf) -> Package) -> Result<State> {
        let path = self.device.path("downloads").join(&wanted.sha256);
        let here = std::fs::metadata(&path).map_or(0, |m| m.len());
        install::need(self.device.root(), wanted.bytes.saturating_sub(here).saturating_add(self.offer.release.unpacked_bytes))?;
        self.device.happen(Event::Fetch(self.offer.release.version))?;
        let fetched = download::fetch(self.fetcher, wanted, &path, self.max_bytes_per_s, &mut |have| (self.progress)(have, wanted.bytes));
        if let Err(error) = fetched {
            self.device.happen(Event::GaveUp)?;
            return Err(error);
        }
        self.device.happen(Event::Fetched)?;
        let installed = install::install(self.device, &package(path.clone()), Some(&self.offer.release), self.program);
        // What was fetched is of no more use, whether it was good or not.
        let _ = device::remove(&path);
        installed
    }
}

/// Installs a bundle that lies here; who may write to the device's folder vouches for it.
///
/// # Errors
/// Not a bundle, not newer than what serves, or it does not do here what it should; what serves goes on untouched.
pub fn install_file(device: &Device, path: &Path, program: &mut dyn FnMut() -> Command) -> Result<State> {
    let _turn = device.turn()?;
    let manifest = bundle::read_manifest(path)?;
    install::need(device.root(), manifest.unpacked_bytes())?;
    device.happen(Event::Install(manifest.version))?;
    install::install(device, &Package::Bundle(path.to_owned()), None, program)
}

/// Sends a device's status to where its fleet is looked after.
///
/// # Errors
/// [`Error::Transport`].
pub fn report(address: &str, status: &impl serde::Serialize) -> Result<()> {
    let failed = |reason: String| Error::Transport { url: address.to_owned(), reason };
    let json = serde_json::to_vec(status).map_err(|e| failed(e.to_string()))?;
    Fetcher::new().post(address, &json).map_err(|e| failed(e.to_string()))
}

/// Leaves the release that serves for the one before, for good.
///
/// # Errors
/// There is none on disk.
pub fn roll_back(device: &Device) -> Result<State> {
    device.happen(Event::RolledBack(Bad { reason: "rolled back by hand".into(), unix_s: clock::now_unix_s(), log: vec![] }))
}
