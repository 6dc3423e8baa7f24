use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use subtle::ConstantTimeEq;

use super::http::{Refusal, Request, refuse};
use crate::sink::live::{Hub, Look, Next, Topic};
use crate::stats::{Journal, Monitor, Report, prometheus};

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// Between two statistics in the stream of events.
const STATISTICS_PERIOD: Duration = Duration::from_secs(1);
/// How long a single picture may take to come.
const PICTURE_TIME: Duration = Duration::from_secs(5);
/// Without a frame for so long the run is not healthy.
const SILENCE: Duration = Duration::from_secs(5);
/// Between the pictures of a stream.
const BOUNDARY: &str = "amis-frame";

/// What the server knows.
pub(super) struct Site {
    pub(super) cameras: Vec<Camera>,
    pub(super) journal: Arc<Journal>,
    pub(super) token: Option<String>,
    pub(super) address: SocketAddr,
}

/// What it knows of a camera.
pub(super) struct Camera {
    pub(super) hub: Arc<Hub>,
    pub(super) monitor: Arc<Monitor>,
}

impl Site {
    /// Serves one request. Errors here are connections that went away.
    pub(super) fn serve(&self, stream: &mut TcpStream) {
        let _ = match Request::read(stream) {
            Ok(request) => self.answer(&request, stream),
            Err(Refusal::Gone) => Ok(()),
            Err(Refusal::Status(status, reason)) => refuse(stream, status, &reason),
        };
    }

    fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<()> {
        if self.address.ip().is_loopback() && self.token.is_none() && !names_this_machine(&request.host) {
            // A page from elsewhere whose name leads to this machine must not read the camera.
            return request.answer(stream, "403 Forbidden", TEXT, "", b"expected localhost or an address as host\n");
        }
        let path = request.path.as_str();
        if path == "/healthz" {
            return self.health(request, stream);
        }
        let cookie = format!("amis-{}", self.address.port());
        if let Some(token) = &self.token
            && !request.tokens(&cookie).any(|given| bool::from(given.as_bytes().ct_eq(token.as_bytes())))
        {
            return request.answer(stream, "401 Unauthorized", HTML, "WWW-Authenticate: Bearer\r\n", include_bytes!("token.html"));
        }
        let asked = request.settings().find(|(key, _)| *key == "camera").map(|(_, number)| number);
        let number = asked.map_or(Some(1), |number| number.parse().ok());
        let Some(camera) = number.and_then(|number: usize| self.cameras.get(number.wrapping_sub(1))) else {
            let reason = format!("camera is {:?}, expected a number from 1 to {}\n", asked.unwrap_or_default(), self.cameras.len());
            return request.answer(stream, "400 Bad Request", TEXT, "", reason.as_bytes());
        };
        match path {
            "/" => {
                let keep = self.token.as_ref().map(|token| format!("Set-Cookie: {cookie}={token}; HttpOnly; SameSite=Strict; Path=/\r\n"));
                request.answer(stream, "200 OK", HTML, &keep.unwrap_or_default(), include_bytes!("page.html"))
            }
            "/page.css" => request.answer(stream, "200 OK", "text/css; charset=utf-8", "", include_bytes!("page.css")),
            "/page.js" => request.answer(stream, "200 OK", "text/javascript; charset=utf-8", "", include_bytes!("page.js")),
            "/stats.json" => request.answer(stream, "200 OK", JSON, "", &json(&self.report(asked.map(|_| camera)))),
            "/metrics" => {
                let text = prometheus(&self.report(None).0);
                request.answer(stream, "200 OK", "text/plain; version=0.0.4; charset=utf-8", "", text.as_bytes())
            }
            "/classmap.png" => camera.next(request, stream, Topic::ClassMap, "image/png"),
            "/result.json" => camera.next(request, stream, Topic::Result, JSON),
            "/frame.jpg" | "/stream.mjpg" => match Look::parse(request.settings()) {
                Err(reason) => request.answer(stream, "400 Bad Request", TEXT, "", reason.as_bytes()),
                Ok(look) if path == "/frame.jpg" => camera.next(request, stream, Topic::Picture(look), "image/jpeg"),
                Ok(look) => camera.pictures(request, stream, look),
            },
            "/events" => self.events(request, stream, camera),
            _ => request.answer(stream, "404 Not Found", TEXT, "", b"not found\n"),
        }
    }

    /// Statistics of one camera, or of all.
    fn report(&self, one: Option<&Camera>) -> Report {
        let all = || self.cameras.iter().map(|camera| camera.monitor.summary()).collect();
        Report(one.map_or_else(all, |camera| vec![camera.monitor.summary()]))
    }

    /// All is well while every camera has frames.
    fn health(&self, request: &Request, stream: &mut TcpStream) -> io::Result<()> {
        let ill = self.cameras.iter().find_map(|Camera { monitor, .. }| {
            let of_camera = monitor.camera().map(|camera| format!("camera {camera}: ")).unwrap_or_default();
            match monitor.silence() {
                Some(silence) if silence < SILENCE => None,
                Some(silence) => Some(format!("{of_camera}no frame for {} s\n", silence.as_secs())),
                None => Some(format!("{of_camera}no frame yet\n")),
            }
        });
        match ill {
            None => request.answer(stream, "200 OK", TEXT, "", b"ok\n"),
            Some(text) => request.answer(stream, "503 Service Unavailable", TEXT, "", text.as_bytes()),
        }
    }

    /// Server-sent events: first `cameras`, their number; `result` for every frame of a camera, `stats` every second, `note` for what happened.
    fn events(&self, request: &Request, stream: &mut TcpStream, camera: &Camera) -> io::Result<()> {
        let Some(mut subscription) = camera.hub.subscribe(Topic::Result) else { return too_many_looks(request, stream) };
        if !request.begin(stream, "text/event-stream")? {
            return Ok(());
        }
        event(stream, "cameras", &json(&self.cameras.len()))?;
        let (mut told, mut due) = (0, Instant::now());
        loop {
            if Instant::now() >= due {
                for note in self.journal.events_after(told) {
                    told = note.number;
                    event(stream, "note", &json(&note))?;
                }
                event(stream, "stats", &json(&camera.monitor.summary()))?;
                due = Instant::now() + STATISTICS_PERIOD;
            }
            match subscription.next(due) {
                Next::Closed => return Ok(()),
                Next::New(result) => event(stream, "result", &result)?,
                Next::Nothing => {}
            }
        }
    }
}

impl Camera {
    /// Answers with what is made of the next frame.
    fn next(&self, request: &Request, stream: &mut TcpStream, topic: Topic, kind: &str) -> io::Result<()> {
        let Some(mut subscription) = self.hub.subscribe(topic) else { return too_many_looks(request, stream) };
        match subscription.next(Instant::now() + PICTURE_TIME) {
            Next::New(data) => request.answer(stream, "200 OK", kind, "", &data),
            Next::Nothing | Next::Closed => request.answer(stream, "503 Service Unavailable", TEXT, "", b"no frame came\n"),
        }
    }

    /// Pictures without end, each replacing the one before: what browsers show in an `img`.
    fn pictures(&self, request: &Request, stream: &mut TcpStream, look: Look) -> io::Result<()> {
        let Some(mut subscription) = self.hub.subscribe(Topic::Picture(look)) else { return too_many_looks(request, stream) };
        if !request.begin(stream, &format!("multipart/x-mixed-replace; boundary={BOUNDARY}"))? {
            return Ok(());
        }
        loop {
            match subscription.next(Instant::now() + PICTURE_TIME) {
                Next::Closed => return write!(stream, "--{BOUNDARY}--\r\n"),
                // Something has to be written now and then, or a viewer that has gone is never noticed.
                Next::Nothing => stream.write_all(b"\r\n")?,
                Next::New(jpeg) => {
                    write!(stream, "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len())?;
                    stream.write_all(&jpeg)?;
                    stream.write_all(b"\r\n")?;
                }
            }
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Writes an event; JSON has no line breaks of its own.
fn event(stream: &mut TcpStream, name: &str, json: &[u8]) -> io::Result<()> {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    text.extend_from_slice(json);
    text.extend_from_slice(b"\n\n");
    stream.write_all(&text)
}

fn too_many_looks(request: &Request, stream: &mut TcpStream) -> io::Result<()> {
    request.answer(stream, "503 Service Unavailable", TEXT, "", b"too many different pictures are watched; use the settings of one of the others\n")
}

/// Whether a `Host` header is empty, localhost or an address.
fn names_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host });
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::names_this_machine;

    #[test]
    fn names_from_elsewhere_are_not_this_machine() {
        for host in ["", "localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080", "[::1]", "192.168.1.7"] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert!(!names_this_machine(host), "{host}");
        }
    }
}
