//! Engines built by the real TensorRT-RTX, without a GPU.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use amis_tensorrt::{BuildOptions, ComputeCapability, Engine, Error, Flavor, Library, Lowering, Severity};
use common::onnx::{linear_block, linear_block_of_batch};

fn for_capabilities(capabilities: &[&str]) -> BuildOptions {
    let compute_capabilities = capabilities.iter().map(|text| text.parse().unwrap()).collect();
    BuildOptions { compute_capabilities, ..BuildOptions::default() }
}

fn build(library: &Library, capabilities: &[&str]) -> Engine {
    library.build(&linear_block("Softmax"), &for_capabilities(capabilities), &|_| {}).unwrap()
}

#[test]
fn a_quantized_model_becomes_a_plan() {
    let Some(library) = common::rtx() else { return };
    assert_eq!((library.version().flavor, library.version().major), (Flavor::Rtx, 1));
    let engine = build(&library, &["8.6"]);
    assert!(engine.layer_count >= 7, "{} layers of a graph with 7 nodes", engine.layer_count);
    assert!(engine.plan.len() > 32 * 32, "the plan of {} bytes holds the INT8 weights", engine.plan.len());
    let problems: Vec<_> = engine.log.iter().filter(|line| line.severity <= Severity::Error).collect();
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn the_plan_depends_on_the_capabilities() {
    let Some(library) = common::rtx() else { return };
    let [one, other, both] = [&["8.6"][..], &["8.9"], &["8.6", "8.9"]].map(|capabilities| build(&library, capabilities).plan);
    assert_ne!(one, other);
    assert!(both.len() > one.len(), "two capabilities in {} bytes, one in {}", both.len(), one.len());
}

#[test]
fn a_limit_of_the_workspace_is_taken() {
    let Some(library) = common::rtx() else { return };
    let options = BuildOptions { workspace_bytes: Some(16 << 20), ..for_capabilities(&["8.6"]) };
    assert!(!library.build(&linear_block("Softmax"), &options, &|_| {}).unwrap().plan.is_empty());
}

#[test]
fn naming_no_capability_is_allowed() {
    let Some(library) = common::rtx() else { return };
    assert!(!build(&library, &[]).plan.is_empty());
}

#[test]
fn builds_from_several_threads_wait_for_each_other() {
    let Some(library) = common::rtx() else { return };
    std::thread::scope(|scope| {
        let builds = [(); 2].map(|()| scope.spawn(|| build(&library, &["8.6"])));
        for engine in builds.map(|build| build.join().unwrap()) {
            assert!(!engine.plan.is_empty());
        }
    });
}

#[test]
fn an_unknown_capability_is_refused_with_the_known_ones() {
    let Some(library) = common::rtx() else { return };
    let known = library.compute_capabilities();
    assert!(known.contains(&ComputeCapability::new(8, 6).unwrap()), "{known:?}");
    let error = library.build(&linear_block("Softmax"), &for_capabilities(&["8.6", "8.7"]), &|_| {}).unwrap_err();
    assert!(matches!(error, Error::CapabilityUnknown { asked, .. } if asked.sm() == 87), "{error:?}");
    assert!(error.to_string().contains("7.5, 8.0, 8.6, 8.9"), "{error}");
}

#[test]
fn bytes_that_are_no_model_are_refused_in_the_parsers_words() {
    let Some(library) = common::rtx() else { return };
    let whole = linear_block("Softmax");
    for bytes in [&b"this is no protobuf"[..], &whole[..whole.len() / 2], &[]] {
        let error = library.build(bytes, &for_capabilities(&["8.6"]), &|_| {}).unwrap_err();
        let Error::Model { errors, .. } = &error else { panic!("{error:?}") };
        assert!(!errors.is_empty() && errors.iter().all(|error| !error.description.is_empty()), "{error}");
    }
}

#[test]
fn an_unsupported_operator_names_its_node() {
    let Some(library) = common::rtx() else { return };
    let error = library.build(&linear_block("Flourish"), &for_capabilities(&["8.6"]), &|_| {}).unwrap_err();
    let Error::Model { errors, .. } = &error else { panic!("{error:?}") };
    let names_it = |error: &amis_tensorrt::ParserError| error.node == "/block/y" && error.op == "Flourish" && error.node_index == Some(6);
    assert!(errors.iter().any(names_it), "{error:?}");
    assert!(error.to_string().contains("/block/y"), "{error}");
}

#[test]
fn the_library_works_on_after_a_refusal() {
    let Some(library) = common::rtx() else { return };
    library.build(b"", &for_capabilities(&["8.6"]), &|_| {}).unwrap_err();
    assert!(!build(&library, &["8.6"]).plan.is_empty());
}

#[test]
fn the_build_says_how_far_it_is() {
    let Some(library) = common::rtx() else { return };
    let seen = std::sync::Mutex::new(Vec::new());
    library.build(&linear_block("Softmax"), &for_capabilities(&["8.6"]), &|progress| seen.lock().unwrap().push(progress)).unwrap();
    let seen = seen.into_inner().unwrap();
    let top: Vec<_> = seen.iter().filter(|progress| progress.parent.is_none()).collect();
    assert!(!top.is_empty() && top.iter().all(|progress| progress.step <= progress.steps && !progress.phase.is_empty()), "{seen:?}");
    assert_eq!(top.last().map(|progress| progress.step), top.last().map(|progress| progress.steps), "{seen:?}");
}

#[test]
fn a_dynamic_batch_needs_its_largest() {
    let Some(library) = common::rtx() else { return };
    let try_build =
        |batch, max_batch| library.build(&linear_block_of_batch("Softmax", batch), &BuildOptions { max_batch, ..for_capabilities(&["8.6"]) }, &|_| {});
    assert!(!try_build(-1, Some(4)).unwrap().plan.is_empty());
    for (batch, max_batch, words) in [(-1, None, "input x has a dynamic batch"), (1, Some(4), "no input of the model has a dynamic one")] {
        let error = try_build(batch, max_batch).unwrap_err();
        assert!(matches!(error, Error::Option { .. }) && error.to_string().contains(words), "{error:?}");
    }
}

#[test]
fn options_that_tensorrt_rtx_does_not_have_are_refused() {
    let Some(library) = common::rtx() else { return };
    let plain = for_capabilities(&["8.6"]);
    for (options, words) in [
        (BuildOptions { dla_core: Some(0), ..plain.clone() }, "DLA core 0: this GPU has 0 of them"),
        (BuildOptions { timing_cache: Some(vec![]), ..plain.clone() }, "keeps no timing cache"),
        (BuildOptions { lowering: Some(Lowering { fp16: true, ..Lowering::default() }), ..plain.clone() }, "this graph is for TensorRT 8"),
    ] {
        let error = library.build(&linear_block("Softmax"), &options, &|_| {}).unwrap_err();
        assert!(matches!(error, Error::Option { .. }) && error.to_string().contains(words), "{error:?}");
    }
}
