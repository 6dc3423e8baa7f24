//! Class names of the data sets with published tasks, in order of their ids.

use amis_artifacts::classes::ClassList;

use crate::Result;
use crate::protocol::DataSet;

/// PASCAL VOC 2012, background first.
const VOC_2012: &str =
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor";

/// ADE20K in the release of the Scene Parsing Challenge: ids 1..=150, one a line, each by the first of its names in `objectInfo150.txt`.
const ADE20K: &str = include_str!("ade20k_classes.txt");

/// The classes of a data set with published tasks, background first; none for one's own.
pub(crate) fn published(data_set: DataSet) -> Option<Result<ClassList>> {
    let names: Vec<&str> = match data_set {
        DataSet::Voc => VOC_2012.split(' ').collect(),
        DataSet::Ade20k => std::iter::once("background").chain(ADE20K.lines()).collect(),
        DataSet::Own => return None,
    };
    Some(ClassList::from_names(&names).map_err(Into::into))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_those_of_the_releases() {
        let (voc, ade) = (published(DataSet::Voc).unwrap().unwrap(), published(DataSet::Ade20k).unwrap().unwrap());
        assert_eq!((voc.len(), ade.len()), (21, 151));
        for (classes, name, id) in [(&voc, "person", 15), (&voc, "tvmonitor", 20), (&ade, "wall", 1), (&ade, "building", 2), (&ade, "person", 13)] {
            assert_eq!(classes.by_name(name).unwrap().id, id, "{name}");
        }
        for (name, id) in [("car", 21), ("screen door", 59), ("airplane", 91), ("step", 122), ("flag", 150)] {
            assert_eq!(ade.by_name(name).unwrap().id, id, "{name}");
        }
    }
}
