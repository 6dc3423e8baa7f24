//! Sources: what they deliver, in which order, and how they refuse.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use amis_runtime::source::{self, Frame, Next};
use amis_runtime::{Error, Result};
use common::two_halves;

fn names(text: &str) -> Result<Vec<String>> {
    let mut source = source::open(text)?;
    let mut frame = Frame::default();
    let mut names = Vec::new();
    while source.next(&mut frame)? == Next::Frame {
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
    assert!(source::open(&format!("image:{}", path.display())).unwrap().next(&mut frame).unwrap() == Next::Frame);
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
        while source.next(&mut frame).unwrap() == Next::Frame {
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
        assert_eq!(source.next(&mut frame).unwrap(), Next::Frame);
    }
    assert!(start.elapsed() >= Duration::from_millis(100), "six frames at 50 fps take five periods");
    let before = frame.index;
    std::thread::sleep(Duration::from_millis(100));
    source.next(&mut frame).unwrap();
    assert!(frame.index >= before + 4, "{before} to {}", frame.index);
}

/// A file made by ffmpeg, see `fixtures/make.sh`.
fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Index and middle pixel of every frame.
fn middles(source: &mut dyn source::Source) -> Vec<(u64, [u8; 3])> {
    let (mut frame, mut all) = (Frame::default(), Vec::new());
    while source.next(&mut frame).unwrap() == Next::Frame {
        let middle = 3 * (frame.height_px / 2 * frame.width_px + frame.width_px / 2) as usize;
        all.push((frame.index, frame.rgb[middle..middle + 3].try_into().unwrap()));
    }
    all
}

fn three_colors(found: &[(u64, [u8; 3])]) {
    let expected = [[0xdc, 0x14, 0x14], [0x14, 0xdc, 0x14], [0x14, 0x14, 0xdc]];
    assert_eq!(found.len(), 3);
    for ((index, found), (i, expected)) in found.iter().zip((0..).zip(expected)) {
        assert!(*index == i && found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 4), "frame {index}: {found:?} for {expected:?}");
    }
}

#[test]
fn videos_of_another_program_are_read() {
    for (name, frames) in [("three-colors.avi", Some(3)), ("three-colors.y4m", None)] {
        let mut source = source::open(&format!("video:{}", fixture(name))).unwrap();
        assert_eq!((source.fps(), source.frames(), source.realtime()), (Some(5.0), frames, false));
        three_colors(&middles(source.as_mut()));
        assert!(source.faults().unwrap().counts().is_empty());
    }
    assert!(refusal(&format!("video:{}", fixture("not-mjpeg.avi"))).contains("its video is \"FMP4\", expected MJPG"));
    assert!(refusal("video:street.mp4").contains("does not end with .avi or .y4m"));
    assert!(refusal("video:/nonexistent/a.avi").contains("/nonexistent/a.avi"));
}

#[test]
fn a_damaged_frame_is_left_out_and_counted_and_a_cut_video_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.avi");
    let good = fs::read(fixture("three-colors.avi")).unwrap();
    let place = |word: &[u8], from: usize| from + good[from..].windows(4).position(|w| w == word).unwrap();
    let mut starts = vec![place(b"00dc", place(b"movi", 0))];
    (0..2).for_each(|i| starts.push(place(b"00dc", starts[i] + 4)));
    let mut damaged = good.clone();
    damaged[starts[1] + 8] = 0;
    fs::write(&path, &damaged).unwrap();
    let mut source = source::open(&format!("video:{}", path.display())).unwrap();
    assert_eq!(middles(source.as_mut()).iter().map(|m| m.0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(source.faults().unwrap().counts()["corrupt"], 1);

    fs::write(&path, &good[..starts[2] + 100]).unwrap();
    assert_eq!(middles(source::open(&format!("video:{}", path.display())).unwrap().as_mut()).len(), 2);
}

#[test]
fn any_cut_and_any_changed_byte_of_a_video_is_frames_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["three-colors.avi", "three-colors.y4m"] {
        let path = dir.path().join(name);
        let good = fs::read(fixture(name)).unwrap();
        // Every byte of the headers, and some of the frames.
        for at in (0..good.len()).filter(|at| *at < 400 || at % 97 == 0) {
            let mut changed = good.clone();
            changed[at] ^= 0xff;
            for bytes in [&good[..at], &changed] {
                fs::write(&path, bytes).unwrap();
                if let Ok(mut source) = source::open(&format!("video:{}", path.display())) {
                    let mut frame = Frame::default();
                    let frames = (0..10).take_while(|_| matches!(source.next(&mut frame), Ok(Next::Frame))).count();
                    assert!(frames <= 3, "{name} {at}");
                }
            }
        }
    }
}

#[test]
fn a_clocked_video_keeps_its_time_and_leaves_out_what_is_late() {
    let open = || source::Clocked::new(source::open(&format!("video:{}", fixture("three-colors.y4m"))).unwrap());
    let start = Instant::now();
    let mut source = open();
    let (mut frame, mut frames) = (Frame::default(), 0);
    loop {
        match source::Source::next(&mut source, &mut frame).unwrap() {
            Next::Frame => frames += 1,
            Next::NotYet => {}
            Next::End => break,
        }
    }
    assert!((1..=3).contains(&frames) && start.elapsed() >= Duration::from_millis(400), "{frames} in {:?}", start.elapsed());

    let mut source = open();
    source::Source::next(&mut source, &mut frame).unwrap();
    std::thread::sleep(Duration::from_millis(450));
    assert_eq!(source::Source::next(&mut source, &mut frame).unwrap(), Next::Frame);
    assert_eq!(frame.index, 2);
}
