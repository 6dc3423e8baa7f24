//! A disk that loses power: the file operations of a real process, recorded with strace, and what each prefix of them leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the process may do to files; anything else on the disk would go unseen, so it is asked for and refused below.
const CALLS: &str = "open,openat,creat,write,pwrite64,writev,lseek,fsync,fdatasync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,\
mkdir,mkdirat,rmdir,truncate,ftruncate,copy_file_range,sendfile,fallocate";

/// Whether strace is there; says so when a test is left out.
pub fn strace_present(test: &str) -> bool {
    let present = Command::new("strace").arg("-V").output().is_ok();
    if !present {
        eprintln!("SKIPPED {test}: strace is not installed; `make test-updates` installs it");
    }
    present
}

/// Runs a program under strace; gives what it printed, and its calls.
pub fn traced(program: &str, arguments: &[&str]) -> (Output, Vec<Call>) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "100000000", "-e", &format!("trace={CALLS}"), "-o"])
        .arg(log.path())
        .arg(program)
        .args(arguments)
        .output()
        .unwrap();
    (output, calls(&fs::read_to_string(log.path()).unwrap()))
}

/// Runs a program whose `number`th call of this name fails with this error.
pub fn failing(program: &str, arguments: &[&str], call: &str, error: &str, number: usize) -> Output {
    let inject = format!("inject={call}:error={error}:when={number}");
    Command::new("strace").args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject, program]).args(arguments).output().unwrap()
}

/// A call that did something.
#[derive(Debug)]
pub struct Call {
    name: String,
    /// As strace writes them.
    arguments: Vec<String>,
}

/// Calls in the order of their ends, without those that failed.
fn calls(log: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    let mut calls = vec![];
    for line in log.lines() {
        let (pid, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        let whole = if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, start.to_owned());
            continue;
        } else if rest.starts_with("<... ") {
            let (_, end) = rest.split_once(" resumed>").unwrap();
            begun.remove(pid).unwrap() + end
        } else {
            rest.to_owned()
        };
        let Some((name, after)) = whole.split_once('(').filter(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')) else { continue };
        let Some((arguments, result)) =
            after.rsplit_once(") = ").or_else(|| after.rsplit_once(')').and_then(|(a, r)| Some((a, r.trim_start().strip_prefix("= ")?))))
        else {
            continue;
        };
        if !result.starts_with('-') && !result.starts_with('?') {
            calls.push(Call { name: name.to_owned(), arguments: arguments.split(", ").map(str::to_owned).collect() });
        }
    }
    calls
}

impl Call {
    /// What was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of an argument in quotes.
    fn text(&self, at: usize) -> Vec<u8> {
        let text = self.arguments[at].trim();
        assert!(text.starts_with('"') && text.ends_with('"'), "{self:?}: argument {at} was cut");
        unhex(text.trim_matches('"'))
    }

    /// The path behind a descriptor.
    fn descriptor(&self, at: usize) -> Option<PathBuf> {
        let (_, path) = self.arguments[at].split_once('<')?;
        Some(PathBuf::from(String::from_utf8(unhex(path.trim_end_matches('>'))).ok()?))
    }

    /// A path relative to the descriptor before it.
    fn at(&self, descriptor: usize) -> PathBuf {
        let path = PathBuf::from(String::from_utf8(self.text(descriptor + 1)).unwrap());
        self.descriptor(descriptor).unwrap_or_default().join(path)
    }

    fn path(&self, at: usize) -> PathBuf {
        PathBuf::from(String::from_utf8(self.text(at)).unwrap())
    }
}

fn unhex(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

/// What a loss of power takes.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// Nothing: the process was killed, the system lives on.
    Nothing,
    /// Contents of files that were not synced; names survive, as on a file system with a journal that writes data late.
    Contents,
    /// Names too, in folders that were not synced.
    ContentsAndNames,
}

type Id = usize;

#[derive(Debug, Clone)]
enum Node {
    File { now: Vec<u8>, synced: Vec<u8> },
    Folder { now: BTreeMap<String, Id>, synced: BTreeMap<String, Id> },
    Link(PathBuf),
}

/// A folder on such a disk.
pub struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
}

impl Disk {
    /// What is in a folder now, all of it synced.
    pub fn of(root: &Path) -> Self {
        let mut disk = Self { root: root.to_owned(), nodes: vec![] };
        disk.read(root);
        disk
    }

    fn read(&mut self, path: &Path) -> Id {
        let id = self.nodes.len();
        self.nodes.push(Node::Link(PathBuf::new()));
        let metadata = fs::symlink_metadata(path).unwrap();
        self.nodes[id] = if metadata.is_symlink() {
            Node::Link(fs::read_link(path).unwrap())
        } else if metadata.is_dir() {
            let children: BTreeMap<String, Id> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap()).map(|e| (e.file_name().into_string().unwrap(), self.read(&e.path()))).collect();
            Node::Folder { now: children.clone(), synced: children }
        } else {
            let bytes = fs::read(path).unwrap();
            Node::File { now: bytes.clone(), synced: bytes }
        };
        id
    }

    /// Lets a call happen; false if it has nothing to do with the folder.
    pub fn happen(&mut self, call: &Call) -> bool {
        match call.name.as_str() {
            "openat" => self.open(&call.at(0), &call.arguments[2]),
            "open" => self.open(&call.path(0), &call.arguments[1]),
            "write" => {
                let Some(id) = call.descriptor(0).and_then(|path| self.find(&path)) else { return false };
                let Node::File { now, .. } = &mut self.nodes[id] else { panic!("{call:?} writes to a folder") };
                now.extend(call.text(1));
                true
            }
            "fsync" | "fdatasync" => {
                let Some(id) = call.descriptor(0).and_then(|path| self.find(&path)) else { return false };
                match &mut self.nodes[id] {
                    Node::File { now, synced } => *synced = now.clone(),
                    Node::Folder { now, synced } => *synced = now.clone(),
                    Node::Link(_) => {}
                }
                true
            }
            "rename" => self.rename(&call.path(0), &call.path(1)),
            "renameat" | "renameat2" => self.rename(&call.at(0), &call.at(2)),
            "symlink" => self.add(&call.path(1), Node::Link(call.path(0))),
            "symlinkat" => self.add(&call.at(1), Node::Link(call.path(0))),
            "mkdir" => self.add(&call.path(0), Node::Folder { now: BTreeMap::new(), synced: BTreeMap::new() }),
            "mkdirat" => self.add(&call.at(0), Node::Folder { now: BTreeMap::new(), synced: BTreeMap::new() }),
            "unlink" | "rmdir" => self.remove(&call.path(0)).is_some(),
            "unlinkat" => self.remove(&call.at(0)).is_some(),
            // Moves the place of reading only, as long as writers go from the start to the end: `text` of a write is appended.
            "lseek" => false,
            _ => {
                let here = (0..call.arguments.len()).filter_map(|at| call.descriptor(at)).any(|path| path.starts_with(&self.root));
                assert!(!here, "{call:?} is not understood");
                false
            }
        }
    }

    fn open(&mut self, path: &Path, flags: &str) -> bool {
        if !path.starts_with(&self.root) || !flags.contains("O_CREAT") && !flags.contains("O_TRUNC") {
            return false;
        }
        match self.find(path) {
            None => self.add(path, Node::File { now: vec![], synced: vec![] }),
            Some(id) => {
                if let (Node::File { now, .. }, true) = (&mut self.nodes[id], flags.contains("O_TRUNC")) {
                    now.clear();
                    return true;
                }
                false
            }
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> bool {
        let Some(id) = self.remove(from) else {
            assert!(!to.starts_with(&self.root), "{} comes from elsewhere", to.display());
            return false;
        };
        let (folder, name) = self.place(to).unwrap();
        self.entries(folder).insert(name, id);
        true
    }

    fn add(&mut self, path: &Path, node: Node) -> bool {
        let Some((folder, name)) = self.place(path) else { return false };
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.entries(folder).insert(name, id);
        true
    }

    fn remove(&mut self, path: &Path) -> Option<Id> {
        let (folder, name) = self.place(path)?;
        self.entries(folder).remove(&name)
    }

    /// Folder and name of a path in it; none elsewhere.
    fn place(&self, path: &Path) -> Option<(Id, String)> {
        if !path.starts_with(&self.root) || path == self.root {
            return None;
        }
        let folder = self.find(path.parent()?).unwrap_or_else(|| panic!("{} lies nowhere", path.display()));
        Some((folder, path.file_name()?.to_str()?.to_owned()))
    }

    fn entries(&mut self, folder: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.nodes[folder] {
            Node::Folder { now, .. } => now,
            other => panic!("{other:?} is no folder"),
        }
    }

    fn find(&self, path: &Path) -> Option<Id> {
        let mut id = 0;
        for name in path.strip_prefix(&self.root).ok()? {
            match &self.nodes[id] {
                Node::Folder { now, .. } => id = *now.get(name.to_str()?)?,
                _ => return None,
            }
        }
        Some(id)
    }

    /// Writes into a folder what is there after a loss of power.
    pub fn after(&self, loss: Loss, to: &Path) {
        self.write(0, loss, to);
    }

    fn write(&self, id: Id, loss: Loss, to: &Path) {
        match (&self.nodes[id], loss) {
            (Node::File { now, .. }, Loss::Nothing) => fs::write(to, now).unwrap(),
            (Node::File { synced, .. }, _) => fs::write(to, synced).unwrap(),
            (Node::Link(target), _) => symlink(target, to).unwrap(),
            (Node::Folder { now, synced }, _) => {
                fs::create_dir_all(to).unwrap();
                let entries = if matches!(loss, Loss::ContentsAndNames) { synced } else { now };
                for (name, &child) in entries {
                    self.write(child, loss, &to.join(name));
                }
            }
        }
    }
}
