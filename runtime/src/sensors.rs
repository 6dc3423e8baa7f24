//! Power and temperature, where the board tells them in sysfs: Jetson's INA3221 monitors, thermal zones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One reading.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reading {
    /// Watts by rail: "VDD_IN", "VDD_CPU_GPU_CV", ...
    pub power_w: BTreeMap<String, f64>,
    /// Degrees Celsius by zone: "cpu-thermal", ...
    pub temperature_c: BTreeMap<String, f64>,
}

/// Reads what there is below `sysfs`, usually `/sys`; nothing where there are no sensors.
pub fn read(sysfs: &Path) -> Reading {
    let mut reading = Reading::default();
    for folder in folders(&sysfs.join("class/hwmon")) {
        let device = text(&folder.join("name")).unwrap_or_default();
        for channel in 1..=8 {
            let file = |kind: &str, what: &str| folder.join(format!("{kind}{channel}_{what}"));
            // Microwatts; or, as INA3221 has it, millivolts and milliamperes.
            let measured = number(&file("power", "input")).map(|uw| uw / 1e6);
            let computed = || Some(number(&file("in", "input"))? * number(&file("curr", "input"))? / 1e6);
            let Some(watts) = measured.or_else(computed) else { continue };
            let label = text(&file("power", "label")).or_else(|| text(&file("in", "label"))).unwrap_or_else(|| format!("{device} {channel}"));
            reading.power_w.insert(label, watts);
        }
    }
    for folder in folders(&sysfs.join("class/thermal")) {
        // A zone that is switched off has a file that cannot be read, or says -256.
        if let (Some(name), Some(milli)) = (text(&folder.join("type")), number(&folder.join("temp")).filter(|&milli| milli > -50_000.0)) {
            reading.temperature_c.insert(name, milli / 1000.0);
        }
    }
    reading
}

/// Readings over a time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ranges {
    /// Watts by rail.
    pub power_w: BTreeMap<String, Range>,
    /// Degrees Celsius by zone.
    pub temperature_c: BTreeMap<String, Range>,
}

/// Mean and largest of what was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Range {
    /// Mean of all readings.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    #[serde(skip)]
    count: u32,
}

impl Ranges {
    /// Counts a reading.
    pub fn add(&mut self, reading: Reading) {
        reading.power_w.into_iter().for_each(|(name, value)| self.power_w.entry(name).or_default().add(value));
        reading.temperature_c.into_iter().for_each(|(name, value)| self.temperature_c.entry(name).or_default().add(value));
    }
}

impl Range {
    fn add(&mut self, value: f64) {
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.mean += (value - self.mean) / f64::from(self.count);
    }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number(path: &Path) -> Option<f64> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The files of a Jetson Orin Nano with JetPack 6, as its documentation lists them.
    fn jetson() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("class/hwmon/hwmon1/name", "ina3221"),
            ("class/hwmon/hwmon1/in1_label", "VDD_IN"),
            ("class/hwmon/hwmon1/in1_input", "5000"),
            ("class/hwmon/hwmon1/curr1_input", "1400"),
            ("class/hwmon/hwmon1/in2_label", "VDD_CPU_GPU_CV"),
            ("class/hwmon/hwmon1/in2_input", "5000"),
            ("class/hwmon/hwmon1/in7_label", "sum of shunt voltages"),
            ("class/hwmon/hwmon1/in7_input", "3"),
            ("class/hwmon/hwmon2/name", "amdgpu"),
            ("class/hwmon/hwmon2/power1_input", "12500000"),
            ("class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("class/thermal/thermal_zone0/temp", "48750"),
            ("class/thermal/thermal_zone1/type", "cv0-thermal"),
            ("class/thermal/thermal_zone2/type", "cv1-thermal"),
            ("class/thermal/thermal_zone2/temp", "-256000"),
            ("class/thermal/cooling_device0/type", "pwm-fan"),
        ];
        for (name, value) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        dir
    }

    #[test]
    fn rails_and_zones_have_names_and_units() {
        let reading = read(jetson().path());
        assert_eq!(reading.power_w, BTreeMap::from([("VDD_IN".into(), 7.0), ("amdgpu 1".into(), 12.5)]));
        assert_eq!(reading.temperature_c, BTreeMap::from([("cpu-thermal".into(), 48.75)]));
        assert_eq!(read(Path::new("/nonexistent")), Reading::default());
    }

    #[test]
    fn readings_have_mean_and_maximum() {
        let mut ranges = Ranges::default();
        for watts in [2.0, 6.0, 4.0] {
            ranges.add(Reading { power_w: BTreeMap::from([("VDD_IN".into(), watts)]), ..Reading::default() });
        }
        let range = ranges.power_w["VDD_IN"];
        assert_eq!((range.mean, range.max), (4.0, 6.0));
    }
}
