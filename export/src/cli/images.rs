use std::path::PathBuf;

use amis_calib::Images;
use amis_export::Result;
use amis_runtime::source::in_folder;

/// Which images to run a graph on.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// Folder of images to choose from.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// List of those that may be chosen, one name a line; without it all in the folder.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Folder of images that are used in any case, such as those kept from earlier steps.
    #[arg(long, value_name = "DIR")]
    kept: Option<PathBuf>,
    /// Images to use, chosen so that every class is shown as often as it can be.
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: usize,
    /// Decides which images.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; 0 takes one a core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) threads: usize,
}

/// The files that are there.
pub(super) struct Files {
    candidates: Vec<PathBuf>,
    kept: Vec<PathBuf>,
    count: usize,
    seed: u64,
}

impl ImageArgs {
    /// Lists the files.
    pub(super) fn read(&self) -> Result<Files> {
        let kept = self.kept.as_ref().map_or(Ok(vec![]), |kept| in_folder(kept, None))?;
        Ok(Files { candidates: in_folder(&self.images, self.list.as_deref())?, kept, count: self.count, seed: self.seed })
    }
}

impl Files {
    pub(super) fn images(&self) -> Images<'_> {
        Images { candidates: &self.candidates, kept: &self.kept, count: self.count, seed: self.seed }
    }
}
