//! Event files: whole records, the values of the log, and nothing twice after a start that took an earlier state up again.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use amis_artifacts::metrics::StepMetrics;
use amis_trainer::config::Config;
use amis_trainer::distributed::Ranks;
use amis_trainer::train::{self, LogRecord, Observer, Place};
use prost::Message;
use tch::Device;

use common::{SMALL, demo_config, small_data};

mod common;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// CRC-32C bit by bit, masked as TFRecord files have it.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 }));
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn events(path: &Path) -> Vec<Event> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut events = Vec::new();
    let crc = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
    while !rest.is_empty() {
        let (head, body) = rest.split_at(12);
        let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
        assert_eq!(crc(&head[8..]), masked_crc(&head[..8]), "length at {} of {}", bytes.len() - rest.len(), path.display());
        assert_eq!(crc(&body[length..]), masked_crc(&body[..length]), "data at {} of {}", bytes.len() - body.len(), path.display());
        events.push(Event::decode(&body[..length]).unwrap());
        rest = &body[length + 4..];
    }
    assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
    assert_eq!(events[1].session_log, Some(SessionLog { status: 1 }));
    events
}

/// Values by tag and step as TensorBoard reads a folder: a start takes back everything from its step on. Nothing may stand twice.
fn scalars(run: &Path) -> BTreeMap<(String, i64), f32> {
    let mut files: Vec<_> = fs::read_dir(run).unwrap().map(|e| e.unwrap().path()).filter(|p| p.display().to_string().contains("tfevents")).collect();
    files.sort();
    let mut found = BTreeMap::new();
    for event in files.iter().flat_map(|file| events(file)) {
        if event.session_log.is_some() {
            found.retain(|(_, step), _| *step < event.step);
        }
        for value in event.summary.into_iter().flat_map(|s| s.value) {
            let before = found.insert((value.tag.clone(), event.step), value.simple_value.unwrap());
            assert_eq!(before, None, "{} at {} stands twice", value.tag, event.step);
        }
    }
    found
}

struct StopAfter<'a>(usize, &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn step_started(&mut self, _: usize, _: &[String], _: usize, _: usize, _: usize) {}
    fn iteration(&mut self, _: usize, _: Option<f64>) {
        self.0 -= 1;
        self.1.store(self.0 == 0, Ordering::Relaxed);
    }
    fn validated(&mut self, _: usize, _: f64, _: bool) {}
    fn step_finished(&mut self, _: &StepMetrics, _: bool) {}
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn event_files_hold_the_values_of_the_log_once() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let root = format!("data.root={}", small_data(folder.path()).display());
    let config = Config::load(&demo_config(), &SMALL.iter().copied().chain([root.as_str()]).map(str::to_owned).collect::<Vec<_>>()).unwrap();
    let (dir, flag) = (folder.path().join("run"), AtomicBool::new(false));
    let run = |stop_after| {
        flag.store(false, Ordering::Relaxed);
        train::run(&config, Place { dir: &dir, ranks: &Ranks::alone(), device: Device::Cpu, stop: &flag }, &mut StopAfter(stop_after, &flag))
    };
    // The state after 2 of 4 iterations is what a start finds that was killed later, here at the very end.
    run(2).unwrap_err();
    copy(&dir.join("state"), &folder.path().join("state"));
    run(usize::MAX).unwrap();
    copy(&folder.path().join("state"), &dir.join("state"));
    (0..3).for_each(|step| fs::remove_dir_all(dir.join(format!("step-{step}"))).unwrap());
    run(usize::MAX).unwrap();

    let found = scalars(&dir);
    // 4, 2 and 2 iterations in the three steps.
    let before = |step: usize| [0, 4, 6][step];
    let mut expected = BTreeMap::new();
    for record in train::read_log(&dir).unwrap() {
        let mut expect = |step: usize, after: usize, tag: &str, value: Option<f64>| {
            value.map(|v| expected.insert((tag.to_owned(), (before(step) + after) as i64), v as f32));
        };
        match record {
            LogRecord::Losses { step, iteration, lr, terms, gradient_norm, loss_scale, gate, images_per_s } => {
                let total = terms.values().sum();
                terms.iter().for_each(|(term, value)| expect(step, iteration + 1, &format!("loss/{term}"), Some(*value)));
                let others = [("loss/total", Some(total)), ("train/lr", Some(lr)), ("train/gate", gate), ("train/images_per_s", Some(images_per_s))];
                others.into_iter().for_each(|(tag, value)| expect(step, iteration + 1, tag, value));
                let more = [("train/step", Some(step as f64)), ("train/gradient_norm", gradient_norm), ("train/loss_scale", loss_scale)];
                more.into_iter().for_each(|(tag, value)| expect(step, iteration + 1, tag, value));
            }
            LogRecord::Validation { step, iteration, own_miou, iou, .. } => {
                let names = ["background", "road", "pavement", "building", "car", "tree", "person"];
                names.iter().zip(&iou).for_each(|(name, iou)| expect(step, iteration, &format!("iou/{name}"), *iou));
                expect(step, iteration, "miou/own", Some(own_miou));
                let mean = |ious: &[Option<f64>]| {
                    let there: Vec<f64> = ious.iter().flatten().copied().collect();
                    (!there.is_empty()).then(|| there.iter().sum::<f64>() / there.len() as f64)
                };
                let means = [("miou/old", mean(&iou[1..5])), ("miou/new", mean(&iou[5..])), ("miou/all", mean(&iou))];
                means.into_iter().for_each(|(tag, value)| expect(step, iteration, tag, value));
            }
            _ => {}
        }
    }
    assert_eq!(found, expected);
    for (tag, step) in [("loss/ce", 1), ("loss/ce", 4), ("loss/output", 5), ("iou/car", 8), ("miou/old", 2), ("miou/new", 8), ("train/lr", 8)] {
        assert!(found.contains_key(&(tag.to_owned(), step)), "{tag} at {step} in {found:?}");
    }
}
