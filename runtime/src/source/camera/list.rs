use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;
use v4l::{Device, FourCC, Fraction};

use super::controls::{self, ControlInfo};
use super::{nodes, sys};
use crate::pixels::PixelFormat;

/// A camera of this machine.
#[derive(Debug, Clone, Serialize)]
pub struct CameraInfo {
    /// Its node.
    pub path: PathBuf,
    /// Names for the same node that stay when the camera is plugged in again.
    pub stable: Vec<PathBuf>,
    /// Name of the camera.
    pub card: String,
    /// Name of the driver.
    pub driver: String,
    /// Where it is connected.
    pub bus: String,
    /// Why it cannot be used, if so; then the rest is empty.
    pub problem: Option<String>,
    /// What it offers.
    pub formats: Vec<FormatInfo>,
    /// What can be set.
    pub controls: Vec<ControlInfo>,
}

/// A pixel format of a camera.
#[derive(Debug, Clone, Serialize)]
pub struct FormatInfo {
    /// V4L2's four letters.
    pub fourcc: String,
    /// The driver's description.
    pub description: String,
    /// Name for `format=`, if it can be used.
    pub name: Option<&'static str>,
    /// Sizes.
    pub sizes: Vec<SizeInfo>,
}

/// One size of pictures, or a range of them.
#[derive(Debug, Clone, Serialize)]
pub struct SizeInfo {
    /// Smallest width, largest width, and the step between two.
    pub width_px: [u32; 3],
    /// The same of the height.
    pub height_px: [u32; 3],
    /// Frames a second, at the smallest size of a range; the slowest and the fastest rate of a range.
    pub fps: Vec<f64>,
}

/// The cameras of this machine: nodes that give pictures, in order of their numbers.
pub fn cameras() -> Vec<CameraInfo> {
    let stable = ["by-id", "by-path"].map(nodes::stable_names);
    nodes::video_nodes().iter().filter_map(|path| camera(path, &stable)).collect()
}

/// None for a node that is no camera.
fn camera(path: &Path, stable: &[BTreeMap<PathBuf, Vec<PathBuf>>]) -> Option<CameraInfo> {
    let mut info = CameraInfo {
        path: path.to_owned(),
        stable: stable.iter().flat_map(|names| names.get(path).cloned().unwrap_or_default()).collect(),
        card: String::new(),
        driver: String::new(),
        bus: String::new(),
        problem: None,
        formats: Vec::new(),
        controls: Vec::new(),
    };
    let opened = Device::with_path(path).and_then(|device| Ok((sys::capabilities(&device)?, device)));
    let (capabilities, device) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            info.problem = Some(format!("open: {e}"));
            return Some(info);
        }
    };
    let usable = nodes::must_capture(&capabilities);
    if !nodes::captures(&capabilities) {
        return None;
    }
    (info.card, info.driver, info.bus) = (capabilities.card, capabilities.driver, capabilities.bus);
    match usable {
        Err(problem) => info.problem = Some(problem),
        Ok(()) => (info.formats, info.controls) = (formats(&device), controls::list(&device)),
    }
    Some(info)
}

fn formats(device: &Device) -> Vec<FormatInfo> {
    let format = |description: v4l::format::Description| FormatInfo {
        fourcc: String::from_utf8_lossy(&description.fourcc.repr).into_owned(),
        name: PixelFormat::from_fourcc(description.fourcc.repr).map(PixelFormat::name),
        sizes: sizes(device, description.fourcc),
        description: description.description,
    };
    device.enum_formats().unwrap_or_default().into_iter().map(format).collect()
}

fn sizes(device: &Device, fourcc: FourCC) -> Vec<SizeInfo> {
    let size = |size: FrameSizeEnum| {
        let (width_px, height_px) = match size {
            FrameSizeEnum::Discrete(size) => ([size.width, size.width, 0], [size.height, size.height, 0]),
            FrameSizeEnum::Stepwise(range) => ([range.min_width, range.max_width, range.step_width], [range.min_height, range.max_height, range.step_height]),
        };
        SizeInfo { width_px, height_px, fps: rates(device, fourcc, width_px[0], height_px[0]) }
    };
    device.enum_framesizes(fourcc).unwrap_or_default().into_iter().map(|found| size(found.size)).collect()
}

fn rates(device: &Device, fourcc: FourCC, width_px: u32, height_px: u32) -> Vec<f64> {
    let rate = |interval: &Fraction| f64::from(interval.denominator) / f64::from(interval.numerator.max(1));
    let intervals = device.enum_frameintervals(fourcc, width_px, height_px).unwrap_or_default();
    let rates = intervals.iter().flat_map(|found| match &found.interval {
        FrameIntervalEnum::Discrete(interval) => vec![rate(interval)],
        FrameIntervalEnum::Stepwise(range) => vec![rate(&range.max), rate(&range.min)],
    });
    rates.collect()
}
