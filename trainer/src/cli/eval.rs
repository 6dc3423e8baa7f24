use std::path::{Path, PathBuf};

use amis_artifacts::cli::print_line;
use amis_artifacts::metrics::{ConfusionMatrix, FutureClasses, MeanIou, StepMetrics};
use amis_data::loader::Batch;
use amis_trainer::eval::{Choices, Evaluation, overlay};
use amis_trainer::{Result, device};
use clap::Args;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use tch::Device;

use super::progress::bar;

/// Measure a checkpoint on a validation list: IoU and accuracy of every class, and their means.
///
/// Without options the result is that of the checkpoint's metrics.json. --json prints it in that file's form.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  amis-train eval runs/camvid/step-2\n  amis-train eval runs/camvid/step-2 --list ImageSets/Segmentation/test.txt --confusion --overlays overlays\n  amis-train eval imported --data configs/voc.toml"
)]
pub(super) struct Eval {
    /// Folder of the checkpoint.
    checkpoint: PathBuf,
    /// Root of the data set, or a configuration file that names data set and task. [default: as the checkpoint was trained]
    #[arg(long, value_name = "ROOT|CONFIG")]
    data: Option<PathBuf>,
    /// List of images, as in task.val. [default: the validation list]
    #[arg(long)]
    list: Option<String>,
    /// What pixels of classes count as that are learned in later steps: ignore or background. [default: as the checkpoint was validated]
    #[arg(long, value_parser = future, value_name = "WHAT")]
    future: Option<FutureClasses>,
    /// Print the confusion matrix too.
    #[arg(long)]
    confusion: bool,
    /// Write a picture of every image into this folder: the truth over it, beside the prediction over it.
    #[arg(long, value_name = "DIR")]
    overlays: Option<PathBuf>,
    /// Device to compute on: cpu, cuda or cuda:N. [default: the first GPU, else the CPU]
    #[arg(long, value_parser = device::parse)]
    device: Option<Device>,
}

impl Eval {
    pub(super) fn run(self, json: bool) -> Result<StepMetrics> {
        let choices = Choices { data: self.data, list: self.list, future_classes: self.future };
        let evaluation = Evaluation::new(&self.checkpoint, &choices, device::choose(self.device)?)?;
        let bar = bar(evaluation.images() as u64, "evaluating");
        let mut visit = |batch: &Batch, predicted: &[u8]| {
            if let Some(folder) = &self.overlays {
                write_overlays(folder, batch, predicted, &evaluation)?;
            }
            bar.inc(batch.names.len() as u64);
            Ok(())
        };
        let metrics = evaluation.run(&mut visit);
        bar.finish_and_clear();
        let metrics = metrics?;
        if !json {
            print_line(format_args!("{}\n\n{}", class_table(&metrics), mean_table(&metrics)));
            if self.confusion {
                print_line(format_args!(
                    "\nPercent of the pixels of a true class (row) that were taken for each class (column):\n\n{}",
                    confusion_table(&metrics)
                ));
            }
        }
        Ok(metrics)
    }
}

fn future(text: &str) -> std::result::Result<FutureClasses, String> {
    match text {
        "ignore" => Ok(FutureClasses::Ignore),
        "background" => Ok(FutureClasses::Background),
        _ => Err("expected ignore or background".into()),
    }
}

/// `DIR/<name>.png`: truth on the left, prediction on the right.
fn write_overlays(folder: &Path, batch: &Batch, predicted: &[u8], evaluation: &Evaluation) -> Result<()> {
    let (spec, classes) = (evaluation.spec(), evaluation.classes());
    let plane = predicted.len() / batch.names.len();
    for (place, name) in batch.names.iter().enumerate() {
        let pixels = place * plane..(place + 1) * plane;
        let input = &batch.input[3 * pixels.start..3 * pixels.end];
        let side = |ids: &[u8]| overlay(input, &ids[pixels.clone()], spec, classes);
        write_pair(&folder.join(format!("{name}.png")), &side(&batch.labels)?, &side(predicted)?, spec.width_px)?;
    }
    Ok(())
}

fn write_pair(path: &Path, left: &[u8], right: &[u8], width_px: u32) -> Result<()> {
    let row = 3 * width_px as usize;
    let rows = left.chunks_exact(row).zip(right.chunks_exact(row));
    let rgb: Vec<u8> = rows.flat_map(|(left, right)| left.iter().chain(right)).copied().collect();
    let height_px = (left.len() / row) as u32;
    let io = |source| amis_artifacts::Error::Io { action: "write", path: path.into(), source };
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
    image::save_buffer(path, &rgb, 2 * width_px, height_px, image::ExtendedColorType::Rgb8).map_err(|e| io(std::io::Error::other(e)))?;
    Ok(())
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".into(), |v| format!("{:.2}", 100.0 * v))
}

fn table<H: AsRef<str>>(head: &[H], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(head.iter().map(AsRef::as_ref)).add_rows(rows);
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table.trim_fmt()
}

fn class_table(metrics: &StepMetrics) -> String {
    let rows = metrics.classes.iter().map(|c| vec![c.name.clone(), percent(c.iou), percent(c.accuracy), c.pixels.to_string()]);
    table(&["class", "IoU %", "accuracy %", "pixels"], rows)
}

fn mean_table(metrics: &StepMetrics) -> String {
    let means: [(&str, &MeanIou); 5] = [
        ("old classes", &metrics.old),
        ("old classes, background", &metrics.old_with_background),
        ("new classes", &metrics.new),
        ("all classes", &metrics.all),
        ("all classes, background", &metrics.all_with_background),
    ];
    let rows = means.into_iter().map(|(name, mean)| vec![name.into(), percent(mean.miou), percent(mean.miou_mbs)]);
    table(&["mean over", "mIoU %", "non-zero IoUs %"], rows)
}

fn confusion_table(metrics: &StepMetrics) -> String {
    let (matrix, names): (&ConfusionMatrix, Vec<&str>) = (&metrics.confusion, metrics.classes.iter().map(|c| c.name.as_str()).collect());
    let share = |truth: usize, predicted: usize| {
        let total = matrix.truth_total(truth);
        percent((total > 0).then(|| matrix.count(truth, predicted) as f64 / total as f64))
    };
    let row = |truth: usize| std::iter::once(names[truth].to_owned()).chain((0..names.len()).map(|p| share(truth, p))).collect();
    table(&[&["truth"], names.as_slice()].concat(), (0..names.len()).map(row))
}
