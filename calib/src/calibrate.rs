use std::collections::BTreeMap;
use std::path::Path;

use amis_artifacts::calibration::{CalibrationImage, CalibrationKey, CalibrationTable, FORMAT_VERSION, Method, images_sha256};
use amis_artifacts::classes::ClassList;
use amis_artifacts::files;
use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::onnx;
use rayon::prelude::*;

use crate::choice::{Images, Listed};
use crate::feed::feed;
use crate::images::Image;
use crate::network::Network;
use crate::observer::observers;
use crate::{Error, Result, coverage};

/// What is calibrated.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The FP32 ONNX file.
    pub onnx: &'a Path,
    /// How an image becomes its input.
    pub image_spec: &'a ImageSpec,
    /// Names for the coverage, in the order of its masks.
    pub classes: &'a ClassList,
}

/// Hears of the stage that a calibration is in, images done, images in all.
pub type Progress<'a> = &'a mut dyn FnMut(&'static str, usize, usize);

/// Measures by `method` the ranges of all tensors that Linears take, on the images or a choice of them that is balanced by what the network itself sees
/// on them. `threads` are those of inference and histograms; 0 takes one a core.
///
/// Memory does not grow with the number of images: of each tensor a histogram is kept, and with `auto` some vectors.
///
/// # Errors
/// No image, one that cannot be read, a graph that cannot be observed, or a tensor or weight with values that make no range.
pub fn calibrate(subject: Subject<'_>, images: Images<'_>, method: Method, threads: usize, progress: Progress<'_>) -> Result<CalibrationTable> {
    let pool = pool(threads)?;
    let bytes = files::read_limited(subject.onnx, "an ONNX model", onnx::MAX_MODEL_BYTES)?;
    let model = onnx::parse(&bytes, subject.onnx)?;
    let graph_sha256 = files::sha256(&bytes);
    drop(bytes);
    let listed = pool.install(|| Listed::new(images))?;
    let repeated = listed.repeated;
    let (mut observers, mut warnings) = observers(subject.onnx, &model, method, listed.count())?;
    let tensors: Vec<String> = observers.iter().map(|o| o.tensor.clone()).collect();
    let mut network = Network::open(subject.onnx, model, &tensors, subject.image_spec, pool.current_num_threads())?;
    let chosen = listed.choose(&mut network, subject.image_spec, progress)?;

    let mut positions = Vec::new();
    feed(&chosen, subject.image_spec, |index, image, input| {
        let outputs = network.run(&image.path, input)?;
        positions.push(outputs.classes()?);
        let seen = tensors.iter().map(|tensor| outputs.tensor(tensor)).collect::<Result<Vec<_>>>()?;
        pool.install(|| observers.par_iter_mut().zip(&seen).try_for_each(|(observer, seen)| observer.add(index, &image.path, seen)))?;
        progress("observing", index + 1, chosen.len());
        Ok(())
    })?;

    let ranges: Vec<_> = pool.install(|| observers.par_iter().map(|observer| observer.range(method)).collect());
    let coverage = coverage::coverage(&positions, subject.classes);
    warnings.extend(coverage::warnings(chosen.len(), repeated, &coverage));
    warnings.extend(observers.iter().filter_map(|observer| observer.warning()));
    let key = CalibrationKey {
        graph_sha256,
        images_sha256: images_sha256(&chosen.iter().map(|image| &image.sha256).collect::<Vec<_>>()),
        method,
        image_spec: subject.image_spec.clone(),
        tool_version: env!("CARGO_PKG_VERSION").into(),
    };
    let listed = |image: Image| CalibrationImage { name: image.name(), sha256: image.sha256 };
    let images = chosen.into_iter().map(listed).collect();
    Ok(CalibrationTable { format_version: FORMAT_VERSION, key, tensors: tensors.into_iter().zip(ranges).collect(), images, coverage, warnings })
}

/// The largest absolute value of every channel, along the last dimension, of some tensors on the images or a choice of them as in [`calibrate`].
///
/// # Errors
/// No image, one that cannot be read, a graph that cannot be run, or a tensor with values that are not finite.
pub fn channel_maxima(
    subject: Subject<'_>,
    images: Images<'_>,
    tensors: &[String],
    threads: usize,
    progress: Progress<'_>,
) -> Result<BTreeMap<String, Vec<f32>>> {
    let pool = pool(threads)?;
    let mut network = Network::open(subject.onnx, onnx::read(subject.onnx)?, tensors, subject.image_spec, pool.current_num_threads())?;
    let chosen = pool.install(|| Listed::new(images))?.choose(&mut network, subject.image_spec, progress)?;
    let mut maxima: Vec<Vec<f32>> = vec![Vec::new(); tensors.len()];
    feed(&chosen, subject.image_spec, |index, image, input| {
        let outputs = network.run(&image.path, input)?;
        for (tensor, largest) in tensors.iter().zip(&mut maxima) {
            let seen = outputs.tensor(tensor)?;
            largest.resize(seen.shape.last().copied().unwrap_or(0), 0.0);
            for vector in seen.values.chunks_exact(largest.len().max(1)) {
                largest.iter_mut().zip(vector).for_each(|(most, value)| *most = most.max(value.abs()));
            }
            if let Some(bad) = seen.values.iter().find(|v| !v.is_finite()) {
                return Err(Error::Tensor { tensor: tensor.clone(), problem: format!("has the value {bad}"), image: image.path.clone() });
            }
        }
        progress("observing", index + 1, chosen.len());
        Ok(())
    })?;
    Ok(tensors.iter().cloned().zip(maxima).collect())
}

/// Threads for what happens between two runs of a network.
fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| Error::Threads { threads, reason: e.to_string() })
}
