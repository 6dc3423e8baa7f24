//! Batches from worker threads, in an order that depends on the seed alone.
//!
//! Worker `k` of `n` makes the iterations `k`, `k + n`, ... and has a bounded queue of its own; the consumer takes from the queues in
//! turn. So batches come in order without being sorted, and neither the number of workers nor the iteration started from changes them.

mod cache;
mod order;
mod worker;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use amis_artifacts::image_spec::ImageSpec;

use crate::augment::Augment;
use crate::folder::DataFolder;
use crate::label_mapping::Mapping;
use crate::{Error, Result};

/// Finished batches that wait in front of each worker.
const QUEUE: usize = 2;
/// Most worker threads.
pub const MAX_WORKERS: usize = 256;
/// Most images in a batch.
pub const MAX_BATCH: usize = 4096;

/// What to load.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// The data set.
    pub folder: DataFolder,
    /// Images, by name.
    pub names: Vec<String>,
    /// From the data set's label values to training labels.
    pub mapping: Mapping,
    /// Size and normalisation of the network's input.
    pub spec: ImageSpec,
    /// Training: random crops of shuffled images, only full batches. None: the images in order, fitted as `spec` says, the last batch may be smaller.
    pub augment: Option<Augment>,
    /// Images in a batch.
    pub batch: usize,
    /// Positions in every batch that are delivered, `0..batch` for all: processes that train together take their shares of the same batches.
    pub own: Range<usize>,
    /// Decides order and augmentation.
    pub seed: u64,
    /// First iteration to deliver, counted from the start of training: a resumed run sees what it would have seen.
    pub first_iteration: usize,
    /// Iteration to stop before; `iterations_per_epoch(..) * epochs` for whole passes. None: after one pass.
    pub end_iteration: Option<usize>,
    /// Worker threads.
    pub workers: usize,
    /// Decoded images are kept in memory up to this size, so that a small data set is decoded once.
    pub cache_bytes: usize,
}

/// Some images with their labels, ready for the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Iteration that it belongs to.
    pub iteration: usize,
    /// Names of the B images.
    pub names: Vec<String>,
    /// Normalised images `[B, 3, H, W]`.
    pub input: Vec<f32>,
    /// Training labels `[B, H, W]`.
    pub labels: Vec<u8>,
}

/// Batches in one pass over `images`. In training an incomplete batch is left out, but fewer images than a batch make one, in which they repeat.
pub fn iterations_per_epoch(images: usize, batch: usize, training: bool) -> usize {
    if training { (images / batch).max(1) } else { images.div_ceil(batch) }
}

/// Delivers the batches of [`LoaderOptions`], until the end or the first error. Dropping it stops its threads.
#[derive(Debug)]
pub struct Loader {
    job: Arc<worker::Job>,
    queues: VecDeque<Receiver<Result<Batch>>>,
    workers: Vec<JoinHandle<()>>,
    iterations: Range<usize>,
}

impl Loader {
    /// Starts the worker threads.
    ///
    /// # Errors
    /// No images, or numbers that make no sense; a thread cannot be started.
    pub fn start(options: LoaderOptions) -> Result<Self> {
        validate(&options)?;
        let per_epoch = iterations_per_epoch(options.names.len(), options.batch, options.augment.is_some());
        let iterations = options.first_iteration..options.end_iteration.unwrap_or(per_epoch);
        let count = options.workers.min(iterations.len());
        let job = Arc::new(worker::Job::new(options, per_epoch));
        let mut loader = Self { job: Arc::clone(&job), queues: VecDeque::new(), workers: Vec::new(), iterations: iterations.clone() };
        for number in 0..count {
            let (sender, receiver) = sync_channel(QUEUE);
            let job = Arc::clone(&job);
            let own = iterations.clone().skip(number).step_by(count);
            let run = move || worker::run(&job, own, &sender);
            let thread = std::thread::Builder::new().name(format!("loader-{number}")).spawn(run);
            loader.workers.push(thread.map_err(|source| Error::Thread { source })?);
            loader.queues.push_back(receiver);
        }
        Ok(loader)
    }

    /// Takes a batch that is not needed any more, so that its memory serves the next one.
    pub fn give_back(&self, batch: Batch) {
        self.job.give_back(batch);
    }

    /// Batches still to come.
    pub fn remaining(&self) -> usize {
        self.iterations.len()
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let iteration = self.iterations.next()?;
        let queue = self.queues.pop_front()?;
        // A queue that closes before its time means that its thread has died.
        let item = queue.recv().unwrap_or(Err(Error::Worker { iteration }));
        if item.is_err() {
            self.iterations = 0..0;
        }
        self.queues.push_back(queue);
        Some(item)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // A worker that waits to deliver wakes up when its queue is gone.
        self.queues.clear();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn validate(options: &LoaderOptions) -> Result<()> {
    let wrong = |reason: String| Err(amis_artifacts::Error::Spec { what: "loader", reason }.into());
    options.spec.validate(1)?;
    if let Some(augment) = &options.augment {
        augment.validate()?;
    }
    if options.names.is_empty() {
        return wrong("there are no images to load".into());
    }
    if !(1..=MAX_BATCH).contains(&options.batch) {
        return wrong(format!("a batch of {} images, expected 1 to {MAX_BATCH}", options.batch));
    }
    if options.own.is_empty() || options.own.end > options.batch {
        return wrong(format!("positions {:?} of a batch of {} images", options.own, options.batch));
    }
    if !(1..=MAX_WORKERS).contains(&options.workers) {
        return wrong(format!("{} worker threads, expected 1 to {MAX_WORKERS}", options.workers));
    }
    Ok(())
}
