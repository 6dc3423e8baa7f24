//! Another model takes over while frames come.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use amis_artifacts::classes::ClassList;
use amis_runtime::backend::Backend;
use amis_runtime::model::Model;
use amis_runtime::pipeline;
use amis_runtime::sink::{Sink, View};
use amis_runtime::stats::{Journal, Summary, rss_mib};
use amis_runtime::swap::Swap;
use amis_runtime::{Error, Result, source};
use common::{Alone, Halves, color_bundle, colors, colors_and_one, halves_model, onnxruntime_present, options, run_alone};

const FRAME_MS: f64 = 1000.0 / 30.0;

/// Remembers the frames and how many classes the model of each had.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<(u64, usize)>>>);

impl Sink for Witness {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        assert!(view.map.iter().all(|&id| usize::from(id) < view.classes.len()));
        self.0.lock().unwrap().push((view.frame.index, view.classes.len()));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Runs `model` at thirty frames a second while `meanwhile` does things to it.
fn running(model: Model, meanwhile: impl FnOnce(&Swap, &Journal)) -> (Summary, Vec<(u64, usize)>) {
    running_at(30, model, meanwhile)
}

fn running_at(fps: u32, model: Model, meanwhile: impl FnOnce(&Swap, &Journal)) -> (Summary, Vec<(u64, usize)>) {
    let source = source::open(&format!("synthetic:?width=160&height=120&fps={fps}&realtime=1")).unwrap();
    let alone = Alone::new(source, model);
    let journal = Arc::clone(&alone.journal);
    let witness = Witness::default();
    let parts = alone.parts(vec![Box::new(witness.clone())]);
    let (swap, stop) = (Arc::clone(&parts.swap), AtomicBool::new(false));
    let summary = thread::scope(|scope| {
        let run = scope.spawn(|| run_alone(parts, &options(Path::new("x.amis")), &stop, |_| {}));
        meanwhile(&swap, &journal);
        stop.store(true, Ordering::Relaxed);
        run.join().unwrap().unwrap()
    });
    let seen = witness.0.lock().unwrap().clone();
    (summary, seen)
}

/// Swaps between a model of four and one of five classes; also gives the memory after each.
fn swap_often(times: usize) -> (Summary, Vec<(u64, usize)>, Vec<f64>) {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["four-3.amis", "five-4.amis"].map(|name| dir.path().join(name));
    color_bundle(&paths[0]);
    colors_and_one(&paths[1]);
    let options = options(&paths[0]);
    let mut memory = Vec::new();
    let (summary, seen) = running(options.open_model(&paths[0]).unwrap(), |swap, _| {
        for n in 1..=times {
            let info = swap.change(|| options.open_model(&paths[n % 2])).unwrap();
            assert_eq!(info.classes.len(), 4 + n % 2);
            memory.push(rss_mib());
        }
    });
    (summary, seen, memory)
}

#[test]
fn models_take_over_between_frames() {
    if !onnxruntime_present("models_take_over_between_frames") {
        return;
    }
    let (summary, seen, memory) = swap_often(40);
    let changes = seen.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    assert!(changes >= 30, "{changes} changes in {} frames", seen.len());
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(summary.model.classes.len(), 4);
    assert!(memory[39] - memory[9] < 8.0, "{memory:?}");
}

#[test]
#[ignore = "needs a machine without other work: two busy cores lose frames without any swap"]
fn two_hundred_swaps_lose_nothing() {
    let (summary, seen, memory) = swap_often(200);
    println!(
        "{} frames, {} dropped, longest gap {:.1} ms, memory {:.1} to {:.1} MiB",
        seen.len(),
        summary.dropped,
        summary.max_gap_ms,
        memory[20],
        memory[199]
    );
    assert_eq!(summary.dropped, 0);
    assert!(summary.max_gap_ms <= 1.5 * FRAME_MS, "{}", summary.max_gap_ms);
    assert!(memory[199] - memory[20] < 2.0, "{memory:?}");
}

#[test]
fn a_model_that_cannot_serve_leaves_the_old_one() {
    let (summary, seen) = running(halves_model(Halves::default()), |swap, journal| {
        let missing = swap.change(|| options(Path::new("x")).open_model(Path::new("missing.amis")));
        assert!(missing.unwrap_err().to_string().contains("missing.amis"));
        let mut other = colors("other-9.amis");
        other.classes = ClassList::from_names(&["background", "green", "red", "blue"]).unwrap();
        let foreign = Model::new(Path::new("other-9.amis"), other, "fp32", Box::new(Halves::default())).unwrap();
        let error = swap.change(|| Ok(foreign)).unwrap_err();
        assert!(matches!(error, Error::Swap { .. }) && error.to_string().contains("id 1 was red"), "{error}");
        thread::sleep(Duration::from_millis(200));
        let events = journal.events_after(0);
        assert!(events.len() == 2 && events.iter().all(|e| e.warning && e.text.starts_with("the model was not changed: ")), "{events:?}");
    });
    assert!(summary.model.version == 3 && seen.len() > 1);
}

/// A model with a fifth class of this name.
fn with(class: &str) -> Model {
    let mut manifest = colors("more-4.amis");
    manifest.classes = ClassList::from_names(&["background", "red", "green", "blue", class]).unwrap();
    Model::new(Path::new("more-4.amis"), manifest, "fp32", Box::new(Five)).unwrap()
}

/// [`Halves`] with a class more.
struct Five;

impl Backend for Five {
    fn input_shape(&self) -> [usize; 4] {
        [1, 3, 64, 96]
    }

    fn output_shape(&self) -> [usize; 4] {
        [1, 5, 1, 2]
    }

    fn infer(&mut self, _: &[f32]) -> Result<&[f32]> {
        Ok(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    }
}

#[test]
fn of_two_changes_at_once_the_second_has_to_fit_the_first() {
    let mut changes = Vec::new();
    // Both are asked for long before a frame comes.
    running_at(2, halves_model(Halves::default()), |swap, _| {
        thread::scope(|scope| {
            let asked = ["white", "black"].map(|class| scope.spawn(move || swap.change(|| Ok(with(class)))));
            changes.extend(asked.map(|change| change.join().unwrap()));
        });
    });
    assert_eq!(changes.iter().filter(|change| change.is_ok()).count(), 1, "{changes:?}");
}

#[test]
fn a_swap_ends_with_the_run() {
    let parts = Alone::new(source::open("synthetic:?frames=3").unwrap(), halves_model(Halves::default())).parts(Vec::new());
    let swap = Arc::clone(&parts.swap);
    pipeline::run_parts(parts, &options(Path::new("x")), &AtomicBool::new(false), |_| {}).unwrap();
    let error = swap.change(|| Ok(halves_model(Halves::default()))).unwrap_err();
    assert!(error.to_string().contains("the run has ended"), "{error}");
}
