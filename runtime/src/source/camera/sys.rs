//! Calls to the driver that the crate `v4l` lacks, or makes with panics where a driver answers what it does not know: names that are cut within a
//! letter, new kinds of controls, new colour spaces; and the matrix (`ycbcr_enc`), which its formats leave out.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;

use v4l::Device;
use v4l::v4l_sys::{v4l2_capability, v4l2_control, v4l2_format, v4l2_pix_format, v4l2_queryctrl, v4l2_querymenu};
use v4l::v4l2::vidioc;

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
const VIDEO_CAPTURE: u32 = 1;
/// `V4L2_CTRL_FLAG_NEXT_CTRL`.
const NEXT_CONTROL: u32 = 0x8000_0000;

/// One call. `T` has to be the structure that belongs to `request`.
fn call<T>(device: &Device, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
    // SAFETY: the number of a request holds the size of its structure, and callers in this file pair the two as `videodev2.h` does; the kernel reads
    // and writes nothing beyond, for no structure in this file holds a pointer. The descriptor is open as long as the device.
    unsafe { v4l::v4l2::ioctl(device.handle().fd(), request, std::ptr::from_mut(argument).cast::<c_void>()) }
}

/// A structure of `videodev2.h` with nothing set.
fn zeroed<T: Copy>() -> T {
    // SAFETY: used in this file alone, for structures of integers, to which zero bytes are a value.
    unsafe { std::mem::zeroed() }
}

/// Text from a driver, up to its zero byte.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) driver: String,
    pub(super) card: String,
    pub(super) bus: String,
    /// `device_caps`: of this node, not of all nodes of the device.
    pub(super) flags: u32,
}

pub(super) fn capabilities(device: &Device) -> io::Result<Capabilities> {
    let mut found: v4l2_capability = zeroed();
    call(device, vidioc::VIDIOC_QUERYCAP, &mut found)?;
    Ok(Capabilities { driver: text(&found.driver), card: text(&found.card), bus: text(&found.bus_info), flags: found.device_caps })
}

/// A picture format; numbers are V4L2's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PixFormat {
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    pub(super) fourcc: [u8; 4],
    pub(super) field: u32,
    pub(super) stride_bytes: u32,
    pub(super) size_bytes: u32,
    pub(super) colorspace: u32,
    pub(super) encoding: u32,
    pub(super) quantization: u32,
}

fn pix_format(found: &v4l2_format) -> PixFormat {
    // SAFETY: the kernel fills this variant for VIDEO_CAPTURE; all variants are integers.
    let pix: v4l2_pix_format = unsafe { found.fmt.pix };
    PixFormat {
        width_px: pix.width,
        height_px: pix.height,
        fourcc: pix.pixelformat.to_le_bytes(),
        field: pix.field,
        stride_bytes: pix.bytesperline,
        size_bytes: pix.sizeimage,
        colorspace: pix.colorspace,
        // SAFETY: both variants are a u32.
        encoding: unsafe { pix.__bindgen_anon_1.ycbcr_enc },
        quantization: pix.quantization,
    }
}

/// The present format.
pub(super) fn format(device: &Device) -> io::Result<PixFormat> {
    let mut wanted: v4l2_format = zeroed();
    wanted.type_ = VIDEO_CAPTURE;
    call(device, vidioc::VIDIOC_G_FMT, &mut wanted)?;
    Ok(pix_format(&wanted))
}

/// Asks for a format; what the driver grants comes back.
pub(super) fn set_format(device: &Device, fourcc: [u8; 4], (width_px, height_px): (u32, u32)) -> io::Result<PixFormat> {
    /// `V4L2_FIELD_NONE`: whole pictures.
    const PROGRESSIVE: u32 = 1;
    let mut wanted: v4l2_format = zeroed();
    wanted.type_ = VIDEO_CAPTURE;
    let mut pix: v4l2_pix_format = zeroed();
    (pix.width, pix.height, pix.pixelformat, pix.field) = (width_px, height_px, u32::from_le_bytes(fourcc), PROGRESSIVE);
    wanted.fmt.pix = pix;
    call(device, vidioc::VIDIOC_S_FMT, &mut wanted)?;
    Ok(pix_format(&wanted))
}

/// A control as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) id: u32,
    /// `V4L2_CTRL_TYPE_...`.
    pub(super) kind: u32,
    pub(super) name: String,
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) step: i32,
    pub(super) default: i32,
    pub(super) flags: u32,
    /// Choices of a menu, by number.
    pub(super) items: Vec<(u32, String)>,
}

/// `V4L2_CTRL_TYPE_MENU`.
pub(super) const MENU: u32 = 3;
/// `V4L2_CTRL_TYPE_INTEGER_MENU`.
pub(super) const INTEGER_MENU: u32 = 9;
/// Most controls and menu items that are listed.
const MAX_ITEMS: u32 = 1024;

/// All controls with a single value, titles among them.
pub(super) fn controls(device: &Device) -> Vec<Control> {
    let mut found = Vec::new();
    let mut query: v4l2_queryctrl = zeroed();
    while found.len() < MAX_ITEMS as usize {
        query.id |= NEXT_CONTROL;
        if call(device, vidioc::VIDIOC_QUERYCTRL, &mut query).is_err() {
            break;
        }
        let mut control = Control {
            id: query.id,
            kind: query.type_,
            name: text(&query.name),
            min: query.minimum,
            max: query.maximum,
            step: query.step,
            default: query.default_value,
            flags: query.flags,
            items: Vec::new(),
        };
        if matches!(control.kind, MENU | INTEGER_MENU) {
            control.items = menu(device, &control);
        }
        found.push(control);
    }
    found
}

/// Drivers leave out numbers that have no item.
fn menu(device: &Device, control: &Control) -> Vec<(u32, String)> {
    let numbers = control.min.max(0) as u32..=control.max.max(0) as u32;
    let item = |index| {
        let mut query: v4l2_querymenu = zeroed();
        (query.id, query.index) = (control.id, index);
        call(device, vidioc::VIDIOC_QUERYMENU, &mut query).ok()?;
        // SAFETY: the kernel fills the variant of the control's kind; both are integers, copied out of the packed structure.
        let (name, value) = unsafe { (query.__bindgen_anon_1.name, query.__bindgen_anon_1.value) };
        Some((index, if control.kind == MENU { text(&name) } else { value.to_string() }))
    };
    numbers.take(MAX_ITEMS as usize).filter_map(item).collect()
}

pub(super) fn control(device: &Device, id: u32) -> io::Result<i32> {
    let mut control: v4l2_control = zeroed();
    control.id = id;
    call(device, vidioc::VIDIOC_G_CTRL, &mut control)?;
    Ok(control.value)
}

pub(super) fn set_control(device: &Device, id: u32, value: i32) -> io::Result<()> {
    let mut control: v4l2_control = zeroed();
    (control.id, control.value) = (id, value);
    call(device, vidioc::VIDIOC_S_CTRL, &mut control)
}
