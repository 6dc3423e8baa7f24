//! The arithmetic of memory against what processes need.

use amis_trainer::model::Precision;
use serde::Serialize;

use crate::common::{Memory, Problem};
use crate::start_ours;

/// Backbone, side in pixels, batch.
const CHECKED: [(&str, u32, i64); 3] = [("vit_tiny", 256, 4), ("vit_tiny", 512, 4), ("vit_small", 256, 8)];
/// Every tensor gets a mapping of its own, so that what is measured is what is needed, without what the heap keeps between tensors.
const EXACT: &str = "glibc.malloc.mmap_threshold=65536";
const STEPS: usize = 2;
const MB: f64 = 1e6;

/// One size.
#[derive(Debug, Serialize)]
pub struct Check {
    pub size: String,
    pub predicted_bytes: f64,
    pub measured_bytes: u64,
}

/// Measures the sizes.
pub fn check() -> Vec<Check> {
    let check = |(backbone, side, batch)| {
        let problem = Problem::new(backbone, side, batch).unwrap();
        let measured = start_ours(backbone, side, batch, 1, STEPS, Some(EXACT));
        let predicted_bytes = Memory::of(&problem, Precision::Fp32).total();
        Check { size: format!("{backbone}, {side} px, batch {batch}"), predicted_bytes, measured_bytes: measured.grown_bytes }
    };
    CHECKED.into_iter().map(check).collect()
}

/// The checks, and what the arithmetic says about GPUs.
pub fn print(checks: &[Check]) {
    println!("\nMemory of a step beside the networks, MB\n\n| size | arithmetic | measured |\n| --- | --- | --- |");
    for Check { size, predicted_bytes, measured_bytes } in checks {
        println!("| {size} | {:.0} | {:.0} |", predicted_bytes / MB, *measured_bytes as f64 / MB);
    }
    println!(
        "\nBy arithmetic, 512 px, batch 16, GB\n\n| | precision | activations | pixels | parameters | all, with both networks |\n| --- | --- | --- | --- | --- | --- |"
    );
    for backbone in ["vit_tiny", "vit_small", "vit_base"] {
        let problem = Problem::new(backbone, 512, 16).unwrap();
        for (name, precision) in [("fp32", Precision::Fp32), ("bf16", Precision::Bf16)] {
            let memory = Memory::of(&problem, precision);
            let [activations, pixels, parameters, all] =
                [memory.activations, memory.pixels, memory.parameters, memory.total() + problem.network_bytes()].map(|bytes| bytes / 1e9);
            println!("| {backbone} | {name} | {activations:.1} | {pixels:.1} | {parameters:.1} | {all:.1} |");
        }
    }
}
