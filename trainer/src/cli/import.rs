use std::path::PathBuf;

use amis_artifacts::classes::ClassList;
use amis_artifacts::image_spec::Fit;
use amis_trainer::Result;
use amis_trainer::import::{self, ImportOptions};
use clap::{Args, ValueEnum};

/// Turn a checkpoint of the reference code (MBS) into a checkpoint folder, for `amis-export` and as `train.base_checkpoint`.
///
/// Reads `.pth` and safetensors files without Python and runs nothing that they hold. Sizes and groups of classes come from the shapes of the tensors.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  amis-train import mbs-voc-15-1.pth --classes-file voc.txt --out runs/mbs\n  amis-train import base.pth --classes background,road,car --as-base --gab --crop 256 --height 256 --width 320 --fit stretch --out runs/base"
)]
pub(super) struct Import {
    /// `.pth` of torch.save, or safetensors.
    file: PathBuf,
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    names: Names,
    /// Attention heads of the encoder. [default: width / 64]
    #[arg(long, value_name = "N")]
    heads: Option<u32>,
    /// Attention heads of the decoder. [default: width / 64]
    #[arg(long, value_name = "N")]
    decoder_heads: Option<u32>,
    /// Height of the input. [default: what the position embedding is for]
    #[arg(long, value_name = "PX", requires = "width")]
    height: Option<u32>,
    /// Width of the input.
    #[arg(long, value_name = "PX", requires = "height")]
    width: Option<u32>,
    /// How frames of another shape are fitted.
    #[arg(long, value_enum, default_value = "crop")]
    fit: FitName,
    /// Side of the training crops of later steps (image.crop_px): the position embedding is resized for them.
    #[arg(long, value_name = "PX")]
    crop: Option<u32>,
    /// Add a Global Attention Block, its gates closed, for later steps with preset amis.
    #[arg(long)]
    gab: bool,
    /// Make the classes of all its steps one base step, which train.base_checkpoint has to be.
    #[arg(long)]
    as_base: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Names {
    /// Class names in the order of the network's output, background first.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    classes: Option<Vec<String>>,
    /// File with one class name a line, background first.
    #[arg(long, value_name = "FILE")]
    classes_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FitName {
    /// Shorter side to the input's side, centre cut out: the papers' protocol.
    Crop,
    /// The whole frame, sides scaled separately.
    Stretch,
    /// The whole frame, shape kept, borders filled.
    Letterbox,
}

impl Import {
    pub(super) fn run(self) -> Result<serde_json::Value> {
        let classes = match (&self.names.classes, &self.names.classes_file) {
            (_, Some(file)) => ClassList::read_names(file)?,
            (names, None) => ClassList::from_names(names.as_deref().unwrap_or_default())?,
        };
        let options = ImportOptions {
            classes,
            heads: self.heads,
            decoder_heads: self.decoder_heads,
            size_px: self.height.zip(self.width).map(|(height, width)| [height, width]),
            fit: match self.fit {
                FitName::Crop => Fit::Crop,
                FitName::Stretch => Fit::Stretch,
                FitName::Letterbox => Fit::Letterbox,
            },
            crop_px: self.crop,
            gab: self.gab,
            as_base: self.as_base,
        };
        let (checkpoint, report) = import::import(&self.file, &self.out, &options)?;
        let manifest = &checkpoint.manifest;
        tracing::info!("{}", report.summary());
        tracing::info!("step {} with classes by step {:?} in {}", manifest.step, manifest.groups.0, checkpoint.dir.display());
        Ok(serde_json::json!({
            "checkpoint": checkpoint.dir, "step": manifest.step, "groups": manifest.groups, "model": manifest.model,
            "position_grid": manifest.position_grid, "load": report,
        }))
    }
}
