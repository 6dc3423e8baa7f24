//! Incremental tasks: which classes come in which step, and which images belong to a step.

use serde::{Deserialize, Serialize};

use crate::class_index::ClassIndex;
use crate::label_mapping::check_steps;
use crate::permuted::VOC_15_1;
use crate::{Error, Result, class_names};

/// A data set with published tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataSet {
    /// PASCAL VOC 2012: 20 classes.
    Voc,
    /// ADE20K: 150 classes.
    Ade20k,
    /// One's own: tasks are given as lists, or by name with [`Task::regular`].
    Own,
}

/// Which images belong to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    /// Images that show any of the step's classes; classes of later steps may be in them.
    Overlapped,
    /// Of those, the images all of whose classes are the step's or earlier ones.
    Disjoint,
}

/// The classes of each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// For example `15-1`.
    pub name: String,
    /// Whose ids they are.
    pub data_set: DataSet,
    /// Class ids of the data set by step, in the order of the network's output; background 0 is not among them.
    pub steps: Vec<Vec<u8>>,
}

const VOC_TASKS: [&str; 10] = ["offline", "19-1", "15-5", "15-1", "10-1", "5-5", "5-3", "5-1", "2-2", "2-1"];
const ADE20K_TASKS: [&str; 6] = ["offline", "100-50", "100-10", "100-5", "50-50", "50-20"];

impl Task {
    /// A task with these steps.
    ///
    /// # Errors
    /// An empty step, an id twice, or an id that is no class ([`check_steps`]).
    pub fn new(name: &str, data_set: DataSet, steps: Vec<Vec<u8>>) -> Result<Self> {
        check_steps(&steps)?;
        Ok(Self { name: name.into(), data_set, steps })
    }

    /// A task that its name describes, over the ids 1..=`classes` in order: `15-1` is a step of 15 classes, then one class a step;
    /// of several numbers (`4-1-1`) the last one repeats; `offline` is all at once.
    ///
    /// # Errors
    /// The name is not of that form, or its numbers do not add up to `classes`.
    pub fn regular(name: &str, data_set: DataSet, classes: u8) -> Result<Self> {
        let unknown = |reason: String| Error::UnknownTask { name: name.into(), reason };
        if name == "offline" {
            return Self::new(name, data_set, vec![(1..=classes).collect()]);
        }
        let number = |part: &str| part.parse::<u8>().ok().filter(|&n| n > 0);
        let sizes: Option<Vec<u8>> = name.split('-').map(number).collect();
        let sizes = sizes.ok_or_else(|| unknown("it is neither \"offline\" nor numbers joined by \"-\"".into()))?;
        let mut steps = Vec::new();
        let mut given = 0u8;
        while given < classes {
            let size = sizes[steps.len().min(sizes.len() - 1)];
            let end = given.checked_add(size).filter(|&end| end <= classes);
            let end = end.ok_or_else(|| unknown(format!("a step of {size} after {given} goes over {classes} classes")))?;
            steps.push((given + 1..=end).collect());
            given = end;
        }
        if steps.len() < sizes.len() {
            return Err(unknown(format!("{classes} classes are used up after {} of its {} steps", steps.len(), sizes.len())));
        }
        Self::new(name, data_set, steps)
    }

    /// A published task of VOC or ADE20K.
    ///
    /// # Errors
    /// No task of this name; the message lists the names.
    pub fn published(data_set: DataSet, name: &str) -> Result<Self> {
        if let Some((_, order)) = VOC_15_1.iter().find(|(known, _)| data_set == DataSet::Voc && *known == name) {
            let (base, later) = order.split_at(15);
            let steps = std::iter::once(base.to_vec()).chain(later.iter().map(|&id| vec![id])).collect();
            return Self::new(name, data_set, steps);
        }
        let classes = match data_set {
            DataSet::Voc if VOC_TASKS.contains(&name) => 20,
            DataSet::Ade20k if ADE20K_TASKS.contains(&name) => 150,
            DataSet::Own => return Err(Error::UnknownTask { name: name.into(), reason: "a data set of one's own has no published tasks".into() }),
            _ => return Err(Error::UnknownTask { name: name.into(), reason: format!("known are: {}", Self::names(data_set).join(", ")) }),
        };
        Self::regular(name, data_set, classes)
    }

    /// Class names of each step of a published task.
    ///
    /// # Errors
    /// As [`Self::published`].
    pub fn published_names(data_set: DataSet, name: &str) -> Result<Vec<Vec<String>>> {
        let task = Self::published(data_set, name)?;
        let classes = class_names::published(data_set).transpose()?;
        let name = |&id: &u8| classes.as_ref().and_then(|list| list.get(id)).map(|class| class.name.clone()).unwrap_or_default();
        Ok(task.steps.iter().map(|ids| ids.iter().map(name).collect()).collect())
    }

    /// Names of the published tasks of a data set.
    pub fn names(data_set: DataSet) -> Vec<&'static str> {
        match data_set {
            DataSet::Voc => VOC_TASKS.into_iter().chain(VOC_15_1.iter().map(|(name, _)| *name)).collect(),
            DataSet::Ade20k => ADE20K_TASKS.to_vec(),
            DataSet::Own => Vec::new(),
        }
    }
}

/// Names of the images that belong to a step, in order of the index.
///
/// # Errors
/// The task has no such step, or no image belongs to it.
pub fn select(index: &ClassIndex, task: &Task, step: usize, setting: Setting) -> Result<Vec<String>> {
    let no_step = || Error::Steps { reason: format!("there is no step {step}, the task {} has {}, counted from 0", task.name, task.steps.len()) };
    let own = task.steps.get(step).ok_or_else(no_step)?;
    let so_far: Vec<u8> = task.steps[..=step].concat();
    let belongs =
        |classes: &[u8]| classes.iter().any(|id| own.contains(id)) && (setting == Setting::Overlapped || classes.iter().all(|id| so_far.contains(id)));
    let names: Vec<String> = index.iter().filter(|(_, classes)| belongs(classes)).map(|(name, _)| name.clone()).collect();
    if names.is_empty() { Err(Error::EmptyStep { task: task.name.clone(), step, setting, images: index.len() }) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_describe_regular_tasks() {
        let sizes = |name, classes| Task::regular(name, DataSet::Own, classes).map(|t| t.steps.iter().map(Vec::len).collect::<Vec<_>>());
        assert_eq!(sizes("4-1-1", 6).unwrap(), [4, 1, 1]);
        assert_eq!(sizes("4-1", 6).unwrap(), [4, 1, 1]);
        assert_eq!(sizes("offline", 6).unwrap(), [6]);
        for (name, classes) in [("4-5", 6), ("4-1-1", 5), ("4-0", 6), ("a-1", 6), ("", 6), ("300-1", 254)] {
            assert!(matches!(sizes(name, classes), Err(Error::UnknownTask { .. })), "{name}");
        }
        assert!(Task::published(DataSet::Voc, "15-2").unwrap_err().to_string().contains("15-1_w"));
        assert!(Task::published(DataSet::Ade20k, "15-1_w").is_err());
        let permuted = Task::published_names(DataSet::Voc, "15-1_b").unwrap();
        assert_eq!((permuted[0][0].as_str(), permuted[0][14].as_str(), permuted[5].as_slice()), ("dog", "diningtable", &["cow".to_owned()][..]));
    }

    #[test]
    fn disjoint_leaves_out_images_with_later_classes() {
        let index: ClassIndex = [("a", vec![1]), ("b", vec![1, 3]), ("c", vec![2, 1]), ("d", vec![])].map(|(n, c)| (n.to_owned(), c)).into();
        let task = Task::new("x", DataSet::Own, vec![vec![1], vec![2], vec![4]]).unwrap();
        assert_eq!(select(&index, &task, 0, Setting::Overlapped).unwrap(), ["a", "b", "c"]);
        assert_eq!(select(&index, &task, 0, Setting::Disjoint).unwrap(), ["a"]);
        assert_eq!(select(&index, &task, 1, Setting::Disjoint).unwrap(), ["c"]);
        assert!(matches!(select(&index, &task, 2, Setting::Overlapped), Err(Error::EmptyStep { images: 4, .. })));
        assert!(matches!(select(&index, &task, 3, Setting::Overlapped), Err(Error::Steps { .. })));
    }
}
