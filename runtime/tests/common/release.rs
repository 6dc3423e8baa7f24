//! Bundles as a device gets them, good ones and bad ones.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use amis_artifacts::bundle::{self, FileEntry, SelfTest, SelfTestFrame};
use amis_artifacts::classes::ClassList;
use amis_artifacts::model_spec::Groups;

use super::{COLORS, manifest, onnx};

/// What a release does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Background, red, green, blue.
    Colors,
    /// The same, and white.
    OneMore,
    /// The classes of `OneMore`; sees background everywhere, and its self-test says so.
    Blank,
    /// Does what it should, and takes long.
    Slow,
    /// Fails on pictures that are brighter than those of its self-test.
    Crashing,
    /// The classes of `OneMore`, with two million bytes that cannot be packed.
    Heavy,
    /// Its self-test asks for other classes.
    WrongMaps,
    /// Its self-test asks for more haste than there can be.
    Impatient,
    /// Calls red what is called background.
    OtherClasses,
    /// Its graph is none.
    Broken,
    /// Without a self-test.
    NoSelfTest,
    /// For a runtime of another time.
    NewerRuntime,
}

/// Writes a release.
pub fn release_bundle(path: &Path, version: u64, network: Network) {
    let mut classes = vec!["background", "red", "green", "blue"];
    let mut weight = COLORS.to_vec();
    if matches!(network, Network::OneMore | Network::Blank | Network::Heavy) {
        classes.push("white");
        weight.push([1.0; 3]);
    }
    if network == Network::OtherClasses {
        classes[1] = "crimson";
    }
    if network == Network::Blank {
        weight.fill([0.0; 3]);
    }
    let bias: Vec<f32> = (0..weight.len()).map(|class| if class == 0 { 0.5 } else { 0.0 }).collect();
    let graph = match network {
        Network::Slow => onnx::slow_model(64, 96, 8, &weight, &bias),
        Network::Crashing => onnx::picky_model(64, 96, 8, &weight, &bias),
        Network::Heavy => onnx::heavy_model(64, 96, 8, &weight, &bias),
        Network::Broken => b"no graph".to_vec(),
        _ => onnx::patch_model(64, 96, 8, &weight, &bias),
    };
    let mut manifest = manifest(version, &classes);
    manifest.groups = if classes.len() == 4 { Groups(vec![1, 2, 1]) } else { Groups(vec![1, 2, 1, 1]) };
    manifest.classes = ClassList::from_names(&classes).unwrap();
    if network == Network::NewerRuntime {
        manifest.minimum_runtime = "99.0.0".into();
    }
    let mut contents = BTreeMap::from([(manifest.graphs[0].entry.file.clone(), graph)]);
    let entry = |name: &str| FileEntry { file: name.into(), ..FileEntry::default() };
    let frame = |name: &str| SelfTestFrame { image: entry(&format!("{name}.png")), map: entry(&format!("{name}-map.png")) };
    if network != Network::NoSelfTest {
        let max_latency_ms = (network == Network::Impatient).then_some(1e-6);
        manifest.self_test = Some(SelfTest { frames: vec![frame("a"), frame("b")], min_agreement: 0.97, max_latency_ms });
        for (name, left, right) in [("a", [255, 0, 0], [0, 0, 255]), ("b", [0, 255, 0], [0, 0, 0])] {
            let class = |color: [u8; 3]| color.iter().position(|&value| value == 255).map_or(0, |channel| channel as u8 + 1);
            let class = |color| match network {
                Network::Blank => 0,
                Network::WrongMaps => 3,
                _ => class(color),
            };
            let picture = image::RgbImage::from_fn(96, 64, |x, _| image::Rgb(if x < 48 { left } else { right }));
            let map = image::GrayImage::from_fn(96, 64, |x, _| image::Luma([class(if x < 48 { left } else { right })]));
            contents.insert(format!("{name}.png"), png(&picture.into()));
            contents.insert(format!("{name}-map.png"), png(&map.into()));
        }
    }
    bundle::write(path, manifest, &contents).unwrap();
}

fn png(image: &image::DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
