//! Patch `<name>-<parent>-<version>.patch`: what makes an unpacked bundle from the unpacked bundle before it.
//!
//! A zstd frame that needs a window of at most 8 MiB; numbers are little-endian:
//!
//! | bytes | hold |
//! | --- | --- |
//! | 8 | `AMISPAT1` |
//! | 64 | SHA-256 of the parent's `manifest.json` in hexadecimal |
//! | 4, then as many | length of `manifest.json` of the new bundle, and its bytes |
//! | for each of its files, in the order of the manifest | segments until the file is complete |
//!
//! A segment is a byte 0, a length (8 bytes) and as many bytes of the file; or a byte 1, 2 or 4 (the width of a number), a length (8 bytes), the place of
//! one of the parent's files in its manifest (2 bytes), an offset in it (8 bytes), and differences to the numbers there (`planes`). Weights that are
//! trained a little further change in almost every number, but not by much: `zstd --patch-from`, which looks for equal strings, finds next to nothing
//! in them, while their differences take few bits (docs/benchmarks.md). Only [`make`] knows ONNX; [`apply`] copies and adds.

mod align;
mod apply;
mod make;
mod planes;
#[cfg(test)]
mod tests;

pub use apply::apply;
pub use make::make;

/// First bytes of a patch.
const MAGIC: &[u8; 8] = b"AMISPAT1";
/// Binary logarithm of the largest window that applying may need, in bytes.
const WINDOW_LOG: u32 = 23;
