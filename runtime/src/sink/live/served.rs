use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::{Hub, Live};
use crate::Result;
use crate::sink::{Sink, View};

/// A sink that shows its frames to those who come to a server.
pub(in crate::sink) struct Served {
    live: Option<Live>,
    server: Arc<Server>,
}

/// The thread that takes connections, for one camera or several.
pub(in crate::sink) struct Server {
    hubs: Vec<Arc<Hub>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Connects once more, so that the thread sees that nothing comes any more; whether that has worked.
    wake: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Server {
    /// Starts the thread, which has to end with the first connection after all hubs are closed.
    pub(in crate::sink) fn start(hubs: Vec<Arc<Hub>>, serve: impl FnOnce() + Send + 'static, wake: impl Fn() -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { hubs, thread: Mutex::new(Some(thread::spawn(serve))), wake: Box::new(wake) })
    }

    /// Ends the thread if the last camera has ended. Connections end by themselves.
    fn end(&self) {
        if self.hubs.iter().all(|hub| hub.closed())
            && (self.wake)()
            && let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that takes connections has panicked");
        }
    }
}

impl Served {
    pub(in crate::sink) fn new(live: Live, server: &Arc<Server>) -> Self {
        Self { live: Some(live), server: Arc::clone(server) }
    }
}

impl Sink for Served {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        if let Some(live) = &self.live {
            live.show(view);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(live) = self.live.take() {
            live.finish();
            self.server.end();
        }
        Ok(())
    }
}
