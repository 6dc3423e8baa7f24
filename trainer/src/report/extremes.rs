use amis_artifacts::classes::ClassList;
use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::metrics::ConfusionMatrix;
use amis_artifacts::preprocess;
use amis_data::loader::{Batch, Loader};
use maud::{Markup, html};
use tch::Device;

use super::examples::{network, opened, picture};
use super::figures::percent;
use super::pictures::{self, Picture};
use super::run::RunData;
use crate::Result;
use crate::eval::{loading, predictions};
use crate::model::Segmenter;

/// Pictures at each end.
const SHOWN: usize = 3;
/// Images that are predicted to find them, spread over the validation list.
const CANDIDATES: usize = 200;

/// The validation images that the last network does worst and best on, or why there are none.
pub(super) struct Extremes {
    worst: Vec<Shown>,
    best: Vec<Shown>,
    candidates: usize,
    all: usize,
    missing: Option<String>,
}

/// An image with truth and prediction, and its own mean IoU.
struct Shown {
    name: String,
    miou: f64,
    columns: [(&'static str, Picture); 3],
}

/// Predicts up to [`CANDIDATES`] validation images with the last finished step; `progress` gets the number done and that of all.
///
/// # Errors
/// A checkpoint's weights are damaged. A data set that is not there is no error: the result says so.
pub(super) fn make(run: &RunData, progress: &dyn Fn(usize, usize)) -> Result<Extremes> {
    let nothing = |reason: String| Extremes { worst: Vec::new(), best: Vec::new(), candidates: 0, all: 0, missing: Some(reason) };
    let Some(last) = run.last() else { return Ok(nothing("No step is finished yet.".into())) };
    let model = network(&last.checkpoint)?;
    let spec = &last.checkpoint.manifest.image_spec;
    match find(run, last.metrics.step, &model, spec, progress) {
        Err(error @ crate::Error::Data(_)) => Ok(nothing(format!("The validation images cannot be read: {error}."))),
        found => found,
    }
}

fn find(run: &RunData, step: usize, model: &Segmenter, spec: &ImageSpec, progress: &dyn Fn(usize, usize)) -> Result<Extremes> {
    let (folder, mapping) = opened(run, step)?;
    let names = folder.read_list(&run.config.task.val)?;
    let candidates: Vec<String> = names.iter().step_by(names.len().div_ceil(CANDIDATES)).cloned().collect();
    let load = |names: Vec<String>| Loader::start(loading(folder.clone(), names, mapping, spec.clone(), run.config.train.workers));
    let device = Device::cuda_if_available();
    let mut scores: Vec<(f64, String)> = Vec::new();
    let mut score = |batch: &Batch, predicted: &[u8]| {
        let plane = predicted.len() / batch.names.len();
        for ((name, truth), predicted) in batch.names.iter().zip(batch.labels.chunks_exact(plane)).zip(predicted.chunks_exact(plane)) {
            scores.extend(own_miou(truth, predicted, model.groups.classes()).map(|miou| (miou, name.clone())));
        }
        progress(scores.len(), candidates.len());
        Ok(())
    };
    predictions(model, load(candidates.clone())?, spec.height_px, spec.width_px, device, &mut score)?;
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let shown = SHOWN.min(scores.len() / 2);
    let worst = scores[..shown].to_vec();
    let best: Vec<(f64, String)> = scores.iter().rev().take(shown).cloned().collect();
    let draw = |chosen: Vec<(f64, String)>| -> Result<Vec<Shown>> {
        let mut rows = Vec::new();
        if chosen.is_empty() {
            return Ok(rows);
        }
        let mut row = |batch: &Batch, predicted: &[u8]| {
            let plane = predicted.len() / batch.names.len();
            for (place, name) in batch.names.iter().enumerate() {
                let part = |ids: &[u8]| pictures::mask(&ids[place * plane..(place + 1) * plane], spec.width_px, spec.height_px, &run.classes);
                let rgb = preprocess::denormalize(spec, &batch.input[3 * place * plane..3 * (place + 1) * plane])?;
                let image = pictures::photo(&rgb, spec.width_px, spec.height_px)?;
                let columns = [("Image", image), ("Truth", part(&batch.labels)?), ("Prediction", part(predicted)?)];
                rows.push(Shown { name: name.clone(), miou: chosen[rows.len()].0, columns });
            }
            Ok(())
        };
        predictions(model, load(chosen.iter().map(|c| c.1.clone()).collect())?, spec.height_px, spec.width_px, device, &mut row)?;
        Ok(rows)
    };
    Ok(Extremes { worst: draw(worst)?, best: draw(best)?, candidates: candidates.len(), all: names.len(), missing: None })
}

/// Mean IoU over the classes that an image shows or that are predicted in it; none if all of it is ignored.
fn own_miou(truth: &[u8], predicted: &[u8], classes: usize) -> Option<f64> {
    let mut matrix = ConfusionMatrix::new(classes);
    matrix.add(truth, predicted);
    matrix.mean_iou(0..classes).miou
}

impl Extremes {
    /// A row for each image, worst first, then best.
    pub(super) fn render(&self, classes: &ClassList) -> Markup {
        html! {
            @if let Some(reason) = &self.missing {
                p.quiet { (reason) }
            } @else {
                p.quiet {
                    "By the mean IoU within an image, over the classes that it shows or that are predicted in it, with background; out of "
                    @if self.candidates < self.all { (self.candidates) " of the " (self.all) } @else { "all " (self.all) } " validation images."
                }
                ul.legend { @for class in classes.iter() { li { (super::figures::chip(class.color)) (class.name) } } }
                @for (title, rows) in [("Worst", &self.worst), ("Best", &self.best)] {
                    h3 { (title) }
                    @for row in rows {
                        p.quiet.caption { b { (percent(Some(row.miou))) " %" } " " (row.name) }
                        div.examples.three style="--columns:3" { @for (title, image) in &row.columns { (picture(image, title, &row.name)) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_measured_by_the_classes_in_it() {
        // Class 1 half found, class 2 predicted but absent, class 3 neither.
        assert_eq!(own_miou(&[0, 1, 1, 255], &[0, 1, 2, 3], 4), Some(0.5));
        assert_eq!(own_miou(&[255], &[1], 4), None);
    }
}
