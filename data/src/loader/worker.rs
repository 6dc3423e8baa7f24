//! What a worker thread does.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amis_artifacts::preprocess::{Preprocessor, fit_labels};

use super::cache::{Cache, Pair};
use super::{Batch, LoaderOptions, order};
use crate::augment::Augmenter;
use crate::images::RgbImage;
use crate::labels::LabelMap;
use crate::{Result, color};

/// The work that all workers share.
#[derive(Debug)]
pub(super) struct Job {
    options: LoaderOptions,
    per_epoch: usize,
    cache: Cache,
    /// Buffers of batches that were given back: fresh memory costs as much as decoding an image.
    spare: Mutex<Vec<(Vec<f32>, Vec<u8>)>>,
}

impl Job {
    pub(super) fn new(options: LoaderOptions, per_epoch: usize) -> Self {
        let cache = Cache::new(options.names.len(), options.cache_bytes);
        Self { options, per_epoch, cache, spare: Mutex::default() }
    }

    pub(super) fn give_back(&self, batch: Batch) {
        self.spare().push((batch.input, batch.labels));
    }

    /// An empty batch of `images` images of `pixels` pixels; its values are left over from another one.
    fn empty_batch(&self, iteration: usize, images: usize, pixels: usize) -> Batch {
        let (mut input, mut labels) = self.spare().pop().unwrap_or_default();
        input.resize(images * pixels * 3, 0.0);
        labels.resize(images * pixels, 0);
        Batch { iteration, names: Vec::with_capacity(images), input, labels }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<(Vec<f32>, Vec<u8>)>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image of this number; where it has to be read, into the memory of `last` if nobody else has that.
    fn pair(&self, number: usize, last: Option<Pair>) -> Result<Pair> {
        let read = || -> Result<(RgbImage, LabelMap)> {
            let spare = last.and_then(Arc::into_inner).map(|(image, labels)| (image.rgb, labels.values)).unwrap_or_default();
            let (image, mut labels) = self.options.folder.read_pair_into(&self.options.names[number], spare)?;
            labels.values.iter_mut().for_each(|value| *value = self.options.mapping[usize::from(*value)]);
            Ok((image, labels))
        };
        self.cache.get(number, read)
    }
}

/// Makes the batches of these iterations, until the end, an error, or nobody takes them any more.
pub(super) fn run(job: &Job, iterations: impl Iterator<Item = usize>, queue: &SyncSender<Result<Batch>>) {
    let mut maker = Maker::new(job);
    for iteration in iterations {
        let batch = maker.batch(iteration);
        let failed = batch.is_err();
        if queue.send(batch).is_err() || failed {
            return;
        }
    }
}

/// One worker's buffers.
struct Maker<'a> {
    job: &'a Job,
    preprocessor: Preprocessor,
    augmenter: Option<Augmenter>,
    crop: Vec<u8>,
    /// The image of the last sample.
    last: Option<Pair>,
    /// Epoch and its order of images.
    order: (usize, Vec<usize>),
}

impl<'a> Maker<'a> {
    fn new(job: &'a Job) -> Self {
        let options = &job.options;
        Self {
            job,
            preprocessor: Preprocessor::new(options.spec.clone()),
            augmenter: options.augment.map(|augment| Augmenter::new(augment, &options.spec)),
            crop: Vec::new(),
            last: None,
            order: (usize::MAX, Vec::new()),
        }
    }

    fn batch(&mut self, iteration: usize) -> Result<Batch> {
        let options = &self.job.options;
        let (images, size) = (options.names.len(), options.batch);
        let (epoch, start) = (iteration / self.job.per_epoch, iteration % self.job.per_epoch * size);
        let own = start + options.own.start..start + options.own.end;
        let positions = match self.augmenter {
            Some(_) => own,
            None => own.start.min(images)..own.end.min(images),
        };
        let plane = options.spec.input_len() / 3;
        let mut batch = self.job.empty_batch(iteration, positions.len(), plane);
        let targets = batch.input.chunks_exact_mut(plane * 3).zip(batch.labels.chunks_exact_mut(plane));
        for (position, (input, labels)) in positions.zip(targets) {
            let number = self.image_at(epoch, position);
            batch.names.push(options.names[number].clone());
            let pair = self.job.pair(number, self.last.take())?;
            self.sample(&pair, epoch, position, input, labels)?;
            self.last = Some(pair);
        }
        Ok(batch)
    }

    fn image_at(&mut self, epoch: usize, position: usize) -> usize {
        if self.augmenter.is_none() {
            return position;
        }
        let options = &self.job.options;
        if self.order.0 != epoch {
            self.order = (epoch, order::shuffled(options.names.len(), options.seed, epoch));
        }
        self.order.1[position % options.names.len()]
    }

    fn sample(&mut self, pair: &Pair, epoch: usize, position: usize, input: &mut [f32], labels: &mut [u8]) -> Result<()> {
        let (image, truth) = (&pair.0, &pair.1);
        let options = &self.job.options;
        match &mut self.augmenter {
            Some(augmenter) => {
                let mut rng = order::rng(options.seed, epoch, position);
                augmenter.run(image, truth, &mut rng, &mut self.crop, labels)?;
                if let Some(color) = options.augment.map(|a| a.color).filter(|&c| c > 0.0) {
                    color::jitter(&mut self.crop, color, &mut rng);
                }
                self.preprocessor.normalize(&self.crop, input)?;
            }
            None => {
                self.preprocessor.run(&image.rgb, image.width_px, image.height_px, input)?;
                labels.copy_from_slice(&fit_labels(&options.spec, &truth.values, truth.width_px, truth.height_px)?);
            }
        }
        Ok(())
    }
}
