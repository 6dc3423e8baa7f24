//! How the C library, which serves libtorch on the CPU, treats freed memory.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable that glibc reads when a program starts, and only then.
const VARIABLE: &str = "GLIBC_TUNABLES";
/// Blocks of every size come from the heap, and the heap never shrinks: both limits at 1 TiB.
const KEEP: &str = "glibc.malloc.mmap_threshold=1099511627776:glibc.malloc.trim_threshold=1099511627776";

/// Starts this program once more, in the same process, so that it keeps the memory it has freed. Does nothing where the variable is set.
///
/// A training step frees all its activations and takes them anew. As glibc is set up by itself, it gives them back to the kernel in between, which then
/// clears every page again: a tenth of the time of a step.
pub fn keep_freed_memory() {
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        // Only comes back if it fails; training is slower then, and as good.
        let _ = Command::new(program).args(env::args_os().skip(1)).env(VARIABLE, KEEP).exec();
    }
}
