//! The methods against the thresholds of the reference calibrators.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use amis_calib::threshold;

#[test]
fn thresholds_are_those_of_the_reference_within_one_bin() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let expected: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_slice(&std::fs::read(folder.join("calibration_amax.json")).unwrap()).unwrap();
    assert_eq!(expected.len(), 7);
    let bytes = std::fs::read(folder.join("calibration_histograms.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, thresholds) in expected {
        let data = |part: &str| tensors.tensor(&format!("{name}.{part}")).unwrap().data().to_vec();
        let bins: Vec<u64> = data("hist").as_chunks::<8>().0.iter().map(|&b| u64::from_le_bytes(b)).collect();
        let width = f64::from(f32::from_le_bytes(data("edge_max").try_into().unwrap())) / bins.len() as f64;
        for (method, expected) in thresholds {
            let found = match method.as_str() {
                "amax" => bins.len() as f64 * width,
                "entropy" => threshold::entropy(&bins, width),
                "mse" => threshold::mse(&bins, width),
                percentile => threshold::percentile(&bins, width, percentile.strip_prefix('p').unwrap().parse().unwrap()),
            };
            assert!((found - expected).abs() <= 1.01 * width, "{name} {method}: {found}, expected {expected}, a bin is {width}");
        }
    }
}
