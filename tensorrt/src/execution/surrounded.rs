//! An engine with work before and after it that stays on the GPU.

use std::sync::Arc;

use cudarc::driver::{CudaGraph, CudaSlice, CudaStream, DriverError};

use super::{Execution, cuda};
use crate::Error;

/// Work on the GPU before and after that of an engine. All of it goes onto the engine's stream, in order.
///
/// # Safety
/// The work is captured once and repeated without being asked for again: what it reads and writes stays at its addresses, in size and in place, as long
/// as the value lives. It fills the whole input.
#[allow(unsafe_code)]
pub unsafe trait Around {
    /// Puts what makes the engine's input on the stream.
    ///
    /// # Errors
    /// CUDA does not take it.
    fn before(&self, stream: &Arc<CudaStream>, input: &mut CudaSlice<f32>) -> Result<(), DriverError>;

    /// Puts what takes the engine's output on the stream.
    ///
    /// # Errors
    /// CUDA does not take it.
    fn after(&self, stream: &Arc<CudaStream>, output: &CudaSlice<f32>) -> Result<(), DriverError>;
}

/// Work around one engine, ready to run with it: [`Execution::surround`].
pub struct Surrounded<A> {
    // Before the memory that it refers to.
    graph: Option<CudaGraph>,
    around: A,
    /// The engine's own.
    stream: Arc<CudaStream>,
}

// SAFETY: as for `Execution`: what is not `Send` in it is the graph, and `Execution::run_surrounded` takes `&mut`.
#[allow(unsafe_code)]
unsafe impl<A: Send> Send for Surrounded<A> {}

impl<A> Surrounded<A> {
    /// Whether all of it runs as one CUDA graph.
    pub fn is_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// What was put around.
    pub fn around(&self) -> &A {
        &self.around
    }

    /// What was put around, to be given new values.
    ///
    /// # Safety
    /// It is not replaced by another value: the graph refers to the memory of this one.
    #[allow(unsafe_code)]
    pub unsafe fn around_mut(&mut self) -> &mut A {
        &mut self.around
    }
}

impl Execution {
    /// The stream on which the engine works, and whatever goes around it.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Runs `around` with the engine once, and captures both as one CUDA graph; what cannot be captured is started piece by piece every time.
    ///
    /// # Errors
    /// As [`Execution::run`].
    pub fn surround<A: Around>(&mut self, around: A) -> Result<Surrounded<A>, Error> {
        // What happens in a first run must not be part of the graph.
        let begun = self.begin_surrounded(&around);
        let ended = self.wait();
        begun.and(ended)?;
        let graph = self.capture(|execution| execution.begin_surrounded(&around));
        Ok(Surrounded { graph, around, stream: Arc::clone(&self.stream) })
    }

    /// Runs the work before the engine, the engine, and the work behind it, and waits for the end.
    ///
    /// # Errors
    /// It was put around another engine; else as [`Execution::run`].
    pub fn run_surrounded<A: Around>(&mut self, surrounded: &mut Surrounded<A>) -> Result<(), Error> {
        if !Arc::ptr_eq(&self.stream, &surrounded.stream) {
            return Err(Error::Run { version: self.version, reason: "the work around it is another engine's".into(), log: vec![] });
        }
        let begun = match &surrounded.graph {
            Some(graph) => graph.launch().map_err(|e| cuda("launch the engine", e)),
            None => self.begin_surrounded(&surrounded.around),
        };
        // Also where something failed: what was begun before it uses the memory of `surrounded`.
        let ended = self.wait();
        begun.and(ended)
    }

    fn begin_surrounded(&mut self, around: &impl Around) -> Result<(), Error> {
        around.before(&self.stream, &mut self.input.memory).map_err(|e| cuda("start the work before the engine", e))?;
        self.enqueue()?;
        around.after(&self.stream, &self.output.memory).map_err(|e| cuda("start the work behind the engine", e))
    }
}
