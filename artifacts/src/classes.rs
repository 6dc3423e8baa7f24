//! The class list: ids that are stable for life, names, colours.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, files};

/// Id of the background class, always the first.
pub const BACKGROUND: u8 = 0;
/// Label value that takes part in nothing.
pub const IGNORE: u8 = 255;
/// Most classes a list may have: labels are bytes and 255 is taken.
pub const MAX_CLASSES: usize = 255;

/// One class. Its id is its place in the list and in the network's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Value in label maps and channel of the network's output.
    pub id: u8,
    /// Unique, for people.
    pub name: String,
    /// Red, green, blue. Belongs to the id and never changes.
    pub color: [u8; 3],
}

/// Classes in order of their ids: background first, then by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "Vec<Class>", into = "Vec<Class>")]
#[cfg_attr(test, schemars(with = "Vec<Class>"))]
pub struct ClassList(Vec<Class>);

impl ClassList {
    /// A list from names in order of the ids; colours are [`palette_color`].
    ///
    /// # Errors
    /// No class, too many, an empty or repeated name.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        let class = |(id, name): (usize, &S)| Class { id: id as u8, name: name.as_ref().to_owned(), color: palette_color(id as u8) };
        names.iter().enumerate().map(class).collect::<Vec<_>>().try_into()
    }

    /// Reads a text file with one class name a line, background first.
    ///
    /// # Errors
    /// Unreadable, or not a valid list.
    pub fn read_names(path: &Path) -> Result<Self> {
        let bytes = files::read_limited(path, "class list", 1 << 16)?;
        let text = String::from_utf8_lossy(&bytes);
        let names: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        Self::from_names(&names).map_err(|e| Error::Malformed { what: "class list", path: path.into(), reason: e.to_string() })
    }

    /// Number of classes, background included.
    #[allow(clippy::len_without_is_empty)] // a list is never empty
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The classes in order of their ids.
    pub fn iter(&self) -> std::slice::Iter<'_, Class> {
        self.0.iter()
    }

    /// The class with this id.
    pub fn get(&self, id: u8) -> Option<&Class> {
        self.0.get(usize::from(id))
    }

    /// The class with this name.
    pub fn by_name(&self, name: &str) -> Option<&Class> {
        self.0.iter().find(|c| c.name == name)
    }

    /// The first `count` classes: what an earlier step knew.
    ///
    /// # Errors
    /// More are asked for than there are, or none.
    pub fn prefix(&self, count: usize) -> Result<Self> {
        self.0
            .get(..count)
            .map(<[Class]>::to_vec)
            .ok_or_else(|| Error::Classes { reason: format!("{count} classes asked for, {} there", self.0.len()) })?
            .try_into()
    }

    /// Checks that this list is `older` with classes appended, id by id, names and colours too.
    ///
    /// # Errors
    /// Names the first class that differs.
    pub fn must_extend(&self, older: &Self) -> Result<()> {
        for class in older.iter() {
            if self.get(class.id) != Some(class) {
                let found = self.get(class.id).map_or("nothing".to_owned(), |c| format!("{} {:?}", c.name, c.color));
                return Err(Error::Classes { reason: format!("id {} was {} {:?} and is now {found}", class.id, class.name, class.color) });
            }
        }
        Ok(())
    }
}

impl TryFrom<Vec<Class>> for ClassList {
    type Error = Error;

    fn try_from(classes: Vec<Class>) -> Result<Self> {
        let wrong = |reason| Err(Error::Classes { reason });
        if classes.is_empty() || classes.len() > MAX_CLASSES {
            return wrong(format!("{} classes, expected 1 to {MAX_CLASSES}", classes.len()));
        }
        let mut names = HashSet::new();
        for (place, class) in classes.iter().enumerate() {
            if usize::from(class.id) != place {
                return wrong(format!("class {} has id {}, expected {place}", class.name, class.id));
            }
            if class.name.trim().is_empty() || class.name.len() > 200 || class.name.chars().any(char::is_control) {
                return wrong(format!("class {place} has no usable name"));
            }
            if !names.insert(class.name.clone()) {
                return wrong(format!("the name {} stands twice", class.name));
            }
        }
        Ok(Self(classes))
    }
}

impl From<ClassList> for Vec<Class> {
    fn from(list: ClassList) -> Self {
        list.0
    }
}

/// Colour of an id in the palette of PASCAL VOC: bits of the id, spread over the channels, highest first.
pub fn palette_color(id: u8) -> [u8; 3] {
    let mut color = [0u8; 3];
    for bit in 0..8 {
        let from = 3 * (bit / 3) + bit % 3;
        if from < 8 && id >> from & 1 == 1 {
            color[bit % 3] |= 1 << (7 - bit / 3);
        }
    }
    color
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_palette_is_that_of_pascal_voc() {
        // Published colours of VOC 2012: aeroplane, bicycle, person, tvmonitor, void-like 255.
        assert_eq!(palette_color(1), [128, 0, 0]);
        assert_eq!(palette_color(2), [0, 128, 0]);
        assert_eq!(palette_color(15), [192, 128, 128]);
        assert_eq!(palette_color(20), [0, 64, 128]);
        assert_eq!(palette_color(255), [224, 224, 192]);
    }

    #[test]
    fn a_later_list_may_only_append() {
        let old = ClassList::from_names(&["background", "road"]).unwrap();
        let new = ClassList::from_names(&["background", "road", "tree"]).unwrap();
        new.must_extend(&old).unwrap();
        old.must_extend(&old).unwrap();
        let swapped = ClassList::from_names(&["background", "tree", "road"]).unwrap();
        assert!(swapped.must_extend(&old).unwrap_err().to_string().contains("id 1 was road"));
        assert!(old.must_extend(&new).is_err());
    }

    #[test]
    fn json_with_a_gap_or_a_double_name_is_refused() {
        let gap = r#"[{"id":0,"name":"a","color":[0,0,0]},{"id":2,"name":"b","color":[0,0,0]}]"#;
        assert!(serde_json::from_str::<ClassList>(gap).unwrap_err().to_string().contains("expected 1"));
        assert!(ClassList::from_names(&["a", "a"]).is_err());
        assert!(ClassList::from_names::<&str>(&[]).is_err());
    }
}
