use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use amis_export::repo::{self, Channel, Repository};

use crate::client::Client;
use crate::flow::{add, site};

fn command(dir: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amis-export"));
    command.current_dir(dir).args(arguments.split(' ')).env("AMIS_PASSPHRASE", "snakeoil").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts a command of the repository and kills it at several points of its life: a device always finds a whole repository, and the next command works.
fn kill(dir: &Path, arguments: &str) {
    let started = Instant::now();
    assert!(command(dir, arguments).status().unwrap().success(), "{arguments}");
    let whole = started.elapsed();
    let client = Client::new(&dir.join("site"));
    for part in 1..=5 {
        let mut running = command(dir, arguments).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(f64::from(part) / 5.0).min(Duration::from_secs(5)));
        let _ = running.kill();
        running.wait().unwrap();
        // The window in which a device has to try again is a rotation without the old key; here it is at hand.
        client.load().unwrap();
        let repository = Repository::open_to_change(&dir.join("site")).unwrap();
        assert!(!dir.join("site/pending.json").exists());
        drop(repository);
        client.load().unwrap();
    }
    assert!(command(dir, arguments).status().unwrap().success(), "{arguments}");
    client.load().unwrap();
}

#[test]
fn a_killed_publication_or_rotation_leaves_a_whole_repository() {
    let dir = site(0);
    let dir = dir.path();
    add(dir, 1, Channel::Stable);
    kill(dir, "repo publish site --keys keys");
    kill(dir, "repo rotate site --role targets --keys keys");
    assert_eq!(Client::new(&dir.join("site")).releases().len(), 1);
}

#[test]
fn an_interrupted_rotation_is_finished_by_the_next_command() {
    let dir = site(0);
    let dir = dir.path();
    let metadata = dir.join("site/metadata");
    let before = std::fs::read(metadata.join("timestamp.json")).unwrap();
    assert!(command(dir, "repo rotate site --role timestamp --keys keys").status().unwrap().success());
    let text = |name: &str| std::fs::read_to_string(metadata.join(name)).unwrap();
    let pending = serde_json::json!({ "files": [["timestamp.json", text("timestamp.json")], ["2.root.json", text("2.root.json")]] });
    // As it is when the power fails after the first of both.
    std::fs::remove_file(metadata.join("2.root.json")).unwrap();
    std::fs::write(dir.join("site/pending.json"), pending.to_string()).unwrap();
    assert!(Repository::open(&dir.join("site")).unwrap_err().to_string().contains("was interrupted"));
    Repository::open_to_change(&dir.join("site")).unwrap();
    assert_eq!(Client::new(&dir.join("site")).load().unwrap().root().signed.version.get(), 2);
    assert_ne!(std::fs::read(metadata.join("timestamp.json")).unwrap(), before);
}

#[test]
fn what_was_copied_for_a_staging_that_never_was_goes_with_the_next_publication() {
    let dir = site(0);
    let dir = dir.path();
    std::fs::write(dir.join("site/targets/00.yard-1.amis"), "half").unwrap();
    std::fs::create_dir_all(dir.join("site/.scratch-1/parent")).unwrap();
    crate::flow::publish(dir, repo::What::Staged);
    assert_eq!(dir.join("site/targets").read_dir().unwrap().count(), 0);
    assert!(!dir.join("site/.scratch-1").exists());
}
