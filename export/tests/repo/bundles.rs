use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use amis_artifacts::bundle::{self, BundleManifest, FORMAT_VERSION, FileEntry, GraphEntry, Lineage, Quality};
use amis_artifacts::classes::ClassList;
use amis_artifacts::image_spec::{Fit, ImageSpec};
use amis_artifacts::model_spec::Groups;

/// Classes of the test bundles by id.
pub const NAMES: [&str; 5] = ["background", "road", "car", "tree", "person"];

/// Manifest of a bundle with one graph, of classes up to `NAMES[version]`, whose IoU is `iou`; none if it is empty.
pub fn manifest(version: u64, iou: &[Option<f64>]) -> BundleManifest {
    let quality = Quality { images: 10, argmax_agreement: 1.0, miou: iou.iter().flatten().next().copied(), iou: iou.to_vec() };
    let graph = GraphEntry {
        target: "cpu".into(),
        precision: "fp32".into(),
        entry: FileEntry { file: "model.cpu-fp32.onnx".into(), ..FileEntry::default() },
        quality: Some(quality).filter(|_| !iou.is_empty()),
    };
    let steps = version as usize;
    BundleManifest {
        format_version: FORMAT_VERSION,
        name: "yard".into(),
        version,
        parent: None,
        minimum_runtime: "0.1.0".into(),
        classes: ClassList::from_names(&NAMES[..=steps]).unwrap(),
        groups: Groups(vec![1; steps + 1]),
        image_spec: ImageSpec::imagenet(64, 64, Fit::Stretch),
        graphs: vec![graph],
        calibration: None,
        self_test: None,
        lineage: Lineage {
            step: steps - 1,
            checkpoint_sha256: format!("{version}"),
            weights_sha256: format!("weights {version}"),
            parent_sha256: Some(format!("{}", version - 1)),
            config_sha256: "config".into(),
            trainer_version: "0.1.0".into(),
        },
        miou_all: None,
        licence: None,
        notes: None,
    }
}

/// Writes a bundle.
pub fn write(dir: &Path, manifest: BundleManifest) -> PathBuf {
    let path = dir.join(format!("{}-{}.amis", manifest.name, manifest.version));
    let graph = format!("graph of version {}", manifest.version).into_bytes();
    bundle::write(&path, manifest, &BTreeMap::from([("model.cpu-fp32.onnx".to_owned(), graph)])).unwrap();
    path
}

/// A bundle whose classes all have an IoU of 0.8.
pub fn good(dir: &Path, version: u64) -> PathBuf {
    write(dir, manifest(version, &vec![Some(0.8); version as usize + 1]))
}
