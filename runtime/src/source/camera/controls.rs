use serde::Serialize;
use v4l::Device;

use super::sys::{self, Control};

/// `V4L2_CTRL_TYPE_INTEGER`, `..._BOOLEAN`, `..._BUTTON`, `..._BITMASK`; menus stand in [`sys`].
const INTEGER: u32 = 1;
const BOOLEAN: u32 = 2;
const BUTTON: u32 = 4;
const BITMASK: u32 = 8;
/// `V4L2_CTRL_FLAG_DISABLED`.
const DISABLED: u32 = 1;

/// A control that is to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
}

/// A control of a camera: exposure, gain, white balance.
#[derive(Debug, Clone, Serialize)]
pub struct ControlInfo {
    /// Name on the command line.
    pub key: String,
    /// Name that the driver gives.
    pub name: String,
    /// "integer", "boolean", "menu", "button" or "bitmask".
    pub kind: &'static str,
    /// Smallest value.
    pub min: i32,
    /// Largest value.
    pub max: i32,
    /// Between two values.
    pub step: i32,
    /// Value after a start of the camera.
    pub default: i32,
    /// Value now, if the driver tells.
    pub value: Option<i32>,
    /// Choices of a menu: number and name.
    pub items: Vec<(u32, String)>,
}

/// Controls that can be set.
pub(super) fn list(device: &Device) -> Vec<ControlInfo> {
    let info = |control: Control| {
        Some(ControlInfo {
            kind: kind(&control)?,
            key: key(&control.name),
            min: control.min,
            max: control.max,
            step: control.step,
            default: control.default,
            value: sys::control(device, control.id).ok(),
            name: control.name,
            items: control.items,
        })
    };
    sys::controls(device).into_iter().filter(|control| control.flags & DISABLED == 0).filter_map(info).collect()
}

/// Sets controls by name. Switches and menus come first: they free what an automatic holds, such as `exposure_time_absolute`.
pub(super) fn apply(device: &Device, settings: &[Setting]) -> Result<(), String> {
    if settings.is_empty() {
        return Ok(());
    }
    let controls = sys::controls(device);
    let mut found = Vec::new();
    for setting in settings {
        let usable = |control: &&Control| kind(control).is_some() && key(&control.name) == setting.key;
        let control = controls.iter().find(usable).ok_or_else(|| {
            let known: Vec<String> = controls.iter().filter(|control| kind(control).is_some()).map(|control| key(&control.name)).collect();
            format!("it has no control or setting {:?}, but {}", setting.key, if known.is_empty() { "none at all".to_owned() } else { known.join(", ") })
        })?;
        found.push((control, value(control, setting)?));
    }
    found.sort_by_key(|(control, _)| matches!(control.kind, INTEGER | BITMASK));
    for (control, value) in found {
        sys::set_control(device, control.id, value).map_err(|e| format!("set control {} to {value}: {e}", key(&control.name)))?;
    }
    Ok(())
}

fn kind(control: &Control) -> Option<&'static str> {
    match control.kind {
        INTEGER => Some("integer"),
        BOOLEAN => Some("boolean"),
        sys::MENU | sys::INTEGER_MENU => Some("menu"),
        BUTTON => Some("button"),
        BITMASK => Some("bitmask"),
        _ => None,
    }
}

/// `exposure_time_absolute` for "Exposure Time, Absolute": the rule of `v4l2-ctl`.
fn key(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("_")
}

/// The number for what was written: a number, a truth value, or the name of a menu item.
fn value(control: &Control, setting: &Setting) -> Result<i32, String> {
    let wrong = |expected: String| format!("control {} is {:?}, expected {expected}", setting.key, setting.value);
    match control.kind {
        sys::MENU | sys::INTEGER_MENU => {
            let item = control.items.iter().find(|(number, name)| key(name) == key(&setting.value) || number.to_string() == setting.value);
            let names = || control.items.iter().map(|(number, name)| format!("{number} ({name})")).collect::<Vec<_>>().join(", ");
            item.map(|(number, _)| *number as i32).ok_or_else(|| wrong(format!("one of {}", names())))
        }
        BOOLEAN => match setting.value.as_str() {
            "0" | "false" => Ok(0),
            "1" | "true" => Ok(1),
            _ => Err(wrong("0 or 1".into())),
        },
        BUTTON => Ok(1),
        // A bit mask has its largest value in `max`, as an unsigned number.
        BITMASK => setting
            .value
            .parse::<u32>()
            .ok()
            .filter(|v| *v <= control.max as u32)
            .map(|v| v as i32)
            .ok_or_else(|| wrong(format!("0 to {}", control.max as u32))),
        _ => {
            let number = setting.value.parse().ok().filter(|v| (control.min..=control.max).contains(v));
            number.ok_or_else(|| wrong(format!("a number from {} to {}", control.min, control.max)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn control(kind: u32, min: i32, max: i32) -> Control {
        let items = vec![(0, "Auto Mode".to_owned()), (1, "Manual Mode".to_owned())];
        Control { id: 1, kind, name: "Exposure".into(), min, max, step: 1, default: 0, flags: 0, items }
    }

    fn number(control: &Control, text: &str) -> Result<i32, String> {
        value(control, &Setting { key: "exposure".into(), value: text.into() })
    }

    #[test]
    fn names_follow_the_rule_of_v4l2_ctl() {
        assert_eq!(key("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(key("White Balance Temperature, Auto "), "white_balance_temperature_auto");
        assert_eq!(key("Inject V4L2_BUF_FLAG_ERROR"), "inject_v4l2_buf_flag_error");
    }

    #[test]
    fn values_are_numbers_switches_and_names_of_menu_items() {
        let integer = control(INTEGER, -5, 200);
        assert_eq!((number(&integer, "-5"), number(&integer, "200")), (Ok(-5), Ok(200)));
        assert!(number(&integer, "201").unwrap_err().contains("exposure is \"201\", expected a number from -5 to 200"));
        let menu = control(sys::MENU, 0, 1);
        assert_eq!((number(&menu, "Manual Mode"), number(&menu, "manual_mode"), number(&menu, "0")), (Ok(1), Ok(1), Ok(0)));
        assert!(number(&menu, "2").unwrap_err().contains("one of 0 (Auto Mode), 1 (Manual Mode)"));
        let boolean = control(BOOLEAN, 0, 1);
        assert_eq!((number(&boolean, "true"), number(&boolean, "0")), (Ok(1), Ok(0)));
        assert!(number(&boolean, "maybe").is_err());
        assert_eq!(number(&control(BITMASK, 0, -1), "4294967295"), Ok(-1));
    }
}
