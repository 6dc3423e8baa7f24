//! How the C library, which serves ONNX Runtime, treats freed memory.

use amis_artifacts::allocator;

/// Blocks of 128 KiB and more are mapped one by one, always.
const RETURN: &str = "glibc.malloc.mmap_threshold=131072";

/// Makes the C library give freed weights back to the system; to be called first, since the program starts once more.
///
/// As glibc is set up by itself, the threshold rises with every large block that is freed, up to 32 MiB. From the second model on, weights lie in the heap then,
/// between blocks that stay, and every change of the model leaves holes: with 27 MB of weights, 199 MiB became 362 in five changes. So it stays at 140
/// (docs/benchmarks.md).
pub(crate) fn return_freed_memory() {
    allocator::restart_with(RETURN);
}
