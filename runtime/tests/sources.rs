//! Sources: what they deliver, in which order, and how they refuse.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use amis_runtime::source::{self, Frame};
use amis_runtime::{Error, Result};
use common::two_halves;

fn names(text: &str) -> Result<Vec<String>> {
    let mut source = source::open(text)?;
    let mut frame = Frame::default();
    let mut names = Vec::new();
    while source.next(&mut frame)? {
        assert_eq!((frame.rgb.len() as u32, frame.index as usize), (frame.width_px * frame.height_px * 3, names.len()));
        names.push(frame.name.clone());
    }
    Ok(names)
}

fn refusal(text: &str) -> String {
    names(text).unwrap_err().to_string()
}

#[test]
fn a_folder_comes_in_order_of_names_and_a_list_in_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["b.jpg", "a.png", "c.JPEG"] {
        two_halves(&at(name), 8, 4, [255, 0, 0], [0, 0, 255]);
    }
    fs::write(at("notes.txt"), "no picture").unwrap();
    fs::create_dir(at("d.jpg")).unwrap();
    let path = dir.path().display();
    assert_eq!(names(&format!("dir:{path}")).unwrap(), ["a", "b", "c"]);
    assert_eq!(names(&format!("image:{path}/a.png")).unwrap(), ["a"]);

    let list = at("list.txt");
    fs::write(&list, "c\n\n a.png \n").unwrap();
    let with_list = format!("dir:{path}?list={}", list.display());
    assert_eq!(names(&with_list).unwrap(), ["c", "a"]);
    assert_eq!(source::open(&with_list).unwrap().frames(), Some(2));

    fs::write(&list, "c\nmissing\n").unwrap();
    assert!(refusal(&with_list).contains("line 2: no picture missing in"));
    fs::write(&list, "c\nc\n").unwrap();
    assert!(refusal(&with_list).contains("line 2: c stands twice"));
    fs::write(&list, "\n").unwrap();
    assert!(refusal(&with_list).contains("list.txt: no pictures"));

    two_halves(&at("a.jpg"), 8, 4, [0; 3], [0; 3]);
    assert!(refusal(&format!("dir:{path}")).contains("share the name a"));
}

#[test]
fn pixels_are_those_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    two_halves(&path, 2, 1, [1, 2, 3], [4, 5, 6]);
    let mut frame = Frame::default();
    assert!(source::open(&format!("image:{}", path.display())).unwrap().next(&mut frame).unwrap());
    assert_eq!((frame.rgb.as_slice(), frame.width_px, frame.height_px), (&[1, 2, 3, 4, 5, 6][..], 2, 1));
}

#[test]
fn what_is_not_a_picture_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    two_halves(&path, 64, 64, [255, 0, 0], [0, 0, 255]);
    let good = fs::read(&path).unwrap();
    for bad in [&b""[..], b"not a picture", &good[..good.len() / 2]] {
        fs::write(&path, bad).unwrap();
        let error = names(&format!("image:{}", path.display())).unwrap_err();
        assert!(matches!(error, Error::Data(_)) && error.to_string().contains("a.png"), "{error}");
    }
    assert!(refusal("image:/nonexistent/a.png").contains("/nonexistent/a.png"));
    assert!(refusal("dir:/nonexistent").contains("/nonexistent"));
    let empty = tempfile::tempdir().unwrap();
    assert!(refusal(&format!("dir:{}", empty.path().display())).contains("no pictures"));
}

#[test]
fn the_scene_moves_and_is_the_same_every_time() {
    let frames = |text: &str| {
        let (mut source, mut frame, mut all) = (source::open(text).unwrap(), Frame::default(), Vec::new());
        while source.next(&mut frame).unwrap() {
            all.push((frame.name.clone(), frame.rgb.clone()));
        }
        all
    };
    let text = "synthetic:?width=64&height=48&frames=3&fps=5&seed=4";
    let first = frames(text);
    assert_eq!(first.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["frame-000000", "frame-000001", "frame-000002"]);
    assert_ne!(first[0].1, first[1].1);
    assert_eq!(first, frames(text));
    assert_ne!(first, frames(&text.replace("seed=4", "seed=5")));
}

#[test]
fn a_clocked_scene_keeps_its_time_and_loses_what_nobody_fetches() {
    let mut source = source::open("synthetic:?width=16&height=16&fps=50&realtime=1").unwrap();
    let (mut frame, start) = (Frame::default(), Instant::now());
    for _ in 0..6 {
        assert!(source.next(&mut frame).unwrap());
    }
    assert!(start.elapsed() >= Duration::from_millis(100), "six frames at 50 fps take five periods");
    let before = frame.index;
    std::thread::sleep(Duration::from_millis(100));
    source.next(&mut frame).unwrap();
    assert!(frame.index >= before + 4, "{before} to {}", frame.index);
}
