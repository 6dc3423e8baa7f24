#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use super::*;
use crate::pixels::Color;

/// What a fake camera does when it is asked.
#[derive(Clone)]
enum Act {
    /// A buffer of this number; its bytes, how many the driver says, and whether it is marked.
    Buffer(u32, Vec<u8>, usize, bool),
    /// Nothing within the time.
    Silence,
    Fails(i32),
    /// As `Fails(EAGAIN)`, for ever.
    TryAgain,
}

/// What happens at a connection: the size granted, then the acts; or a refusal.
type Connection = std::result::Result<((u32, u32), Vec<Act>), &'static str>;

/// A camera that follows a script; at its end it is unreachable.
struct Fake {
    script: VecDeque<Connection>,
    connects: Arc<Mutex<Vec<Instant>>>,
}

struct FakeStream {
    granted: Granted,
    acts: VecDeque<Act>,
}

impl Device for Fake {
    fn connect(&mut self) -> std::result::Result<Box<dyn Stream>, String> {
        self.connects.lock().unwrap().push(Instant::now());
        let (size, acts) = self.script.pop_front().unwrap_or(Err("no such file"))?;
        let layout = Layout::new(PixelFormat::Grey, size, 0, Color::from_v4l2(PixelFormat::Grey, 0, 0, 0)).unwrap();
        Ok(Box::new(FakeStream { granted: Granted { camera: "fake".into(), layout, fps: Some(30.0) }, acts: acts.into() }))
    }
}

impl Stream for FakeStream {
    fn granted(&self) -> &Granted {
        &self.granted
    }

    fn newest(&mut self, patience: Duration, look: &mut dyn FnMut(Buffer<'_>)) -> io::Result<()> {
        match self.acts.front().cloned() {
            None | Some(Act::Silence) => {
                std::thread::sleep(patience);
                self.acts.pop_front();
                Err(ErrorKind::TimedOut.into())
            }
            Some(Act::TryAgain) => Err(ErrorKind::WouldBlock.into()),
            Some(Act::Fails(number)) => Err(io::Error::from_raw_os_error(number)),
            Some(Act::Buffer(sequence, bytes, used_bytes, flagged)) => {
                self.acts.pop_front();
                look(Buffer { bytes: &bytes, used_bytes, flagged, sequence, captured: Instant::now() });
                Ok(())
            }
        }
    }
}

/// A grey picture of 4x2 pixels.
fn good(sequence: u32, grey: u8) -> Act {
    Act::Buffer(sequence, vec![grey; 8], 8, false)
}

fn camera(script: Vec<Connection>) -> (Camera, Arc<Mutex<Vec<Instant>>>) {
    let connects = Arc::new(Mutex::new(Vec::new()));
    (Camera::start(Box::new(Fake { script: script.into(), connects: connects.clone() }), "fake").unwrap(), connects)
}

/// Index, size and first value of each frame until `frames` came or time is over.
fn frames(camera: &mut Camera, frames: usize, time: Duration) -> Vec<(u64, (u32, u32), u8)> {
    let (mut frame, mut all, start) = (Frame::default(), Vec::new(), Instant::now());
    while all.len() < frames && start.elapsed() < time {
        let asked = Instant::now();
        if camera.next(&mut frame).unwrap() == Next::Frame {
            assert_eq!(frame.rgb.len() as u32, 3 * frame.width_px * frame.height_px);
            all.push((frame.index, (frame.width_px, frame.height_px), frame.rgb[0]));
        }
        assert!(asked.elapsed() < Duration::from_millis(500), "a call took {:?}", asked.elapsed());
    }
    all
}

fn counts(camera: &Camera) -> Vec<(&'static str, u64)> {
    camera.faults().unwrap().counts().into_iter().collect()
}

const TIME: Duration = Duration::from_secs(20);
const SIZE: (u32, u32) = (4, 2);

#[test]
fn damaged_buffers_are_left_out_and_named() {
    let acts = vec![
        good(0, 10),
        Act::Buffer(1, vec![9; 8], 0, false),
        Act::Buffer(2, vec![9; 8], 7, false),
        Act::Buffer(3, vec![9; 8], 9, false),
        Act::Buffer(4, vec![9; 8], 8, true),
        good(5, 50),
        good(9, 90),
        good(10, 90),
    ];
    let (mut camera, _) = camera(vec![Ok((SIZE, acts))]);
    let found: Vec<(u64, u8)> = frames(&mut camera, 4, TIME).iter().map(|f| (f.0, f.2)).collect();
    // Numbers follow the driver's, so what it lost is seen as a gap.
    assert_eq!(found, [(0, 10), (5, 50), (9, 90), (10, 90)]);
    assert_eq!(counts(&camera), [("empty", 1), ("error_flag", 1), ("oversized", 1), ("repeated", 1), ("short", 1)]);
}

#[test]
fn an_unplugged_camera_comes_back_also_with_another_format() {
    let script = vec![
        Ok((SIZE, vec![good(0, 1), good(1, 2), Act::Fails(19)])),
        Err("no such file"),
        Ok(((2, 2), vec![Act::Buffer(0, vec![3; 4], 4, false), Act::Fails(5)])),
        Ok((SIZE, vec![good(0, 4)])),
    ];
    let (mut camera, connects) = camera(script);
    assert_eq!(frames(&mut camera, 4, TIME), [(0, SIZE, 1), (1, SIZE, 2), (2, (2, 2), 3), (3, SIZE, 4)]);
    assert_eq!(counts(&camera), [("disconnected", 1), ("driver_error", 1), ("format_changed", 2), ("reconnected", 2), ("unreachable", 1)]);
    let connects = connects.lock().unwrap();
    assert!(connects[2] - connects[1] >= 2 * BACK_OFF[0], "each attempt waits longer");
    assert!(connects[3] - connects[2] < 2 * BACK_OFF[0], "a good picture ends the waiting");
}

#[test]
fn a_camera_that_says_nothing_or_try_again_for_ever_is_opened_anew() {
    for act in [Act::Silence, Act::TryAgain, Act::Buffer(0, vec![9; 8], 0, false)] {
        let dumb = if matches!(act, Act::TryAgain) { vec![act] } else { vec![act; 40] };
        let (mut camera, connects) = camera(vec![Ok((SIZE, dumb)), Ok((SIZE, vec![good(0, 7)]))]);
        assert_eq!(frames(&mut camera, 1, TIME), [(0, SIZE, 7)]);
        let counts = camera.faults().unwrap().counts();
        assert_eq!((counts["stalled"], counts["reconnected"], connects.lock().unwrap().len()), (1, 1, 2));
    }
}

#[test]
fn a_camera_that_stays_away_costs_few_attempts() {
    let (mut camera, connects) = camera(vec![Ok((SIZE, vec![Act::Fails(19)]))]);
    assert!(frames(&mut camera, 1, Duration::from_secs(4)).is_empty());
    // After 0.25, 0.75, 1.75, 3.75 seconds.
    assert!((3..=5).contains(&connects.lock().unwrap().len()));
}

#[test]
fn the_same_buffer_twice_is_one_frame() {
    let (now, mut converter, mut rgb) = (Instant::now(), Converter::default(), Vec::new());
    let (mut camera, _) = camera(vec![Ok((SIZE, vec![]))]);
    let mut frame = Frame::default();
    assert!(camera.take(&mut frame, (3, now, 1)));
    assert!(!camera.take(&mut frame, (3, now, 1)));
    // A driver that does not count.
    assert!(camera.take(&mut frame, (3, now + PAUSE, 2)) && frame.index == 1);
    let buffer = Buffer { bytes: &[1; 8], used_bytes: 8, flagged: false, sequence: 0, captured: now };
    assert!(matches!(look(&camera.granted.layout.clone(), buffer, &mut converter, &mut rgb), Seen::Picture { .. }));
}

#[test]
fn a_camera_that_is_not_there_at_the_start_is_an_error_that_says_what_to_do() {
    let fake = Fake { script: VecDeque::new(), connects: Default::default() };
    let error = Camera::start(Box::new(fake), "/dev/video7").err().unwrap();
    assert!(error.to_string().contains("/dev/video7") && error.to_string().contains("no such file"), "{error}");
    assert_eq!(amis_artifacts::cli::exit_code(&error), 4);
    assert!(super::super::open("v4l2:/nonexistent/video0").err().unwrap().to_string().contains("/nonexistent/video0"));
}
