use serde::Serialize;

use super::{Files, Report};

/// From here on it is hot where a sensor says nothing about it.
const HOT_C: f64 = 85.0;
/// Nearer than this to where the system slows down.
const MARGIN_C: f64 = 5.0;

/// A temperature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heat {
    /// Name of the sensor.
    pub sensor: String,
    /// Its temperature.
    pub celsius: f64,
    /// Where the system slows down because of it.
    pub limit_celsius: Option<f64>,
}

pub(super) fn examine(files: &Files, report: &mut Report) {
    let zones = files.names("sys/class/thermal").into_iter().filter(|name| name.starts_with("thermal_zone"));
    let heat = |zone: String| {
        let folder = format!("sys/class/thermal/{zone}");
        let celsius = |file: &str| Some(files.number(&format!("{folder}/{file}"))? as f64 / 1000.0);
        let limits = (0..16).filter(|i| files.text(&format!("{folder}/trip_point_{i}_type")).is_some_and(|t| t == "passive"));
        let limit = limits.filter_map(|i| celsius(&format!("trip_point_{i}_temp"))).filter(|&c| c > 0.0).min_by(f64::total_cmp);
        // Sensors of parts that are off say -256.
        let sensor = files.text(&format!("{folder}/type")).unwrap_or(zone);
        Some(Heat { sensor, celsius: celsius("temp").filter(|&c| c > -50.0)?, limit_celsius: limit })
    };
    report.hottest = zones.filter_map(heat).max_by(|a, b| a.celsius.total_cmp(&b.celsius));
    if let Some(heat) = report.hottest.clone() {
        let limit = heat.limit_celsius.map(|l| format!(", slows down at {l:.0}")).unwrap_or_default();
        let found = format!("{:.0} degrees Celsius at {}{limit}", heat.celsius, heat.sensor);
        if heat.celsius >= heat.limit_celsius.map_or(HOT_C, |l| l - MARGIN_C) {
            report.advise("heat", found, "it will slow down: more air, a fan at full speed (sudo jetson_clocks --fan), or a smaller power mode");
        } else {
            report.good("heat", found);
        }
    }
}
