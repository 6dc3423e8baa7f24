//! A builder that does not answer is an error that says how it ended. Real builds in a process of their own: `export/tests/engine.rs`.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use amis_tensorrt::{BuildOptions, Error, Flavor, child};

fn ask(program: &str, arguments: &[&str]) -> Error {
    // More than a pipe holds, so that the builder can be gone before all of it is sent.
    let onnx = vec![0; 1 << 20];
    child::build(Command::new(program).args(arguments), Flavor::Rtx, &onnx, &BuildOptions::default(), &mut |_| {}).unwrap_err()
}

#[test]
fn signals_are_named() {
    for (signal, text) in [("KILL", "was ended by SIGKILL"), ("TERM", "was ended by SIGTERM")] {
        let error = ask("sh", &["-c", &format!("kill -{signal} $$")]);
        assert!(matches!(error, Error::BuilderKilled { .. }) && error.to_string().contains(text), "{error}");
    }
    for signal in ["SEGV", "ABRT", "BUS"] {
        let error = ask("sh", &["-c", &format!("cat > /dev/null; kill -{signal} $$")]);
        assert!(matches!(error, Error::BuilderCrashed { .. }) && error.to_string().contains(&format!("crashed with SIG{signal}")), "{error}");
    }
}

#[test]
fn an_answer_that_is_none_is_told() {
    for (script, words) in [
        ("cat > /dev/null", "cut after 0 bytes"),
        ("exit 3", "exit status: 3"),
        ("echo hello", "expected value"),
        ("cat > /dev/null; printf '{\"Progress\":'", "cut after 12 bytes"),
        (
            "cat > /dev/null; echo '{\"Done\":{\"Ok\":{\"version\":{\"flavor\":\"Rtx\",\"major\":1,\"minor\":7,\"patch\":1},\"layer_count\":1,\"log\":[],\"plan_bytes\":9,\"timing_cache_bytes\":null}}}'; printf plan",
            "4 of 9 bytes",
        ),
    ] {
        let error = ask("sh", &["-c", script]);
        assert!(matches!(error, Error::BuilderLost { .. }) && error.to_string().contains(words), "{script}: {error}");
    }
    let error = ask("/nowhere/amis-export", &[]);
    assert!(error.to_string().starts_with("/nowhere/amis-export does not build an engine: "), "{error}");
}

#[test]
fn what_has_come_whole_counts_though_the_builder_crashes_after_it() {
    let script = "cat > /dev/null; echo '{\"Done\":{\"Ok\":{\"version\":{\"flavor\":\"Rtx\",\"major\":1,\"minor\":7,\"patch\":1},\"layer_count\":1,\"log\":[],\"plan_bytes\":4,\"timing_cache_bytes\":2}}}'; printf plancc; kill -SEGV $$";
    let engine = child::build(Command::new("sh").args(["-c", script]), Flavor::Rtx, b"graph", &BuildOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((engine.plan.as_slice(), engine.timing_cache.as_deref()), (&b"plan"[..], Some(&b"cc"[..])));
}
