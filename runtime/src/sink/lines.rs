use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Sink;
use super::live::{Hub, Live, Next, Served, Server, Topic, take_all};
use super::web::MIN_REGION_PX;
use crate::uri::Uri;
use crate::{Error, Result};

/// A reader that takes nothing for so long is cut off.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// `lines:PATH?region=400`: a Unix socket that tells every reader the result of each frame as a line of JSON.
pub(super) fn open(mut uri: Uri<'_>) -> Result<Box<dyn Sink>> {
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
    let (hub, hubs) = (Arc::clone(&live.hub), vec![Arc::clone(&live.hub)]);
    let serve = move || {
        let tell = |stream| {
            let hub = Arc::clone(&hub);
            move || tell(&hub, stream)
        };
        take_all(listener.incoming(), slice::from_ref(&hub), |_| Ok(()), tell);
    };
    let wake = move || {
        let woken = UnixStream::connect(&path).is_ok();
        let _ = std::fs::remove_file(&path);
        woken
    };
    Ok(Box::new(Served::new(live, &Server::start(hubs, serve, wake))))
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
