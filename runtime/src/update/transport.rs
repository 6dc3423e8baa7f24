//! Bytes from a web server or a folder.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

/// A server that is silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes that are handed on at a time.
const PIECE_BYTES: usize = 32 << 10;

/// Reads web servers and folders. Proxies are taken from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), certificates from the system.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    agent: Agent,
}

/// What a server sends.
pub(super) struct Body {
    /// Where in the file it begins.
    pub(super) start: u64,
    /// The bytes, as they come.
    pub(super) reader: Box<dyn Read + Send>,
}

impl Fetcher {
    pub(super) fn new() -> Self {
        // A second call finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("amis-run/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into() }
    }

    /// Opens a file from a place on; a server may ignore the place and begin at 0.
    pub(super) fn open(&self, url: &Url, from: u64) -> io::Result<Body> {
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| io::Error::new(ErrorKind::InvalidInput, "it is not a path"))?;
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            return Ok(Body { start: from, reader: Box::new(file) });
        }
        let mut request = self.agent.get(url.as_str());
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.call().map_err(io::Error::other)?;
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => start_of(response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()))?,
            // What is here is longer than what is there: from the start then.
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return self.open(url, 0),
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => {
                return Err(io::Error::new(ErrorKind::NotFound, format!("the server answers {}", response.status())));
            }
            status => return Err(io::Error::other(format!("the server answers {status}"))),
        };
        Ok(Body { start, reader: Box::new(response.into_body().into_reader()) })
    }

    /// Sends JSON to a server.
    pub(super) fn post(&self, url: &str, json: &[u8]) -> io::Result<()> {
        let response = self.agent.post(url).header("Content-Type", "application/json").send(json).map_err(io::Error::other)?;
        if response.status().is_success() { Ok(()) } else { Err(io::Error::other(format!("the server answers {}", response.status()))) }
    }
}

/// The first byte in `bytes 100-199/1000`.
fn start_of(range: Option<&str>) -> io::Result<u64> {
    let start = range.and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    start.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("the server sends a part and says {range:?} of it")))
}

#[async_trait]
impl Transport for Fetcher {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let body = self.open(&url, 0).map_err(|e| failed(&url, e))?;
        Ok(Box::pin(Pieces { url, reader: Mutex::new(body.reader) }))
    }
}

fn failed(url: &Url, error: io::Error) -> TransportError {
    let kind = if error.kind() == ErrorKind::NotFound { TransportErrorKind::FileNotFound } else { TransportErrorKind::Other };
    TransportError::new_with_cause(kind, url, error)
}

/// A reader as a stream that is read as far as somebody asks: what never ends is cut by who has the limit. Waits in place, since nothing else is to be done.
struct Pieces {
    url: Url,
    reader: Mutex<Box<dyn Read + Send>>,
}

impl Stream for Pieces {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut piece = vec![0; PIECE_BYTES];
        let read = self.reader.lock().unwrap_or_else(PoisonError::into_inner).read(&mut piece);
        Poll::Ready(match read {
            Ok(0) => None,
            Ok(n) => {
                piece.truncate(n);
                Some(Ok(piece.into()))
            }
            Err(error) => Some(Err(failed(&self.url, error))),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_part_says_where_it_begins() {
        assert_eq!(start_of(Some("bytes 100-199/1000")).unwrap(), 100);
        for wrong in [None, Some("100-199"), Some("bytes x-9/10"), Some("bytes */10")] {
            assert!(start_of(wrong).is_err(), "{wrong:?}");
        }
    }
}
