//! `boards/*.toml`: what is known about each Jetson, with its source.

use serde::Deserialize;

use crate::{Error, Result};

/// The files, in the order in which boards are listed.
const FILES: [(&str, &str); 8] = [
    ("orin-nano-4gb.toml", include_str!("../../boards/orin-nano-4gb.toml")),
    ("orin-nano-8gb.toml", include_str!("../../boards/orin-nano-8gb.toml")),
    ("orin-nx-8gb.toml", include_str!("../../boards/orin-nx-8gb.toml")),
    ("orin-nx-16gb.toml", include_str!("../../boards/orin-nx-16gb.toml")),
    ("agx-orin-32gb.toml", include_str!("../../boards/agx-orin-32gb.toml")),
    ("agx-orin-64gb.toml", include_str!("../../boards/agx-orin-64gb.toml")),
    ("xavier-nx-8gb.toml", include_str!("../../boards/xavier-nx-8gb.toml")),
    ("thor.toml", include_str!("../../boards/thor.toml")),
];

/// A Jetson module.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Name on the command line, and of the file.
    pub name: String,
    /// Other names for it.
    #[serde(default)]
    pub also: Vec<String>,
    /// Name for people.
    pub title: String,
    /// NVIDIA's numbers of the module, as they stand in `compatible` of the device tree.
    pub modules: Vec<String>,
    /// Memory that CPU and GPU share, in GB as sold.
    pub memory_gb: u32,
    /// Compute capability of the GPU, as its driver says it: "8.7".
    pub compute_capability: String,
    /// Streaming multiprocessors of the GPU.
    pub multiprocessors: u32,
    /// CUDA cores.
    pub cuda_cores: u32,
    /// Tensor cores.
    pub tensor_cores: u32,
    /// Deep learning accelerators beside the GPU.
    pub dla_cores: u32,
    /// CPU cores.
    pub cpu_cores: u32,
    /// What NVIDIA states.
    pub rated: String,
    /// Where these numbers stand.
    pub source: String,
    /// Power modes, the fastest first.
    pub mode: Vec<Mode>,
    /// Published times of ViT-B/16 at 224 px, batch 1, through TensorRT on this board.
    pub measured: Option<Measured>,
}

/// A power mode.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// Name that `nvpmodel` gives it.
    pub name: String,
    /// Highest clock of the GPU.
    pub gpu_clock_mhz: u32,
    /// Bandwidth of the memory in 10^9 bytes a second.
    pub memory_gb_s: f64,
    /// Dense FP16 products of the tensor cores, in 10^12 multiplications and additions a second.
    pub fp16_tflops: f64,
    /// Dense INT8 products of the tensor cores, in 10^12 multiplications and additions a second.
    pub int8_tops: f64,
}

/// Published times of one network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Power mode in which they were taken.
    pub mode: String,
    /// Time in FP16.
    pub fp16_ms: f64,
    /// Time with INT8 in the Linear layers and FP16 elsewhere.
    pub int8_ms: f64,
    /// Who measured, how, and with what.
    pub source: String,
}

impl Board {
    /// All boards, small ones first within a family.
    ///
    /// # Errors
    /// A file that is built in does not parse.
    pub fn all() -> Result<Vec<Self>> {
        let parse = |&(file, text): &(&str, &str)| {
            toml::from_str(text).map_err(|e| Error::Malformed { what: "description of a board", path: file.into(), reason: e.to_string() })
        };
        FILES.iter().map(parse).collect()
    }

    /// The board of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<Self> {
        let all = Self::all()?;
        let known: Vec<&str> = all.iter().flat_map(|b| std::iter::once(&b.name).chain(&b.also)).map(String::as_str).collect();
        let unknown = Error::Board { name: name.to_owned(), known: known.join(", ") };
        all.into_iter().find(|b| b.name == name || b.also.iter().any(|n| n == name)).ok_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// FP16 multiplications and additions of a tensor core a clock: Volta, Ampere (Orin), Blackwell (Thor). INT8 is twice as fast.
    fn fp16_rate(board: &Board) -> f64 {
        match board.compute_capability.as_str() {
            "7.2" => 128.0,
            "8.7" => 512.0,
            "11.0" => 2048.0,
            other => panic!("compute capability {other}"),
        }
    }

    #[test]
    fn every_number_fits_the_others() {
        for board in Board::all().unwrap() {
            let near = |what: &str, found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 0.02, "{} {what}: {found}, {expected}", board.name);
            near("cores", board.cuda_cores.into(), f64::from(board.multiprocessors) * if board.compute_capability == "7.2" { 64.0 } else { 128.0 });
            for mode in &board.mode {
                let fp16 = f64::from(board.tensor_cores) * fp16_rate(&board) * f64::from(mode.gpu_clock_mhz) / 1e6;
                near("FP16", mode.fp16_tflops, fp16);
                near("INT8", mode.int8_tops, 2.0 * fp16);
            }
            assert!(board.mode.is_sorted_by(|a, b| a.gpu_clock_mhz > b.gpu_clock_mhz) && !board.source.is_empty(), "{}", board.name);
            assert!(board.measured.is_none_or(|m| board.mode.iter().any(|mode| mode.name == m.mode)), "{}", board.name);
        }
    }

    #[test]
    fn names_are_found_and_belong_to_one_board_each() {
        let all = Board::all().unwrap();
        let mut names: Vec<&String> = all.iter().flat_map(|b| std::iter::once(&b.name).chain(&b.also).chain(&b.modules)).collect();
        names.sort();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        for (file, board) in FILES.iter().zip(&all) {
            assert_eq!(file.0, format!("{}.toml", board.name));
        }
        for name in ["orin-nano", "orin-nx", "agx-orin", "thor", "xavier-nx"] {
            assert!(Board::find(name).is_ok(), "{name}");
        }
        let message = Board::find("nano").unwrap_err().to_string();
        assert!(message.contains("\"nano\"") && message.contains("orin-nano-8gb, orin-nano,"), "{message}");
    }
}
