//! The ranks as MPI connects them.

use std::cell::OnceCell;

use mpi::collective::SystemOperation;
use mpi::datatype::Equivalence;
use mpi::environment::{Threading, Universe, initialize_with_threading, processor_name};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};
use tch::{Kind, Tensor};

use super::nccl::Nccl;
use crate::{Error, Result};

/// MPI between all ranks and, once their GPUs are connected, NCCL. MPI ends the job by itself when a call fails.
pub(super) struct Link {
    // Dropped first: NCCL's end still takes all ranks.
    nccl: OnceCell<Nccl>,
    world: SimpleCommunicator,
    number_on_host: usize,
    host: String,
    /// Ends MPI when it is dropped.
    _universe: Universe,
}

impl Link {
    /// Connects with the other ranks, `started` in all.
    pub(super) fn connect(started: usize) -> Result<Self> {
        // Funneled: other threads run beside this one, none of them calls MPI.
        let Some((universe, _)) = initialize_with_threading(Threading::Funneled) else {
            return Err(Error::Launcher { reason: "MPI is in use already".into() });
        };
        let world = universe.world();
        if world.size() as usize != started {
            let reason = format!("{started} processes were started together, but MPI connects {}", world.size());
            return Err(Error::Launcher { reason });
        }
        let number_on_host = world.split_shared(world.rank()).rank() as usize;
        let host = processor_name().unwrap_or_else(|_| "a host without a name".into());
        Ok(Self { nccl: OnceCell::new(), world, number_on_host, host, _universe: universe })
    }

    pub(super) fn number(&self) -> usize {
        self.world.rank() as usize
    }

    pub(super) fn count(&self) -> usize {
        self.world.size() as usize
    }

    pub(super) fn number_on_host(&self) -> usize {
        self.number_on_host
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn wait(&self) {
        self.world.barrier();
    }

    pub(super) fn sum<T: Equivalence + Clone>(&self, values: &mut [T]) {
        let own = values.to_vec();
        self.world.all_reduce_into(&own[..], values, SystemOperation::sum());
    }

    pub(super) fn sum_tensor(&self, tensor: &Tensor) -> Result<()> {
        match (self.nccl.get(), tensor.kind()) {
            (Some(nccl), _) if tensor.device().is_cuda() => nccl.sum(tensor),
            (_, Kind::Double) => self.sum_on_host::<f64>(tensor),
            _ => self.sum_on_host::<f32>(tensor),
        }
    }

    fn sum_on_host<T: Equivalence + Clone + tch::kind::Element>(&self, tensor: &Tensor) -> Result<()>
    where
        Vec<T>: for<'a> TryFrom<&'a Tensor, Error = tch::TchError>,
    {
        let mut values = Vec::<T>::try_from(&tensor.f_reshape([-1])?)?;
        self.sum(&mut values);
        tensor.shallow_clone().f_copy_(&Tensor::f_from_slice(&values)?.f_view_as(tensor)?)?;
        Ok(())
    }

    /// Replaces bytes by those of rank 0.
    pub(super) fn broadcast(&self, bytes: &mut [u8]) {
        self.world.process_at_rank(0).broadcast_into(bytes);
    }

    /// Connects the ranks on their GPUs; this one has GPU `device`.
    pub(super) fn connect_gpus(&self, device: usize) -> Result<()> {
        let exchange = |id: &mut [i8]| self.world.process_at_rank(0).broadcast_into(id);
        let nccl = Nccl::connect(device, self.number(), self.count(), exchange)?;
        // A second call finds them connected.
        let _ = self.nccl.set(nccl);
        Ok(())
    }

    pub(super) fn abort(&self, exit_code: i32) -> ! {
        self.world.abort(exit_code)
    }
}
