//! What the chosen images show, and what a person should be told about it.

use amis_artifacts::calibration::ClassCoverage;
use amis_artifacts::classes::ClassList;

use crate::choice::shows;

/// Fewer images are warned about.
pub const FEW_IMAGES: usize = 100;

/// Coverage by class; `positions[image][class]` are the predicted positions.
pub(crate) fn coverage(positions: &[Vec<u64>], names: &ClassList) -> Vec<ClassCoverage> {
    let classes = positions.iter().map(Vec::len).max().unwrap_or(0);
    let of = |class: usize| ClassCoverage {
        class: names.iter().nth(class).map_or_else(|| format!("class {class}"), |c| c.name.clone()),
        images: positions.iter().filter(|p| shows(p, class)).count(),
        positions: positions.iter().filter_map(|p| p.get(class)).sum(),
    };
    (0..classes).map(of).collect()
}

/// What is thin about `images` images with this coverage; `repeated` had the content of others.
pub(crate) fn warnings(images: usize, repeated: usize, coverage: &[ClassCoverage]) -> Vec<String> {
    let mut warnings = Vec::new();
    if images < FEW_IMAGES {
        warnings.push(format!("only {images} images; {FEW_IMAGES} or more are better"));
    }
    if repeated > 0 {
        warnings.push(format!("{repeated} images repeat another one's content and are left out"));
    }
    let uncovered = coverage.iter().filter(|c| c.images == 0);
    warnings.extend(uncovered.map(|c| format!("no image shows {}, by the network's own prediction: add images that do", c.class)));
    if coverage.is_empty() {
        warnings.push("the graph makes no masks [1, C, h, w], so images are not balanced by class".into());
    }
    warnings
}
