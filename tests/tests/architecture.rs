//! The dependency rule of ARCHITECTURE.md: its table of crates is compared with what cargo says.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The rows of the table under "Crates": what a crate of ours may depend on.
fn allowed(document: &str) -> Graph {
    let names_in = |cell: &str| cell.split('`').skip(1).step_by(2).map(|name| format!("amis-{name}")).collect::<BTreeSet<_>>();
    let section = document.split("\n## Crates\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        (names_in(cells[0]).pop_first().unwrap(), names_in(cells[3]))
    })
    .collect()
}

/// Every package of the workspace's graph with what it is linked with (no test-only dependencies), by name.
fn dependencies() -> (BTreeSet<String>, Graph) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let name_of: BTreeMap<String, String> = list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let ours = list(&metadata["workspace_members"]).iter().map(|id| name_of[&text(id)].clone()).collect();
    let linked = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    let nodes = list(&metadata["resolve"]["nodes"]);
    let graph = nodes.iter().map(|node| {
        let needs = list(&node["deps"]).into_iter().filter(linked).map(|dependency| name_of[&text(&dependency["pkg"])].clone());
        (name_of[&text(&node["id"])].clone(), needs.collect())
    });
    (ours, graph.collect())
}

fn reaches(graph: &Graph, from: &str, wanted: &str) -> bool {
    let (mut open, mut seen) = (vec![from.to_owned()], BTreeSet::new());
    while let Some(name) = open.pop() {
        if name == wanted {
            return true;
        }
        if seen.insert(name.clone()) {
            open.extend(graph.get(&name).into_iter().flatten().cloned());
        }
    }
    false
}

#[test]
fn crates_depend_on_what_the_architecture_allows() {
    let document = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md")).unwrap();
    let (allowed, (ours, graph)) = (allowed(&document), dependencies());
    assert_eq!(allowed.keys().collect::<Vec<_>>(), ours.iter().collect::<Vec<_>>(), "crates in the table, and in the workspace");
    for (name, may) in &allowed {
        let needs: BTreeSet<String> = graph[name].intersection(&ours).cloned().collect();
        assert!(name == "amis-tests" || needs.is_subset(may), "{name} depends on {needs:?}; ARCHITECTURE.md allows {may:?}");
    }
}

#[test]
fn only_the_trainer_needs_libtorch() {
    let (ours, graph) = dependencies();
    for name in ours.iter().filter(|name| *name != "amis-tests") {
        assert_eq!(reaches(&graph, name, "torch-sys"), name == "amis-trainer", "{name} and libtorch");
    }
}
