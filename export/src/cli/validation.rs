use std::path::PathBuf;

use amis_artifacts::checkpoint::Checkpoint;
use amis_export::Result;
use amis_export::compare::{Choice, Images};

/// Which images a graph is measured on.
#[derive(Debug, clap::Args)]
pub(crate) struct ValidationArgs {
    /// Data set with labels, or a folder of pictures. [default: the data set that the checkpoint was trained on]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// List of images in the data set. [default: the list that the trainer validated on]
    #[arg(long, value_name = "LIST")]
    list: Option<String>,
    /// At most so many images, spread evenly over the list.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl ValidationArgs {
    /// Whether images are named.
    pub(crate) fn any(&self) -> bool {
        self.images.is_some() || self.list.is_some() || self.limit.is_some()
    }

    pub(crate) fn open(&self, checkpoint: &Checkpoint) -> Result<Images> {
        let choice = Choice { root: self.images.clone(), list: self.list.clone(), limit: self.limit.map(|n| n as usize) };
        Images::open(checkpoint, &choice)
    }
}
