//! The page for people and the addresses for machines: a small web server beside the pipeline.

mod http;
mod serve;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use super::live::{Hub, Live, Served, Server, take_all};
use super::{Run, Sink};
use crate::uri::Uri;
use crate::{Error, Result};
use serve::{Camera, Site};

/// A viewer that takes nothing for so long is cut off.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Regions of fewer pixels are not told: 20 by 20.
pub(super) const MIN_REGION_PX: u32 = 400;

/// `web:ADDRESS?region=400`: one server, a sink for each camera.
pub(super) fn open(mut uri: Uri<'_>, run: &Run) -> Result<Vec<Box<dyn Sink>>> {
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
    let lives: Vec<Live> = run.cameras.iter().map(|_| Live::start(region_px)).collect();
    let hubs: Vec<Arc<Hub>> = lives.iter().map(|live| Arc::clone(&live.hub)).collect();
    let cameras = run.cameras.iter().zip(&hubs).map(|(camera, hub)| Camera { hub: Arc::clone(hub), monitor: Arc::clone(&camera.monitor) });
    let site = Arc::new(Site { cameras: cameras.collect(), journal: Arc::clone(&run.journal), token: run.token.clone(), address });
    let all = hubs.clone();
    let serve = move || {
        let crowded = |stream: &mut TcpStream| http::refuse(stream, "503 Service Unavailable", "too many connections");
        take_all(listener.incoming(), &all, crowded, |mut stream| {
            let _ = stream.set_write_timeout(Some(WRITE_TIME));
            let site = Arc::clone(&site);
            move || site.serve(&mut stream)
        });
    };
    let server = Server::start(hubs, serve, move || wake(address));
    Ok(lives.into_iter().map(|live| Box::new(Served::new(live, &server)) as Box<dyn Sink>).collect())
}

/// Connects once more; whether that has worked.
fn wake(address: SocketAddr) -> bool {
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
    let ip = if address.ip().is_unspecified() { any } else { address.ip() };
    TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), Duration::from_millis(500)).is_ok()
}
