//! As much of HTTP/1.1 as viewers need: GET and HEAD, one request a connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest request line with headers.
const MAX_REQUEST_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// A request has to be there after this time.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// What was asked for.
pub(super) struct Request {
    pub(super) path: String,
    query: String,
    /// Only the head of the answer is wanted.
    head_only: bool,
    /// Headers `Host`, `Authorization` and `Cookie`.
    pub(super) host: String,
    authorization: String,
    cookie: String,
}

/// Why a request was refused.
pub(super) enum Refusal {
    /// The connection is of no use any more.
    Gone,
    /// With an HTTP status.
    Status(&'static str, String),
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Request {
    /// Reads a request; one that comes too slowly, is too long or not HTTP is refused.
    pub(super) fn read(stream: &mut TcpStream) -> Result<Self, Refusal> {
        let (mut bytes, deadline) = (Vec::new(), Instant::now() + REQUEST_TIME);
        loop {
            if let Some(request) = Self::parse(&bytes)? {
                return Ok(request);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refusal::Gone);
            }
            stream.set_read_timeout(Some(left))?;
            let mut more = [0; 1024];
            let count = stream.read(&mut more)?;
            if count == 0 {
                return Err(Refusal::Gone);
            }
            bytes.extend_from_slice(&more[..count]);
            if bytes.len() > MAX_REQUEST_BYTES {
                return Err(Refusal::Status("431 Request Header Fields Too Large", format!("at most {MAX_REQUEST_BYTES} bytes")));
            }
        }
    }

    /// The request, none while it is not whole.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let whole = request.parse(bytes).map_err(|e| Refusal::Status("400 Bad Request", e.to_string()))?;
        if whole.is_partial() {
            return Ok(None);
        }
        let method = request.method.unwrap_or_default();
        if method != "GET" && method != "HEAD" {
            return Err(Refusal::Status("405 Method Not Allowed", format!("{method} is not served, only GET and HEAD")));
        }
        let (path, query) = request.path.unwrap_or_default().split_once('?').unwrap_or((request.path.unwrap_or_default(), ""));
        let header = |name: &str| {
            let found = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
            found.map(|h| String::from_utf8_lossy(h.value).into_owned()).unwrap_or_default()
        };
        let (host, authorization, cookie) = (header("host"), header("authorization"), header("cookie"));
        Ok(Some(Self { path: path.to_owned(), query: query.to_owned(), head_only: method == "HEAD", host, authorization, cookie }))
    }

    /// Settings behind the question mark.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.split('&').filter_map(|pair| pair.split_once('='))
    }

    /// Every token that it brings: as setting `token`, as cookie of this name, as bearer.
    pub(super) fn tokens(&self, cookie: &str) -> impl Iterator<Item = &str> {
        let setting = self.settings().filter(|(key, _)| *key == "token").map(|(_, value)| value);
        let cookies = self.cookie.split(';').filter_map(|pair| pair.trim().split_once('=')).filter(move |(key, _)| *key == cookie).map(|(_, value)| value);
        setting.chain(cookies).chain(self.authorization.strip_prefix("Bearer ").map(str::trim))
    }

    /// Answers with a whole body; `more` are further header lines, each ended with `\r\n`.
    pub(super) fn answer(&self, stream: &mut TcpStream, status: &str, kind: &str, more: &str, body: &[u8]) -> io::Result<()> {
        answer(stream, status, kind, &format!("{more}Content-Length: {}\r\n", body.len()))?;
        if self.head_only { Ok(()) } else { stream.write_all(body) }
    }

    /// Begins an answer that goes on until the connection ends; false if only the head was wanted.
    pub(super) fn begin(&self, stream: &mut TcpStream, kind: &str) -> io::Result<bool> {
        answer(stream, "200 OK", kind, "")?;
        Ok(!self.head_only)
    }
}

/// Answers a request that could not be understood.
pub(super) fn refuse(stream: &mut TcpStream, status: &str, reason: &str) -> io::Result<()> {
    answer(stream, status, "text/plain; charset=utf-8", &format!("Content-Length: {}\r\n", reason.len() + 1))?;
    writeln!(stream, "{reason}")
}

fn answer(stream: &mut TcpStream, status: &str, kind: &str, more: &str) -> io::Result<()> {
    let policy =
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nContent-Security-Policy: {policy}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<Request> {
        Request::parse(text.as_bytes()).ok().unwrap()
    }

    #[test]
    fn tokens_come_in_three_ways() {
        let text = "GET /a?x=1&token=one HTTP/1.1\r\nhost: h\r\nCookie: b=2; amis=two\r\nAUTHORIZATION: Bearer three\r\n\r\n";
        let request = parse(text).unwrap();
        assert_eq!(request.tokens("amis").collect::<Vec<_>>(), ["one", "two", "three"]);
        assert_eq!((request.path.as_str(), request.host.as_str()), ("/a", "h"));
        assert!(parse(&text[..text.len() - 1]).is_none());
        assert!(matches!(Request::parse(b"POST / HTTP/1.1\r\n\r\n"), Err(Refusal::Status(status, _)) if status.starts_with("405")));
        assert!(matches!(Request::parse(b"\x16\x03\x01"), Err(Refusal::Status(status, _)) if status.starts_with("400")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), line in "(GET|HEAD|PUT) [ -~]{0,40} HTTP/1.1\r\n[ -~]{0,40}\r\n\r\n") {
            for bytes in [&bytes, line.as_bytes()] {
                if let Ok(Some(request)) = Request::parse(bytes) {
                    let _ = (request.settings().count(), request.tokens("amis").count());
                }
            }
        }
    }
}
