//! Exports of annotation tools become data sets; what is wrong with one is named, and no file makes the import panic.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use amis_artifacts::classes::ClassList;
use amis_data::folder::DataFolder;
use amis_data::import::{self, Format, ImportOptions, Imported};
use amis_data::labels::{self, LabelMap};
use amis_data::layout::Layout;
use amis_data::{Error, Result};
use miette::Diagnostic;
use proptest::prelude::*;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/annotations").join(path)
}

fn options(from: &Path, images: &str, out: &Path) -> ImportOptions {
    ImportOptions { from: from.into(), format: None, images: Some(fixture(images)), out: out.into(), classes: None, ignore: Vec::new(), val_share: 0.5 }
}

fn run(options: &ImportOptions) -> Result<Imported> {
    import::run(options, &|_, _| {})
}

fn names(imported: &Imported) -> Vec<&str> {
    imported.classes.iter().map(|class| class.name.as_str()).collect()
}

/// Tools differ in the pixels that a border cuts; all others must be the same.
fn assert_same_but_for_borders(found: &LabelMap, expected: &LabelMap) {
    let (w, h) = (expected.width_px as usize, expected.height_px as usize);
    assert_eq!((found.width_px as usize, found.height_px as usize), (w, h));
    let mut differ = 0;
    for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
        let at = |y: usize, x: usize| expected.values[y * w + x];
        let around = (y.saturating_sub(1)..h.min(y + 2)).flat_map(|b| (x.saturating_sub(1)..w.min(x + 2)).map(move |a| (b, a)));
        let is_border = around.into_iter().any(|(b, a)| at(b, a) != at(y, x));
        if found.values[y * w + x] != at(y, x) {
            assert!(is_border, "({x}, {y}): {} instead of {}", found.values[y * w + x], at(y, x));
            differ += 1;
        }
    }
    assert!(differ * 20 < w * h, "{differ} of {} pixels differ", w * h);
}

#[test]
fn coco_is_painted_as_pycocotools_does() {
    let out = tempfile::tempdir().unwrap();
    let imported = run(&options(&fixture("coco/instances.json"), "coco/images", out.path())).unwrap();
    assert_eq!((imported.format, imported.images, imported.annotations, imported.holes), (Format::Coco, 2, 5, 0));
    assert_eq!(names(&imported), ["background", "car", "road", "person"], "in the order of the category ids");
    assert_eq!(imported.left_out.get("annotation without segmentation"), Some(&1));
    let folder = DataFolder::open(Layout::Folder, out.path(), "labels").unwrap();
    let mut all = [folder.read_list("train.txt").unwrap(), folder.read_list("val.txt").unwrap()].concat();
    all.sort();
    assert_eq!((all.as_slice(), imported.train, imported.val), (&["a".to_owned(), "sub/b".to_owned()][..], 1, 1));
    let read = |name: &str| folder.read_pair(name).unwrap().1;
    let expected = |name: &str| labels::read(&fixture(&format!("coco/expected-{name}.png"))).unwrap();
    assert_same_but_for_borders(&read("a"), &expected("a"));
    assert_eq!(read("sub/b"), expected("b"), "masks are exact, packed or not");
}

#[test]
fn labelme_is_painted_as_labelme_does() {
    let out = tempfile::tempdir().unwrap();
    let from = fixture("labelme");
    let imported = run(&ImportOptions { images: None, ..options(&from, "", out.path()) }).unwrap();
    assert_eq!((imported.format, imported.images, imported.annotations), (Format::Labelme, 1, 6));
    assert_eq!(names(&imported), ["background", "car", "person", "road"]);
    assert_eq!(imported.left_out.get("line"), Some(&1));
    let folder = DataFolder::open(Layout::Folder, out.path(), "labels").unwrap();
    let (_, found) = folder.read_pair("line 1/shot").unwrap();
    assert_same_but_for_borders(&found, &labels::read(&fixture("labelme/expected-shot.png")).unwrap());
    assert!(found.values.contains(&255));
}

#[test]
fn cvat_is_painted_by_depth() {
    let out = tempfile::tempdir().unwrap();
    let imported = run(&options(&fixture("cvat/annotations.xml"), "coco/images/sub", out.path())).unwrap();
    assert_eq!((imported.format, imported.images, imported.annotations), (Format::Cvat, 1, 5));
    assert_eq!(names(&imported), ["background", "road", "car"], "in the order of the task's labels");
    assert_eq!(imported.left_out.iter().map(|(kind, &count)| (kind.as_str(), count)).collect::<Vec<_>>(), [("polyline", 1), ("tag", 1)]);
    let found = labels::read(&out.path().join("labels/shots/b.png")).unwrap();
    let at = |x: usize, y: usize| found.values[y * 96 + x];
    assert_eq!([at(5, 5), at(5, 9), at(15, 15), at(31, 15)], [0, 1, 2, 1], "the box lies above the polygon");
    let mask: Vec<u8> = (20..23).flat_map(|y| (50..54).map(move |x| (x, y))).map(|(x, y)| at(x, y)).collect();
    assert_eq!(mask, [1, 2, 2, 1, 2, 2, 2, 2, 1, 2, 2, 1]);
    assert_eq!([at(70, 25), at(62, 32), at(71, 41)], [2, 1, 2], "turned by 90 degrees about its middle");
    assert_eq!([at(20, 50), at(27, 50), at(20, 55), at(26, 53)], [2, 2, 1, 1], "an ellipse");
}

#[test]
fn an_image_that_is_stored_turned_is_written_upright() {
    let out = tempfile::tempdir().unwrap();
    let from = fixture("turned");
    let imported = run(&ImportOptions { images: None, ..options(&from, "", out.path()) }).unwrap();
    assert_eq!(imported.turned, 1);
    let folder = DataFolder::open(Layout::Folder, out.path(), "labels").unwrap();
    let (image, found) = folder.read_pair("turned").unwrap();
    assert_eq!((image.width_px, image.height_px), (64, 96));
    assert_eq!(found.values.iter().filter(|&&v| v == 1).count(), 64 * 10);
    // The fixture's red grows to the right and its green downwards; turned clockwise, red grows downwards.
    let pixel = |x: usize, y: usize| &image.rgb[(y * 64 + x) * 3..][..3];
    assert!(pixel(32, 90)[0] > pixel(32, 5)[0] + 100 && pixel(5, 48)[1] > pixel(60, 48)[1] + 100);
}

#[test]
fn class_ids_are_stable_and_come_from_a_list_where_one_is_given() {
    let out = tempfile::tempdir().unwrap();
    let labelme = ImportOptions { images: None, ..options(&fixture("labelme"), "", out.path()) };
    run(&labelme).unwrap();
    // A second import into the same folder keeps what is there: background, car, person, road.
    let cvat = options(&fixture("cvat/annotations.xml"), "coco/images/sub", out.path());
    assert_eq!(names(&run(&cvat).unwrap()), ["background", "car", "person", "road"]);

    let list = |names: &[&str]| Some(ClassList::from_names(names).unwrap());
    let given = ImportOptions { classes: list(&["background", "road", "car"]), ..cvat.clone() };
    assert_eq!(names(&run(&given).unwrap()), ["background", "road", "car"]);
    let short = ImportOptions { classes: list(&["background", "road"]), ..cvat.clone() };
    let error = run(&short).unwrap_err();
    assert!(error.to_string().contains("its class car is not on the list") && error.to_string().contains("line 32"), "{error}");
    assert!(error.help().unwrap().to_string().contains("--ignore \"car\""));
    run(&ImportOptions { ignore: vec!["car".into()], ..short }).unwrap();
    assert_eq!(labels::read(&out.path().join("labels/shots/b.png")).unwrap().values[15 * 96 + 15], 255);
}

#[test]
fn what_is_wrong_is_named_with_file_and_annotation() {
    let dir = tempfile::tempdir().unwrap();
    let message = |file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(fixture(file)).unwrap();
        assert!(text.contains(from), "{from}");
        let path = dir.path().join(Path::new(file).file_name().unwrap());
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let images = if file.starts_with("cvat") { "coco/images/sub" } else { "coco/images" };
        let error = run(&options(&path, images, &dir.path().join("out"))).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Annotation { .. }) && message.contains(path.to_str().unwrap()) && error.help().is_some(), "{message}");
        message
    };
    let coco = |from: &str, to: &str| message("coco/instances.json", from, to);
    assert!(coco("\"image_id\": 7", "\"image_id\": 8").contains("annotation 100: its image_id 8 is not among the images"));
    assert!(coco("\"category_id\": 20", "\"category_id\": 21").contains("annotation 100: its category_id 21"));
    assert!(coco("[[82.0, ", "[[").contains("annotation 100 on a.jpg: a polygon has an odd number"));
    assert!(coco("[[82.0, ", "[[1e9, ").contains("a coordinate of 1000000000"));
    assert!(coco("[[82.0, ", "[[\"x\", ").contains("line 1"));
    assert!(coco("\"size\": [64, 96]", "\"size\": [96, 64]").contains("annotation 103 on sub/b.jpg: its mask has 64x96 pixels, the image 96x64"));
    assert!(coco("\"counts\": [", "\"counts\": [3, ").contains("annotation 104 on sub/b.jpg: its mask has runs for"));
    assert!(coco("\"counts\": \"", "\"counts\": \"\u{e9}").contains("the text of its mask is damaged"));
    assert!(coco("\"id\": 9, ", "\"id\": 7, ").contains("image 7: its id stands twice"));
    assert!(coco("sub/b.jpg", "../../c.jpg").contains("image ../../c.jpg: it is not in"));
    assert!(coco("sub/b.jpg", "a.jpg").contains("would both be called a"));
    assert!(coco("\"width\": 96", "\"width\": 97").contains("a.jpg has 96x64 pixels, the annotations are for 97x64"));
    let cvat = |from: &str, to: &str| message("cvat/annotations.xml", from, to);
    assert!(cvat("0.00,8.00;", "0.00;").contains("polygon in line 35: points has \"0.00\", expected x,y"));
    assert!(cvat("xtl=\"10.00\"", "xtl=\"ten\"").contains("box in line 32: xtl has \"ten\""));
    assert!(cvat("left=\"50\"", "left=\"94\"").contains("its mask of 4x3 pixels at 94x20 leaves the image of 96x64"));
    assert!(cvat("0.00,8.00;96.00,8.00;", "nan,8.00;96.00,8.00;").contains("a coordinate of NaN"));
    assert!(cvat("</annotations>", "").contains("line "));
    assert!(cvat("<image ", "<track><image ").contains("line"));
    let labelme = |from: &str, to: &str| message("labelme/line 1/shot.json", from, to);
    assert!(labelme("\"imageHeight\": 64", "\"imageHeight\": null").contains("line "));
    assert!(labelme("\"mask\": \"", "\"mask\": \"!").contains("shape 5 (person) on ../line 1/shot.jpg: its mask is no base64 text"));
    fs::write(dir.path().join("video.xml"), "<annotations><track/></annotations>").unwrap();
    let video = run(&options(&dir.path().join("video.xml"), "coco/images", dir.path())).unwrap_err();
    assert!(video.to_string().contains("tracks of a video"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn damaged_files_are_errors_or_data_sets_but_never_panics(
        file in 0usize..3, cut in prop::option::of(0.0f64..1.0), changes in prop::collection::vec((0.0f64..1.0, prop::sample::select(b"0919-.,;[]{}\"<>/x\xff".to_vec())), 0..6)
    ) {
        let (file, images) = [("coco/instances.json", "coco/images"), ("labelme/line 1/shot.json", "labelme/line 1"), ("cvat/annotations.xml", "coco/images/sub")][file];
        let mut bytes = fs::read(fixture(file)).unwrap();
        for (at, byte) in changes {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| (cut * bytes.len() as f64) as usize));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(Path::new(file).file_name().unwrap());
        fs::write(&path, bytes).unwrap();
        if let Err(error) = run(&options(&path, images, &dir.path().join("out"))) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
