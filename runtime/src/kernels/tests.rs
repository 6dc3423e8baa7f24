//! The kernels, compiled as C++ and run on the CPU, against the code that they stand for; compiled by NVRTC; and on a GPU where there is one.
#![allow(unsafe_code, clippy::unwrap_used)] // functions of a library that is compiled here

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use amis_artifacts::classes::ClassList;
use amis_artifacts::image_spec::{ChannelOrder, Fit, ImageSpec};
use amis_artifacts::preprocess::Preprocessor;
use amis_tensorrt::Around;
use cudarc::driver::CudaContext;
use libloading::Library;
use proptest::prelude::*;

use super::layout::{FrameLayout, InputLayout, Taps};
use super::stages::{Kernels, Stages};
use super::*;
use crate::class_map::ClassMapper;
use crate::overlay::Overlay;
use crate::pixels::tests::{layout, noise, oracle};
use crate::pixels::{Color, Layout, PixelFormat, YuvRange};
use crate::source::Frame;

/// The kernels as a C++ library.
static ON_CPU: LazyLock<Library> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libkernels.so");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/on_cpu.cpp");
    let arguments = ["-O2", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fPIC", "-shared", "-o"];
    let output = Command::new(compiler).args(arguments).arg(&library).arg(source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // SAFETY: the library has no initialisers.
    unsafe { Library::new(library) }.unwrap()
});

/// The kernels that count on a global thread index run one at a time.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

type Preprocess = unsafe extern "C" fn(FrameLayout, *const u8, InputLayout, *const i32, *const f32, *const i32, *const f32, *const f32, *mut f32);
type ClassMap = unsafe extern "C" fn(*const f32, i32, i32, i32, *const i32, *const f32, *const i32, *const f32, i32, i32, *mut u8, *mut i32);
type Uncertainty = unsafe extern "C" fn(*const f32, i32, i32, *mut f32);
type DrawOverlay = unsafe extern "C" fn(FrameLayout, *const u8, *const u8, *const Ink, i32, *mut u8);
type CountClasses = unsafe extern "C" fn(*const u8, i32, i32, *mut u32);

fn preprocess(spec: &ImageSpec, layout: &Layout, bytes: &[u8]) -> Vec<f32> {
    assert_eq!(bytes.len(), layout.full_bytes());
    let [columns, rows] = Taps::of(spec, layout.width_px, layout.height_px).unwrap();
    let preprocessor = Preprocessor::new(spec.clone());
    let mut input = vec![f32::NAN; spec.input_len()];
    let (input_layout, levels) = (InputLayout::new(spec, &columns, &rows), preprocessor.levels().as_flattened());
    let _turn = ONE_AT_A_TIME.lock();
    // SAFETY: the signature is that of on_cpu.cpp; all buffers have the sizes that the layouts say.
    unsafe {
        let function = ON_CPU.get::<Preprocess>(b"all_preprocess\0").unwrap();
        let (first, weights) = ([&columns.first, &rows.first], [&columns.weights, &rows.weights]);
        function(
            FrameLayout::new(layout).unwrap(),
            bytes.as_ptr(),
            input_layout,
            first[0].as_ptr(),
            weights[0].as_ptr(),
            first[1].as_ptr(),
            weights[1].as_ptr(),
            levels.as_ptr(),
            input.as_mut_ptr(),
        );
    }
    input
}

/// Class ids, and whether a value was not finite.
fn class_map(spec: &ImageSpec, shape: [usize; 3], masks: &[f32], width_px: u32, height_px: u32) -> (Vec<u8>, bool) {
    let mapper = ClassMapper::for_frame(shape, spec, width_px, height_px).unwrap();
    let [(low_y, share_y), (low_x, share_x)] = mapper.tables();
    let (mut map, mut broken) = (vec![77; (width_px * height_px) as usize], 0);
    let [classes, h, w] = shape.map(|n| n as i32);
    let _turn = ONE_AT_A_TIME.lock();
    // SAFETY: as above.
    unsafe {
        let function = ON_CPU.get::<ClassMap>(b"all_class_map\0").unwrap();
        let (width, height) = (width_px as i32, height_px as i32);
        let (rows, columns) = ((low_y.as_ptr(), share_y.as_ptr()), (low_x.as_ptr(), share_x.as_ptr()));
        function(masks.as_ptr(), classes, h, w, rows.0, rows.1, columns.0, columns.1, width, height, map.as_mut_ptr(), &mut broken);
    }
    (map, broken != 0)
}

/// Entropy of every position of the masks.
fn uncertainty(masks: &[f32], classes: usize) -> Vec<f32> {
    let mut entropies = vec![f32::NAN; masks.len() / classes];
    let _turn = ONE_AT_A_TIME.lock();
    // SAFETY: as above.
    unsafe { ON_CPU.get::<Uncertainty>(b"all_uncertainty\0").unwrap()(masks.as_ptr(), classes as i32, entropies.len() as i32, entropies.as_mut_ptr()) };
    entropies
}

/// The picture with `stride_px` pixels a row, and the pixels of every class.
fn draw(overlay: &Overlay, layout: &Layout, bytes: &[u8], map: &[u8], stride_px: usize) -> (Vec<u8>, [u32; 256]) {
    let (mut picture, mut counts) = (vec![0; 3 * stride_px * layout.height_px as usize], [0; 256]);
    let (frame, inks) = (FrameLayout::new(layout).unwrap(), overlay.inks());
    let _turn = ONE_AT_A_TIME.lock();
    // SAFETY: as above.
    unsafe {
        ON_CPU.get::<DrawOverlay>(b"all_overlay\0").unwrap()(frame, bytes.as_ptr(), map.as_ptr(), inks.as_ptr(), stride_px as i32, picture.as_mut_ptr());
        ON_CPU.get::<CountClasses>(b"all_count_classes\0").unwrap()(map.as_ptr(), frame.width_px, frame.height_px, counts.as_mut_ptr());
    }
    (picture, counts)
}

/// RGB without padding, as pictures are decoded.
fn rgb_layout(width_px: u32, height_px: u32) -> Layout {
    Layout::new(PixelFormat::Rgb24, (width_px, height_px), 0, Color { range: YuvRange::Full, ..Color::BT601_LIMITED }).unwrap()
}

fn mask_values(len: usize, seed: u64) -> Vec<f32> {
    noise(seed, 3 * len).chunks(3).map(|b| (f32::from(b[0]) * 65536.0 + f32::from(b[1]) * 256.0 + f32::from(b[2])) / 1e6 - 8.0).collect()
}

const FITS: [Fit; 3] = [Fit::Stretch, Fit::Letterbox, Fit::Crop];
/// Enlarged and shrunk, as large as the input, odd and tiny.
const FRAMES: [(u32, u32); 7] = [(40, 24), (123, 77), (640, 480), (7, 90), (1, 1), (25, 13), (300, 9)];

/// The specifications that the tests go through: every fit and both orders of channels.
fn specs() -> impl Iterator<Item = ImageSpec> {
    FITS.into_iter().enumerate().map(|(i, fit)| ImageSpec { channels: [ChannelOrder::Rgb, ChannelOrder::Bgr][i % 2], ..ImageSpec::imagenet(24, 40, fit) })
}

/// Grey levels between two inputs of this specification.
fn levels_apart(spec: &ImageSpec, a: &[f32], b: &[f32]) -> u8 {
    let [a, b] = [a, b].map(|input| amis_artifacts::preprocess::denormalize(spec, input).unwrap());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(b)).max().unwrap()
}

#[test]
fn the_input_is_that_of_the_preprocessor_within_one_grey_level() {
    let (mut values, mut equal) = (0, 0);
    for spec in specs() {
        for (width, height) in FRAMES {
            let rgb = noise(width.into(), (width * height * 3) as usize);
            let mut expected = vec![0.0; spec.input_len()];
            Preprocessor::new(spec.clone()).run(&rgb, width, height, &mut expected).unwrap();
            let found = preprocess(&spec, &rgb_layout(width, height), &rgb);
            assert!(levels_apart(&spec, &found, &expected) <= 1, "{:?} {width}x{height}", spec.fit);
            values += found.len();
            equal += found.iter().zip(&expected).filter(|(a, b)| a == b).count();
            if (width, height) == (spec.width_px, spec.height_px) {
                assert_eq!(found, expected, "nothing is resized, so nothing is rounded");
            }
        }
    }
    assert!(equal * 100 > values * 70, "{equal} of {values} values are equal; the rest is the reference's rounding between its two passes");
}

proptest! {
    #[test]
    fn every_layout_is_read_as_it_is_defined(layout in layout(), seed: u64) {
        let spec = ImageSpec::imagenet(layout.height_px, layout.width_px, Fit::Stretch);
        let bytes = noise(seed, layout.full_bytes());
        let found = amis_artifacts::preprocess::denormalize(&spec, &preprocess(&spec, &layout, &bytes)).unwrap();
        let expected = oracle(&layout, &bytes);
        prop_assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            prop_assert!((f64::from(*found) - expected).abs() < 0.51, "{layout:?}: byte {i} is {found}, expected {expected}");
        }
    }
}

#[test]
fn frames_that_the_kernels_cannot_read_are_refused() {
    let refused = |format, side_px, stride_bytes| {
        let layout = Layout::new(format, (side_px, side_px), stride_bytes, Color::BT601_LIMITED).unwrap();
        FrameLayout::new(&layout).unwrap_err().to_string()
    };
    assert!(refused(PixelFormat::Mjpeg, 64, 0).contains("MJPEG is to be decoded first"));
    assert!(refused(PixelFormat::Nv12, 32_768, 65_536).contains("3221225472 bytes a frame, expected at most 2147483647"));
}

#[test]
fn class_ids_are_those_of_the_class_mapper() {
    for (spec, classes) in specs().zip([3, 21, 151]) {
        for (width, height) in FRAMES {
            let shape = [classes, 3, 5];
            let mut masks = mask_values(classes * 15, u64::from(width));
            // The first two classes are equal everywhere: of equal values the lower id wins.
            masks.copy_within(..15, 15);
            let mut expected = Vec::new();
            ClassMapper::for_frame(shape, &spec, width, height).unwrap().run(&masks, &mut expected).unwrap();
            assert_eq!(class_map(&spec, shape, &masks, width, height), (expected, false), "{:?} {width}x{height}", spec.fit);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let at = 15 * (classes - 1) + 7;
                let kept = std::mem::replace(&mut masks[at], bad);
                let seen = class_map(&spec, shape, &masks, 640, 480).1;
                assert!(seen, "{bad} in the middle");
                masks[at] = kept;
            }
        }
    }
}

#[test]
fn uncertainty_is_that_of_the_cpu() {
    for classes in [1, 2, 21] {
        let masks = mask_values(15 * classes, 3);
        let mean = super::around::mean(&uncertainty(&masks, classes), classes);
        assert!((mean - crate::model::entropy(&masks, classes)).abs() < 1e-6, "{classes} classes: {mean}");
    }
}

#[test]
fn an_infinite_value_is_seen_where_no_weight_makes_nan_of_it() {
    let spec = ImageSpec::imagenet(16, 16, Fit::Stretch);
    let shape = [2, 5, 5];
    for infinite in [f32::INFINITY, f32::NEG_INFINITY] {
        let mut masks = mask_values(50, 1);
        masks[12] = infinite;
        // Twice the size of the masks: all weights are quarters there.
        assert!(class_map(&spec, shape, &masks, 10, 10).1, "{infinite}");
    }
}

#[test]
fn overlays_are_those_of_the_cpu() {
    let names: Vec<String> = (0..7).map(|id| format!("class {id}")).collect();
    for (width_px, height_px) in [(64, 64), (240, 180), (123, 7), (1, 1), (3, 200)] {
        let mut overlay = Overlay::new(&ClassList::from_names(&names).unwrap(), "yard 3", 0.6);
        let rgb = noise(9, (3 * width_px * height_px) as usize);
        // Runs of classes, with what the network has not seen among them.
        let id = |i: u32| [0, 1, 2, 255, 6, 0, 3][((i / 5 + i / width_px / 4) % 7) as usize];
        let map: Vec<u8> = (0..width_px * height_px).map(id).collect();
        let frame = Frame { rgb: rgb.clone(), width_px, height_px, ..Frame::default() };
        let expected = overlay.draw(&frame, &map, 1.0).clone();
        let (found, counts) = draw(&overlay, &rgb_layout(width_px, height_px), &rgb, &map, expected.width_px as usize);
        let line = 3 * expected.width_px as usize;
        for (y, (found, expected)) in found.chunks(line).zip(expected.rgb.chunks(line)).enumerate() {
            assert_eq!(found[..3 * width_px as usize], expected[..3 * width_px as usize], "row {y} of {width_px}x{height_px}");
        }
        for class in 0..=255 {
            assert_eq!(counts[usize::from(class)] as usize, map.iter().filter(|&&c| c == class).count());
        }
    }
}

/// Past the harness, which keeps what passing tests print.
fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

#[test]
fn nvrtc_compiles_for_every_jetson() {
    let Some(folders) = std::env::var_os("AMIS_NVRTC_LIB") else { return skipped("NVRTC", "AMIS_NVRTC_LIB is not set; `make test` sets it") };
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    // Xavier, Orin, Thor: CUDA 13 has dropped the first and renamed the last.
    for (library, capabilities) in [("libnvrtc.so.12", &["7.2", "8.7", "10.1"][..]), ("libnvrtc.so.13", &["8.7", "11.0"])] {
        let path = folders.iter().map(|folder| folder.join(library)).find(|path| path.exists());
        let nvrtc = Nvrtc::open(&path.unwrap_or_else(|| panic!("AMIS_NVRTC_LIB is set, so {library} must be in it"))).unwrap();
        for &capability in capabilities {
            let code = compile(&nvrtc, capability.parse().unwrap()).unwrap();
            assert!(code.starts_with(b"\x7fELF"), "{library} {capability}");
            let names = String::from_utf8_lossy(&code);
            assert!(["preprocess", "class_map", "uncertainty", "overlay", "count_classes"].iter().all(|kernel| names.contains(&format!(".text.{kernel}"))));
        }
    }
    let newest = Nvrtc::find(13).unwrap();
    assert_eq!((newest.version().0, Nvrtc::find(12).unwrap().version().0), (13, 12));
    let message = compile(&newest, "7.2".parse().unwrap()).unwrap_err().to_string();
    assert!(message.contains("NVRTC 13.") && message.contains("does not compile the kernels"), "{message}");
    let message = newest.compile("__global__ void broken() { x = 1; }", &[]).unwrap_err().to_string();
    assert!(message.contains("amis.cu(1): error: identifier \"x\" is undefined"), "{message}");
}

#[test]
fn a_library_that_is_none_is_an_error() {
    let message = |path: &str| Nvrtc::open(Path::new(path)).err().unwrap().to_string();
    assert!(message("/nowhere/libnvrtc.so.12").contains("looked for /nowhere/libnvrtc.so.12"));
    assert!(message("libc.so.6").contains("nvrtcVersion"), "{}", message("libc.so.6"));
}

/// On a machine with a GPU, `AMIS_TEST_GPU=1` runs the kernels on it, over a thousand frames.
#[test]
fn a_gpu_computes_what_the_cpu_computes() {
    if std::env::var_os("AMIS_TEST_GPU").is_none() {
        return skipped("kernels on a GPU", "AMIS_TEST_GPU is not set");
    }
    let (shape, size_px) = ([21, 3, 5], (320, 240));
    let context = CudaContext::new(0).unwrap();
    let (stream, kernels) = (context.new_stream().unwrap(), Kernels::load(&context).unwrap());
    for (round, spec) in specs().enumerate() {
        let mut stages = Stages::new(kernels.clone(), &stream, &spec, shape, size_px).unwrap();
        let mut input = stream.alloc_zeros(spec.input_len()).unwrap();
        for frame in 0..335 {
            let bytes = noise(1000 * round as u64 + frame, 3 * 320 * 240);
            stages.put(&bytes).unwrap();
            stages.before(&stream, &mut input).unwrap();
            assert_eq!(stream.clone_dtoh(&input).unwrap(), preprocess(&spec, &rgb_layout(320, 240), &bytes), "{:?}", spec.fit);
            let masks = mask_values(21 * 15, frame);
            let on_gpu = stream.clone_htod(&masks).unwrap();
            stages.after(&stream, &on_gpu).unwrap();
            stream.synchronize().unwrap();
            let mut map = Vec::new();
            let entropies = stages.take(&mut map).unwrap();
            assert!(entropies.iter().zip(uncertainty(&masks, 21)).all(|(a, b)| (a - b).abs() < 1e-5));
            assert_eq!((map, false), class_map(&spec, shape, &masks, 320, 240));
        }
    }
}
