//! The statistics in the text format that Prometheus reads, version 0.0.4.

use std::fmt::{Display, Write};

use super::{Percentiles, Summary};

/// The statistics of a run as Prometheus text: times in seconds, quantiles over the last minute, sums and counts since the start. Several cameras have their
/// numbers as label `camera`.
pub fn prometheus(cameras: &[Summary]) -> String {
    let mut out = String::with_capacity(4096);
    let own = |s: &Summary| s.camera.map(|camera| label("camera", camera)).unwrap_or_default();
    let each = |value: fn(&Summary) -> f64| cameras.iter().map(|s| (own(s), value(s))).collect::<Vec<_>>();
    metric(&mut out, "amis_frames_total", "counter", "Frames that went through all stations.", &each(|s| s.frames as f64));
    metric(&mut out, "amis_dropped_frames_total", "counter", "Frames of the source that nobody saw.", &each(|s| s.dropped as f64));
    let faults = cameras.iter().flat_map(|s| s.faults.iter().map(|(kind, &count)| (join(&own(s), &label("fault", kind)), count as f64)));
    metric(&mut out, "amis_faults_total", "counter", "What went wrong without ending the run.", &faults.collect::<Vec<_>>());
    metric(&mut out, "amis_fps", "gauge", "Frames a second over the last minute.", &each(|s| s.minute.fps));
    // Memory and model are those of the process.
    if let Some(any) = cameras.first() {
        let model = [label("name", &any.model.name), label("version", any.model.version), label("precision", &any.model.precision)].join(",");
        metric(&mut out, "amis_resident_memory_bytes", "gauge", "Resident memory of the process.", &[("", any.rss_now_mib * 1024.0 * 1024.0)]);
        metric(&mut out, "amis_model_info", "gauge", "The model that runs.", &[(model, 1.0)]);
    }
    header(&mut out, "amis_stage_seconds", "summary", "Time of a station for one frame.");
    for (s, (name, all)) in cameras.iter().flat_map(|s| s.stages.iter().map(move |stage| (s, stage))) {
        summary(&mut out, "amis_stage_seconds", &join(&own(s), &label("stage", name)), s.minute.stages.get(name), all);
    }
    header(&mut out, "amis_frame_age_seconds", "summary", "From the moment a frame was taken until all sinks had it.");
    cameras.iter().for_each(|s| summary(&mut out, "amis_frame_age_seconds", &own(s), Some(&s.minute.age), &s.age));
    out
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
    for (quantile, ms) in [("0.5", minute.p50_ms), ("0.95", minute.p95_ms), ("0.99", minute.p99_ms), ("1", minute.max_ms)] {
        line(out, name, &join(labels, &label("quantile", quantile)), ms / 1000.0);
    }
    line(out, &format!("{name}_sum"), labels, all.mean_ms * all.count as f64 / 1000.0);
    line(out, &format!("{name}_count"), labels, all.count as f64);
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() { writeln!(out, "{name} {value}") } else { writeln!(out, "{name}{{{labels}}} {value}") };
}

/// Labels, of which the first may be none.
fn join(first: &str, second: &str) -> String {
    if first.is_empty() { second.to_owned() } else { format!("{first},{second}") }
}

fn label(name: &str, value: impl Display) -> String {
    let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::super::{Journal, ModelInfo, Monitor, Stage};
    use super::prometheus;
    use crate::faults::Faults;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn every_figure_has_its_line() {
        let faults = Arc::new(Faults::default());
        faults.add("short buffer");
        let model = ModelInfo { name: "a \"b\"\\c\n".into(), version: 7, precision: "int8".into(), classes: Vec::new() };
        let monitor = Monitor::new(Journal::new(model), None, Some(faults));
        monitor.station(Stage::Infer, Duration::from_millis(500));
        monitor.station(Stage::Infer, Duration::from_millis(1500));
        monitor.shown(Some(Instant::now()), Instant::now());
        let text = prometheus(&[monitor.summary()]);
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

    #[test]
    fn cameras_are_told_apart_and_every_metric_has_one_header() {
        let model = ModelInfo { name: "a".into(), version: 7, precision: "int8".into(), classes: Vec::new() };
        let journal = Journal::new(model);
        let faults = Arc::new(Faults::default());
        faults.add("stalled");
        let cameras = [(1, None), (2, Some(faults))].map(|(camera, faults)| Monitor::new(Arc::clone(&journal), Some(camera), faults));
        cameras[1].shown(Some(Instant::now()), Instant::now());
        let text = prometheus(&cameras.map(|camera| camera.summary()));
        for line in [
            "amis_frames_total{camera=\"1\"} 0",
            "amis_frames_total{camera=\"2\"} 1",
            "amis_faults_total{camera=\"2\",fault=\"stalled\"} 1",
            "amis_stage_seconds_count{camera=\"2\",stage=\"infer\"} 0",
            "amis_frame_age_seconds_count{camera=\"1\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let mut headers: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let all = headers.len();
        headers.dedup();
        assert_eq!((all, text.matches("amis_model_info{").count()), (headers.len(), 1));
    }
}
