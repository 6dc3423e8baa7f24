//! The statistics in the text format that Prometheus reads, version 0.0.4.

use std::fmt::{Display, Write};

use super::{Percentiles, Summary};

impl Summary {
    /// As Prometheus text: times in seconds, quantiles over the last minute, sums and counts since the start.
    pub fn prometheus(&self) -> String {
        let mut out = String::with_capacity(4096);
        metric(&mut out, "amis_frames_total", "counter", "Frames that went through all stations.", &[("", self.frames as f64)]);
        metric(&mut out, "amis_dropped_frames_total", "counter", "Frames of the source that nobody saw.", &[("", self.dropped as f64)]);
        let faults: Vec<(String, f64)> = self.faults.iter().map(|(kind, &count)| (label("fault", kind), count as f64)).collect();
        metric(&mut out, "amis_faults_total", "counter", "What went wrong without ending the run.", &faults);
        metric(&mut out, "amis_fps", "gauge", "Frames a second over the last minute.", &[("", self.minute.fps)]);
        metric(&mut out, "amis_resident_memory_bytes", "gauge", "Resident memory of the process.", &[("", self.rss_now_mib * 1024.0 * 1024.0)]);
        let model = [label("name", &self.model.name), label("version", self.model.version), label("precision", &self.model.precision)].join(",");
        metric(&mut out, "amis_model_info", "gauge", "The model that runs.", &[(model, 1.0)]);
        header(&mut out, "amis_stage_seconds", "summary", "Time of a station for one frame.");
        for (name, all) in &self.stages {
            summary(&mut out, "amis_stage_seconds", &label("stage", name), self.minute.stages.get(name), all);
        }
        header(&mut out, "amis_frame_age_seconds", "summary", "From the moment a frame was taken until all sinks had it.");
        summary(&mut out, "amis_frame_age_seconds", "", Some(&self.minute.age), &self.age);
        out
    }
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, values: &[(impl AsRef<str>, f64)]) {
    header(out, name, kind, help);
    values.iter().for_each(|(labels, value)| line(out, name, labels.as_ref(), *value));
}

fn summary(out: &mut String, name: &str, labels: &str, minute: Option<&Percentiles>, all: &Percentiles) {
    let minute = minute.copied().unwrap_or_default();
    let comma = if labels.is_empty() { "" } else { "," };
    for (quantile, ms) in [("0.5", minute.p50_ms), ("0.95", minute.p95_ms), ("0.99", minute.p99_ms), ("1", minute.max_ms)] {
        line(out, name, &format!("{labels}{comma}quantile=\"{quantile}\""), ms / 1000.0);
    }
    line(out, &format!("{name}_sum"), labels, all.mean_ms * all.count as f64 / 1000.0);
    line(out, &format!("{name}_count"), labels, all.count as f64);
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() { writeln!(out, "{name} {value}") } else { writeln!(out, "{name}{{{labels}}} {value}") };
}

fn label(name: &str, value: impl Display) -> String {
    let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::super::{ModelInfo, Monitor, Stage};
    use crate::faults::Faults;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn every_figure_has_its_line() {
        let faults = Arc::new(Faults::default());
        faults.add("short buffer");
        let model = ModelInfo { name: "a \"b\"\\c\n".into(), version: 7, precision: "int8".into(), classes: Vec::new() };
        let monitor = Monitor::new(model, Some(faults));
        monitor.station(Stage::Infer, Duration::from_millis(500));
        monitor.station(Stage::Infer, Duration::from_millis(1500));
        monitor.shown(Some(Instant::now()), Instant::now());
        let text = monitor.summary().prometheus();
        for line in [
            "amis_frames_total 1",
            "amis_faults_total{fault=\"short buffer\"} 1",
            "amis_model_info{name=\"a \\\"b\\\"\\\\c\\n\",version=\"7\",precision=\"int8\"} 1",
            "amis_stage_seconds_count{stage=\"infer\"} 2",
            "amis_stage_seconds_count{stage=\"sink\"} 0",
            "# TYPE amis_stage_seconds summary",
            "amis_frame_age_seconds_count 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let sum = text.lines().find_map(|l| l.strip_prefix("amis_stage_seconds_sum{stage=\"infer\"} ")).and_then(|v| v.parse::<f64>().ok());
        assert!(sum.is_some_and(|sum| (sum - 2.0).abs() < 0.01), "{text}");
    }
}
