use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use amis_export::repo::{self, KeyRing, Repository, Roots, What};
use jiff::Timestamp;

use crate::flow::{ring, site};

#[test]
fn openssl_reads_the_keys_with_the_passphrase_and_not_without() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("openssl is not installed: nothing is tested");
        return;
    }
    let dir = site(0);
    let mut found = 0;
    for entry in dir.path().join("keys").read_dir().unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let read = |passphrase: &str| {
            let mut openssl = Command::new("openssl");
            openssl.args(["pkey", "-noout", "-text", "-passin", &format!("pass:{passphrase}"), "-in"]).arg(entry.path());
            openssl.output().unwrap()
        };
        let good = read("snakeoil");
        assert!(good.status.success() && String::from_utf8_lossy(&good.stdout).contains("ED25519"), "{}", String::from_utf8_lossy(&good.stderr));
        assert!(!read("other").status.success());
        found += 1;
    }
    assert_eq!(found, 5);
}

#[test]
fn a_wrong_passphrase_and_a_foreign_key_are_named() {
    let dir = site(0);
    let (site, keys) = (dir.path().join("site"), dir.path().join("keys"));
    let mut repository = Repository::open_to_change(&site).unwrap();
    let mut wrong = KeyRing::new(vec![keys.clone()], |_| Ok("other".into()));
    let error = repo::publish(&mut repository, &mut wrong, What::Staged, 14, Timestamp::now()).unwrap_err().to_string();
    assert!(error.contains("timestamp-") && error.contains("the passphrase does not open it"), "{error}");
    let path = |role: &str| keys.read_dir().unwrap().flatten().map(|e| e.path()).find(|p| p.file_name().unwrap().to_str().unwrap().starts_with(role)).unwrap();
    std::fs::copy(path("snapshot-"), path("timestamp-")).unwrap();
    let error = repo::publish(&mut repository, &mut ring(&keys), What::Staged, 14, Timestamp::now()).unwrap_err().to_string();
    assert!(error.contains("its id is"), "{error}");
}

#[test]
fn roots_that_nobody_could_sign_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for roots in [Roots { keys: 1, threshold: 2 }, Roots { keys: 2, threshold: 0 }, Roots { keys: 17, threshold: 2 }] {
        let made = repo::init(&dir.path().join("site"), &mut ring(&dir.path().join("keys")), roots, Timestamp::now());
        assert!(made.unwrap_err().to_string().contains("no root can be made"), "{roots:?}");
    }
    assert!(!dir.path().join("keys").exists() && !dir.path().join("site").exists());
}
