use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::run::{Finished, RunData};

/// Every key of the resolved configurations; where the runs differ, the row is marked.
pub(super) fn configuration(runs: &[RunData]) -> Markup {
    let flat: Vec<BTreeMap<String, String>> = runs.iter().map(|r| flatten(&r.resolved)).collect();
    let mut keys: Vec<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    keys.sort();
    keys.dedup();
    html! {
        details {
            summary { "Resolved configuration" @if runs.len() > 1 { ", differences marked" } }
            div.scroll {
                table.settings {
                    thead { tr { th scope="col" { "key" } @for run in runs { th scope="col" { (run.name) } } } }
                    tbody {
                        @for key in keys {
                            tr.differs[flat.iter().any(|f| f.get(key) != flat[0].get(key))] {
                                th scope="row" { (key) }
                                @for values in &flat { td { (values.get(key).map_or("–", String::as_str)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Values by dotted key.
pub(crate) fn flatten(value: &Value) -> BTreeMap<String, String> {
    fn walk(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, v)| walk(&if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, v, into)),
            Value::String(text) => drop(into.insert(key.into(), text.clone())),
            Value::Null => drop(into.insert(key.into(), "–".into())),
            other => drop(into.insert(key.into(), other.to_string())),
        }
    }
    let mut flat = BTreeMap::new();
    walk("", value, &mut flat);
    flat
}

/// Checkpoints of each run with their hashes, parents and image lists.
pub(super) fn lineage(runs: &[RunData]) -> Markup {
    html! {
        details {
            summary { "Lineage: checkpoints, parents and image lists by SHA-256" }
            @for run in runs {
                @if runs.len() > 1 { h3 { (run.name) } }
                @for (step, finished) in run.steps.iter().enumerate() {
                    @match finished {
                        Some(finished) => (checkpoint(finished, step.checked_sub(1).and_then(|s| run.step(s)))),
                        None => p.quiet { "Step " (step) ": no checkpoint." },
                    }
                }
            }
        }
    }
}

fn checkpoint(finished: &Finished, before: Option<&Finished>) -> Markup {
    let manifest = &finished.checkpoint.manifest;
    let parent = match (&manifest.parent_sha256, before) {
        (None, _) => "none".to_owned(),
        (Some(hash), Some(before)) if *hash == before.sha256 => format!("{hash} (step {})", before.metrics.step),
        (Some(hash), _) => format!("{hash} (not in this run)"),
    };
    html! {
        dl.hashes {
            dt { "step " (manifest.step) } dd { (finished.checkpoint.dir.display()) ", written by version " (manifest.tool_version) }
            dt { "checkpoint" } dd { code { (finished.sha256) } }
            dt { "weights" } dd { code { (manifest.weights_sha256) } }
            dt { "parent" } dd { code { (parent) } }
            @for list in &manifest.image_lists {
                dt { (list.role) ", " (list.images) " images" } dd { code { (list.sha256) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_becomes_dotted_keys() {
        let flat = flatten(&serde_json::json!({ "a": { "b": 0.5, "c": [["x"], ["y"]] }, "d": null, "e": "text" }));
        let expected = [("a.b", "0.5"), ("a.c", "[[\"x\"],[\"y\"]]"), ("d", "–"), ("e", "text")];
        assert_eq!(flat, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }
}
