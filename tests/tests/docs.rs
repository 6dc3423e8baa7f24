//! The pages in docs/ are true: what they tell to type is typed, what they say of outputs is compared, and their links lead somewhere.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Pages whose blocks run, in order and in one folder.
const PAGES: [&str; 4] = ["tutorial.md", "how-to/precision.md", "how-to/resume.md", "how-to/report.md"];
/// The page with a table of JSON outputs.
const OUTPUTS: &str = "outputs.md";
/// Classes that are "drawn" in the pictures, with their ids in the synthetic scene.
const DRAWN: [(u8, &str); 4] = [(1, "road"), (3, "building"), (4, "car"), (5, "tree")];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs a script as a person's shell does, with the built programs in the path.
fn shell(folder: &Path, script: &str) -> Output {
    let own = std::env::current_exe().unwrap();
    let programs = own.ancestors().skip(1).take(2).find(|folder| folder.join("amis-train").is_file()).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(folder).env("PATH", path).env("OMP_NUM_THREADS", "1").output().unwrap()
}

/// Fenced blocks of a page: what stands behind the fence, and the content.
fn blocks(page: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = page.split("\n```").collect();
    parts.iter().skip(1).step_by(2).map(|block| block.split_once('\n').unwrap()).map(|(info, text)| (info.to_owned(), text.to_owned())).collect()
}

/// Pictures of the synthetic scene in shots/, and an export of a labelling tool in COCO's form.
fn annotated_pictures(folder: &Path) {
    let made = shell(folder, "amis-train synth scene --images 8,4,4 --val 4 && mv scene/JPEGImages shots");
    assert!(made.status.success(), "{made:?}");
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder.join("shots")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let labels = amis_data::labels::read(&folder.join(format!("scene/SegmentationClass/{name}.png"))).unwrap();
        let (width, height) = (labels.width_px as usize, labels.height_px as usize);
        images.push(json!({ "id": images.len() + 1, "file_name": path.file_name().unwrap().to_str(), "width": width, "height": height }));
        for (category, (class, _)) in DRAWN.iter().enumerate() {
            // Run lengths down the columns, the first of pixels outside.
            let (mut counts, mut inside) = (vec![0_u32], false);
            for at in (0..width * height).map(|i| (i % height) * width + i / height) {
                if (labels.values[at] == *class) != inside {
                    inside = !inside;
                    counts.push(0);
                }
                *counts.last_mut().unwrap() += 1;
            }
            if counts.len() > 1 {
                let area = json!({ "size": [height, width], "counts": counts });
                annotations
                    .push(json!({ "id": annotations.len() + 1, "image_id": images.len(), "category_id": category + 1, "iscrowd": 1, "segmentation": area }));
            }
        }
    }
    let categories: Vec<Value> = DRAWN.iter().enumerate().map(|(i, (_, name))| json!({ "id": i + 1, "name": name })).collect();
    let export = json!({ "images": images, "annotations": annotations, "categories": categories });
    fs::write(folder.join("annotations.json"), export.to_string()).unwrap();
}

#[test]
fn what_the_pages_tell_to_type_works() {
    let work = tempfile::tempdir().unwrap();
    annotated_pictures(work.path());
    for page in PAGES {
        let text = fs::read_to_string(project().join("docs").join(page)).unwrap();
        for (info, block) in blocks(&text) {
            match info.split_once(' ') {
                Some(("sh", "run")) => {
                    let output = shell(work.path(), &block);
                    assert!(output.status.success(), "{page}:\n{block}\n{}", String::from_utf8_lossy(&output.stderr));
                }
                Some(("toml", file)) => fs::write(work.path().join(file), block).unwrap(),
                _ => {}
            }
        }
    }
    assert_eq!(fs::read_to_string(work.path().join("data/mine/classes.txt")).unwrap(), "background\nroad\nbuilding\ncar\ntree\n");
    outputs_are_described(work.path());
}

/// Every row of the table is a command, and the names of the fields of its object.
fn outputs_are_described(work: &Path) {
    let page = fs::read_to_string(project().join("docs").join(OUTPUTS)).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `amis-")).collect();
    assert!(rows.len() > 10, "{OUTPUTS} has {} commands", rows.len());
    for row in rows {
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let output = shell(work, &format!("{} --json", names[0]));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}: {output:?}", names[0]));
        let found: BTreeSet<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, names[1..].iter().copied().collect(), "`{}` gives, and {OUTPUTS} says", names[0]);
    }
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect::<String>().replace(' ', "-")
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { pages(&path) } else { vec![path] }).filter(|path| path.extension().is_some_and(|e| e == "md")).collect()
}

#[test]
fn links_lead_somewhere() {
    let root = project();
    let mut pages = pages(&root.join("docs"));
    pages.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root.join(name)));
    let texts: BTreeMap<PathBuf, String> = pages.iter().map(|page| (page.canonicalize().unwrap(), fs::read_to_string(page).unwrap())).collect();
    let mut broken = Vec::new();
    for (page, text) in &texts {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let Ok(path) = path.canonicalize() else {
                broken.push(format!("{}: {target}", page.display()));
                continue;
            };
            let headings = texts.get(&path).map(|text| text.lines().filter(|line| line.starts_with('#')).map(anchor).collect::<Vec<_>>());
            if !place.is_empty() && headings.is_some_and(|headings| !headings.iter().any(|heading| heading == place)) {
                broken.push(format!("{}: {target}: no such heading", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
