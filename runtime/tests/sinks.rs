//! Sinks: what lies on the disk afterwards.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amis_artifacts::classes::ClassList;
use amis_runtime::overlay::{Overlay, Picture};
use amis_runtime::sink::{self, Camera, Run, Sink, View};
use amis_runtime::source::Frame;
use amis_runtime::stats::{Journal, ModelInfo, Monitor};

const SIZE: (u32, u32) = (64, 48);

fn classes() -> Arc<ClassList> {
    Arc::new(ClassList::from_names(&["background", "road"]).unwrap())
}

fn try_open(text: &str, fps: Option<f64>, realtime: bool) -> amis_runtime::Result<Box<dyn Sink>> {
    let model = ModelInfo { name: "t".into(), version: 1, precision: "fp32".into(), classes: Vec::new() };
    let journal = Journal::new(model);
    let camera = Camera { monitor: Arc::new(Monitor::new(Arc::clone(&journal), None, None)), fps, realtime };
    sink::open(text, &Run { cameras: vec![camera], journal, token: None }).map(|mut sinks| sinks.remove(0))
}

fn open(text: &str, realtime: bool) -> Box<dyn Sink> {
    try_open(text, Some(20.0), realtime).unwrap()
}

fn show(sink: &mut dyn Sink, (width_px, height_px): (u32, u32), index: u64, captured: Instant) -> amis_runtime::Result<()> {
    let pixels = (width_px * height_px) as usize;
    let frame = Frame { rgb: vec![90; pixels * 3], width_px, height_px, index, name: format!("n{index}"), captured };
    let map: Vec<u8> = (0..pixels).map(|i| [0, 1, 255][i % 3]).collect();
    let mut overlay = Overlay::new(&classes(), "t", 0.5);
    let picture = overlay.draw(&frame, &map, 1.0);
    sink.show(&View { frame: &frame, map: &map, overlay: picture, entropy: 0.0, classes: &classes() })
}

/// Little-endian number in a file.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The JPEG pictures that the index of an AVI file points to.
fn indexed_frames(bytes: &[u8]) -> Vec<&[u8]> {
    assert_eq!((&bytes[..4], &bytes[8..12], &bytes[220..224]), (&b"RIFF"[..], &b"AVI "[..], &b"movi"[..]));
    assert_eq!(number(bytes, 4) as usize, bytes.len() - 8);
    let index = 220 + number(bytes, 216) as usize;
    assert_eq!(&bytes[index..index + 4], b"idx1");
    let entries = bytes[index + 8..].chunks(16);
    let frame = |entry: &[u8]| {
        let (at, length) = (220 + number(entry, 8) as usize, number(entry, 12) as usize);
        assert_eq!((&bytes[at..at + 4], number(bytes, at + 4) as usize), (&b"00dc"[..], length));
        bytes[at + 8..at + 8 + length].to_vec().leak() as &[u8]
    };
    entries.map(frame).collect()
}

#[test]
fn a_folder_gets_overlays_masks_or_both() {
    let dir = tempfile::tempdir().unwrap();
    let list = |what: &str| {
        let path = dir.path().join(what);
        let mut sink = open(&format!("dir:{}?what={what}", path.display()), false);
        show(sink.as_mut(), SIZE, 7, Instant::now()).unwrap();
        sink.finish().unwrap();
        let mut names: Vec<String> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(list("overlay"), ["n7.jpg"]);
    assert_eq!(list("mask"), ["n7.png"]);
    assert_eq!(list("both"), ["n7.jpg", "n7.png"]);
    let overlay = image::open(dir.path().join("both/n7.jpg")).unwrap();
    assert!(overlay.width() > SIZE.0 && overlay.height() == SIZE.1);
}

#[test]
fn masks_hold_the_ids_and_the_colours() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&format!("dir:{}?what=mask", dir.path().display()), false);
    show(sink.as_mut(), SIZE, 0, Instant::now()).unwrap();
    let file = std::io::BufReader::new(fs::File::open(dir.path().join("n0.png")).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut ids = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut ids).unwrap();
    assert_eq!(reader.info().color_type, png::ColorType::Indexed);
    assert_eq!(ids[..6], [0, 1, 255, 0, 1, 255]);
    assert_eq!(reader.info().palette.as_ref().unwrap()[3..6], [128, 0, 0]);
}

#[test]
fn a_video_holds_every_frame_behind_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/run.avi");
    let mut sink = open(&format!("video:{}", path.display()), false);
    for index in 0..70 {
        show(sink.as_mut(), SIZE, index, Instant::now()).unwrap();
    }
    sink.finish().unwrap();
    let bytes = fs::read(&path).unwrap();
    let frames = indexed_frames(&bytes);
    assert_eq!(frames.len(), 70);
    for frame in [frames[0], frames[69]] {
        assert_eq!(image::load_from_memory_with_format(frame, image::ImageFormat::Jpeg).unwrap().height(), SIZE.1);
    }
    // avih: 50 ms a frame, with an index, 70 frames.
    assert_eq!((number(&bytes, 32), number(&bytes, 44), number(&bytes, 48)), (50_000, 0x10, 70));
}

#[test]
fn a_clocked_video_plays_as_fast_as_its_frames_came() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.avi");
    let mut sink = open(&format!("video:{}", path.display()), true);
    let start = Instant::now();
    for index in 0..11 {
        show(sink.as_mut(), SIZE, index, start + Duration::from_millis(200 * index)).unwrap();
    }
    sink.finish().unwrap();
    assert_eq!(number(&fs::read(&path).unwrap(), 32), 200_000);
}

#[test]
fn a_video_that_was_cut_off_names_the_frames_that_it_surely_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.avi");
    let mut sink = open(&format!("video:{}", path.display()), false);
    for index in 0..65 {
        show(sink.as_mut(), SIZE, index, Instant::now()).unwrap();
    }
    // The process ends here: no finish, no index.
    let bytes = fs::read(&path).unwrap();
    std::mem::forget(sink);
    let (frames, end) = (number(&bytes, 48), 220 + number(&bytes, 216) as usize);
    assert!((31..=65).contains(&frames) && end <= bytes.len(), "{frames} frames, {end} of {} bytes", bytes.len());
    let mut at = 224;
    let mut found = 0;
    while at < end {
        let length = number(&bytes, at + 4) as usize;
        image::load_from_memory_with_format(&bytes[at + 8..at + 8 + length], image::ImageFormat::Jpeg).unwrap();
        (at, found) = (at + 8 + length + length % 2, found + 1);
    }
    assert_eq!(found, frames);
}

#[test]
fn a_video_of_several_sizes_is_refused_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.avi");
    let mut sink = open(&format!("video:{}", path.display()), false);
    show(sink.as_mut(), SIZE, 0, Instant::now()).unwrap();
    let error = show(sink.as_mut(), (80, 48), 1, Instant::now()).unwrap_err().to_string();
    assert!(error.contains("frame n1"), "{error}");
    sink.finish().unwrap();
    assert_eq!(indexed_frames(&fs::read(&path).unwrap()).len(), 1);
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let refused = |text: &str| try_open(text, None, false).err().unwrap().to_string();
    assert!(refused("dir:/proc/nothing").contains("/proc/nothing"));
    let mut sink = open("video:/proc/nothing/run.avi", false);
    assert!(show(sink.as_mut(), SIZE, 0, Instant::now()).unwrap_err().to_string().contains("/proc/nothing/run.avi"));
    sink.finish().unwrap();
    assert!(!Path::new("/proc/nothing").exists());
}

/// Names and total bytes of a folder.
fn listing(dir: &Path) -> (Vec<String>, u64) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap()).collect();
    entries.sort_by_key(|e| e.file_name());
    (entries.iter().map(|e| e.file_name().into_string().unwrap()).collect(), entries.iter().map(|e| e.metadata().unwrap().len()).sum())
}

#[test]
fn a_folder_with_a_limit_loses_its_oldest_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("old.jpg"), vec![0; 2 << 20]).unwrap();
    // Noise, so that a mask takes as many bytes as it has pixels.
    let (frame, map) = noise(400, 300);
    let overlay = Picture::default();
    let run = |folder: &Path, indices: std::ops::Range<u64>| {
        let mut sink = open(&format!("dir:{}?max_mib=1&what=mask", folder.display()), false);
        for index in indices {
            let frame = Frame { index, name: format!("n{index:02}"), ..frame.clone() };
            sink.show(&View { frame: &frame, map: &map, overlay: &overlay, entropy: 0.0, classes: &classes() }).unwrap();
        }
    };
    // The second run counts what the first has left.
    run(&ours, 0..6);
    run(&ours, 6..20);
    let (names, bytes) = listing(&ours);
    assert!(bytes <= (1 << 20) + 100 && bytes > 700_000, "{bytes} bytes in {names:?}");
    assert!(names.contains(&"n19.png".into()) && !names.contains(&"n00.png".into()) && !names.contains(&"n05.png".into()), "{names:?}");
    // What was there before stays, whatever the limit says.
    run(&theirs, 0..20);
    let (names, bytes) = listing(&theirs);
    assert!(names.contains(&"old.jpg".into()) && !names.contains(&"n00.png".into()) && bytes < 3_200_000, "{bytes} bytes in {names:?}");
}

#[test]
fn pictures_go_when_they_are_too_old() {
    let dir = tempfile::tempdir().unwrap();
    // 0.36 seconds.
    let mut sink = open(&format!("dir:{}?max_hours=0.0001", dir.path().display()), false);
    show(sink.as_mut(), SIZE, 0, Instant::now()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    show(sink.as_mut(), SIZE, 1, Instant::now()).unwrap();
    assert_eq!(listing(dir.path()).0, [".amis-run", "n1.jpg"]);
}

#[test]
fn a_video_with_a_limit_goes_on_in_the_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("video:{}?max_mib=1&fps=10", dir.path().join("run.avi").display());
    let (frame, map) = noise(400, 300);
    let overlay = Picture { rgb: frame.rgb.clone(), width_px: 400, height_px: 300 };
    for _ in 0..2 {
        let mut sink = open(&name, false);
        for _ in 0..12 {
            sink.show(&View { frame: &frame, map: &map, overlay: &overlay, entropy: 0.0, classes: &classes() }).unwrap();
        }
        sink.finish().unwrap();
    }
    let (names, bytes) = listing(dir.path());
    assert!(bytes <= 1 << 20 && names.len() > 2, "{bytes} bytes in {names:?}");
    // One frame a file, and the second run counts on.
    assert_eq!(names.last().unwrap(), "run-000024.avi");
    assert!(names.iter().all(|name| !indexed_frames(&fs::read(dir.path().join(name)).unwrap()).is_empty()));
}

/// A frame and a class map that nothing makes smaller.
fn noise(width_px: u32, height_px: u32) -> (Frame, Vec<u8>) {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let rgb: Vec<u8> = (0..width_px * height_px * 3).map(|_| byte()).collect();
    let map = (0..width_px * height_px).map(|_| byte()).collect();
    (Frame { rgb, width_px, height_px, ..Frame::default() }, map)
}

#[test]
fn what_the_model_is_least_sure_of_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = Picture::default();
    let show = |sink: &mut dyn Sink, grey: u8, entropy: f32, index: u64| {
        let frame = Frame { rgb: vec![grey; 32 * 32 * 3], width_px: 32, height_px: 32, index, name: format!("f{index}"), captured: Instant::now() };
        sink.show(&View { frame: &frame, map: &[1; 32 * 32], overlay: &overlay, entropy, classes: &classes() }).unwrap();
    };
    // Scores of the images that lie there, by their grey.
    let kept = || {
        let json: serde_json::Value = serde_json::from_slice(&fs::read(dir.path().join("collected.json")).unwrap()).unwrap();
        let mut kept: Vec<(u64, f64)> = Vec::new();
        for about in json.as_array().unwrap() {
            let name = about["name"].as_str().unwrap();
            let image = image::open(dir.path().join(format!("images/{name}.jpg"))).unwrap().into_rgb8();
            assert!(dir.path().join(format!("proposals/{name}.png")).exists());
            kept.push((u64::from(image.get_pixel(5, 5).0[0]) / 10, about["entropy"].as_f64().unwrap()));
        }
        kept.sort_by_key(|(grey, _)| *grey);
        assert_eq!(listing(&dir.path().join("images")).0.len(), kept.len());
        kept.into_iter().map(|(grey, entropy)| (grey, (entropy * 100.0).round() as u64)).collect::<Vec<_>>()
    };
    let name = format!("collect:{}?frames=2&seconds=0", dir.path().display());
    let mut sink = open(&name, false);
    show(sink.as_mut(), 52, 0.3, 0);
    show(sink.as_mut(), 102, 0.5, 1);
    assert_eq!(kept(), [(5, 30), (10, 50)]);
    // Full: a new scene that is surer is left, one that is less sure takes the place of the surest.
    show(sink.as_mut(), 152, 0.2, 2);
    show(sink.as_mut(), 202, 0.4, 3);
    assert_eq!(kept(), [(10, 50), (20, 40)]);
    // The same scene again, less sure: it takes its own place. A second run knows what the first has kept.
    sink.finish().unwrap();
    let mut sink = open(&name, false);
    show(sink.as_mut(), 103, 0.9, 4);
    show(sink.as_mut(), 203, 0.1, 5);
    assert_eq!(kept(), [(10, 90), (20, 40)]);
    // The picture that has to go was taken away; the best of a time that has not passed is kept at the end.
    let name = |seconds: u32| format!("collect:{}?frames=2&seconds={seconds}", dir.path().display());
    let surest = listing(&dir.path().join("images")).0.into_iter().find(|name| name.contains("f3")).unwrap();
    fs::remove_file(dir.path().join("images").join(surest)).unwrap();
    let mut sink = open(&name(60), false);
    show(sink.as_mut(), 52, 0.6, 6);
    show(sink.as_mut(), 152, 0.7, 7);
    sink.finish().unwrap();
    assert_eq!(kept(), [(10, 90), (15, 70)]);
}
