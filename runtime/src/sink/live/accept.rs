use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::Hub;

/// Connections at once: ten viewers with two each, and room for machines.
const MAX_CONNECTIONS: usize = 64;

/// Takes connections until all hubs are closed, each into a thread of its own; `crowded` answers those that are too many.
pub(in crate::sink) fn take_all<S, F: FnOnce() + Send + 'static>(
    incoming: impl Iterator<Item = io::Result<S>>,
    hubs: &[Arc<Hub>],
    crowded: impl Fn(&mut S) -> io::Result<()>,
    serve: impl Fn(S) -> F,
) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in incoming {
        if hubs.iter().all(|hub| hub.closed()) {
            return;
        }
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Out of file descriptors, usually: the next try would fail at once.
                tracing::warn!("a connection could not be taken: {error}");
                thread::sleep(Duration::from_millis(200));
                continue;
            }
        };
        let guard = Open::new(&open);
        if guard.others >= MAX_CONNECTIONS {
            let _ = crowded(&mut stream);
            continue;
        }
        let work = serve(stream);
        let thread = thread::Builder::new().name("viewer".into()).spawn(move || {
            let _guard = guard;
            work();
        });
        if let Err(error) = thread {
            tracing::warn!("no thread for a connection: {error}");
        }
    }
}

/// Counts an open connection until it is dropped.
struct Open {
    count: Arc<AtomicUsize>,
    others: usize,
}

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        Self { count: Arc::clone(count), others: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
