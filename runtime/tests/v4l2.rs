//! Cameras on a real driver: the kernel's `vivid`, as the only camera of a virtual machine. `make test-v4l2` starts them there.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use amis_runtime::source::camera::cameras;
use amis_runtime::source::{self, Frame, Next, Source};
use v4l::Device;
use v4l::control::{Control, Value};

const NODE: &str = "/dev/video0";
/// A pattern that stands still, without the clock that is printed into it.
const STILL: &str = "osd_text_mode=none&horizontal_movement=no_movement";
/// Formats that are read and that vivid has: all but MJPEG.
const FORMATS: [&str; 8] = ["YUYV", "UYVY", "NV12", "NV21", "YU12", "RGB24", "BGR24", "GREY"];

fn open(settings: &str) -> Box<dyn Source> {
    source::open(&format!("v4l2:{NODE}?{settings}")).unwrap()
}

/// The next frame, within a time that an emulated machine needs.
fn next(source: &mut dyn Source) -> Frame {
    let (mut frame, start) = (Frame::default(), Instant::now());
    while source.next(&mut frame).unwrap() != Next::Frame {
        assert!(start.elapsed() < Duration::from_secs(40), "no frame; faults: {:?}", source.faults().unwrap().counts());
    }
    frame
}

fn count(source: &dyn Source, name: &str) -> u64 {
    source.faults().unwrap().counts().get(name).copied().unwrap_or(0)
}

/// Sets a control beside the one who streams, as `v4l2-ctl` does.
fn set(name: &str, value: i64) {
    let device = Device::with_path(NODE).unwrap();
    let controls = device.query_controls().unwrap();
    let control = controls.iter().find(|control| control.name == name).unwrap_or_else(|| {
        panic!("no control {name:?} in {:?}", controls.iter().map(|c| &c.name).collect::<Vec<_>>());
    });
    device.set_control(Control { id: control.id, value: Value::Integer(value) }).unwrap();
}

/// A pixel of each of the eight bars.
fn bars(frame: &Frame) -> Vec<&[u8]> {
    (0..8).map(|bar| &frame.rgb[3 * (frame.width_px as usize * (2 * bar + 1) / 16)..][..3]).collect()
}

/// Share of values that are more than `levels` apart.
fn differing(a: &[u8], b: &[u8], levels: u8) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a.abs_diff(**b) > levels).count() as f64 / a.len() as f64
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn a_camera_is_listed_with_all_that_it_offers() {
    let cameras = cameras();
    let [camera] = cameras.as_slice() else { panic!("{cameras:?}") };
    assert_eq!((camera.path.to_str(), camera.card.as_str(), camera.driver.as_str(), &camera.problem), (Some(NODE), "vivid", "vivid", &None));
    assert_eq!(camera.stable, [std::path::Path::new("/dev/v4l/by-id/vivid-000-index0")]);
    assert!(camera.formats.len() > 50, "{}", camera.formats.len());
    for name in FORMATS {
        let format = camera.formats.iter().find(|format| format.name == Some(name)).unwrap();
        assert!(format.sizes.iter().any(|size| size.width_px[0] == 640 && !size.fps.is_empty()), "{format:?}");
    }
    let control = |key: &str| camera.controls.iter().find(|control| control.key == key).unwrap();
    assert_eq!((control("brightness").kind, control("brightness").max, control("brightness").value), ("integer", 255, Some(128)));
    assert!(control("osd_text_mode").items.iter().any(|(number, name)| (*number, name.as_str()) == (2, "None")));

    let program = std::env::var("AMIS_RUN").unwrap();
    let output = Command::new(&program).args(["devices", "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["cameras"][0]["controls"].as_array().unwrap().len(), camera.controls.len());
    let text = String::from_utf8(Command::new(program).arg("devices").output().unwrap().stdout).unwrap();
    assert!(text.starts_with("/dev/video0  vivid\n") && text.contains("brightness  0 to 255; default 128"), "{text}");
    println!("{}", text.lines().take(12).collect::<Vec<_>>().join("\n"));
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn every_format_gives_the_same_picture() {
    let rgb = next(open(&format!("format=RGB24&width=640&height=360&{STILL}")).as_mut());
    assert_eq!((rgb.width_px, rgb.height_px), (640, 360));
    assert!(rgb.rgb.iter().collect::<std::collections::HashSet<_>>().len() > 1, "one colour");
    for format in FORMATS {
        let mut source = open(&format!("format={format}&width=640&height=360"));
        let frame = next(source.as_mut());
        let expected: Vec<u8> = if format == "GREY" {
            // The weights of vivid's grey are those of BT.709, whatever the colour space.
            let grey = |p: &[u8]| (0.2126 * f64::from(p[0]) + 0.7152 * f64::from(p[1]) + 0.0722 * f64::from(p[2])).round() as u8;
            rgb.rgb.chunks_exact(3).flat_map(|pixel| [grey(pixel); 3]).collect()
        } else {
            rgb.rgb.clone()
        };
        // Where two bars meet, formats with less chroma differ.
        let differing = differing(&frame.rgb, &expected, 6);
        println!("{format}: {:.2} % of the values differ", 100.0 * differing);
        assert!(differing < 0.03, "{format}: {differing}; {:?} for {:?}", &frame.rgb[..12], &expected[..12]);
        assert_eq!(count(source.as_ref(), "short") + count(source.as_ref(), "corrupt"), 0);
    }
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn matrix_and_range_are_those_of_the_driver() {
    // Colour spaces: SMPTE 170M, Rec. 709, sRGB, BT.2020, SMPTE 240M. Matrices: default, 601, 709, BT.2020, SMPTE 240M. Ranges: default, full, limited.
    for (space, matrix, range) in [(0, 0, 0), (1, 0, 0), (2, 0, 0), (4, 0, 0), (6, 0, 0), (2, 1, 1), (2, 2, 1), (2, 2, 2), (2, 6, 1), (1, 8, 2), (1, 1, 2)] {
        let settings = format!("width=640&height=360&{STILL}&colorspace={space}&y_cbcr_encoding={matrix}&quantization={range}");
        let rgb = next(open(&format!("format=RGB24&{settings}")).as_mut());
        for format in ["YUYV", "NV12"] {
            let frame = next(open(&format!("format={format}&{settings}")).as_mut());
            let differing = differing(&frame.rgb, &rgb.rgb, 6);
            println!("{space} {matrix} {range} {format}: {:.2} % of the values differ", 100.0 * differing);
            assert!(differing < 0.03, "{space} {matrix} {range} {format}: {differing}; {:?} for {:?}", bars(&frame), bars(&rgb));
        }
    }
    open("colorspace=2&y_cbcr_encoding=0&quantization=0");
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn odd_sizes_are_granted_as_the_driver_likes_and_used_so() {
    for format in FORMATS {
        for (width, height) in [(1, 1), (17, 19), (33, 67), (67, 33), (322, 241), (4095, 17), (5000, 1)] {
            let mut source = open(&format!("format={format}&width={width}&height={height}&{STILL}"));
            let frame = next(source.as_mut());
            assert_eq!(frame.rgb.len() as u32, 3 * frame.width_px * frame.height_px);
            let counts = source.faults().unwrap().counts();
            assert!(counts.keys().all(|name| *name == "repeated"), "{format} {width}x{height}: {counts:?}");
            if format == "GREY" {
                println!("{width}x{height}: {}x{}", frame.width_px, frame.height_px);
            }
        }
    }
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn pictures_are_new_and_numbers_and_times_go_on() {
    let mut source = open("width=320&height=180&osd_text_mode=all&horizontal_movement=move_right&fps=25");
    assert_eq!((source.fps(), source.realtime()), (Some(25.0), true));
    let mut last: Option<Frame> = None;
    for _ in 0..10 {
        let frame = next(source.as_mut());
        assert!(frame.captured.elapsed() < Duration::from_secs(1), "{:?} old", frame.captured.elapsed());
        if let Some(last) = last.replace(frame.clone()) {
            assert!(frame.index > last.index && frame.captured > last.captured && frame.rgb != last.rgb);
        }
    }
    assert_eq!(count(source.as_ref(), "repeated"), 0);
    // Who does not ask for a while gets the newest of the pictures that waited: all buffers but one were with the driver.
    let before = next(source.as_mut()).index;
    std::thread::sleep(Duration::from_millis(700));
    let after = next(source.as_mut()).index;
    assert!(after >= before + 3, "{before} {after}");
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn a_still_picture_is_counted_as_repeated() {
    let mut source = open(&format!("width=320&height=180&{STILL}"));
    (0..4).for_each(|_| drop(next(source.as_mut())));
    assert_eq!(count(source.as_ref(), "repeated"), 3);
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn controls_change_the_picture_and_wrong_ones_are_told() {
    let mean = |frame: Frame| frame.rgb.iter().map(|v| u64::from(*v)).sum::<u64>() / frame.rgb.len() as u64;
    let dark = mean(next(open(&format!("brightness=0&{STILL}")).as_mut()));
    let bright = mean(next(open("brightness=255").as_mut()));
    open("brightness=128");
    assert!(dark + 50 < bright, "{dark} {bright}");
    let refusal = |settings: &str| source::open(&format!("v4l2:{NODE}?{settings}")).err().unwrap().to_string();
    let unknown = refusal("widht=640");
    assert!(unknown.contains("no control or setting \"widht\"") && unknown.contains("brightness"), "{unknown}");
    assert!(refusal("brightness=256").contains("expected a number from 0 to 255"));
    let format = refusal("format=MJPEG");
    assert!(format.contains("does not give MJPEG; it has YUYV"), "{format}");
    let streaming = open("width=320&height=180");
    let busy = refusal("width=640&height=360");
    assert!(busy.contains("busy"), "{busy}");
    drop(streaming);
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn an_unplugged_camera_comes_back() {
    let mut source = open("width=320&height=180&osd_text_mode=all");
    let before = next(source.as_mut()).index;
    set("Disconnect", 1);
    let start = Instant::now();
    while count(source.as_ref(), "reconnected") == 0 {
        assert!(source.next(&mut Frame::default()).unwrap() != Next::End && start.elapsed() < Duration::from_secs(30));
    }
    println!("back after {:?}", start.elapsed());
    assert!(next(source.as_mut()).index > before);
    assert_eq!(count(source.as_ref(), "disconnected"), 1);
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn faults_of_the_driver_are_counted_and_the_stream_goes_on() {
    let mut source = open("width=320&height=180&osd_text_mode=all");
    next(source.as_mut());
    set("Inject V4L2_BUF_FLAG_ERROR", 1);
    (0..3).for_each(|_| drop(next(source.as_mut())));
    assert_eq!(count(source.as_ref(), "error_flag"), 1);

    set("Inject Fatal Streaming Error", 1);
    (0..3).for_each(|_| drop(next(source.as_mut())));
    assert_eq!((count(source.as_ref(), "driver_error"), count(source.as_ref(), "reconnected")), (1, 1));

    // The next attempt to stream fails in three places, one after the other.
    for control in ["Inject VIDIOC_STREAMON Error", "Inject VIDIOC_REQBUFS Error", "Inject VIDIOC_QBUF Error"] {
        let (unreachable, reconnected) = (count(source.as_ref(), "unreachable"), count(source.as_ref(), "reconnected"));
        set(control, 1);
        set("Inject Fatal Streaming Error", 1);
        (0..3).for_each(|_| drop(next(source.as_mut())));
        println!("{control}: {:?}", source.faults().unwrap().counts());
        let failures = count(source.as_ref(), "unreachable") - unreachable + count(source.as_ref(), "reconnected") - reconnected;
        assert!(failures >= 2, "{control}: {:?}", source.faults().unwrap().counts());
    }

    set("Percentage of Dropped Buffers", 60);
    let first = next(source.as_mut()).index;
    let last = (0..20).map(|_| next(source.as_mut()).index).last().unwrap();
    set("Percentage of Dropped Buffers", 0);
    println!("20 frames of {}", last - first);
    assert!(last - first > 24, "{first} {last}");
}

#[test]
#[ignore = "needs the driver vivid: make test-v4l2"]
fn what_the_camera_sees_becomes_class_maps() {
    if !common::onnxruntime_present("what_the_camera_sees_becomes_class_maps") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [bundle, masks] = ["colors.amis", "masks"].map(|name| dir.path().join(name));
    common::color_bundle(&bundle);
    let source = format!("v4l2:{NODE}?width=640&height=480&{STILL}");
    let arguments = ["run", "--threads", "1", "--frames", "3", "--source", &source, "--sink", &format!("dir:{}?what=mask", masks.display()), "--json"];
    let output = Command::new(std::env::var("AMIS_RUN").unwrap()).args(arguments).arg("--bundle").arg(bundle).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["frames"], 3);
    println!("{}", summary["stages"]["infer"]);
    let mask = std::fs::read_dir(&masks).unwrap().next().unwrap().unwrap().path();
    let reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(mask).unwrap())).read_info();
    let (mut reader, mut ids) = (reader.unwrap(), vec![0; 640 * 480]);
    reader.next_frame(&mut ids).unwrap();
    // White, yellow, cyan, green, magenta, red, blue, black: three of them are classes.
    let bars: Vec<u8> = (0..8).map(|bar| ids[240 * 640 + 80 * bar + 40]).collect();
    assert_eq!((bars[0], bars[3], bars[5], bars[6], bars[7]), (0, 2, 1, 3, 0), "{bars:?}");
}
