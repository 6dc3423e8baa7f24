//! Tables from data set values to training labels. A class's training label is its position in the concatenated steps of the task,
//! so a permuted task reorders labels; background is 0 and [`IGNORE`] stays.

use amis_artifacts::classes::{BACKGROUND, IGNORE, MAX_CLASSES};

use crate::layout::Zero;
use crate::{Error, Result};
pub use amis_artifacts::metrics::FutureClasses;

/// New label for every value of the data set.
pub type Mapping = [u8; 256];

/// Labels for training step `step`: its own classes are annotated, everything else reads as background.
///
/// # Errors
/// No such step, or the steps are not valid ([`check_steps`]).
pub fn train(steps: &[Vec<u8>], step: usize) -> Result<Mapping> {
    build(steps, step, |of| if of == step { None } else { Some(BACKGROUND) })
}

/// Labels for an evaluation after step `step`: all classes of the steps so far. Values of no step at all are background; value 0 is what `zero` says.
///
/// # Errors
/// No such step, or the steps are not valid ([`check_steps`]).
pub fn eval(steps: &[Vec<u8>], step: usize, future: FutureClasses, zero: Zero) -> Result<Mapping> {
    let later = match future {
        FutureClasses::Ignore => IGNORE,
        FutureClasses::Background => BACKGROUND,
    };
    let mut mapping = build(steps, step, |of| if of <= step { None } else { Some(later) })?;
    if zero == Zero::Unlabelled {
        mapping[usize::from(BACKGROUND)] = IGNORE;
    }
    Ok(mapping)
}

/// Gives each class its position, unless `instead` has another label for classes of its step.
fn build(steps: &[Vec<u8>], step: usize, instead: impl Fn(usize) -> Option<u8>) -> Result<Mapping> {
    check_steps(steps)?;
    if step >= steps.len() {
        return Err(Error::Steps { reason: format!("there is no step {step}, the task has {}, counted from 0", steps.len()) });
    }
    let mut mapping = [BACKGROUND; 256];
    mapping[usize::from(IGNORE)] = IGNORE;
    let classes = steps.iter().enumerate().flat_map(|(of, ids)| ids.iter().map(move |&id| (of, id)));
    for (position, (of, id)) in classes.enumerate() {
        mapping[usize::from(id)] = instead(of).unwrap_or(position as u8 + 1);
    }
    Ok(mapping)
}

/// Checks the classes of a task: at least one step, none of them empty, no id twice, neither background nor [`IGNORE`].
///
/// # Errors
/// Names the step and the id.
pub fn check_steps(steps: &[Vec<u8>]) -> Result<()> {
    let wrong = |reason: String| Err(Error::Steps { reason });
    let mut of = [None; 256];
    if steps.is_empty() {
        return wrong("the task has no step".into());
    }
    for (step, ids) in steps.iter().enumerate() {
        if ids.is_empty() {
            return wrong(format!("step {step} has no class"));
        }
        for &id in ids {
            if id == BACKGROUND || id == IGNORE {
                return wrong(format!("step {step} has id {id}, which is no class to learn"));
            }
            if let Some(first) = of[usize::from(id)].replace(step) {
                return wrong(format!("id {id} is in step {first} and in step {step}"));
            }
        }
    }
    let count = steps.iter().map(Vec::len).sum::<usize>() + 1;
    if count > MAX_CLASSES { wrong(format!("{count} classes, at most {MAX_CLASSES} are possible")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn training_sees_its_own_classes_and_evaluation_all_so_far() {
        let steps = [vec![7, 3], vec![5], vec![1]];
        let values = |mapping: Mapping| [0usize, 7, 3, 5, 1, 9, 255].map(|v| mapping[v]);
        assert_eq!(values(train(&steps, 0).unwrap()), [0, 1, 2, 0, 0, 0, 255]);
        assert_eq!(values(train(&steps, 1).unwrap()), [0, 0, 0, 3, 0, 0, 255]);
        assert_eq!(values(eval(&steps, 1, FutureClasses::Ignore, Zero::Background).unwrap()), [0, 1, 2, 3, 255, 0, 255]);
        assert_eq!(values(eval(&steps, 1, FutureClasses::Background, Zero::Background).unwrap()), [0, 1, 2, 3, 0, 0, 255]);
        assert_eq!(values(eval(&steps, 1, FutureClasses::Background, Zero::Unlabelled).unwrap()), [255, 1, 2, 3, 0, 0, 255]);
        assert_eq!(values(eval(&steps, 2, FutureClasses::Ignore, Zero::Background).unwrap()), [0, 1, 2, 3, 4, 0, 255]);
    }

    #[test]
    fn impossible_tasks_are_refused() {
        let reason = |steps: &[Vec<u8>], step| train(steps, step).unwrap_err().to_string();
        assert!(reason(&[], 0).contains("no step"));
        assert!(reason(&[vec![1], vec![]], 0).contains("step 1 has no class"));
        assert!(reason(&[vec![1, 0]], 0).contains("id 0"));
        assert!(reason(&[vec![1], vec![2, 1]], 0).contains("id 1 is in step 0 and in step 1"));
        assert!(reason(&[vec![1]], 1).contains("no step 1"));
    }
}
