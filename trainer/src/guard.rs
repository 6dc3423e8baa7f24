//! Failures of libtorch as errors: tch's operators panic with libtorch's words, which no caller could name the cause of.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use tch::TchError;

use crate::{Error, Result};

thread_local! {
    /// Whether a panic of libtorch becomes an error on this thread, and so is no news for the panic hook.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does work on tensors, with gradients on. Where libtorch fails in it, by a panic or an error, the error says so in one line;
/// [`Error::OutOfMemory`] also says what was being done, in the words of `doing`.
///
/// Tensors that the work was about to change may be half changed then.
///
/// # Errors
/// Those of the work, and failures of libtorch.
pub fn guarded<T>(doing: impl FnOnce() -> String, work: impl FnOnce() -> Result<T>) -> Result<T> {
    hush_hook();
    let outer = GUARDED.replace(true);
    // A panic inside `tch::no_grad` leaves gradients off for good; dropping this puts back what was.
    let gradients = tch::no_grad_guard();
    // What unwinding leaves half done are tensors alone: the caller gives up, or sets them anew.
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| tch::with_grad(work)));
    drop(gradients);
    GUARDED.set(outer);
    let failure = match outcome {
        Ok(Err(Error::Torch(TchError::Torch(text)))) => text,
        Ok(result) => return result,
        Err(payload) => match torch_text(payload.as_ref()) {
            Some(text) => text,
            None => panic::resume_unwind(payload),
        },
    };
    // The rest is libtorch's own call stack.
    let reason = failure.lines().next().unwrap_or_default().to_owned();
    Err(if is_out_of_memory(&reason) { Error::OutOfMemory { doing: doing(), reason } } else { TchError::Torch(reason).into() })
}

/// Keeps the panic hook from reporting what becomes an error.
fn hush_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !(GUARDED.get() && torch_text(info.payload()).is_some()) {
                previous(info);
            }
        }));
    });
}

/// libtorch's words in a panic of tch, which comes from `unwrap` on [`TchError::Torch`].
fn torch_text(payload: &(dyn Any + Send)) -> Option<String> {
    let message = payload.downcast_ref::<String>()?;
    let (_, quoted) = message.split_once("on an `Err` value: Torch(\"")?;
    let text = quoted.strip_suffix("\")").unwrap_or(quoted);
    Some(text.replace("\\n", "\n").replace("\\\"", "\"").replace("\\'", "'"))
}

fn is_out_of_memory(reason: &str) -> bool {
    // The last is what oneDNN says when it has no room for its code and scratch memory; the shapes are those of steps that ran before.
    ["out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "could not create a primitive"].iter().any(|words| reason.contains(words))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tch::{Device, Kind, Tensor, no_grad};

    use super::*;

    fn huge() -> Tensor {
        Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn out_of_memory_says_what_was_being_done_and_leaves_gradients_on() {
        let error = guarded(|| "trying it".into(), || Ok(no_grad(huge))).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("out of memory while trying it: ") && text.contains("you tried to allocate") && text.lines().count() == 1, "{text}");
        let weight = Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        assert!((&weight * 2.0).requires_grad());
        // libtorch's failures also come as errors.
        let failed = guarded(|| "trying it".into(), || Ok(Tensor::f_zeros([1 << 50], (Kind::Float, Device::Cpu))?));
        assert!(matches!(failed, Err(Error::OutOfMemory { .. })));
    }

    #[test]
    fn other_failures_of_libtorch_are_errors_and_other_panics_stay_panics() {
        let wrong = guarded(|| "".into(), || Ok(Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)).matmul(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)))));
        assert!(wrong.unwrap_err().to_string().contains("shapes cannot be multiplied"));
        let ours = panic::catch_unwind(|| guarded(|| "".into(), || -> Result<()> { panic!("ours") }));
        assert_eq!(ours.unwrap_err().downcast_ref::<&str>(), Some(&"ours"));
    }
}
