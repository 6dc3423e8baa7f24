//! The real program, killed without warning again and again: what it leaves in the end is what an unstopped run leaves, bit by bit.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use common::{SMALL, demo_config, small_data};

mod common;

/// Longest time that a start of the program may take to its first save.
const PATIENCE: Duration = Duration::from_secs(120);

fn start(data: &Path, out: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amis-train"));
    let root = format!("data.root={}", data.display());
    let settings = SMALL.iter().copied().chain([root.as_str(), "train.save_every_s=0", "train.base.epochs=5", "train.increment.epochs=5"]);
    command.arg("run").arg(demo_config()).args(settings.flat_map(|s| ["--set", s])).arg("--out").arg(out).args(["--device", "cpu"]);
    command.env("OMP_NUM_THREADS", "1").env("RUST_LOG", "error").stdout(Stdio::null()).spawn().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn temporaries(out: &Path) -> usize {
    let folders = [out.to_path_buf(), out.join("state")].into_iter().chain((0..3).map(|step| out.join(format!("step-{step}"))));
    folders.flat_map(|folder| names(&folder)).filter(|name| name.starts_with(".amis-")).count()
}

/// Waits for something, or for the end of the program; says whether the program still runs.
fn wait(child: &mut Child, happened: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "the program failed by itself: {status}");
            return false;
        }
        if happened() {
            return true;
        }
    }
    panic!("nothing happened in {PATIENCE:?}");
}

#[test]
fn a_run_killed_at_random_and_while_saving_ends_bit_equal_to_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = small_data(folder.path());
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(start(&data, &whole).wait().unwrap().success());
    let mut rng = Pcg64Mcg::seed_from_u64(std::process::id().into());
    let (mut kills, mut while_saving) = (0, 0);
    loop {
        let before = names(&killed.join("state"));
        let mut child = start(&data, &killed);
        // One iteration at least, so that the run comes to its end.
        let mut running = wait(&mut child, || names(&killed.join("state")).iter().any(|name| name.ends_with(".json") && !before.contains(name)));
        if running && kills % 2 == 0 {
            running = wait(&mut child, || temporaries(&killed) > 0);
        } else if running {
            sleep(Duration::from_micros(rng.random_range(0..60_000)));
        }
        if !running {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        while_saving += usize::from(temporaries(&killed) > 0);
    }
    assert!(kills >= 5 && while_saving >= 1, "{kills} kills, {while_saving} of them while saving");
    for step in 0..3 {
        let weights = |out: &PathBuf| fs::read(out.join(format!("step-{step}/model.safetensors"))).unwrap();
        assert_eq!(weights(&killed), weights(&whole), "step {step} after {kills} kills");
    }
    // Every start has an event file of its own.
    let lasting = |out: &Path| names(out).into_iter().filter(|name| !name.contains("tfevents")).collect::<Vec<_>>();
    assert_eq!((lasting(&killed), temporaries(&killed)), (lasting(&whole), 0));
}
