use serde_json::Value;

/// The figures of a station that a person wants to see, from what its program printed.
pub(crate) fn of(station: &str, result: &Value) -> String {
    let number = |pointer: &str| result.pointer(pointer).and_then(Value::as_f64);
    let points = |value: Option<f64>| value.map_or_else(|| "not measured".to_owned(), |v| format!("{:.1}", v * 100.0));
    let bytes = |pointer: &str| number(pointer).map_or_else(String::new, |b| format!("{:.1} MB", b / 1e6));
    match station.split(' ').next().unwrap_or_default() {
        "train" => {
            let last = result["steps"].as_array().and_then(|s| s.last()).unwrap_or(&Value::Null);
            let (old, new) = (last.pointer("/old/miou").and_then(Value::as_f64), last.pointer("/new/miou").and_then(Value::as_f64));
            format!("mean IoU: base classes {}, later ones {}", points(old), points(new))
        }
        "export" => bytes("/bytes"),
        "calibrate" => format!("{} tensors on {} images", result["tensors"], result["images"]),
        "quantize" => format!("{} from {}", bytes("/bytes"), bytes("/from_bytes")),
        "verify" => {
            let graphs = result.pointer("/comparison/graphs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let quality = |g: &Value| points(g.pointer("/quality/miou").and_then(Value::as_f64));
            let agreement = number("/argmax_agreement").unwrap_or_default() * 100.0;
            format!("{agreement:.3} % as trained; mean IoU of the graphs: {}", graphs.iter().map(quality).collect::<Vec<_>>().join(", "))
        }
        "bundle" => result["path"].as_str().unwrap_or_default().to_owned(),
        "gate" => {
            let all = result.pointer("/staged/0/comparisons").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let lost = |c: &Value| format!("{} {:+.1}", c["graph"].as_str().unwrap_or_default(), -c["lost_points"].as_f64().unwrap_or_default());
            let parent = result.pointer("/staged/0/parent").and_then(Value::as_str);
            match parent {
                Some(parent) => format!("old classes against {parent}, in points: {}", all.iter().map(lost).collect::<Vec<_>>().join(", ")),
                None => "the first of its name".to_owned(),
            }
        }
        "publish" => format!("timestamp {} holds until {}", result["timestamp"], result["expires"].as_str().unwrap_or_default()),
        _ => String::new(),
    }
}
