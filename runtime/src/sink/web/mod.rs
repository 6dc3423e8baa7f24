//! The page for people and the addresses for machines: a small web server beside the pipeline.

mod http;
mod serve;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::live::{Live, take_all};
use super::{Run, Sink, View};
use crate::uri::Uri;
use crate::{Error, Result};
use serve::Site;

/// A viewer that takes nothing for so long is cut off.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Regions of fewer pixels are not told: 20 by 20.
pub(super) const MIN_REGION_PX: u32 = 400;

/// `web:ADDRESS?region=400`.
pub(super) struct Web {
    live: Option<Live>,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

impl Web {
    pub(super) fn open(mut uri: Uri<'_>, run: &Run<'_>) -> Result<Self> {
        uri.example("web:127.0.0.1:8080");
        let name = uri.path()?;
        let region_px = uri.number("region", 1..=u32::MAX)?.unwrap_or(MIN_REGION_PX);
        let address = name.to_socket_addrs().ok().and_then(|mut all| all.next());
        let address = address.ok_or_else(|| uri.wrong(format!("{name:?} is no address, expected HOST:PORT")))?;
        uri.finish("region")?;
        let listener = TcpListener::bind(address).map_err(|e| Error::Listen { address: name.to_owned(), reason: e.to_string() })?;
        let address = listener.local_addr().map_err(|e| Error::Listen { address: name.to_owned(), reason: e.to_string() })?;
        if !address.ip().is_loopback() && run.token.is_none() {
            tracing::warn!("web: http://{address}/ is open to everyone who reaches it; `--token` asks for a token");
        }
        tracing::info!("web: http://{address}/");
        let live = Live::start(region_px);
        let site = Site { hub: Arc::clone(&live.hub), monitor: Arc::clone(run.monitor), token: run.token.map(str::to_owned), address };
        let site = Arc::new(site);
        let server = thread::spawn(move || {
            let crowded = |stream: &mut TcpStream| http::refuse(stream, "503 Service Unavailable", "too many connections");
            take_all(listener.incoming(), &site.hub, crowded, |mut stream| {
                let _ = stream.set_write_timeout(Some(WRITE_TIME));
                let site = Arc::clone(&site);
                move || site.serve(&mut stream)
            });
        });
        Ok(Self { live: Some(live), address, server: Some(server) })
    }
}

impl Sink for Web {
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
        // Wakes the server, which sees that the run has ended. Connections end by themselves.
        let any = if self.address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        let ip = if self.address.ip().is_unspecified() { any } else { self.address.ip() };
        let woken = TcpStream::connect_timeout(&SocketAddr::new(ip, self.address.port()), Duration::from_millis(500)).is_ok();
        if let Some(server) = self.server.take()
            && woken
            && server.join().is_err()
        {
            tracing::error!("the web server's thread has panicked");
        }
        Ok(())
    }
}
