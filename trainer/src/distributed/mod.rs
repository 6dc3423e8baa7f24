//! Several processes ("ranks") that train one network together, started by `mpirun` or `srun`.
//!
//! A rank takes its share of every batch and divides its loss by denominators that are summed over all ranks; then gradients only have to be added up,
//! in one all-reduce after the backward pass. So all ranks hold the same weights all the time. Rank 0 alone writes files and shows progress; the others
//! read what it wrote, so the folders of data and run must be the same for all.
//!
//! MPI connects the ranks and adds up what lies in host memory, NCCL what lies on GPUs. Both come with the cargo feature `distributed`; a build without it,
//! and a process that no launcher has started, is a single rank.

mod gradients;
mod launcher;
#[cfg(feature = "distributed")]
mod mpi;
#[cfg(not(feature = "distributed"))]
#[path = "without_mpi.rs"]
mod mpi;
#[cfg(feature = "distributed")]
mod nccl;

use std::ops::Range;

use amis_artifacts::files;
use tch::{Cuda, Device, Tensor};

use self::mpi::Link;
use crate::model::Params;
use crate::{Error, Result};

/// This process among those that train together.
///
/// What takes all of them (sums, [`agree`](Self::agree), [`wait`](Self::wait)) has to be called by every rank, in the same order. When one of them ends
/// otherwise than by [`fail`](Self::fail), the launcher ends the others.
pub struct Ranks {
    number: usize,
    count: usize,
    /// `None` for a single process.
    link: Option<Link>,
}

impl Ranks {
    /// The only process.
    pub fn alone() -> Self {
        Self { number: 0, count: 1, link: None }
    }

    /// Connects the processes that a launcher has started; without one, this is the only process.
    ///
    /// # Errors
    /// The launcher has started several processes and they cannot be connected.
    pub fn join() -> Result<Self> {
        let started = launcher::processes(|name| std::env::var(name).ok());
        let link = if started > 1 { Some(Link::connect(started)?) } else { None };
        Ok(link.map_or_else(Self::alone, |link| Self { number: link.number(), count: link.count(), link: Some(link) }))
    }

    /// Number of this rank, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether this rank writes the files and shows progress.
    pub fn is_first(&self) -> bool {
        self.number == 0
    }

    /// The device of this rank, and all ranks connected on theirs. The first rank of a host takes the `wanted` GPU, or else the first one, and every
    /// further rank there the next. A rank that sees a single GPU takes that one: launchers can give each rank a GPU of its own.
    ///
    /// # Errors
    /// Some ranks would train on a GPU and others on the CPU, or their GPUs cannot be connected.
    pub fn device(&self, wanted: Device) -> Result<Device> {
        let Some(link) = &self.link else { return Ok(wanted) };
        self.agree("kind of device", || Ok(vec![u8::from(wanted.is_cuda())]))?;
        let Device::Cuda(first) = wanted else { return Ok(wanted) };
        let number = if Cuda::device_count() == 1 { first } else { first + link.number_on_host() };
        link.connect_gpus(number)?;
        Ok(Device::Cuda(number))
    }

    /// Positions of a batch that belong to this rank: as equal as they can be, together the whole batch.
    ///
    /// # Errors
    /// A batch of fewer images than ranks.
    pub fn share(&self, batch: usize) -> Result<Range<usize>> {
        if batch < self.count {
            return Err(Error::TooManyRanks { batch, ranks: self.count });
        }
        Ok(self.number * batch / self.count..(self.number + 1) * batch / self.count)
    }

    /// Every `count`-th of these things, beginning with this rank's number.
    pub fn part<T: Clone>(&self, all: &[T]) -> Vec<T> {
        all.iter().skip(self.number).step_by(self.count).cloned().collect()
    }

    /// Returns when all ranks have called it: what one has written before, the others can read after.
    pub fn wait(&self) {
        if let Some(link) = &self.link {
            link.wait();
        }
    }

    /// For a message about this rank: " and 7 more processes".
    pub fn others(&self) -> String {
        match self.count - 1 {
            0 => String::new(),
            1 => " and one more process".into(),
            others => format!(" and {others} more processes"),
        }
    }

    /// Whether any rank says yes.
    pub fn any(&self, yes: bool) -> bool {
        let mut count = [u64::from(yes)];
        self.sum_counts(&mut count);
        count[0] > 0
    }

    /// Replaces whole numbers by their sums over all ranks.
    pub fn sum_counts(&self, values: &mut [u64]) {
        if let Some(link) = &self.link {
            link.sum(values);
        }
    }

    /// Replaces numbers by their sums over all ranks.
    pub fn sum_numbers(&self, values: &mut [f64]) {
        if let Some(link) = &self.link {
            link.sum(values);
        }
    }

    /// Replaces a dense tensor of float32 or float64 by its sum over all ranks, where it lies.
    ///
    /// # Errors
    /// libtorch or NCCL fails.
    pub fn sum_tensor(&self, tensor: &Tensor) -> Result<()> {
        match &self.link {
            Some(link) => link.sum_tensor(tensor),
            None => Ok(()),
        }
    }

    /// Replaces all gradients by their sums over all ranks, in one all-reduce.
    ///
    /// # Errors
    /// libtorch or NCCL fails.
    pub fn sum_gradients(&self, params: &Params) -> Result<()> {
        match &self.link {
            Some(link) => gradients::sum(params, |flat| link.sum_tensor(flat)),
            None => Ok(()),
        }
    }

    /// Makes sure that all ranks have the same of something, as bytes; a single process is not asked for them.
    ///
    /// # Errors
    /// This rank has another than rank 0.
    pub fn agree(&self, what: &'static str, own: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
        let Some(link) = &self.link else { return Ok(()) };
        let own = files::sha256(&own()?).into_bytes();
        let mut first = own.clone();
        link.broadcast(&mut first);
        if own == first { Ok(()) } else { Err(Error::RanksDiffer { what }) }
    }

    /// Says on stderr which rank ends the job and why, and ends all of them with this exit code. Returns if there is no other rank.
    pub fn fail(&self, reason: &str, exit_code: u8) {
        if let Some(link) = &self.link {
            tracing::error!("rank {} of {} on {} ends the job: {reason}", self.number, self.count, link.host());
            link.abort(i32::from(exit_code));
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        // Leaving in an orderly way would wait for the other ranks, and they for this one.
        if std::thread::panicking() {
            self.fail("it panicked, as said above", 101);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rank(number: usize, count: usize) -> Ranks {
        Ranks { number, count, link: None }
    }

    #[test]
    fn shares_are_the_whole_batch_and_nearly_equal() {
        for (batch, count) in [(8, 1), (8, 2), (8, 3), (7, 7), (64, 5)] {
            let shares: Vec<_> = (0..count).map(|number| rank(number, count).share(batch).unwrap()).collect();
            assert_eq!(shares.iter().cloned().flatten().collect::<Vec<_>>(), (0..batch).collect::<Vec<_>>());
            assert!(shares.iter().all(|s| s.len() == batch / count || s.len() == batch.div_ceil(count)), "{shares:?}");
        }
        let error = rank(2, 3).share(2).unwrap_err();
        assert!(error.to_string().contains("batch of 2 images") && error.to_string().contains("3 processes"), "{error}");
    }

    #[test]
    fn parts_are_everything_once() {
        let all: Vec<usize> = (0..7).collect();
        let mut parts: Vec<usize> = (0..3).flat_map(|number| rank(number, 3).part(&all)).collect();
        parts.sort_unstable();
        assert_eq!(parts, all);
        assert!(rank(2, 3).part(&all[..2]).is_empty());
    }
}
