//! Pretrained encoders: what is taken from a file, what is resized, what is left, and which files are refused.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::weights::{self, Weights};
use amis_trainer::foreign;
use amis_trainer::model::{Backbone, initial_weights};
use amis_trainer::pretrained::{LoadReport, Pretrained, Resized};
use amis_trainer::train::read_log;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/torch").join(name)
}

/// The sizes of distilled.pth.
fn spec() -> ModelSpec {
    ModelSpec { patch_px: 4, dim: 8, depth: 2, heads: 2, decoder_depth: 1, decoder_heads: 2, gab: true }
}

fn fresh(spec: &ModelSpec, grid: [u32; 2]) -> Weights {
    initial_weights(spec, &Groups(vec![1, 2]), grid, 3)
}

fn refusal(path: &Path, spec: &ModelSpec) -> String {
    let error = Pretrained::open(path, spec).unwrap_err();
    assert_eq!(amis_artifacts::cli::exit_code(&error), 3);
    amis_artifacts::cli::describe(&error)
}

#[test]
fn a_distilled_network_fills_the_encoder_and_its_grid_is_resized_as_pytorch_does() {
    let expected = weights::read(&fixture("expected.safetensors")).unwrap();
    let start = fresh(&spec(), [2, 5]);
    let mut weights = start.clone();
    let report = Pretrained::open(&fixture("distilled.pth"), &spec()).unwrap().load_into(&mut weights, [2, 5]).unwrap();
    assert_eq!(weights["encoder.blocks.1.attn.qkv.weight"], expected["distilled.pth/qkv"]);
    let (found, reference) = (&weights["encoder.pos_embed"], &expected["distilled.pth/resized-2x5"]);
    assert_eq!(found.shape, reference.shape);
    assert!(found.data.iter().zip(&reference.data).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(report.prefix, "model.");
    assert_eq!(report.resized, [Resized { name: "encoder.pos_embed".into(), from: [3, 3], to: [2, 5] }]);
    assert_eq!(report.left_in_file, ["dist_token", "head.bias", "head.weight", "head_dist.bias", "head_dist.weight"].map(|n| format!("model.{n}")));
    // Everything of the encoder came from the file, everything else stayed as it was.
    assert_eq!(report.matched.len() + report.resized.len(), start.keys().filter(|n| n.starts_with("encoder.")).count());
    for (name, tensor) in &start {
        assert_eq!(report.left_in_network.contains(name), name.starts_with("decoder."));
        assert_eq!(tensor == &weights[name], name.starts_with("decoder."), "{name}");
    }
    let summary = report.summary();
    assert!(summary.contains("resized from 3x3 to 2x5") && summary.contains("model.dist_token"), "{summary}");
}

#[test]
fn the_encoder_of_a_reference_checkpoint_is_found_and_kept_bit_by_bit_where_the_grid_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reference.pth");
    let golden = common::Golden::read("segmenter_forward.safetensors").weights("model.");
    foreign::write(&path, &golden.iter().map(|(name, t)| (format!("model_state.module.{name}"), t.clone())).collect()).unwrap();
    let spec = ModelSpec { patch_px: 16, dim: 64, depth: 3, heads: 2, decoder_depth: 2, decoder_heads: 1, gab: false };
    let mut weights = fresh(&spec, [4, 4]);
    let report = Pretrained::open(&path, &spec).unwrap().load_into(&mut weights, [4, 4]).unwrap();
    assert_eq!(report.prefix, "model_state.module.encoder.");
    assert!(report.resized.is_empty());
    for name in &report.matched {
        assert_eq!(weights[name], golden[name], "{name}");
    }
    assert!(report.left_in_file.contains(&"model_state.module.decoder.cls_emb.0".to_owned()));
}

#[test]
fn another_family_or_size_is_named_with_what_would_fit() {
    let tiny = Backbone::VitTiny.spec();
    let resnet = refusal(&fixture("resnet.pth"), &tiny);
    assert!(resnet.contains("this is a ResNet, not a Vision Transformer") && resnet.contains("vit_tiny, vit_small or vit_base"), "{resnet}");
    let other = refusal(&fixture("distilled.pth"), &tiny);
    assert!(other.contains("a ViT of patch 4, width 8 and 2 blocks, expected a vit_tiny (patch 16, width 192, 12 blocks)"), "{other}");
    assert!(other.contains("model.patch_px = 4, dim = 8, depth = 2"), "{other}");

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, change: &dyn Fn(&mut Weights)| {
        let mut weights: Weights = fresh(&tiny, [2, 2]).into_iter().filter_map(|(n, t)| Some((n.strip_prefix("encoder.")?.to_owned(), t))).collect();
        change(&mut weights);
        let path = folder.path().join(name);
        foreign::write(&path, &weights).unwrap();
        path
    };
    let whole = file("tiny.safetensors", &|_| {});
    assert!(Pretrained::open(&whole, &tiny).is_ok());
    let small = refusal(&whole, &Backbone::VitSmall.spec());
    assert!(small.contains("this is a vit_tiny") && small.contains("expected a vit_small") && small.contains("set model.backbone = \"vit_tiny\""), "{small}");
    let scaled = file("scaled.safetensors", &|w| drop(w.insert("blocks.0.ls1.gamma".into(), w["norm.weight"].clone())));
    assert!(refusal(&scaled, &tiny).contains("another kind, with blocks.0.ls1.gamma"));
    let cut = file("cut.safetensors", &|w| drop(w.remove("blocks.3.mlp.fc1.bias")));
    let error = Pretrained::open(&cut, &tiny).unwrap().load_into(&mut fresh(&tiny, [2, 2]), [2, 2]).unwrap_err().to_string();
    assert!(error.contains("blocks.3.mlp.fc1.bias is missing, expected one of shape [768]"), "{error}");
    let oblong = file("oblong.safetensors", &|w| {
        let position = w.get_mut("pos_embed").unwrap();
        position.shape[1] = 4;
        position.data.truncate(4 * 192);
    });
    assert!(refusal(&oblong, &tiny).contains("pos_embed has shape [1, 4, 192], expected [1, 1 + rows * rows, width]"));
}

#[test]
fn a_run_starts_from_the_file_and_keeps_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("train.pretrained={}", fixture("distilled.pth").display());
    let sizes = ["model.patch_px=4", "model.dim=8", "model.heads=2", "model.depth=2", "model.decoder_depth=1", "model.decoder_heads=2"];
    let short = ["train.base.epochs=1", "train.increment.epochs=1", "train.base.lr=1e-9", "image.crop_px=16"];
    let data = common::small_data(folder.path());
    let with = |more: &[&str]| common::small_config(&data, &[&sizes[..], &short, more].concat());
    let out = folder.path().join("run");
    common::run_small(&with(&[&file]), &out).unwrap();
    let report: LoadReport = amis_artifacts::files::read_json(&out.join("pretrained.json"), "load report").unwrap();
    assert_eq!((report.file.as_path(), report.sha256.len()), (fixture("distilled.pth").as_path(), 64));
    assert!(!read_log(&out).unwrap().is_empty());
    // At this learning rate the weights are still those of the file.
    let trained = amis_artifacts::checkpoint::Checkpoint::open(&out.join("step-0")).unwrap().weights().unwrap();
    let expected = weights::read(&fixture("expected.safetensors")).unwrap();
    let pairs = trained["encoder.blocks.1.attn.qkv.weight"].data.iter().zip(&expected["distilled.pth/qkv"].data);
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));

    // A file that does not fit stops a run before it makes its folder.
    let unfit = folder.path().join("unfit");
    let error = common::run_small(&with(&["model.depth=1", &file]), &unfit).unwrap_err().to_string();
    assert!(error.contains("2 blocks") && !unfit.exists(), "{error}");
}
