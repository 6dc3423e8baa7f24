//! Engines run, and fail to, on the fake of `tests/fake`: no GPU, and no other code of ours than with one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/fake.rs"]
mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use amis_tensorrt::{Around, BuildOptions, Error, Execution, Flavor, Gpu, Lowering};
use cudarc::driver::{CudaSlice, CudaStream, DriverError};

/// Means of 2x2 patches of three channels of 4x6 pixels; class 0 is twice the red one, class 1 green minus blue plus a half.
const PATCHES: &str = "input x 0 1 3 4 6\noutput y 0 1 2 2 3\npatch 2\nclass 0 2 0 0\nclass 0.5 0 1 -1\n";

fn load(plan: &str) -> Result<Execution, Error> {
    fake::find(Flavor::Enterprise).unwrap().load(plan.as_bytes())
}

fn refusal(plan: &str) -> Error {
    load(plan).err().expect("it was taken")
}

fn input() -> Vec<f32> {
    (0..72).map(|i| i as f32).collect()
}

/// What [`PATCHES`] makes of [`input`].
fn expected() -> Vec<f32> {
    let red = [3.5, 5.5, 7.5, 15.5, 17.5, 19.5];
    red.map(|mean| 2.0 * mean).into_iter().chain([-23.5; 6]).collect()
}

fn run(execution: &mut Execution) -> Result<Vec<f32>, Error> {
    let mut output = vec![f32::NAN; 12];
    execution.run(&input(), &mut output).map(|()| output)
}

#[test]
fn an_engine_gives_its_numbers_every_time_and_from_any_thread() {
    let mut execution = load(PATCHES).unwrap();
    assert_eq!((execution.input_shape(), execution.output_shape()), (&[1, 3, 4, 6][..], &[1, 2, 2, 3][..]));
    assert!(execution.is_graph());
    assert_eq!(run(&mut execution).unwrap(), expected());
    std::thread::spawn(move || {
        assert_eq!(run(&mut execution).unwrap(), expected());
        let times = execution.time_layers().unwrap();
        assert_eq!(times.iter().map(|time| (time.layer.as_str(), time.ms)).collect::<Vec<_>>(), [("patches", 0.5), ("classes", 0.25)]);
        assert!(execution.inspect().unwrap().contains("Layers"));
        assert_eq!(run(&mut execution).unwrap(), expected());
    })
    .join()
    .unwrap();
}

#[test]
fn an_engine_may_be_used_first_or_freed_in_another_thread() {
    // The fake ends the process where the CUDA context is not current in a call.
    let uses: [fn(&mut Execution); 3] = [|_| (), |execution| drop(execution.inspect().unwrap()), |execution| drop(execution.time_layers().unwrap())];
    for uses in uses {
        let mut execution = load(&format!("{PATCHES}fail capture")).unwrap();
        std::thread::spawn(move || uses(&mut execution)).join().unwrap();
    }
}

#[test]
fn what_was_begun_before_a_failure_has_ended_when_the_engine_is_freed() {
    // The input is copied, the engine not enqueued; the fake ends the process where it is closed while the stream works.
    let mut execution = load(&format!("{PATCHES}fail capture\nfail enqueue 1")).unwrap();
    assert!(run(&mut execution).is_err());
    drop(execution);
    assert!(load(&format!("{PATCHES}fail enqueue")).is_err());
}

#[test]
fn several_engines_run_side_by_side() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut execution = load(PATCHES).unwrap();
                (0..20).for_each(|_| assert_eq!(run(&mut execution).unwrap(), expected()));
            });
        }
    });
}

#[test]
fn an_engine_that_cannot_be_captured_runs_all_the_same() {
    let mut execution = load(&format!("{PATCHES}fail capture")).unwrap();
    assert!(!execution.is_graph());
    assert_eq!(run(&mut execution).unwrap(), expected());
}

/// Work around an engine that counts how often it was put on a stream.
#[derive(Default)]
struct Counted {
    before: AtomicUsize,
    after: AtomicUsize,
}

impl Counted {
    fn counts(&self) -> [usize; 2] {
        [&self.before, &self.after].map(|count| count.load(Relaxed))
    }
}

// SAFETY: it has no memory on the GPU.
#[allow(unsafe_code)]
unsafe impl Around for Counted {
    fn before(&self, stream: &Arc<CudaStream>, input: &mut CudaSlice<f32>) -> Result<(), DriverError> {
        self.before.fetch_add(1, Relaxed);
        stream.memset_zeros(input)
    }

    fn after(&self, _: &Arc<CudaStream>, output: &CudaSlice<f32>) -> Result<(), DriverError> {
        assert_eq!(output.len(), 12);
        self.after.fetch_add(1, Relaxed);
        Ok(())
    }
}

#[test]
fn work_around_an_engine_is_put_on_its_stream_once_for_all_runs() {
    let mut execution = load(PATCHES).unwrap();
    let mut surrounded = execution.surround(Counted::default()).unwrap();
    assert!(surrounded.is_graph());
    for _ in 0..3 {
        execution.run_surrounded(&mut surrounded).unwrap();
    }
    assert_eq!(surrounded.around().counts(), [2, 2], "in a first run, and for the graph");
    // Both ways of running go side by side.
    assert_eq!(run(&mut execution).unwrap(), expected());
    let error = load(PATCHES).unwrap().run_surrounded(&mut surrounded).unwrap_err();
    assert!(error.to_string().contains("the work around it is another engine's"), "{error}");
}

#[test]
fn work_around_an_engine_that_cannot_be_captured_is_put_there_every_time() {
    let mut execution = load(&format!("{PATCHES}fail capture")).unwrap();
    let mut surrounded = execution.surround(Counted::default()).unwrap();
    assert!(!surrounded.is_graph());
    let [before, after] = surrounded.around().counts();
    for _ in 0..3 {
        execution.run_surrounded(&mut surrounded).unwrap();
    }
    assert_eq!(surrounded.around().counts(), [before + 3, after + 3]);
}

#[test]
fn a_device_that_is_lost_is_so_for_what_goes_around_the_engine() {
    for more in ["", "fail capture\n"] {
        // Loading and surrounding run it once each.
        let mut execution = load(&format!("{PATCHES}{more}fail lost 4")).unwrap();
        let mut surrounded = execution.surround(Counted::default()).unwrap();
        execution.run_surrounded(&mut surrounded).unwrap();
        for _ in 0..2 {
            let error = execution.run_surrounded(&mut surrounded).unwrap_err();
            assert!(matches!(error, Error::Cuda { .. }) && error.to_string().contains("CUDA_ERROR_LAUNCH_FAILED"), "{error}");
        }
        assert!(matches!(load(&format!("{PATCHES}{more}fail lost 2")).unwrap().surround(Counted::default()), Err(Error::Cuda { .. })));
    }
}

#[test]
fn a_dynamic_batch_is_one() {
    let mut execution = load(&PATCHES.replace("x 0 1", "x 0 -1").replace("y 0 1", "y 0 -1")).unwrap();
    assert_eq!((execution.input_shape(), execution.output_shape()), (&[1, 3, 4, 6][..], &[1, 2, 2, 3][..]));
    assert_eq!(run(&mut execution).unwrap(), expected());
}

#[test]
fn slices_of_another_length_are_refused() {
    let mut execution = load(PATCHES).unwrap();
    let error = execution.run(&input()[1..], &mut [0.0; 12]).unwrap_err();
    assert!(error.to_string().contains("x has 71 values, expected 72"), "{error}");
    let error = execution.run(&input(), &mut [0.0; 13]).unwrap_err();
    assert!(error.to_string().contains("y has 13 values, expected 12"), "{error}");
    assert_eq!(run(&mut execution).unwrap(), expected());
}

#[test]
fn other_inputs_and_outputs_are_named() {
    for (plan, words) in [
        ("input a 0 1 3 4 4\ninput b 0 1\noutput y 0 1 2", "input b float32 [1]"),
        ("input x 1 1 3 4 4\noutput y 0 1 2", "input x float16 [1, 3, 4, 4]"),
        ("input x 0 1 3 -1 4\noutput y 0 1 2", "input x float32 [1, 3, -1, 4]"),
        ("input x 0 1 3 4 4\noutput y 3 1 2", "output y int32 [1, 2]"),
        ("input x 0 1 3 4 4\noutput y 0 70000 70000 3", "output y float32 [70000, 70000, 3]"),
        ("input x 0 1 3 4 4\noutput y 0 1 0", "output y float32 [1, 0]"),
        ("input x 0 1 3 4 4", "input x float32"),
        ("", "found:"),
    ] {
        let error = refusal(plan);
        assert!(matches!(error, Error::Interface { .. }) && error.to_string().contains(words), "{plan}: {error}");
    }
}

#[test]
fn a_plan_that_is_not_taken_is_told_in_tensorrts_words() {
    for (plan, words) in [("gibberish", "not a plan: gibberish"), ("fail deserialize", "no engine for the plan")] {
        let error = refusal(plan);
        assert!(matches!(error, Error::Plan { .. }) && error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains("\n  - the fake was told to"), "{error}");
    }
}

#[test]
fn a_tensor_that_finds_no_room_is_named_with_its_size() {
    let error = refusal("input x 0 1 3 4 4\noutput y 0 1 5000 5000");
    assert!(matches!(&error, Error::DeviceMemory { tensor, bytes: 100_000_000 } if tensor == "y"), "{error}");
    // What was taken for the other tensor is free again, and the library works on.
    assert_eq!(run(&mut load(PATCHES).unwrap()).unwrap(), expected());
}

#[test]
fn work_that_is_not_enqueued_is_an_error_each_time() {
    assert!(matches!(refusal(&format!("{PATCHES}fail enqueue")), Error::Run { .. }));
    // The first run belongs to loading.
    let mut execution = load(&format!("{PATCHES}fail capture\nfail enqueue 2")).unwrap();
    assert_eq!(run(&mut execution).unwrap(), expected());
    for _ in 0..2 {
        let error = run(&mut execution).unwrap_err();
        assert!(matches!(error, Error::Run { .. }) && error.to_string().contains("did not enqueue"), "{error}");
    }
    assert!(matches!(execution.time_layers().unwrap_err(), Error::Run { .. }));
}

#[test]
fn a_lost_device_stays_lost() {
    assert!(matches!(refusal(&format!("{PATCHES}fail lost")), Error::Cuda { .. }));
    for more in ["", "fail capture\n"] {
        let mut execution = load(&format!("{PATCHES}{more}fail lost 3")).unwrap();
        assert_eq!(run(&mut execution).unwrap(), expected());
        for _ in 0..2 {
            let error = run(&mut execution).unwrap_err();
            assert!(matches!(error, Error::Cuda { .. }) && error.to_string().contains("CUDA_ERROR_LAUNCH_FAILED"), "{error}");
        }
    }
}

#[test]
fn the_gpu_is_described() {
    let _library = fake::find(Flavor::Enterprise).unwrap();
    let gpu = Gpu::first().unwrap();
    assert_eq!((gpu.name.as_str(), gpu.compute_capability.to_string().as_str(), gpu.cores, gpu.is_integrated), ("Fake Orin", "8.7", 8, true));
    assert!(gpu.free_bytes > 1 << 26, "shared memory is the kernel's: {}", gpu.free_bytes);
}

#[test]
fn every_option_of_a_build_arrives() {
    let options = BuildOptions {
        workspace_bytes: Some(1),
        memory_bytes: Some(2),
        max_batch: Some(3),
        dla_core: Some(4),
        lowering: Some(Lowering { fp16: true, int8: false, obey: true, float_nodes: vec!["softmax".into(), "norm".into()] }),
        timing_cache: Some(b"cache".to_vec()),
        ..BuildOptions::default()
    };
    let progress = std::sync::Mutex::new(vec![]);
    let engine = fake::find(Flavor::Enterprise).unwrap().build(b"graph", &options, &|seen| progress.lock().unwrap().push(seen)).unwrap();
    assert_eq!((engine.plan.as_slice(), engine.timing_cache.as_deref(), engine.layer_count), (&b"graph"[..], Some(&b"cache+"[..]), 1));
    assert_eq!(engine.log[0].text, "workspace 1 memory 2 batch 3 dla 4 flags 5 float softmax norm");
    assert_eq!(progress.into_inner().unwrap().len(), 1);
    let engine = fake::find(Flavor::Enterprise).unwrap().build(b"graph", &BuildOptions::default(), &|_| {}).unwrap();
    assert_eq!((engine.log[0].text.as_str(), engine.timing_cache), ("workspace 0 memory 0 batch 0 dla -1 flags 0 float", None));
}
