use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::classes::{ClassList, IGNORE};
use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::preprocess::{Preprocessor, fit_labels};
use amis_data::folder::DataFolder;
use amis_data::images::RgbImage;
use amis_data::label_mapping::{self, Mapping};
use amis_data::labels::LabelMap;
use maud::{Markup, html};
use tch::{Device, Tensor};

use super::pictures::{self, Picture};
use super::run::{Finished, RunData};
use crate::model::Segmenter;
use crate::{Result, eval};

/// Images that are shown.
const SHOWN: usize = 4;
/// Label maps that are looked through for them, spread over the validation list.
const CANDIDATES: usize = 200;
/// Share of an image that a class must cover to be seen there.
const SEEN_SHARE: f64 = 0.01;

/// A column of pictures: what it shows, and one picture for each image.
#[derive(Debug)]
struct Column {
    title: String,
    pictures: Vec<Picture>,
}

/// Example pictures, or why there are none.
#[derive(Debug)]
pub(super) struct Examples {
    names: Vec<String>,
    columns: Vec<Column>,
    any_ignored: bool,
    /// Why there are no pictures.
    missing: Option<String>,
}

/// A validation image with its labels, as positions in the network's output.
struct Sample {
    name: String,
    image: RgbImage,
    labels: LabelMap,
}

/// Runs the networks of the first run's last two steps, and of the last step of the others, on a few validation images.
///
/// # Errors
/// A checkpoint's weights are damaged. A data set that is not there is no error: the result says so.
pub(super) fn make(runs: &[RunData]) -> Result<Examples> {
    let nothing = |reason: String| Ok(Examples { names: Vec::new(), columns: Vec::new(), any_ignored: false, missing: Some(reason) });
    let Some(last) = runs[0].last() else { return nothing("No step is finished yet.".into()) };
    let samples = match choose(&runs[0], last.metrics.step) {
        Ok(samples) => samples,
        Err(error) => return nothing(format!("The validation images cannot be read: {error}.")),
    };
    let (truth, any_ignored) = truths(&samples, &last.checkpoint.manifest.image_spec, &runs[0].classes)?;
    let mut columns = vec![photos(&samples, &last.checkpoint.manifest.image_spec)?, truth];
    if let Some(old) = last.metrics.step.checked_sub(1).and_then(|step| runs[0].step(step)) {
        columns.push(predictions(&samples, old, format!("Old model (step {})", old.metrics.step), &runs[0].classes)?);
    }
    columns.push(predictions(&samples, last, format!("New model (step {})", last.metrics.step), &runs[0].classes)?);
    for run in &runs[1..] {
        if let Some(other) = run.last() {
            columns.push(predictions(&samples, other, format!("{} (step {})", run.name, other.metrics.step), &run.classes)?);
        }
    }
    Ok(Examples { names: samples.into_iter().map(|s| s.name).collect(), columns, any_ignored, missing: None })
}

/// Images that together show many classes, whatever the networks make of them.
fn choose(run: &RunData, step: usize) -> Result<Vec<Sample>> {
    let (folder, mapping) = opened(run, step)?;
    let names = folder.read_list(&run.config.task.val)?;
    let every = names.len().div_ceil(CANDIDATES);
    let candidates: Vec<&String> = names.iter().step_by(every).collect();
    let seen = candidates.iter().map(|name| Ok(classes_seen(&amis_data::labels::read(&folder.label_path(name))?, &mapping))).collect::<Result<Vec<_>>>()?;
    let chosen = most_telling(&seen, run.classes.len());
    let sample = |&index: &usize| {
        let (image, mut labels) = folder.read_pair(candidates[index])?;
        labels.values.iter_mut().for_each(|v| *v = mapping[usize::from(*v)]);
        Ok(Sample { name: candidates[index].clone(), image, labels })
    };
    chosen.iter().map(sample).collect()
}

/// A run's data set, with the labels of an evaluation after a step.
pub(super) fn opened(run: &RunData, step: usize) -> Result<(DataFolder, Mapping)> {
    let data = &run.config.data;
    let folder = DataFolder::open(data.layout, &data.root, &data.labels)?;
    let steps = folder.class_ids(&run.config.task.steps)?;
    let mapping = label_mapping::eval(&steps, step, run.config.task.future_classes, folder.layout().zero())?;
    Ok((folder, mapping))
}

/// Classes that cover [`SEEN_SHARE`] of an image.
fn classes_seen(labels: &LabelMap, mapping: &Mapping) -> Vec<usize> {
    let mut counts = [0usize; 256];
    labels.values.iter().for_each(|&v| counts[usize::from(mapping[usize::from(v)])] += 1);
    let least = (SEEN_SHARE * labels.values.len() as f64).max(1.0) as usize;
    (1..usize::from(IGNORE)).filter(|&class| counts[class] >= least).collect()
}

/// One image from each part of the list, because neighbours are often frames of one video: the one whose classes were shown least so far.
fn most_telling(seen: &[Vec<usize>], classes: usize) -> Vec<usize> {
    let mut times = vec![0; classes];
    let mut chosen = Vec::new();
    for part in 0..SHOWN {
        let gain = |index: &usize| seen[*index].iter().map(|&class| 0.25f64.powi(times[class])).sum::<f64>();
        let mut indices = part * seen.len() / SHOWN..(part + 1) * seen.len() / SHOWN;
        let Some(first) = indices.next() else { continue };
        let best = indices.fold(first, |best, index| if gain(&index) > gain(&best) { index } else { best });
        seen[best].iter().for_each(|&class| times[class] += 1);
        chosen.push(best);
    }
    chosen
}

fn photos(samples: &[Sample], spec: &ImageSpec) -> Result<Column> {
    let mut preprocessor = Preprocessor::new(spec.clone());
    let mut photo = |s: &Sample| pictures::photo(preprocessor.fit(&s.image.rgb, s.image.width_px, s.image.height_px)?.0, spec.width_px, spec.height_px);
    Ok(Column { title: "Image".into(), pictures: samples.iter().map(&mut photo).collect::<Result<_>>()? })
}

fn truths(samples: &[Sample], spec: &ImageSpec, classes: &ClassList) -> Result<(Column, bool)> {
    let mut any_ignored = false;
    let mut truth = |s: &Sample| {
        let ids = fit_labels(spec, &s.labels.values, s.labels.width_px, s.labels.height_px)?;
        any_ignored |= ids.contains(&IGNORE);
        pictures::mask(&ids, spec.width_px, spec.height_px, classes)
    };
    let pictures = samples.iter().map(&mut truth).collect::<Result<_>>()?;
    Ok((Column { title: "Truth".into(), pictures }, any_ignored))
}

fn predictions(samples: &[Sample], step: &Finished, title: String, classes: &ClassList) -> Result<Column> {
    let (model, spec) = (network(&step.checkpoint)?, &step.checkpoint.manifest.image_spec);
    let mut preprocessor = Preprocessor::new(spec.clone());
    let mut input = vec![0.0; spec.input_len()];
    let mut predict = |s: &Sample| {
        preprocessor.run(&s.image.rgb, s.image.width_px, s.image.height_px, &mut input)?;
        let images = Tensor::f_from_slice(&input)?.f_view([1, 3, i64::from(spec.height_px), i64::from(spec.width_px)])?;
        let ids = eval::predict(&model, &images.to_device(Device::cuda_if_available()))?;
        pictures::mask(&ids, spec.width_px, spec.height_px, classes)
    };
    Ok(Column { title, pictures: samples.iter().map(&mut predict).collect::<Result<_>>()? })
}

pub(super) fn network(checkpoint: &Checkpoint) -> Result<Segmenter> {
    let manifest = &checkpoint.manifest;
    Segmenter::new(&manifest.model, &manifest.groups, manifest.position_grid, &checkpoint.weights()?, Device::cuda_if_available(), false)
}

impl Examples {
    /// A row for each image, with the legend of the classes.
    pub(super) fn render(&self, classes: &ClassList) -> Markup {
        html! {
            @if let Some(reason) = &self.missing {
                p.quiet { (reason) }
            } @else {
                p.quiet { "Validation images from all parts of the list, chosen so that together they show many classes." }
                ul.legend {
                    @for class in classes.iter() { li { (super::figures::chip(class.color)) (class.name) } }
                    @if self.any_ignored { li { (super::figures::chip(amis_artifacts::classes::palette_color(IGNORE))) "ignored" } }
                }
                @for (row, name) in self.names.iter().enumerate() {
                    div.examples style={ "--columns:" (self.columns.len()) } {
                        @for column in &self.columns { (picture(&column.pictures[row], &column.title, name)) }
                    }
                }
            }
        }
    }
}

pub(super) fn picture(picture: &Picture, title: &str, name: &str) -> Markup {
    html! {
        figure {
            img.crisp[picture.is_mask] src=(picture.uri) width=(picture.width_px) height=(picture.height_px) alt={ (title) " of " (name) } title=(name);
            figcaption { (title) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_images_lie_apart_and_show_what_was_not_shown() {
        let seen = [vec![1], vec![1, 2], vec![1, 2], vec![3], vec![1, 2, 3], vec![4], vec![], vec![1]];
        assert_eq!(most_telling(&seen, 5), [1, 3, 5, 7]);
        assert_eq!(most_telling(&seen[..2], 5), [0, 1]);
        assert!(most_telling(&[], 5).is_empty());
    }

    #[test]
    fn a_speck_is_not_seen() {
        let mut values = vec![0; 1000];
        values[..5].fill(1);
        values[10..40].fill(2);
        let mut mapping = [0; 256];
        (mapping[1], mapping[2], mapping[255]) = (1, 2, IGNORE);
        assert_eq!(classes_seen(&LabelMap { width_px: 100, height_px: 10, values }, &mapping), [2]);
    }
}
