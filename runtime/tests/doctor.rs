//! `amis-run doctor` on the files of other machines.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Report of the machine in a fixture (see the README there), and its text.
fn report(machine: &str) -> (Value, String) {
    let root = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/doctor/{machine}.txt"));
    for section in std::fs::read_to_string(fixture).unwrap().split("== ").skip(1) {
        let (path, content) = section.split_once('\n').unwrap();
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content.replace("\\0", "\0")).unwrap();
    }
    examine(root.path())
}

fn examine(root: &Path) -> (Value, String) {
    let run = |json: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_amis-run")).args(["doctor", "--root"]).arg(root).args(json).output().unwrap();
        // ONNX Runtime is looked for on this machine, whatever the root; the report is whole without it.
        assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    (serde_json::from_str(&run(&["--json"])).unwrap(), run(&[]))
}

/// State and advice of the findings about a topic.
fn findings<'a>(report: &'a Value, topic: &str) -> Vec<(&'a str, &'a str)> {
    let about = report["findings"].as_array().unwrap().iter().filter(|f| f["topic"] == topic);
    about.map(|f| (f["state"].as_str().unwrap(), f["advice"].as_str().unwrap_or(""))).collect()
}

#[test]
fn orin_nano_that_could_be_faster() {
    let (report, text) = report("orin-nano");
    assert_eq!((&report["board"], &report["jetson"]), (&"orin-nano-8gb".into(), &true.into()));
    let software = &report["software"];
    assert_eq!((&software["l4t"], &software["jetpack"], &software["cuda"]["version"]), (&"36.4.7".into(), &"6.2.1+b38".into(), &"12.6.11".into()));
    assert_eq!(software["tensorrt"], serde_json::json!({ "version": "10.3.0", "found_in": "/usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0" }));
    assert_eq!(report["power"], serde_json::json!({ "mode": "25W", "gpu_mhz": 306, "gpu_lowest_mhz": 306, "gpu_highest_mhz": 918 }));
    assert_eq!(findings(&report, "power mode"), [("advice", "MAXN_SUPER is faster: sudo nvpmodel -m 2")]);
    assert!(findings(&report, "GPU clock")[0].1.contains("sudo jetson_clocks"));
    assert!(findings(&report, "memory")[0].1.contains("systemctl isolate"));
    assert!(findings(&report, "clock")[0].1.contains("battery"), "{report}");
    assert_eq!(report["cameras"][0], serde_json::json!({ "device": "/dev/video0", "name": "vi-output, imx219 9-0010", "usable": true }));
    assert_eq!((&report["hottest"]["sensor"], findings(&report, "heat")[0].0), (&"tj-thermal".into(), "good"));
    assert!(findings(&report, "TensorRT").iter().all(|f| f.0 == "good"));
    assert!(text.contains("Jetson Orin Nano 8GB") && text.contains("-> MAXN_SUPER is faster"), "{text}");
}

#[test]
fn orin_nx_that_is_hot_and_has_no_headers() {
    let (report, _) = report("orin-nx");
    assert_eq!((&report["board"], &report["software"]["jetpack"]), (&"orin-nx-16gb".into(), &"5".into()));
    assert_eq!(report["software"]["cudnn"]["version"], "8.6.0");
    // MAXN_SUPER came with JetPack 6.2.
    assert_eq!((findings(&report, "power mode")[0].0, findings(&report, "GPU clock")[0].0), ("good", "good"));
    assert!(findings(&report, "TensorRT").iter().any(|f| f.1.contains("libnvinfer-dev")));
    assert_eq!((&report["hottest"]["limit_celsius"], findings(&report, "heat")[0].0), (&99.0.into(), "advice"));
}

#[test]
fn agx_orin_xavier_nx_and_thor() {
    let (agx, _) = report("agx-orin");
    assert_eq!((&agx["board"], &agx["power"]["mode"]), (&"agx-orin-64gb".into(), &"MODE_30W".into()));
    assert_eq!(findings(&agx, "power mode")[0].1, "MAXN is faster: sudo nvpmodel -m 0");
    assert_eq!(findings(&agx, "CUDA"), [("advice", "sudo apt-get install nvidia-jetpack")]);
    assert!(findings(&agx, "GPU clock")[0].1.contains("driver"));
    let (xavier, _) = report("xavier-nx");
    assert_eq!((&xavier["board"], &xavier["software"]["jetpack"]), (&"xavier-nx-8gb".into(), &Value::Null));
    assert!(findings(&xavier, "JetPack")[0].1.contains("JetPack 5, 6 and 7"));
    assert_eq!(findings(&xavier, "power mode")[0].0, "good");
    assert_eq!((&xavier["cameras"][0]["usable"], findings(&xavier, "camera")[0].0), (&false.into(), "advice"));
    let (thor, _) = report("thor");
    assert_eq!((&thor["board"], &thor["software"]["tensorrt"]["version"]), (&"thor".into(), &"10.13.3".into()));
    assert_eq!(thor["power"]["gpu_highest_mhz"], 1575);
}

#[test]
fn a_pc_and_nothing_at_all() {
    let (pc, text) = report("pc");
    assert_eq!((&pc["board"], &pc["jetson"], &pc["power"], &pc["model"]), (&Value::Null, &false.into(), &Value::Null, &"OptiPlex 7090".into()));
    let others = pc["findings"].as_array().unwrap().iter().filter(|f| f["topic"] != "ONNX Runtime" && f["topic"] != "disk");
    others.for_each(|f| assert_eq!(f["state"], "good", "{f}"));
    assert!(text.contains("OptiPlex 7090, not a Jetson"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(examine(empty.path()).0["memory"], Value::Null);
}

#[test]
fn files_that_are_damaged_are_as_if_not_there() {
    let root = tempfile::tempdir().unwrap();
    for path in [
        "proc/device-tree/compatible",
        "etc/nv_tegra_release",
        "usr/local/cuda/version.json",
        "etc/nvpmodel.conf",
        "var/lib/nvpmodel/status",
        "proc/meminfo",
        "sys/class/devfreq/17000000.gpu/cur_freq",
        "sys/class/thermal/thermal_zone0/temp",
        "var/lib/dpkg/status",
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"nvidia,tegra234\0\xff\xfe pmode: < POWER_MODEL ID= ID=99999999999 R\n\nVersion").unwrap();
    }
    let (report, _) = examine(root.path());
    assert_eq!((&report["board"], &report["jetson"], &report["software"]["l4t"]), (&Value::Null, &true.into(), &Value::Null));
    assert!(findings(&report, "board")[0].1.contains("not described"), "{report}");
}
