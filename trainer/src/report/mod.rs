//! One self-contained HTML page about a run: no script, no other file, no network.

pub(crate) mod chart;
mod confusion;
pub(crate) mod curves;
pub(crate) mod document;
mod examples;
mod extremes;
pub(crate) mod figures;
mod forgetting;
mod iou_table;
mod live;
mod page;
mod pictures;
pub(crate) mod provenance;
pub(crate) mod run;

use std::path::{Path, PathBuf};

use amis_artifacts::files;
use amis_artifacts::live::LiveRun;

use crate::Result;
use run::RunData;

/// Writes the page about the run in `run` to `out`, with the runs in `compare` beside it, and the frames of `live` around a field update. A run that is not finished gives a page of what is there.
///
/// The networks of the last two steps are run on a few validation images, and the last one on as many as it takes to find its worst and best:
/// `progress` gets the number done and that of all. Without the data set the page has no pictures and says so.
///
/// # Errors
/// A folder that is no run, a compared run with other steps, a damaged checkpoint, or `out` cannot be written.
pub fn write(run: &Path, compare: &[PathBuf], live: Option<&LiveRun>, out: &Path, progress: &dyn Fn(usize, usize)) -> Result<()> {
    let main = RunData::open(run)?;
    let mut runs = vec![main];
    for dir in compare {
        let other = RunData::open(dir)?;
        other.must_compare_with(&runs[0])?;
        runs.push(other);
    }
    run::name_apart(&mut runs);
    let page = page::render(&runs, &examples::make(&runs)?, &extremes::make(&runs[0], progress)?, live);
    Ok(files::write_atomic(out, page.into_string().as_bytes())?)
}
