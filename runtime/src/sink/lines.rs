use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::live::{Hub, Live, Next, Topic, take_all};
use super::web::MIN_REGION_PX;
use super::{Sink, View};
use crate::uri::Uri;
use crate::{Error, Result};

/// A reader that takes nothing for so long is cut off.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// `lines:PATH?region=400`: a Unix socket that tells every reader the result of each frame as a line of JSON.
pub(super) struct Lines {
    live: Option<Live>,
    path: PathBuf,
    server: Option<JoinHandle<()>>,
}

impl Lines {
    pub(super) fn open(mut uri: Uri<'_>) -> Result<Self> {
        uri.example("lines:/run/amis/results.sock");
        let path = PathBuf::from(uri.path()?);
        let region_px = uri.number("region", 1..=u32::MAX)?.unwrap_or(MIN_REGION_PX);
        uri.finish("region")?;
        // What a run that was killed left behind; a socket with somebody at its other end stays, and so does any other file.
        let is_socket = path.symlink_metadata().is_ok_and(|m| m.file_type().is_socket());
        if is_socket && UnixStream::connect(&path).is_err() {
            let _ = std::fs::remove_file(&path);
        }
        let listener = UnixListener::bind(&path).map_err(|e| Error::Listen { address: path.display().to_string(), reason: e.to_string() })?;
        let live = Live::start(region_px);
        let hub = Arc::clone(&live.hub);
        let server = thread::spawn(move || {
            take_all(
                listener.incoming(),
                &hub,
                |_| Ok(()),
                |stream| {
                    let hub = Arc::clone(&hub);
                    move || tell(&hub, stream)
                },
            );
        });
        Ok(Self { live: Some(live), path, server: Some(server) })
    }
}

impl Sink for Lines {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        if let Some(live) = &self.live {
            live.show(view);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(live) = self.live.take() {
            live.finish();
        }
        // Wakes the server, which sees that the run has ended.
        if UnixStream::connect(&self.path).is_ok()
            && let Some(server) = self.server.take()
            && server.join().is_err()
        {
            tracing::error!("the thread of {} has panicked", self.path.display());
        }
        let _ = std::fs::remove_file(&self.path);
        Ok(())
    }
}

/// Writes lines until the reader or the run ends.
fn tell(hub: &Arc<Hub>, mut stream: UnixStream) {
    let _ = stream.set_write_timeout(Some(WRITE_TIME));
    let Some(mut results) = hub.subscribe(Topic::Result) else { return };
    loop {
        match results.next(Instant::now() + WRITE_TIME) {
            Next::Closed => return,
            Next::Nothing => {}
            Next::New(result) => {
                let mut line = result.to_vec();
                line.push(b'\n');
                if stream.write_all(&line).is_err() {
                    return;
                }
            }
        }
    }
}
