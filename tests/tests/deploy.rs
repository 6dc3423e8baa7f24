//! `amis-export deploy` over a real `sshd` on loopback, to a device of folders: its PATH comes first there, and a script stands in systemd's place.
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::onnxruntime_present;
use common::release::{Network, release_bundle};
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes that the link carries before it breaks: more than a login, less than half of the heavy bundle.
const BREAKS_AFTER_BYTES: usize = 800_000;

fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().skip(1).take(2).find(|folder| folder.join(name).is_file());
    folder.unwrap_or_else(|| panic!("{name} is not built: `cargo build` first")).join(name)
}

fn sshd() -> Option<PathBuf> {
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"].iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Debian's name of this processor, and of another one.
fn architectures() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") }
}

/// A workstation, and a device that it reaches over ssh.
struct Lab {
    dir: tempfile::TempDir,
    sshd: Child,
    port: u16,
}

impl Lab {
    /// None, and a note, where the machine has not what it needs.
    fn new(test: &str) -> Option<Self> {
        let Some(program) = sshd() else {
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there is no sshd; apt-get install openssh-server");
            return None;
        };
        if !onnxruntime_present(test) {
            return None;
        }
        // Where Debian's sshd separates its privileges; its service makes it.
        let _ = fs::create_dir_all("/run/sshd");
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        for key in ["host", "client"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status().unwrap();
            assert!(made.success());
        }
        fs::copy(path("client.pub"), path("authorized")).unwrap();
        for folder in ["bin", "home"] {
            fs::create_dir(path(folder)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let runtime = std::env::var("ORT_DYLIB_PATH").unwrap();
        let variables = format!("PATH={}:/usr/bin:/bin HOME={} ORT_DYLIB_PATH={runtime} OMP_NUM_THREADS=1", path("bin"), path("home"));
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nSetEnv {variables}\n",
            path("host"),
            path("authorized")
        );
        fs::write(path("sshd_config"), config).unwrap();
        let log = fs::File::create(path("sshd.log")).unwrap();
        let sshd = Command::new(program).args(["-D", "-e", "-f", &path("sshd_config")]).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", fs::read_to_string(path("sshd.log")).unwrap());
            thread::sleep(Duration::from_millis(20));
        }
        Some(Self { dir, sshd, port })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A program on the device.
    fn script(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn install_program(&self) {
        symlink(program("amis-run"), self.path("bin/amis-run")).unwrap();
    }

    fn bundle(&self, version: u64, network: Network) -> String {
        let name = format!("{version}.amis");
        release_bundle(&self.path(&name), version, network);
        self.text(&name)
    }

    /// What a person would type, by a port.
    fn command(&self, port: u16, bundle: &str, more: &[&str]) -> Command {
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let mut command = Command::new(program("amis-export"));
        command.args(["deploy", &format!("{}@127.0.0.1", user.trim()), "--json", "--bundle", bundle]);
        if !more.contains(&"--root") {
            command.args(["--root", &self.text("device")]);
        }
        let known = format!("UserKnownHostsFile={}", self.text("known"));
        for option in [format!("Port={port}"), format!("IdentityFile={}", self.text("client")), known] {
            command.args(["--ssh-option", &option]);
        }
        for option in ["StrictHostKeyChecking=accept-new", "IdentitiesOnly=yes", "IdentityAgent=none"] {
            command.args(["--ssh-option", option]);
        }
        command.args(more).stdin(Stdio::null());
        command
    }

    fn deploy(&self, bundle: &str, more: &[&str]) -> Value {
        let output = self.command(self.port, bundle, more).output().unwrap();
        assert!(output.status.success(), "{}\n{}", said(&output), fs::read_to_string(self.path("sshd.log")).unwrap());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refused(&self, bundle: &str, more: &[&str], exit_code: i32) -> Value {
        let output = self.command(self.port, bundle, more).output().unwrap();
        assert_eq!(output.status.code(), Some(exit_code), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["error"].clone()
    }

    fn status(&self) -> Value {
        let output = Command::new(program("amis-run")).args(["status", "--json", "--root"]).arg(self.path("device")).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A signed repository with nothing in it; gives its first root.
    fn repository(&self) -> String {
        let mut command = Command::new(program("amis-export"));
        command.current_dir(self.dir.path()).env("AMIS_PASSPHRASE", "under the stone").args(["repo", "init", "site", "--keys", "keys"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        self.text("site/metadata/1.root.json")
    }

    /// A script that does what systemd would do with the package's unit, told of this device's folders.
    fn systemd(&self) {
        let unit = include_str!("../../runtime/systemd/amis-run.service");
        let unit = unit.replace("/var/lib/amis", &self.text("device")).replace("/etc/amis/run.env", &self.text("run.env"));
        fs::write(self.path("unit"), unit).unwrap();
        fs::write(self.path("run.env"), "# settings\nAMIS_SOURCE=v4l2:/dev/video0\nAMIS_SINK=null:\n").unwrap();
        let script = r#"#!/bin/sh
cd LAB || exit 1
start() {
    AMIS_SOURCE=$(sed -n 's/^AMIS_SOURCE=//p' run.env) AMIS_SINK=$(sed -n 's/^AMIS_SINK=//p' run.env)
    setsid bin/amis-run run --root device --source "$AMIS_SOURCE" --sink "$AMIS_SINK" --threads 1 >run.log 2>&1 </dev/null &
    echo $! >run.pid
}
echo "$*" >>calls
case "$*" in
is-system-running) echo degraded ;;
"cat amis-run.service") cat unit ;;
"is-enabled -q "*) [ -e "enabled-$3" ] ;;
"is-active -q amis-update.timer") [ -e "enabled-$3" ] ;;
"is-active -q amis-run.service") kill -0 "$(cat run.pid)" ;;
"enable --now amis-run.service") touch "enabled-$3"; start ;;
"enable --now amis-update.timer") touch "enabled-$3" ;;
"restart amis-run.service") kill "$(cat run.pid)"; start ;;
*) echo "what is $*?" >&2; exit 1 ;;
esac
"#;
        self.script("bin/systemctl", &script.replace("LAB", &self.text("")));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
        if let Ok(pid) = fs::read_to_string(self.path("run.pid")) {
            let _ = Command::new("kill").arg(pid.trim()).stderr(Stdio::null()).status();
        }
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// States of a station's steps.
fn states(report: &Value, station: &str) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap().iter().filter(|step| step["station"] == station);
    steps.map(|step| step["state"].as_str().unwrap().to_owned()).filter(|state| state != "note").collect()
}

fn tarball(lab: &Lab) -> String {
    let name = format!("amis-run-{VERSION}-{}", architectures().0);
    fs::create_dir_all(lab.path(&name).join("bin")).unwrap();
    fs::copy(program("amis-run"), lab.path(&name).join("bin/amis-run")).unwrap();
    let file = lab.text(&format!("{name}.tar.gz"));
    assert!(Command::new("tar").arg("-C").arg(lab.dir.path()).args(["-czf", &file, &name]).status().unwrap().success());
    file
}

#[test]
fn a_device_gets_all_of_it_then_nothing_and_then_what_is_newer() {
    let Some(lab) = Lab::new("a_device_gets_all_of_it_then_nothing_and_then_what_is_newer") else { return };
    lab.install_program();
    lab.systemd();
    let (trust, site) = (lab.repository(), lab.text("site"));
    let bundle = lab.bundle(3, Network::Colors);
    let web = format!("web:127.0.0.1:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let more = ["--repository", &site, "--trust", &trust, "--source", "synthetic:?realtime=1&fps=20", "--sink", &web];

    let report = lab.deploy(&bundle, &[more.as_slice(), &["--dry-run"]].concat());
    for station in ["repository", "bundle", "services"] {
        assert!(states(&report, station).iter().all(|state| state == "would"), "{report:#}");
    }
    assert!(!lab.path("device").exists() && report["choice"].is_null() && !fs::read_to_string(lab.path("run.env")).unwrap().contains("synthetic"));

    // What the owner wrote stays.
    fs::create_dir(lab.path("device")).unwrap();
    fs::write(lab.path("device/update.toml"), "probation_minutes = 0.02\n").unwrap();
    let report = lab.deploy(&bundle, &more);
    assert_eq!((states(&report, "repository"), states(&report, "bundle")), (vec!["done".into()], vec!["done".to_owned()]), "{report:#}");
    assert_eq!((states(&report, "package"), states(&report, "run")), (vec!["there".into()], vec!["done".to_owned()]));
    let candidate = &report["choice"]["candidates"][0];
    assert!(candidate["precision"] == "fp32" && candidate["measured"]["agreement"].as_f64() > Some(0.95), "{report:#}");
    assert!(report["web"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{report:#}");
    let config = fs::read_to_string(lab.path("device/update.toml")).unwrap();
    assert!(config.contains("probation_minutes = 0.02") && config.contains("site"), "{config}");
    assert!(lab.path("device/tuf/trusted.json").exists() && lab.path("enabled-amis-update.timer").exists());
    let left: Vec<_> = fs::read_dir(lab.path("device/downloads")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    let calls = fs::read_to_string(lab.path("calls")).unwrap();
    let report = lab.deploy(&bundle, &more);
    assert!(!report["steps"].to_string().contains("\"done\""), "{report:#}");
    let new = fs::read_to_string(lab.path("calls")).unwrap();
    assert!(!new[calls.len()..].contains("enable --now") && !new[calls.len()..].contains("restart"), "{new}");

    let start = Instant::now();
    while lab.status()["phase"] != "idle" {
        assert!(start.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(50));
    }
    let report = lab.deploy(&lab.bundle(4, Network::OneMore), &more);
    assert_eq!((states(&report, "bundle"), states(&report, "repository")), (vec!["done".into()], vec!["there".to_owned()]), "{report:#}");
    let status = lab.status();
    assert_eq!((&status["current"], &status["run"]["statistics"]["model"]["version"]), (&4.into(), &4.into()));
    let older = lab.refused(&bundle, &more, 3);
    assert!(older["message"].as_str().unwrap().contains("it runs version 4"), "{older}");
}

#[test]
fn an_old_program_is_replaced_by_the_package() {
    let Some(lab) = Lab::new("an_old_program_is_replaced_by_the_package") else { return };
    lab.script("opt/bin/amis-run", "#!/bin/sh\n[ \"$1\" = --version ] && echo amis-run 0.0.1\n");
    let (bundle, package, prefix) = (lab.bundle(3, Network::Colors), tarball(&lab), lab.text("opt"));

    let report = lab.deploy(&bundle, &["--package", &package, "--prefix", &prefix, "--dry-run"]);
    assert_eq!(states(&report, "package"), ["would"], "{report:#}");
    let report = lab.deploy(&bundle, &["--package", &package, "--prefix", &prefix]);
    assert_eq!((states(&report, "package"), states(&report, "bundle")), (vec!["done".into()], vec!["done".to_owned()]), "{report:#}");
    assert!(report["steps"].to_string().contains("in place of 0.0.1") && report["device"]["version"] == VERSION, "{report:#}");
    assert_eq!((lab.status()["current"].as_u64(), states(&report, "services")), (Some(3), vec!["left".to_owned()]));
    let report = lab.deploy(&bundle, &["--package", &package, "--prefix", &prefix]);
    assert_eq!((states(&report, "package"), states(&report, "bundle")), (vec!["there".into()], vec!["there".to_owned()]), "{report:#}");
    // Version 3 has served nowhere yet.
    let trial = lab.refused(&lab.bundle(4, Network::OneMore), &["--prefix", &prefix], 4);
    assert!(trial["message"].as_str().unwrap().contains("still on trial"), "{trial}");
}

/// Carries a connection to `port`, and cuts it after so many bytes towards it.
fn breaking_link(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut back_from, mut back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
        let mut left = BREAKS_AFTER_BYTES;
        let mut piece = vec![0; 16 << 10];
        while left > 0 {
            let count = near.read(&mut piece).unwrap();
            if count == 0 || far.write_all(&piece[..count]).is_err() {
                break;
            }
            left = left.saturating_sub(count);
        }
        // What is on its way still arrives: a reset would let the other end forget it.
        let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Write));
    });
    own
}

#[test]
fn a_copy_goes_on_where_the_link_broke() {
    let Some(lab) = Lab::new("a_copy_goes_on_where_the_link_broke") else { return };
    lab.install_program();
    let bundle = lab.bundle(3, Network::Heavy);
    let size = fs::metadata(&bundle).unwrap().len();
    let output = lab.command(breaking_link(lab.port), &bundle, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("amis::environment::ssh"), "{}", said(&output));
    let file = fs::read_dir(lab.path("device/downloads")).unwrap().next().unwrap().unwrap();
    let there = file.metadata().unwrap().len();
    assert!(there > 0 && there < size, "{there} of {size} bytes");

    let report = lab.deploy(&bundle, &[]);
    let steps = report["steps"].to_string();
    let kept = format!("{:.1} MB were there from an earlier try", there as f64 / 1e6);
    assert!(steps.contains(&kept), "{kept}: {report:#}");
    assert_eq!(lab.status()["current"].as_u64(), Some(3));
}

#[test]
fn what_lies_there_damaged_is_sent_anew() {
    let Some(lab) = Lab::new("what_lies_there_damaged_is_sent_anew") else { return };
    lab.install_program();
    let bundle = lab.bundle(3, Network::Colors);
    let hash = amis_artifacts::files::sha256_file(Path::new(&bundle)).unwrap();
    fs::create_dir_all(lab.path("device/downloads")).unwrap();
    fs::write(lab.path("device/downloads").join(hash), [7; 200]).unwrap();
    assert_eq!(states(&lab.deploy(&bundle, &[]), "bundle"), ["done"]);
    let truncated = lab.text("half.amis");
    fs::write(&truncated, &fs::read(&bundle).unwrap()[..200]).unwrap();
    lab.refused(&truncated, &[], 3);
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_changed() {
    let Some(lab) = Lab::new("what_cannot_work_is_refused_before_anything_is_changed") else { return };
    let bundle = lab.bundle(3, Network::Colors);
    let message = |error: Value| error["message"].as_str().unwrap().to_owned();
    let other = lab.text(&format!("amis-run_{VERSION}-1_{}.deb", architectures().1));
    fs::write(&other, "a package").unwrap();
    let refused = message(lab.refused(&bundle, &["--package", &other], 3));
    assert!(refused.contains(&format!("is for {}", architectures().1)), "{refused}");
    let missing = lab.refused(&bundle, &[], 4);
    assert!(missing["help"].as_str().unwrap().contains("make package"), "{missing}");
    lab.refused(&bundle, &["--package", &bundle], 2);
    lab.refused(&bundle, &["--root", "device"], 2);
    lab.refused(&bundle, &["--source", "a\nAMIS_SINK=b"], 2);

    lab.install_program();
    let jetson = lab.text("jetson.amis");
    let mut manifest = common::manifest(3, &["background", "red", "green", "blue"]);
    manifest.graphs[0].target = "jetpack6".into();
    let graph = (manifest.graphs[0].entry.file.clone(), vec![1; 10]);
    amis_artifacts::bundle::write(Path::new(&jetson), manifest, &[graph].into()).unwrap();
    let refused = message(lab.refused(&jetson, &[], 3));
    assert!(refused.contains("it runs graphs for cpu, and the bundle has some for jetpack6"), "{refused}");

    lab.script("bin/stat", "#!/bin/sh\necho 250 4000\n");
    let full = message(lab.refused(&bundle, &[], 4));
    assert!(full.contains("1.0 MB are free"), "{full}");
    fs::remove_file(lab.path("bin/stat")).unwrap();
    lab.script("bin/uname", "#!/bin/sh\n[ \"$1\" = -s ] && echo Linux || echo riscv64\n");
    let refused = message(lab.refused(&bundle, &[], 3));
    assert!(refused.contains("\"riscv64\", expected aarch64 or x86_64"), "{refused}");
    assert!(!lab.path("device").exists());
}

#[test]
fn without_ssh_or_a_device_the_environment_is_named() {
    let Some(lab) = Lab::new("without_ssh_or_a_device_the_environment_is_named") else { return };
    let bundle = lab.bundle(3, Network::Colors);
    let output = lab.command(lab.port, &bundle, &[]).env("PATH", lab.path("home")).output();
    assert!(said(&output.unwrap()).contains("amis::environment::no_ssh"));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = lab.command(nobody, &bundle, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("Connection refused"), "{}", said(&output));
    fs::write(lab.path("authorized"), "").unwrap();
    let output = lab.command(lab.port, &bundle, &[]).output().unwrap();
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
}
