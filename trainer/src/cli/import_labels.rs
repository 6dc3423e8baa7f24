use std::path::PathBuf;

use amis_artifacts::classes::ClassList;
use amis_data::import::{self, Format, ImportOptions, Imported};
use amis_trainer::Result;
use clap::Args;

use super::progress::bar;

/// Turn drawn annotations into a data set: COCO-style JSON, labelme files, and exports of CVAT (COCO 1.0, or CVAT for images 1.1).
///
/// Writes images/, labels/, classes.txt, train.txt and val.txt into --out, for `layout = "folder"`. What nobody has drawn on is background (0).
/// In COCO files small annotations are painted over large ones; in the others, later ones over earlier ones.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  amis-train import-labels annotations/instances_default.json --images images/default --out data/mine\n  amis-train import-labels shots/ --out data/mine --classes classes.txt --ignore unsure\n  amis-train import-labels annotations.xml --images images --out data/mine\n\nThen, in a configuration: [data] layout = \"folder\", root = \"data/mine\"."
)]
pub(super) struct ImportLabels {
    /// COCO's JSON file, CVAT's XML file, or the folder of labelme's files.
    from: PathBuf,
    /// Folder of the data set to write. Classes that it has keep their ids, new ones get the next.
    #[arg(long)]
    out: PathBuf,
    /// Folder of the images. [default: beside the annotations]
    #[arg(long)]
    images: Option<PathBuf>,
    /// Class names, one a line, background first; other classes are then errors. [default: as found]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Class whose pixels become 255, ignored in training and evaluation. May be repeated.
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,
    /// Share of the images on the validation list.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.2")]
    val: f64,
    /// Whose files they are: coco, labelme or cvat. [default: found out by looking]
    #[arg(long, value_parser = format)]
    format: Option<Format>,
}

impl ImportLabels {
    pub(super) fn run(self) -> Result<Imported> {
        let classes = self.classes.as_deref().map(ClassList::read_names).transpose()?;
        let out = self.out.clone();
        let options =
            ImportOptions { from: self.from, format: self.format, images: self.images, out: self.out, classes, ignore: self.ignore, val_share: self.val };
        let bar = bar(0, "painting label maps");
        let imported = import::run(&options, &|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        let imported = imported?;
        say(&imported);
        tracing::info!("data set in {}: {} images for training, {} for validation", out.display(), imported.train, imported.val);
        Ok(imported)
    }
}

/// What a person should know before training on it.
fn say(imported: &Imported) {
    tracing::info!("{} annotations on {} images", imported.annotations, imported.images);
    for class in &imported.classes {
        tracing::info!("class {} {}: {} pixels", class.id, class.name, class.pixels);
    }
    for (kind, count) in &imported.left_out {
        tracing::warn!("left out, being no region: {count} of kind {kind}");
    }
    if imported.invisible > 0 {
        tracing::warn!("{} annotations cover no pixel of their image", imported.invisible);
    }
    if imported.holes > 0 {
        tracing::info!("{} parts that lie inside another part of their annotation were cut out as holes", imported.holes);
    }
    if imported.turned > 0 {
        tracing::info!("{} images that were stored turned were written upright", imported.turned);
    }
}

fn share(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=0.9).contains(share)).ok_or_else(|| "expected a number from 0 to 0.9".into())
}

fn format(text: &str) -> std::result::Result<Format, String> {
    match text {
        "coco" => Ok(Format::Coco),
        "labelme" => Ok(Format::Labelme),
        "cvat" => Ok(Format::Cvat),
        _ => Err("expected coco, labelme or cvat".into()),
    }
}
