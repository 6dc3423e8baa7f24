//! Signing keys: ed25519, each in a PKCS#8 file that is encrypted with a passphrase (scrypt and AES-256), which `openssl pkey` reads as well.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use amis_artifacts::files;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{RoleType, Root};
use tough::sign::Sign;

use super::sign::damaged;
use crate::{Error, Result};

/// Label of the PEM file.
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// Largest key file that is read, in bytes.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// What a passphrase is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// For keys that are about to be made; a person types it twice.
    New(&'a str),
    /// For a key that is there.
    Existing(&'a Path),
}

/// Folders with key files, called `<role>-<first eight digits of the key's id>.pem`.
///
/// Root keys belong on media that lie in a drawer: `publish` does not need them.
pub struct KeyRing<'a> {
    folders: Vec<PathBuf>,
    ask: Box<dyn FnMut(Ask) -> Result<String> + 'a>,
    /// Passphrases that were given: most keys share one, and nobody wants to type it again.
    known: Vec<Zeroizing<String>>,
}

/// A key that can sign.
pub(super) struct SigningKey {
    pub(super) id: Decoded<Hex>,
    pub(super) public: Key,
    pub(super) pair: Ed25519KeyPair,
}

impl<'a> KeyRing<'a> {
    /// Keys of `folders`; new ones go into the first. `ask` gives passphrases.
    pub fn new(folders: Vec<PathBuf>, ask: impl FnMut(Ask) -> Result<String> + 'a) -> Self {
        Self { folders, ask: Box::new(ask), known: Vec::new() }
    }

    /// Asks for the passphrase of keys to be made.
    pub(super) fn new_passphrase(&mut self, what: &str) -> Result<Zeroizing<String>> {
        let passphrase = Zeroizing::new((self.ask)(Ask::New(what))?);
        if passphrase.is_empty() {
            return Err(Error::Passphrase { what: what.to_owned(), reason: "it is empty".into() });
        }
        self.known.push(passphrase.clone());
        Ok(passphrase)
    }

    /// Makes a key of a role and writes it, synced, readable by its owner alone.
    pub(super) fn create(&self, role: RoleType, passphrase: &str) -> Result<SigningKey> {
        let folder = self.folders.first().ok_or_else(|| Error::NoKey { role: role.to_string(), wanted: "a folder for it".into(), folders: String::new() })?;
        let failed = |reason: &str| Error::Key { path: folder.clone(), reason: reason.to_owned() };
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| failed("no key could be made"))?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| failed("the key made cannot be used"))?;
        let key = SigningKey::new(pair)?;
        let info = PrivateKeyInfoRef::try_from(document.as_ref()).map_err(|e| failed(&e.to_string()))?;
        let pem = info.encrypt(passphrase).and_then(|secret| Ok(secret.to_pem(LABEL, LineEnding::LF)?)).map_err(|e| failed(&e.to_string()))?;
        write_new(&folder.join(file_name(role, &key.id)), pem.as_bytes())?;
        Ok(key)
    }

    /// How many keys of a role are at hand.
    pub(super) fn count(&self, root: &Root, role: RoleType) -> usize {
        ids(root, role).iter().filter(|id| self.path(role, id).is_some()).count()
    }

    /// Whether a role can be signed.
    pub(super) fn can_sign(&self, root: &Root, role: RoleType) -> bool {
        self.count(root, role) as u64 >= threshold(root, role)
    }

    /// The keys of a role that are at hand, opened.
    pub(super) fn at_hand(&mut self, root: &Root, role: RoleType) -> Result<Vec<SigningKey>> {
        let paths: Vec<(PathBuf, &Decoded<Hex>)> = ids(root, role).iter().filter_map(|id| Some((self.path(role, id)?, id))).collect();
        paths.iter().map(|(path, id)| self.open(path, id)).collect()
    }

    /// Keys enough to sign for a role.
    ///
    /// # Errors
    /// Too few are in the folders, one is damaged, or its passphrase is wrong.
    pub(super) fn enough(&mut self, root: &Root, role: RoleType) -> Result<Vec<SigningKey>> {
        if !self.can_sign(root, role) {
            let names: Vec<String> = ids(root, role).iter().filter(|id| self.path(role, id).is_none()).map(|id| file_name(role, id)).collect();
            let missing = threshold(root, role) - self.count(root, role) as u64;
            let wanted = format!("{missing} of {}", names.join(", "));
            let folders = self.folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::NoKey { role: role.to_string(), wanted, folders });
        }
        self.at_hand(root, role)
    }

    fn path(&self, role: RoleType, id: &Decoded<Hex>) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(file_name(role, id))).find(|path| path.is_file())
    }

    fn open(&mut self, path: &Path, id: &Decoded<Hex>) -> Result<SigningKey> {
        let wrong = |reason: String| Error::Key { path: path.into(), reason };
        let bytes = files::read_limited(path, "a key", MAX_KEY_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is no text, expected PEM".into()))?;
        let (label, document) = SecretDocument::from_pem(text).map_err(|e| wrong(e.to_string()))?;
        if label != LABEL {
            return Err(wrong(format!("it holds a {label}, expected an {LABEL}")));
        }
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        let known = self.known.iter().find_map(|passphrase| encrypted.decrypt(passphrase.as_bytes()).ok());
        let plain = match known {
            Some(plain) => plain,
            None => {
                let passphrase = Zeroizing::new((self.ask)(Ask::Existing(path))?);
                let plain = encrypted.decrypt(passphrase.as_bytes()).map_err(|_| wrong("the passphrase does not open it".into()))?;
                self.known.push(passphrase);
                plain
            }
        };
        let pair = Ed25519KeyPair::from_pkcs8(plain.as_bytes()).map_err(|e| wrong(format!("no ed25519 key: {e}")))?;
        let key = SigningKey::new(pair)?;
        if key.id != *id {
            return Err(wrong(format!("its id is {}, expected {}", short(&key.id), short(id))));
        }
        Ok(key)
    }
}

impl SigningKey {
    fn new(pair: Ed25519KeyPair) -> Result<Self> {
        let public = pair.tuf_key();
        Ok(Self { id: public.key_id().map_err(|e| damaged(Path::new("a new key"), e))?, public, pair })
    }
}

/// First eight digits of a key's id: what its file is called by and what people see.
pub(super) fn short(id: &Decoded<Hex>) -> String {
    id.iter().take(4).map(|b| format!("{b:02x}")).collect()
}

/// Ids of a role's keys.
pub(super) fn ids(root: &Root, role: RoleType) -> &[Decoded<Hex>] {
    root.roles.get(&role).map_or(&[], |keys| &keys.keyids)
}

/// How many of them have to sign.
pub(super) fn threshold(root: &Root, role: RoleType) -> u64 {
    root.roles.get(&role).map_or(u64::MAX, |keys| keys.threshold.get())
}

/// Name of a key's file.
pub(super) fn file_name(role: RoleType, id: &Decoded<Hex>) -> String {
    format!("{role}-{}.pem", short(id))
}

/// Keys are never overwritten, and nobody else may read them, not even for a moment.
fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let io = |source| amis_artifacts::Error::Io { action: "write", path: path.into(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    Ok(fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io)?)
}
