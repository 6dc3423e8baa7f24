use std::process::Command;

use amis_export::repo::{self, Channel, Repository, What};
use jiff::Timestamp;

use crate::flow::{add, days, publish, site};

#[test]
fn roles_are_warned_about_seven_days_before_their_end() {
    let dir = site(0);
    let repository = Repository::open(&dir.path().join("site")).unwrap();
    let at = |day: i64| repo::status(&repository, None, Timestamp::now() + days(day)).unwrap();
    assert!(at(6).warnings.is_empty());
    assert!(at(8).warnings[0].starts_with("timestamp expires on ") && at(8).warnings.len() == 1);
    assert!(at(15).warnings[0].starts_with("timestamp has expired on "));
    assert_eq!(at(366).warnings.len(), 4);
    // A day later than now: within the second of its signature a role has all its days left.
    let roles: Vec<(String, i64, u64)> = at(1).roles.into_iter().map(|r| (r.role, r.days_left, r.threshold)).collect();
    let expected = [("root", 364, 2), ("targets", 89, 1), ("snapshot", 29, 1), ("timestamp", 13, 1)];
    let is_as = |(role, left, threshold): &(String, i64, u64), expected: (&str, i64, u64)| {
        (role.as_str(), *threshold) == (expected.0, expected.2) && (expected.1 - 1..=expected.1).contains(left)
    };
    assert!(roles.iter().zip(expected).all(|(role, expected)| is_as(role, expected)) && roles.len() == 4, "{roles:?}");
}

#[test]
fn devices_are_shown_with_what_they_run_and_why_not_the_newest() {
    let dir = site(0);
    let dir = dir.path();
    add(dir, 1, Channel::Stable);
    add(dir, 2, Channel::Canary);
    publish(dir, What::Staged);
    add(dir, 3, Channel::Canary);
    let reports = dir.join("reports");
    std::fs::create_dir(&reports).unwrap();
    for (name, report) in [
        ("a", r#"{"device": "pole-7", "time": "2026-01-02T03:04:05Z", "name": "yard", "current": 1, "channel": "stable", "phase": "idle", "bad": []}"#),
        ("b", r#"{"device": "gate", "name": "yard", "current": 1, "channel": "canary", "bad": [{"version": 2, "reason": "agreement 0.71, wanted 0.98"}]}"#),
        ("c", r#"{"name": "yard", "current": 1, "channel": "canary", "last_error": "no space: 12 MB are missing"}"#),
        ("d", r#"{"name": "yard", "channel": "canary", "phase": "fetch", "last_error": null, "new field": 1}"#),
        ("e", "{}"),
        ("f", "nothing"),
    ] {
        std::fs::write(reports.join(format!("{name}.json")), report).unwrap();
    }
    let status = repo::status(&Repository::open(&dir.join("site")).unwrap(), Some(&reports), Timestamp::now()).unwrap();
    let told: Vec<_> = status.devices.iter().map(|d| (d.device.as_str(), d.newest, d.why_not.as_deref().unwrap_or("runs it"))).collect();
    assert_eq!(told[0], ("pole-7", Some(1), "runs it"));
    assert_eq!(told[1], ("gate", Some(2), "tried and left: agreement 0.71, wanted 0.98"));
    assert_eq!(told[2], ("c", Some(2), "no space: 12 MB are missing"));
    assert_eq!(told[3], ("d", Some(2), "not yet, it is in phase fetch"));
    assert_eq!(told[4], ("e", None, "runs it"));
    assert!(told[5].2.starts_with("its report cannot be read: "));
    assert!(status.staged);

    let output = Command::new(env!("CARGO_BIN_EXE_amis-export")).current_dir(dir).args("repo status site --reports reports".split(' ')).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["timestamp", "yard-2", "canary, stable", "pole-7", "no space: 12 MB are missing", "staged changes wait"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
