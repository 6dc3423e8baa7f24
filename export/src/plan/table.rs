//! A plan as a person reads it.

use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{Part, Plan, Times};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}): {}", self.title, self.device, self.rated)?;
        writeln!(f, "{:.1} G operations, {:.1} M parameters\n", giga(self.operations), self.parameters as f64 / 1e6)?;
        writeln!(f, "{}\n", self.parts_table())?;
        writeln!(f, "{}\n", self.modes_table())?;
        let memory = &self.memory;
        writeln!(
            f,
            "memory: weights {:.0} MB in FP16, {:.0} MB in INT8; values {:.0} MB; the board has {:.0} MB for everything. TensorRT, CUDA, the system and building the engine are not in it.",
            mega(memory.weights_bytes.fp16),
            mega(memory.weights_bytes.int8),
            mega(memory.values_bytes),
            mega(memory.board_bytes)
        )?;
        let check = &self.check;
        writeln!(
            f,
            "check: these times are bounds from below, with everything fused and every unit always busy. ViT-B/16 at 224 px: bound {}, measured {} on {} in {}, {:.1} and {:.1} times as long ({}).",
            times(check.bound),
            times(check.measured),
            check.board,
            check.mode,
            check.measured.fp16_ms / check.bound.fp16_ms,
            check.measured.int8_ms / check.bound.int8_ms,
            check.source
        )?;
        match self.expected {
            Some(expected) => write!(
                f,
                "expect: {} in {}, if kernels are as far from their bounds as those of ViT-B/16 (FP16 {:.1}, INT8 {:.1} times). Smaller ones are farther, because starting a kernel takes time. Only the device knows: `amis-run bench` there.",
                times(expected),
                check.mode,
                check.fp16_factor,
                check.int8_factor
            ),
            None => write!(f, "expect: nothing has been measured on this board, so no more than the bounds is said. `amis-run bench` on the device measures."),
        }
    }
}

impl Plan {
    fn parts_table(&self) -> Table {
        let mut table = Table::new();
        let mode = self.modes.first().map_or("", |m| m.mode.as_str());
        table.load_style(ASCII_MARKDOWN).set_header(["part", "kernels", "G operations", "MB FP16", "MB INT8", &format!("ms FP16, {mode}"), "ms INT8"]);
        for (part, p) in &self.parts {
            let name = match part {
                Part::Linear => "linear",
                Part::Attention => "attention",
                Part::Normalization => "normalization",
                Part::Resize => "resize",
                Part::Elementwise => "elementwise",
            };
            let numbers = [mega(p.bytes.fp16), mega(p.bytes.int8)].map(|n| format!("{n:.1}"));
            let [fp16_mb, int8_mb] = numbers;
            let row = [name.into(), p.kernels.to_string(), format!("{:.2}", giga(p.operations)), fp16_mb, int8_mb, ms(p.times.fp16_ms), ms(p.times.int8_ms)];
            table.add_row(row);
        }
        right(table)
    }

    fn modes_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(["power mode", "GPU MHz", "memory GB/s", "at least ms FP16", "at least ms INT8"]);
        for m in &self.modes {
            table.add_row([m.mode.clone(), m.gpu_clock_mhz.to_string(), m.memory_gb_s.to_string(), ms(m.times.fp16_ms), ms(m.times.int8_ms)]);
        }
        right(table)
    }
}

/// Numbers to the right.
fn right(mut table: Table) -> Table {
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn times(t: Times) -> String {
    format!("{:.2} ms FP16, {:.2} ms INT8", t.fp16_ms, t.int8_ms)
}

fn ms(ms: f64) -> String {
    format!("{ms:.3}")
}

fn giga(n: u64) -> f64 {
    n as f64 / 1e9
}

fn mega(n: u64) -> f64 {
    n as f64 / 1e6
}
