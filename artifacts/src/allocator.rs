//! How the C library, which serves libtorch and ONNX Runtime, treats freed memory.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable that glibc reads when a program starts, and only then.
const VARIABLE: &str = "GLIBC_TUNABLES";

/// Starts this program once more, in the same process, with these settings of glibc (`NAME=VALUE:NAME=VALUE`). Does nothing where the variable is set, so the
/// second start goes on.
pub fn restart_with(tunables: &str) {
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        // Only comes back if it fails; the program then works as well, with more memory or time.
        let _ = Command::new(program).args(env::args_os().skip(1)).env(VARIABLE, tunables).exec();
    }
}
