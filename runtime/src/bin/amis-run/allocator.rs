//! How the C library, which serves ONNX Runtime, treats freed memory.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable that glibc reads when a program starts, and only then.
const VARIABLE: &str = "GLIBC_TUNABLES";
/// Blocks of 128 KiB and more are mapped one by one, always.
const RETURN: &str = "glibc.malloc.mmap_threshold=131072";

/// Starts this program once more, in the same process, so that weights that are freed go back to the system. Does nothing where the variable is set.
///
/// As glibc is set up by itself, the threshold rises with every large block that is freed, up to 32 MiB. From the second model on, weights lie in the heap then,
/// between blocks that stay, and every change of the model leaves holes: with 14 MB of weights, 118 MiB became 225 in ten changes. So it stays at 75.
pub(crate) fn return_freed_memory() {
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        // Only comes back if it fails; more memory is used then.
        let _ = Command::new(program).args(env::args_os().skip(1)).env(VARIABLE, RETURN).exec();
    }
}
