//! Several processes train what one process would, and a process that fails ends the others. Needs mpirun: `make test-distributed`.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use amis_artifacts::files;
use amis_artifacts::metrics::StepMetrics;
use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::weights::{self, HostTensor, Weights};
use amis_trainer::config::{Method, Preset};
use amis_trainer::distributed::Ranks;
use amis_trainer::model::{Mode, Segmenter, initial_weights};
use amis_trainer::step::{losses, targets};
use amis_trainer::train::{LogRecord, read_log};
use common::{SMALL, demo_config, small_data};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tch::{Device, Tensor};

/// Longest that a job of these tests may take: a hang is a failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Variable with the folder in which the processes of a test leave their results.
const FOLDER: &str = "AMIS_TEST_FOLDER";

/// A job of this many processes.
fn mpirun(processes: usize, program: &Path) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "--allow-run-as-root", "--bind-to", "none", "-n", &processes.to_string()]).arg(program);
    command.env("OMP_NUM_THREADS", "1").env("NO_COLOR", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the end of a job, which must come in time.
fn ended(mut child: Child) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the job hangs: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait_with_output().unwrap()
}

/// `amis-train run` with [`SMALL`] in this many processes; without a launcher for none.
fn train(processes: usize, data: &Path, out: &Path, more: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_amis-train"));
    let mut command = if processes == 0 { Command::new(program) } else { mpirun(processes, program) };
    command.env("OMP_NUM_THREADS", "1").args(["run", "--device", "cpu", "--out"]).arg(out).arg(demo_config());
    let root = format!("data.root={}", data.display());
    for set in [root.as_str()].iter().chain(&SMALL).chain(more) {
        command.args(["--set", set]);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn weights_of(out: &Path, step: usize) -> Weights {
    weights::read(&out.join(format!("step-{step}/model.safetensors"))).unwrap()
}

/// Largest difference between two sets of weights, relative to the largest value of each tensor (at least `floor`).
fn difference(found: &Weights, expected: &Weights, floor: f32) -> (f32, String) {
    assert!(found.keys().eq(expected.keys()));
    let largest = |values: &[f32]| values.iter().fold(floor, |most, v| most.max(v.abs()));
    let tensors = found.iter().map(|(name, tensor)| {
        let reference = &expected[name].data;
        let differences = tensor.data.iter().zip(reference).map(|(a, b)| (a - b).abs());
        (differences.fold(0.0, f32::max) / largest(reference), name.clone())
    });
    tensors.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

/// Gradients of an incremental step on this rank's share of a batch of five, summed over all ranks.
fn gradients(ranks: &Ranks, preset: Preset) -> Weights {
    tch::set_num_threads(1);
    let (old_groups, groups) = (Groups(vec![1, 2]), Groups(vec![1, 2, 1]));
    let spec = ModelSpec { patch_px: 4, dim: 16, depth: 2, heads: 2, decoder_depth: 2, decoder_heads: 2, gab: preset == Preset::Amis };
    let segmenter = |groups: &Groups, seed, trainable| {
        Segmenter::new(&spec, groups, [4, 4], &initial_weights(&spec, groups, [4, 4], seed), Device::Cpu, trainable).unwrap()
    };
    let (old, new) = (segmenter(&old_groups, 1, false), segmenter(&groups, 2, true));
    let mut rng = Pcg64Mcg::seed_from_u64(5);
    let images: Vec<f32> = (0..5 * 3 * 16 * 16).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
    let images = Tensor::from_slice(&images).view([5, 3, 16, 16]);
    // Samples with different numbers of ignored pixels, so that means of means differ from the mean.
    let sample = |ignored: usize| (0..256).map(move |i| if i < ignored { 255i64 } else { [0, 3, 0, 0][i % 4] });
    let labels: Vec<i64> = [0, 100, 200, 30, 256].into_iter().flat_map(sample).collect();
    let labels = Tensor::from_slice(&labels).view([5, 16, 16]);
    let method = Method { pseudo_threshold: 0.2, ..Method::preset(preset) };
    let own = ranks.share(5).unwrap();
    let cut = |whole: &Tensor| whole.narrow(0, own.start as i64, own.len() as i64);
    let (images, labels) = (cut(&images), cut(&labels));
    let old = method.is_more_than_finetuning().then_some(&old);
    let targets = targets(old, &images, &labels, &method);
    ranks.sum_tensor(&targets.totals.0).unwrap();
    losses(&new, &images, &targets, &targets.totals, &method, Mode::Eval).total().backward();
    ranks.sum_gradients(&new.params).unwrap();
    let gradients = new.params.iter().map(|(name, param)| (name.to_owned(), host(&param.grad())));
    gradients.collect()
}

fn host(tensor: &Tensor) -> HostTensor {
    let shape = tensor.size().iter().map(|&n| n as usize).collect();
    HostTensor { shape, data: Vec::try_from(tensor.contiguous().view(-1)).unwrap() }
}

const PRESETS: [Preset; 3] = [Preset::Finetune, Preset::Mbs, Preset::Amis];

/// What each process of `gradients_of_ranks_equal_those_of_one_process` does; alone it is no test.
#[test]
#[ignore = "started by other tests, by mpirun"]
fn process_of_a_job() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let ranks = Ranks::join().unwrap();
    for preset in PRESETS {
        let gradients = gradients(&ranks, preset);
        let path = folder.join(format!("{preset:?}-{}-of-{}.safetensors", ranks.number(), ranks.count()));
        fs::write(path, weights::to_bytes(&gradients).unwrap()).unwrap();
    }
    let mut counts = [ranks.number() as u64, 1];
    ranks.sum_counts(&mut counts);
    let count = ranks.count() as u64;
    assert_eq!(counts, [count * (count - 1) / 2, count]);
    assert!(ranks.any(ranks.number() == 1) && !ranks.any(false));
    ranks.agree("number", || Ok(vec![7])).unwrap();
}

#[test]
fn gradients_of_ranks_equal_those_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    for processes in [2, 3] {
        let mut job = mpirun(processes, &std::env::current_exe().unwrap());
        job.args(["--exact", "--ignored", "process_of_a_job"]).env(FOLDER, folder.path());
        let output = ended(job.spawn().unwrap());
        assert!(output.status.success(), "{output:?}");
        for preset in PRESETS {
            let expected = gradients(&Ranks::alone(), preset);
            for rank in 0..processes {
                let path = folder.path().join(format!("{preset:?}-{rank}-of-{processes}.safetensors"));
                let (difference, name) = difference(&weights::read(&path).unwrap(), &expected, 1e-4);
                assert!(difference <= 1e-5, "{preset:?}, rank {rank} of {processes}: {name} differs by {difference}");
            }
        }
    }
}

#[test]
fn a_run_of_two_ranks_ends_as_a_run_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = small_data(folder.path());
    let more = ["optimizer.rule=sgd", "train.base.lr=0.01", "train.increment.lr=0.01"];
    let outs = [0, 2, 3].map(|processes| {
        let out = folder.path().join(format!("run-{processes}"));
        let output = ended(train(processes, &data, &out, &more).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        assert!(output.status.success(), "{output:?}");
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("not one JSON object ({e}): {output:?}"));
        assert_eq!(summary["steps"].as_array().unwrap().len(), 3);
        assert_eq!(said(&output).matches("step 0 epoch 1").count(), 1, "one rank shows progress");
        out
    });
    let terms = |out: &Path| -> Vec<(usize, usize, f64)> {
        let line = |record| match record {
            LogRecord::Losses { step, iteration, terms, .. } => Some((step, iteration, terms.values().sum())),
            _ => None,
        };
        read_log(out).unwrap().into_iter().filter_map(line).collect()
    };
    let metrics = |out: &Path| -> StepMetrics { files::read_json(&out.join("step-2/metrics.json"), "metrics").unwrap() };
    let [one, others @ ..] = &outs;
    for out in others {
        for step in 0..3 {
            let (difference, name) = difference(&weights_of(out, step), &weights_of(one, step), 1e-2);
            assert!(difference < 1e-4, "step {step}: {name} differs by {difference}");
        }
        for (found, expected) in terms(out).iter().zip(terms(one)) {
            assert_eq!((found.0, found.1), (expected.0, expected.1));
            assert!((found.2 - expected.2).abs() < 1e-4 * expected.2, "loss {found:?} instead of {expected:?}");
        }
        let pixels = |metrics: StepMetrics| metrics.classes.iter().map(|c| c.pixels).collect::<Vec<_>>();
        assert_eq!(pixels(metrics(out)), pixels(metrics(one)), "every validation image counts once");
    }
}

#[test]
fn a_stopped_run_of_two_ranks_goes_on_in_any_number() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (small_data(folder.path()), folder.path().join("run"));
    let long = ["train.base.epochs=400", "train.eval_every=400"];
    let child = train(2, &data, &out, &long).spawn().unwrap();
    wait_for(&out.join("log.jsonl"), "losses");
    // As a batch system does: to the processes themselves.
    for process in processes_of(&child) {
        signal("-INT", process);
    }
    let output = ended(child);
    assert!(!output.status.success() && said(&output).contains("the state is saved"), "{output:?}");
    assert!(!said(&output).contains("ends the job"), "{output:?}");
    let output = ended(train(0, &data, &out, &long).stderr(Stdio::piped()).spawn().unwrap());
    assert!(output.status.success() && said(&output).contains("going on at"), "{output:?}");
}

#[test]
fn a_rank_with_an_error_ends_the_job_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (small_data(folder.path()), folder.path().join("run"));
    // Rank 1 alone loads the image: the first rank takes the first half of a batch.
    ended(train(2, &data, &out, &[]).spawn().unwrap());
    let names = fs::read_to_string(data.join("ImageSets/Segmentation/val.txt")).unwrap();
    let second = data.join(format!("JPEGImages/{}.jpg", names.lines().nth(1).unwrap()));
    fs::write(&second, b"no picture").unwrap();
    fs::remove_dir_all(out.join("step-2")).unwrap();
    let start = Instant::now();
    let output = ended(train(2, &data, &out, &[]).spawn().unwrap());
    assert!(start.elapsed() < Duration::from_secs(20), "{output:?}");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = said(&output);
    let host = Command::new("uname").arg("-n").output().unwrap().stdout;
    let named = format!("rank 1 of 2 on {} ends the job: ", String::from_utf8_lossy(&host).trim());
    assert!(said.contains(&named) && said.contains(&second.display().to_string()), "{said}");
    assert!(!said.contains("rank 0 of 2"), "{said}");
}

#[test]
fn a_killed_rank_ends_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (small_data(folder.path()), folder.path().join("run"));
    let child = train(2, &data, &out, &["train.base.epochs=100000", "train.eval_every=100000"]).spawn().unwrap();
    wait_for(&out.join("log.jsonl"), "losses");
    let processes = processes_of(&child);
    assert_eq!(processes.len(), 2);
    let start = Instant::now();
    signal("-KILL", processes[1]);
    let output = ended(child);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(!output.status.success() && said(&output).contains("signal 9"), "{output:?}");
    // The system may take a moment to bury them.
    let lives = |process: &u32| fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while processes.iter().any(lives) {
        assert!(start.elapsed() < Duration::from_secs(20), "a process is left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn ranks_that_differ_or_are_too_many_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (small_data(folder.path()), folder.path().join("run"));
    let output = ended(train(5, &data, &out, &[]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(said(&output).contains("a batch of 4 images cannot be shared by 5 processes"), "{output:?}");
    let mut job = train(1, &data, &out, &[]);
    let other = train(1, &data, &out, &["train.seed=9"]);
    let other: Vec<_> = other.get_args().skip_while(|a| *a != "-n").collect();
    job.arg(":").args(other);
    let output = ended(job.spawn().unwrap());
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(said(&output).contains("rank 1 of 2") && said(&output).contains("another configuration than rank 0"), "{output:?}");
}

/// Waits until a file of a job holds a word.
fn wait_for(path: &Path, word: &str) {
    let start = Instant::now();
    while !fs::read_to_string(path).is_ok_and(|text| text.contains(word)) {
        assert!(start.elapsed() < PATIENCE, "{} never held {word}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The ranks of a job: children of its mpirun.
fn processes_of(mpirun: &Child) -> Vec<u32> {
    let id = mpirun.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.split_whitespace().map(|process| process.parse().unwrap()).collect()
}

fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}
