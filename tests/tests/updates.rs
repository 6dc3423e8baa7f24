//! From a publication to the picture: devices that update from a signed repository, in a folder and over a bad link.
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use amis_artifacts::classes::palette_color;
use common::onnxruntime_present;
use common::release::{Network, release_bundle};
use serde_json::Value;

/// Red on the left, white on the right: red is a class from the start, white comes with the second release.
const PICTURES: usize = 3000;
const RED: u8 = 1;
const WHITE: u8 = 4;

fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().skip(1).take(2).find(|folder| folder.join(name).is_file());
    folder.unwrap_or_else(|| panic!("{name} is not built: `cargo build` first")).join(name)
}

fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// A publisher with its repository, and devices.
struct Field {
    dir: tempfile::TempDir,
}

impl Field {
    fn new() -> Self {
        let field = Self { dir: tempfile::tempdir().unwrap() };
        field.export(&["init", "site", "--keys", "keys"]);
        field
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn export(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(program("amis-export"));
        let output = output(command.current_dir(self.dir.path()).env("AMIS_PASSPHRASE", "under the stone").arg("repo").args(arguments).arg("--json"));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn publish(&self, version: u64, network: Network, channel: &str) {
        let bundle = format!("{version}.amis");
        release_bundle(&self.path(&bundle), version, network);
        self.export(&["add", "site", &bundle, "--channel", channel, "--allow-drop", &format!("colors-{version}")]);
        self.export(&["publish", "site", "--keys", "keys"]);
    }

    fn device(&self, name: &str, repository: &str, more: &str) -> Device {
        let root = self.path(name);
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("update.toml"), format!("repository = {repository:?}\ndevice = {name:?}\n{more}")).unwrap();
        let trust = self.path("site/metadata/1.root.json");
        let device = Device { root, prefix: vec![], run: None };
        device.json(&["update", "--trust", trust.to_str().unwrap()]);
        device
    }
}

/// A device, and the run on it.
struct Device {
    root: PathBuf,
    /// What its programs are started with: `ip netns exec NAME`.
    prefix: Vec<String>,
    run: Option<Child>,
}

impl Device {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.prefix.clone();
        words.push(program("amis-run").to_str().unwrap().to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(arguments).arg("--root").arg(&self.root);
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = output(self.command(arguments).arg("--json"));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn start(&mut self, source: &str, sink: &str) {
        let mut command = self.command(&["run", "--source", source, "--realtime", "--sink", sink, "--threads", "1"]);
        self.run = Some(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap());
        self.until(|s| s["run"]["statistics"]["frames"].as_u64() > Some(2));
    }

    fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = self.json(&["status"]);
            if wanted(&status) {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{status:#}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(run) = &mut self.run {
            let _ = run.kill();
            let _ = run.wait();
        }
    }
}

/// Whether the class map that a run shows, with a palette of the classes' colours, has this class.
fn shows(address: &str, class: u8) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /classmap.png HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let picture = image::load_from_memory(&answer[body..]).unwrap().into_rgb8();
    picture.pixels().any(|pixel| pixel.0 == palette_color(class))
}

fn pictures(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let first = folder.join("0000.png");
    common::two_halves(&first, 96, 64, [255, 0, 0], [255, 255, 255]);
    for number in 1..PICTURES {
        fs::hard_link(&first, folder.join(format!("{number:04}.png"))).unwrap();
    }
}

#[test]
fn a_new_class_comes_to_canaries_first_and_then_into_the_live_picture() {
    if !onnxruntime_present("a_new_class_comes_to_canaries_first_and_then_into_the_live_picture") {
        return;
    }
    let field = Field::new();
    pictures(&field.path("pictures"));
    field.publish(3, Network::Colors, "stable");
    let site = field.path("site").to_str().unwrap().to_owned();
    let short = "probation_minutes = 0.02";
    let canary = field.device("canary", &site, &format!("channel = \"canary\"\n{short}"));
    let mut device = field.device("pole", &site, short);
    let address = "127.0.0.1:18471";
    device.start(&format!("dir:{}", field.path("pictures").display()), &format!("web:{address}"));
    device.until(|s| s["phase"] == "idle");
    assert!(shows(address, RED) && !shows(address, WHITE));

    field.publish(4, Network::OneMore, "canary");
    assert_eq!(device.json(&["update"])["result"], "up_to_date");
    // Nothing runs there: the trial of version 3 is not over, and nothing newer is taken.
    let refused = output(canary.command(&["update"]).arg("--json"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("still on trial"));

    field.export(&["promote", "site", "colors-4"]);
    field.export(&["publish", "site", "--keys", "keys"]);
    assert_eq!(device.json(&["update", "--check"])["result"], "offered");
    let report = device.json(&["update"]);
    assert_eq!((&report["result"], &report["version"], &report["serves"]), (&"installed".into(), &4.into(), &true.into()));
    let status = device.until(|s| s["phase"] == "idle");
    assert!(shows(address, WHITE));
    assert_eq!((&status["run"]["statistics"]["dropped"], &status["current"], &status["last_error"]), (&0.into(), &4.into(), &Value::Null));

    // A bad one comes back by itself, and the publisher reads why.
    field.publish(5, Network::Blank, "stable");
    fs::write(device.root.join("update.toml"), format!("repository = {site:?}\ndevice = \"pole\"\nprobation_minutes = 5.0\n")).unwrap();
    device.json(&["update"]);
    let status = device.until(|s| s["current"] == 4);
    assert!(shows(address, WHITE));
    fs::create_dir_all(field.path("reports")).unwrap();
    fs::write(field.path("reports/pole.json"), status.to_string()).unwrap();
    let fleet = field.export(&["status", "site", "--reports", "reports"]).to_string();
    assert!(fleet.contains("background and nothing else"), "{fleet}");
    assert_eq!(device.json(&["update"])["result"], "up_to_date");
}

#[test]
fn keys_that_are_rotated_are_followed_and_a_folder_that_is_not_the_repository_is_refused() {
    if !onnxruntime_present("keys_that_are_rotated_are_followed_and_a_folder_that_is_not_the_repository_is_refused") {
        return;
    }
    let field = Field::new();
    field.publish(3, Network::Colors, "stable");
    let site = field.path("site").to_str().unwrap().to_owned();
    let device = field.device("pole", &site, "");
    field.export(&["rotate", "site", "--role", "timestamp", "--keys", "keys"]);
    field.export(&["publish", "site", "--keys", "keys"]);
    assert_eq!(device.json(&["update", "--check"])["result"], "up_to_date");
    assert!(fs::read_to_string(device.root.join("tuf/root.json")).unwrap().contains("\"version\":2"));

    let other = Field::new();
    other.publish(9, Network::Colors, "stable");
    fs::write(device.root.join("update.toml"), format!("repository = {:?}\n", other.path("site").to_str().unwrap())).unwrap();
    let refused = output(device.command(&["update", "--check"]).arg("--json"));
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).replace('\n', " ").contains("signatures do not suffice"), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(device.json(&["status"])["last_error"].as_str().unwrap().contains("signatures"));
}

/// A network of its own, in which a link is as bad as it is made, with a web server.
struct BadLink {
    name: String,
    dir: PathBuf,
    server: Option<Child>,
}

impl BadLink {
    /// 1 Mbit/s, and one packet of twenty is lost.
    fn new(field: &Field) -> Self {
        let link = Self { name: format!("amis-{}", std::process::id()), dir: field.dir.path().to_owned(), server: None };
        tool(&["ip", "netns", "add", &link.name]);
        link.tool(&["ip", "link", "set", "lo", "mtu", "1500", "up"]);
        link.tool(&["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "50ms"]);
        let drop = "add table ip loss; add chain ip loss out { type filter hook output priority 0; }; add rule ip loss out numgen random mod 100 < 5 drop";
        link.tool(&["nft", drop]);
        let (certificate, key) = (link.path("certificate.pem"), link.path("key.pem"));
        let new = |subject: &str, key: &str, out: &str, more: &[&str]| {
            tool(&[&["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", &link.path(key), "-out", &link.path(out)], more].concat());
        };
        new("/CN=authority", "authority.key", "authority.pem", &["-x509"]);
        new("/CN=localhost", "key.pem", "request.pem", &["-addext", "subjectAltName=DNS:localhost"]);
        let authority = ["-CA", &link.path("authority.pem"), "-CAkey", &link.path("authority.key"), "-CAcreateserial"];
        let sign = ["openssl", "x509", "-req", "-copy_extensions", "copy", "-in", &link.path("request.pem"), "-out", &certificate];
        tool(&[&sign[..], &authority].concat());
        let (site, log, pid) = (link.path("site"), link.path("access.log"), link.path("nginx.pid"));
        let server = format!(
            "daemon off; pid {pid}; error_log stderr; events {{}} http {{ access_log {log}; server {{ listen 127.0.0.1:8080; \
             listen 127.0.0.1:8443 ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; root {site}; }} }}"
        );
        fs::write(link.dir.join("nginx.conf"), server).unwrap();
        link
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    fn tool(&self, words: &[&str]) {
        tool(&[&["ip", "netns", "exec", &self.name], words].concat());
    }

    fn serve(&mut self) {
        let config = self.path("nginx.conf");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "nginx", "-e", "stderr", "-c", &config]);
        self.server = Some(command.stderr(Stdio::null()).spawn().unwrap());
        thread::sleep(Duration::from_millis(300));
    }

    /// No link and no server for a while.
    fn cut(&mut self, time: Duration) {
        self.tool(&["ip", "link", "set", "lo", "down"]);
        self.stop();
        thread::sleep(time);
        self.tool(&["ip", "link", "set", "lo", "up"]);
        self.serve();
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = Command::new("kill").arg(server.id().to_string()).status();
            let _ = server.wait();
        }
    }
}

impl Drop for BadLink {
    fn drop(&mut self) {
        self.stop();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn tool(words: &[&str]) {
    let output = output(Command::new(words[0]).args(&words[1..]));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Needs root, nginx, nftables and openssl: `make test-updates` has them.
#[test]
fn over_a_slow_link_that_loses_packets_and_breaks_an_update_arrives_while_the_camera_runs() {
    let name = "over_a_slow_link_that_loses_packets_and_breaks_an_update_arrives_while_the_camera_runs";
    if std::env::var_os("AMIS_BAD_LINK").is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED {name}: AMIS_BAD_LINK is not set; `make test-updates` sets it");
        return;
    }
    let field = Field::new();
    field.publish(3, Network::Colors, "stable");
    let mut link = BadLink::new(&field);
    link.serve();
    let root = field.path("pole");
    fs::create_dir_all(&root).unwrap();
    let configure = |address: &str| fs::write(root.join("update.toml"), format!("repository = \"{address}\"\nprobation_minutes = 0.02\n")).unwrap();
    configure("https://localhost:8443/");
    let mut device = Device { root: root.clone(), prefix: link.prefix(), run: None };
    let trust = field.path("site/metadata/1.root.json");

    // A certificate that nobody vouches for, and then one that the system does.
    let mut update = device.command(&["update", "--trust", trust.to_str().unwrap(), "--json"]);
    let refused = output(&mut update);
    let message = String::from_utf8_lossy(&refused.stderr).to_lowercase();
    assert!(refused.status.code() == Some(4) && message.contains("certificate"), "{message}");
    let accepted = output(update.env("SSL_CERT_FILE", link.dir.join("authority.pem")));
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));

    device.start("synthetic:?realtime=1&fps=30&width=96&height=64", "null:");
    device.until(|s| s["phase"] == "idle");
    field.publish(4, Network::Heavy, "stable");
    configure("http://localhost:8080/");
    let mut update = device.command(&["update", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let bytes = || fs::read_dir(root.join("downloads")).unwrap().flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum::<u64>();
    for part in 1..=3 {
        let start = Instant::now();
        while bytes() < part * 400_000 {
            let ended = update.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < Duration::from_secs(120), "{ended:?}, {} bytes have arrived", bytes());
            thread::sleep(Duration::from_millis(50));
        }
        link.cut(Duration::from_secs(2));
    }
    let output = update.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status = device.until(|s| s["phase"] == "idle");
    assert_eq!((&status["current"], &status["run"]["statistics"]["dropped"]), (&4.into(), &0.into()));
    let log = fs::read_to_string(link.dir.join("access.log")).unwrap();
    // A server that is stopped does not write what it was doing; the last request brought the rest.
    assert!(log.lines().next_back().unwrap().contains("colors-4.amis HTTP/1.1\" 206 "), "{log}");
}
