//! Graphs of the golden network on a small data set whose labels are the float32 graph's own classes.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use amis_artifacts::bundle;
use amis_artifacts::calibration::{self, CalibrationImage, CalibrationKey, CalibrationTable, Method, TensorRange, images_sha256};
use amis_artifacts::checkpoint::{self, Checkpoint, ImageListRef};
use amis_artifacts::files::{self, sha256};
use amis_artifacts::metrics::{ConfusionMatrix, StepMetrics};
use amis_artifacts::onnx::{self, linears};
use amis_artifacts::preprocess::Preprocessor;
use amis_artifacts::weights::{self, Weights};
use amis_export::Error;
use amis_export::bundle::{Request, pack};
use amis_export::compare::{Choice, Comparison, Images, Options, compare};
use amis_export::graph::{self, Output};
use amis_export::passes::target::Target;
use amis_export::passes::{Job, Precision, prepare};
use amis_export::sensitivity::{Question, Sensitivity};
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::{self, OnnxRuntime};
use amis_runtime::class_map::class_map;
use common::{amax, golden_checkpoint};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

const IMAGES: usize = 4;

/// A checkpoint of the golden network (weights changed by `change`), its float32 graph, and a data set at `dir/data` that it was "trained" on: its labels are
/// what the graph says.
struct Setup {
    checkpoint: Checkpoint,
    onnx: PathBuf,
    /// Largest magnitudes on the data set.
    ranges: BTreeMap<String, f32>,
}

fn setup(dir: &Path, change: impl Fn(&mut Weights)) -> Setup {
    let golden = golden_checkpoint(&dir.join("golden"));
    let mut weights = golden.weights().unwrap();
    change(&mut weights);
    let mut manifest = golden.manifest.clone();
    let data = dir.join("data");
    let names: Vec<String> = (0..IMAGES).map(|i| format!("image {i}")).collect();
    manifest.config = serde_json::json!({
        "data": { "layout": "folder", "root": data, "labels": "labels" },
        "task": { "steps": [["class 1", "class 2", "class 3"], ["class 4", "class 5"]], "val": "val.txt" },
    });
    manifest.image_lists = vec![ImageListRef { role: "val".into(), images: IMAGES, sha256: sha256(names.join("\n").as_bytes()) }];
    let samples = weights::read(&dir.join("golden/samples.safetensors")).unwrap();
    let (folder, onnx) = (dir.join("step-1"), dir.join("model.cpu-fp32.onnx"));
    let mut confusion = ConfusionMatrix::new(manifest.classes.len());
    let metrics = |confusion| StepMetrics::new(1, &manifest.classes, &manifest.groups, confusion);
    checkpoint::write(&folder, manifest.clone(), &weights, &samples, &metrics(confusion.clone())).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let model = graph::export(&checkpoint, Output::Masks, &onnx).unwrap();

    for folder in ["images", "labels"] {
        fs::create_dir_all(data.join(folder)).unwrap();
    }
    fs::write(data.join("classes.txt"), manifest.classes.iter().map(|c| format!("{}\n", c.name)).collect::<String>()).unwrap();
    fs::write(data.join("val.txt"), names.join("\n")).unwrap();
    let (mut rng, mut preprocessor) = (Pcg64::seed_from_u64(1), Preprocessor::new(manifest.image_spec.clone()));
    let mut backend = OnnxRuntime::open(&onnx, &onnxruntime::Options { threads: 1 }).unwrap();
    let mut input = vec![0.0; manifest.image_spec.input_len()];
    let mut inputs = Vec::new();
    for name in &names {
        let blocks: Vec<[u8; 3]> = (0..64).map(|_| rng.random()).collect();
        let picture = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb(blocks[(y / 8 * 8 + x / 8) as usize]));
        picture.save(data.join(format!("images/{name}.png"))).unwrap();
        preprocessor.run(picture.as_raw(), 64, 64, &mut input).unwrap();
        inputs.extend_from_slice(&input);
        let map = class_map(backend.infer(&input).unwrap(), [6, 4, 4], 64, 64).unwrap();
        confusion.add(&map, &map);
        image::GrayImage::from_raw(64, 64, map).unwrap().save(data.join(format!("labels/{name}.png"))).unwrap();
    }
    files::write_json(&folder.join("metrics.json"), &metrics(confusion)).unwrap();
    Setup { checkpoint, onnx, ranges: amax(&model, &inputs, dir) }
}

/// Writes a graph for a target, with `part` of every range.
fn quantized(setup: &Setup, target: &str, precision: Precision, part: f32) -> PathBuf {
    let mut model = onnx::read(&setup.onnx).unwrap();
    let ranges = setup.ranges.iter().map(|(name, amax)| (name.clone(), part * amax)).collect();
    prepare(&mut model, &Job { target: &Target::find(target).unwrap(), precision, ranges: &ranges, keep: &BTreeSet::new(), parent: None }).unwrap();
    let path = setup.onnx.with_file_name(format!("model.{target}-{precision}-{part}.onnx"));
    onnx::write(&path, &model).unwrap();
    path
}

fn run(setup: &Setup, others: &[PathBuf], choice: &Choice, options: &Options) -> amis_export::Result<Comparison> {
    compare(&setup.checkpoint, &setup.onnx, others, &Images::open(&setup.checkpoint, choice)?, options, || {})
}

#[test]
fn precisions_are_measured_drawn_and_packed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let setup = setup(dir, |_| {});
    let others = [
        quantized(&setup, "rtx", Precision::Fp16, 1.0),
        quantized(&setup, "cpu", Precision::Int8, 1.0),
        // A calibration gone wrong.
        quantized(&setup, "cpu", Precision::Int8, 0.001),
    ];
    let options = Options { pictures: Some(dir.join("worst")), threads: 1 };
    let found = run(&setup, &others, &Choice::default(), &options).unwrap();
    assert_eq!(found.reproduction.problem, None);
    let [fp32, fp16, int8, cut] = &found.graphs[..] else { panic!("{found:?}") };
    assert_eq!((fp32.quality.miou, fp32.quality.argmax_agreement, fp32.mask_mse, fp32.drop), (Some(1.0), 1.0, 0.0, None));
    assert_eq!((fp16.precision.as_str(), fp16.emulated), ("fp16", true));
    assert!(fp16.drop < int8.drop && fp16.mask_mse > 0.0 && fp16.mask_mse < int8.mask_mse && int8.mask_mse < cut.mask_mse, "{found}");
    assert!(int8.quality.argmax_agreement > 0.9 && !int8.emulated && int8.quality.iou.len() == 6, "{found}");
    assert!(cut.quality.argmax_agreement < 0.9 && cut.misses.len() == 2 && cut.drop.unwrap() > 0.1, "{found}");
    let text = found.to_string();
    assert!(text.contains("4 images, on which the trainer measured 100.00 points") && text.contains("is not to be used: it loses"), "{text}");

    let worst = &cut.worst[0];
    assert!(cut.worst.windows(2).all(|w| w[0].argmax_agreement <= w[1].argmax_agreement) && cut.worst.len() == 3, "{:?}", cut.worst);
    let picture = image::open(worst.picture.as_ref().unwrap()).unwrap().into_rgb8();
    // Image, float32, this graph, labels, differences; the share of red is what is said.
    assert_eq!(picture.dimensions(), (5 * 64, 64));
    let red = (0..64).flat_map(|y| (0..64).map(move |x| (x, y))).filter(|&(x, y)| picture.get_pixel(256 + x, y).0 == [255, 0, 0]).count();
    assert_eq!(red as f64 / 4096.0, 1.0 - worst.argmax_agreement);

    let file = dir.join("verification.json");
    files::write_json(&file, &found).unwrap();
    let graphs = [format!("cpu:fp32:{}", setup.onnx.display()).parse().unwrap(), format!("cpu:int8:{}", others[1].display()).parse().unwrap()];
    let request = Request { verification: Some(&file), min_agreement: 0.0, ..Request::new("yard", 1, &graphs) };
    let (path, _) = pack(&setup.checkpoint, &request, dir).unwrap();
    let manifest = bundle::read_manifest(&path).unwrap();
    // JSON may lose the last bit of a number.
    let packed = manifest.graph("cpu", "int8").unwrap().quality.as_ref().unwrap();
    assert!((packed.miou.unwrap() - int8.quality.miou.unwrap()).abs() < 1e-12 && packed.iou.len() == 6 && packed.images == IMAGES, "{packed:?}");
    let other = [format!("cpu:int8:{}", quantized(&setup, "cpu", Precision::Int8, 0.9).display()).parse().unwrap()];
    assert!(matches!(pack(&setup.checkpoint, &Request { graphs: &other, ..request }, dir), Err(Error::NotMeasured { .. })));
}

#[test]
fn other_images_are_not_the_trainers() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| {});
    let problem = |choice: &Choice| run(&setup, &[], choice, &Options::default()).unwrap().reproduction.problem.unwrap();
    assert_eq!(problem(&Choice { limit: Some(2), ..Choice::default() }), "these 2 images are not the 4 that the trainer validated on");
    let pictures = Choice { root: Some(dir.path().join("data/images")), ..Choice::default() };
    assert_eq!(problem(&pictures), "there are no labels for these images");
    let found = run(&setup, &[], &pictures, &Options::default()).unwrap();
    assert_eq!((found.graphs[0].quality.images, found.graphs[0].quality.miou, found.graphs[0].quality.iou.len()), (IMAGES, None, 0));
    // Labels that are not what the network says: the trainer cannot have measured 100 points.
    let blank = image::GrayImage::from_pixel(64, 64, image::Luma([1]));
    blank.save(dir.path().join("data/labels/image 0.png")).unwrap();
    let text = problem(&Choice::default());
    assert!(text.contains("the trainer measured 100.00 on these images"), "{text}");
    let empty = Choice { root: Some(dir.path().join("worst")), ..Choice::default() };
    assert!(run(&setup, &[], &empty, &Options::default()).is_err());
}

#[test]
fn an_fp16_graph_that_overflows_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    // The next LayerNorm takes the factors out again, so that float32 does not mind; FP16 ends at 65,504.
    let setup = setup(dir.path(), |weights| {
        for (layer, factor) in [("fc1", 1e3), ("fc2", 1e4)] {
            weights.get_mut(&format!("encoder.blocks.0.mlp.{layer}.weight")).unwrap().data.iter_mut().for_each(|w| *w *= factor);
        }
    });
    let fp16 = quantized(&setup, "rtx", Precision::Fp16, 1.0);
    let error = run(&setup, std::slice::from_ref(&fp16), &Choice::default(), &Options::default()).unwrap_err();
    assert!(matches!(&error, Error::Masks { path, reason } if *path == fp16 && reason.contains("not finite")), "{error}");
}

/// A table with the largest magnitudes, but for the input of the layer `cut` a thousandth.
fn table(setup: &Setup, cut: &str) -> PathBuf {
    let bytes = fs::read(&setup.onnx).unwrap();
    let linears = linears(onnx::parse(&bytes, &setup.onnx).unwrap().graph.as_ref().unwrap());
    let range = |amax| TensorRange { amax, method: Method::Max, samples: 1, histogram_sha256: String::new() };
    let images = vec![CalibrationImage { name: "a.png".into(), sha256: sha256(b"a") }];
    let table = CalibrationTable {
        format_version: calibration::FORMAT_VERSION,
        key: CalibrationKey {
            graph_sha256: sha256(&bytes),
            images_sha256: images_sha256(&[sha256(b"a")]),
            method: Method::Max,
            image_spec: setup.checkpoint.manifest.image_spec.clone(),
            tool_version: env!("CARGO_PKG_VERSION").into(),
        },
        tensors: linears.into_iter().map(|l| (l.input.clone(), range(setup.ranges[&l.input] * if l.name == cut { 0.001 } else { 1.0 }))).collect(),
        images,
        coverage: vec![],
        warnings: vec![],
    };
    let path = setup.onnx.with_file_name(format!("calibration-{cut}.json"));
    table.write(&path).unwrap();
    path
}

#[test]
fn the_layer_that_was_cut_is_found_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let setup = setup(dir, |_| {});
    // Between encoder and decoder there is no way around it.
    let cut = "decoder.proj_dec";
    let calibration = table(&setup, cut);
    let images = Images::open(&setup.checkpoint, &Choice::default()).unwrap();
    let question = Question { checkpoint: &setup.checkpoint, onnx: &setup.onnx, calibration: &calibration, budget_points: None, threads: 1 };
    let mut last = (0, 0);
    let found = Sensitivity::measure(&question, &images, |_, done, all| last = (done, all)).unwrap();
    // 5 blocks of 4, the patch embedding and proj_dec; with float32 and all in INT8, twice 22 and 2 passes.
    assert_eq!((found.layers.len(), last), (22, (46 * IMAGES, 46 * IMAGES)));
    let [worst, second, ..] = &found.layers[..] else { panic!() };
    assert_eq!((worst.name.as_str(), &found.budget), (cut, &None));
    assert!(worst.without.mask_mse < 0.5 * found.all.mask_mse && second.without.mask_mse > 0.5 * found.all.mask_mse, "{found}");
    let (all, without) = (found.all.drop.unwrap(), worst.without.drop.unwrap());
    assert!(without < all && worst.only.drop.unwrap() > second.only.drop.unwrap(), "{found}");

    let points = 50.0 * (all + without);
    let found = Sensitivity::measure(&Question { budget_points: Some(points), ..question.clone() }, &images, |_, _, _| {}).unwrap();
    let budget = found.budget.as_ref().unwrap();
    assert_eq!((budget.keep.len(), budget.keep[0].layer.as_str(), budget.met, budget.rest.drop), (1, cut, true, Some(without)));
    assert!(found.to_string().contains("With 1 of 22 layers kept in FP16") && budget.keep[0].reason.contains("falls from"), "{found}");
    found.plot(&dir.join("plot.svg")).unwrap();
    let svg = fs::read_to_string(dir.join("plot.svg")).unwrap();
    assert!(svg.contains(cut) && svg.matches("<circle").count() == 22, "{svg}");

    let file = dir.join("sensitivity.json");
    files::write_json(&file, &found).unwrap();
    let quantize = |calibration: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amis-export"));
        command
            .args(["quantize", "--target", "cpu", "--json", "--onnx"])
            .arg(&setup.onnx)
            .arg("--calibration")
            .arg(calibration)
            .arg("--sensitivity")
            .arg(&file);
        command.output().unwrap()
    };
    let json: serde_json::Value = serde_json::from_slice(&quantize(&calibration).stdout).unwrap();
    assert_eq!((&json["kept"], json["quantized"].as_array().unwrap().len()), (&serde_json::json!([cut]), 21));
    let other = quantize(&table(&setup, "encoder.blocks.0.mlp.fc1"));
    assert!(other.status.code() == Some(3) && String::from_utf8_lossy(&other.stderr).contains("measured with the calibration table"));
}

#[test]
fn no_loss_is_stated_where_the_trainer_measured_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let first = setup(dir.path(), |_| {});
    let calibration = table(&first, "");
    let question = Question { checkpoint: &first.checkpoint, onnx: &first.onnx, calibration: &calibration, budget_points: None, threads: 1 };
    let images = Images::open(&first.checkpoint, &Choice { limit: Some(1), ..Choice::default() }).unwrap();
    let found = Sensitivity::measure(&question, &images, |_, _, _| {}).unwrap();
    assert!(found.all.miou.is_some() && found.all.drop.is_none() && found.layers.iter().all(|l| l.only.drop.is_none() && l.without.drop.is_none()));
    assert!(found.to_string().contains("no loss of mean IoU is stated, because these 1 images are not the 4"), "{found}");
    let budget = Question { budget_points: Some(0.5), ..question.clone() };
    let passes = std::cell::Cell::new(0);
    let error = Sensitivity::measure(&budget, &images, |_, _, _| passes.set(passes.get() + 1)).unwrap_err();
    assert!(matches!(error, Error::NoLoss { .. }) && passes.get() == 1, "{error} after {}", passes.get());
    let other = setup(&dir.path().join("other"), |weights| weights.get_mut("decoder.proj_dec.bias").unwrap().data[0] += 1.0);
    let stale = table(&other, "");
    assert!(Sensitivity::measure(&Question { calibration: &stale, ..question }, &images, |_, _, _| {}).unwrap_err().to_string().contains("graph_sha256"));
}

#[test]
fn the_command_measures_and_writes_what_the_bundle_takes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let setup = setup(dir, |_| {});
    let int8 = quantized(&setup, "cpu", Precision::Int8, 1.0);
    let (onnx, int8) = (setup.onnx.file_name().unwrap().to_str().unwrap(), int8.file_name().unwrap().to_str().unwrap());
    let command = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_amis-export")).current_dir(dir).args(arguments).output().unwrap();
    let out = command(&["verify", "--checkpoint", "step-1", "--onnx", onnx, "--graph", int8, "--out", "v.json", "--threads", "1", "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(json["max_abs_diff"].as_f64().unwrap() < 1e-3 && json["comparison"]["graphs"][1]["precision"] == "int8", "{json}");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&fs::read(dir.join("v.json")).unwrap()).unwrap(), json["comparison"]);
    let graph = format!("cpu:int8:{int8}");
    let bundle = ["bundle", "--checkpoint", "step-1", "--graph", &graph, "--verification", "v.json", "--name", "yard", "--version", "1"];
    let out = command(&[&bundle[..], &["--reference", onnx, "--min-agreement", "0.5"]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let shown = command(&["inspect", "yard-1.amis"]).stdout;
    assert!(String::from_utf8_lossy(&shown).contains("of the pixels as float32, mean IoU"), "{}", String::from_utf8_lossy(&shown));
    let out = command(&["verify", "--checkpoint", "step-1", "--onnx", int8, "--graph", int8]);
    assert_eq!(out.status.code(), Some(1), "INT8 in the place of the float32 graph does not agree with the samples");
    let out = command(&["verify", "--checkpoint", "step-1", "--onnx", onnx, "--images", "nowhere"]);
    assert_eq!(out.status.code(), Some(3), "{}", String::from_utf8_lossy(&out.stderr));
}
