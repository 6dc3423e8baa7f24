//! Finished runs side by side: presets, ablations and seeds, with mean and spread.

mod group;
mod outcome;
mod page;
mod plot;
mod table;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use group::{Group, GroupClass, Spread};
pub use outcome::{Outcome, OutcomeClass, StepMeans};

use crate::report::run::{self, RunData};
use crate::{Error, Result};

/// Runs side by side. Also the format of `docs/results/*.json`; all IoUs are fractions from 0 to 1.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Every finished run.
    pub runs: Vec<Outcome>,
    /// The runs of one order, preset and configuration, over their seeds.
    pub groups: Vec<Group>,
    /// Runs that are not finished and take part in nothing.
    pub skipped: Vec<Skipped>,
}

/// A run that is not finished.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// Its name.
    pub run: String,
    /// What is missing.
    pub reason: String,
}

impl Comparison {
    /// Reads the runs in these folders and groups them; a folder may be a run, or hold some. Unfinished ones are listed as skipped.
    ///
    /// # Errors
    /// A folder that is no run or is named twice, damaged files, runs of one order with different steps, or no finished run at all.
    pub fn of(dirs: &[PathBuf]) -> Result<Self> {
        // A folder without a run is left to be named by the error.
        let found = |dir: &PathBuf| Some(runs_in(dir, 2)).filter(|runs| !runs.is_empty()).unwrap_or_else(|| vec![dir.clone()]);
        let mut all = dirs.iter().flat_map(found).map(|dir| RunData::open(&dir)).collect::<Result<Vec<_>>>()?;
        run::name_apart(&mut all);
        must_differ(&all)?;
        let (runs, unfinished): (Vec<RunData>, Vec<RunData>) = all.into_iter().partition(|r| r.steps.iter().all(Option::is_some));
        let skipped: Vec<Skipped> = unfinished.iter().map(|r| Skipped { run: r.name.clone(), reason: r.what_is_missing() }).collect();
        if let ([], Some(first)) = (runs.as_slice(), unfinished.first()) {
            return Err(Error::Report { run: first.dir.clone(), reason: format!("{}, and no other run is finished", first.what_is_missing()) });
        }
        let variants = group::variants(&runs);
        let mut runs: Vec<Outcome> = runs.iter().zip(variants).map(|(run, variant)| Outcome::new(run, task(run, &runs), variant)).collect();
        let groups = group::group(&mut runs);
        Ok(Self { runs, groups, skipped })
    }

    /// Tables for the terminal, IoU in percent: means of every group, then the classes.
    pub fn table(&self) -> String {
        table::render(&self.groups)
    }

    /// A page with tables and plots that needs no other file.
    pub fn page(&self) -> String {
        page::render(self).into_string()
    }

    /// An SVG picture: a row for each group, a panel for each mean, on white.
    pub fn plot(&self) -> String {
        plot::standalone(self)
    }

    /// Sets of runs that repeat each other, by name: same order, preset, configuration and seed. They make a spread look smaller than it is.
    pub fn repeated_seeds(&self) -> Vec<[&str; 2]> {
        let pairs = self.runs.iter().enumerate().flat_map(|(i, a)| self.runs[i + 1..].iter().map(move |b| (a, b)));
        pairs.filter(|(a, b)| a.key() == b.key() && a.seed == b.seed).map(|(a, b)| [a.run.as_str(), b.run.as_str()]).collect()
    }
}

/// The folder itself if it is a run, else the runs below it, down to a depth that `--seeds` and a folder of such runs need.
fn runs_in(dir: &Path, depth: usize) -> Vec<PathBuf> {
    if dir.join("config.json").is_file() {
        return vec![dir.into()];
    }
    let mut below: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|p| p.is_dir()).collect();
    below.sort();
    if depth == 0 { Vec::new() } else { below.iter().flat_map(|dir| runs_in(dir, depth - 1)).collect() }
}

/// The run that says which classes are old and which are new: the first with this order that learns step by step, if there is one.
fn task<'a>(run: &'a RunData, runs: &'a [RunData]) -> &'a RunData {
    runs.iter().find(|other| other.config.task.name == run.config.task.name && !outcome::is_offline(other)).unwrap_or(run)
}

/// No folder twice, and one meaning for the name of an order.
fn must_differ(runs: &[RunData]) -> Result<()> {
    for (place, run) in runs.iter().enumerate() {
        let path = |run: &RunData| run.dir.canonicalize().unwrap_or_else(|_| run.dir.clone());
        if runs[..place].iter().any(|other| path(other) == path(run)) {
            return Err(Error::Report { run: run.dir.clone(), reason: "it is named twice".into() });
        }
        let task = task(run, runs);
        if task.config.task.steps.concat() != run.config.task.steps.concat() || !outcome::is_offline(run) {
            run.must_compare_with(task)?;
        }
    }
    Ok(())
}
