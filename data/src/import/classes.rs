//! Which class has which id.

use std::collections::HashMap;

use amis_artifacts::classes::{BACKGROUND, ClassList, IGNORE};

use super::shapes::Export;
use super::{ImportOptions, annotation};
use crate::Result;

/// Names that tools give to what is no class.
const BACKGROUND_NAMES: [&str; 2] = ["background", "_background_"];
/// labelme's name for pixels that take part in nothing.
const IGNORE_NAME: &str = "__ignore__";

/// Label value of every class name.
pub(super) struct Table {
    pub(super) classes: ClassList,
    values: HashMap<String, u8>,
}

impl Table {
    /// Settles the ids: those of the list given, or else those of the data set that is there already and new ones behind them.
    ///
    /// # Errors
    /// A class that is not on the list given, or too many classes.
    pub(super) fn new(options: &ImportOptions, export: &Export) -> Result<Self> {
        let path = options.out.join("classes.txt");
        let known = match &options.classes {
            Some(list) => list.clone(),
            None if path.exists() => ClassList::read_names(&path)?,
            None => ClassList::from_names(&[BACKGROUND_NAMES[0]])?,
        };
        let mut names: Vec<String> = known.iter().map(|class| class.name.clone()).collect();
        let mut values: HashMap<String, u8> = known.iter().map(|class| (class.name.clone(), class.id)).collect();
        values.extend(BACKGROUND_NAMES.map(|name| (name.to_owned(), BACKGROUND)));
        values.extend(options.ignore.iter().cloned().chain([IGNORE_NAME.to_owned()]).map(|name| (name, IGNORE)));
        if options.classes.is_none() {
            for name in &export.class_names {
                if !values.contains_key(name) {
                    values.insert(name.clone(), names.len().min(usize::from(IGNORE)) as u8);
                    names.push(name.clone());
                }
            }
        }
        Ok(Self { classes: ClassList::from_names(&names)?, values })
    }

    /// Checks that every class that was drawn has an id.
    ///
    /// # Errors
    /// Names the first that has none.
    pub(super) fn check(&self, export: &Export) -> Result<()> {
        for picture in &export.pictures {
            if let Some(shape) = picture.shapes.iter().find(|shape| !self.values.contains_key(&shape.class)) {
                let known = self.classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
                let reason = format!("its class {} is not on the list, which has {known}", shape.class);
                let help = format!("add the class to the list, correct its name, or give --ignore {:?} to make its pixels 255", shape.class);
                return Err(annotation(&picture.source, format!("{} on {}", shape.place, picture.file_name), reason, help));
            }
        }
        Ok(())
    }

    /// Label value of a class that [`Self::check`] has seen.
    pub(super) fn value(&self, class: &str) -> u8 {
        self.values.get(class).copied().unwrap_or(IGNORE)
    }
}
