//! NVIDIA's compiler for CUDA C as a library, opened at run time.
//!
//! `cudarc` binds it too, but looks for the library of the CUDA version that it was built for, and panics where there is none.
#![allow(unsafe_code)] // calls of a C library

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null;

use libloading::{Library, Symbol};

use crate::{Error, Result};

/// Names folders with the library, separated by colons, searched before the system's.
const VARIABLE: &str = "AMIS_NVRTC_LIB";
/// Names of the library, the newest CUDA first.
const NAMES: [&str; 4] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"];

/// The compiler.
pub struct Nvrtc {
    library: Library,
    /// The file, or the name under which the system's loader found it.
    path: PathBuf,
    version: (u32, u32),
}

type Program = *mut c_void;

impl Nvrtc {
    /// Opens the newest NVRTC of at most this major version of CUDA, which is the driver's: it could not load what a newer one makes. Minor versions
    /// do not matter for machine code.
    ///
    /// # Errors
    /// None is found.
    pub fn find(driver_major: u32) -> Result<Self> {
        let folders: Vec<PathBuf> = std::env::var_os(VARIABLE).map(|folders| std::env::split_paths(&folders).collect()).unwrap_or_default();
        let within = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).filter(|path| path.exists());
        let mut refused = Vec::new();
        for path in within.chain(NAMES.map(PathBuf::from)) {
            match Self::open(&path) {
                Ok(found) if found.version.0 <= driver_major => return Ok(found),
                Ok(found) => refused.push(format!("{} is of CUDA {}, the driver of CUDA {}", path.display(), found.version.0, driver_major)),
                Err(Error::Nvrtc { reason, .. }) => refused.push(reason),
                Err(other) => return Err(other),
            }
        }
        Err(Error::Nvrtc { looked_for: format!("{} in {VARIABLE} and the system's folders", NAMES.join(", ")), reason: refused.join("; ") })
    }

    /// Opens this library.
    ///
    /// # Errors
    /// It cannot be opened, or is not NVRTC.
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::Nvrtc { looked_for: path.display().to_string(), reason };
        // NVRTC opens this companion by its name alone. Not every package lets it look beside itself; what is loaded already is found.
        let companion = path.parent().filter(|folder| !folder.as_os_str().is_empty()).and_then(builtins);
        // SAFETY: initialisers of NVIDIA's libraries; `builtins` has none of its own.
        let library = unsafe {
            if let Some(companion) = companion.and_then(|file| Library::new(file).ok()) {
                std::mem::forget(companion); // stays loaded
            }
            Library::new(path).map_err(|e| wrong(e.to_string()))?
        };
        let mut found = Self { library, path: path.into(), version: (0, 0) };
        let (mut major, mut minor): (c_int, c_int) = (0, 0);
        // SAFETY: nvrtcVersion(int*, int*) writes two numbers, in all versions.
        let code = unsafe { found.symbol::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(c"nvrtcVersion")?(&mut major, &mut minor) };
        if code != 0 {
            return Err(wrong(format!("nvrtcVersion answers {code}")));
        }
        found.version = (major.unsigned_abs(), minor.unsigned_abs());
        Ok(found)
    }

    /// Version of CUDA that it belongs to: (12, 9).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Machine code of a source.
    ///
    /// # Errors
    /// It is refused; the error has the compiler's log.
    pub(super) fn compile(&self, source: &str, options: &[&str]) -> Result<Vec<u8>> {
        let text = |text: &str| CString::new(text).map_err(|e| self.refused(e.to_string()));
        let (source, name) = (text(source)?, c"amis.cu");
        let options = options.iter().map(|option| text(option)).collect::<Result<Vec<_>>>()?;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = Compilation { nvrtc: self, program: std::ptr::null_mut() };
        type Create = unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
        // SAFETY: the signatures are those of nvrtc.h, the same in CUDA 11 to 13; all strings end in a zero and outlive the calls.
        unsafe {
            let created = self.symbol::<Create>(c"nvrtcCreateProgram")?(&mut program.program, source.as_ptr(), name.as_ptr(), 0, null(), null());
            if created != 0 {
                return Err(self.refused(self.answer(created)));
            }
            let compiled = self.symbol::<Compile>(c"nvrtcCompileProgram")?(program.program, options.len() as c_int, options.as_ptr());
            if compiled != 0 {
                let log = program.bytes(c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog").unwrap_or_default();
                return Err(self.refused(format!("{}\n{}", self.answer(compiled), String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']))));
            }
        }
        program.bytes(c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN")
    }

    fn refused(&self, reason: String) -> Error {
        Error::Kernels { compiler: format!("NVRTC {}.{} ({})", self.version.0, self.version.1, self.path.display()), reason }
    }

    /// What a result code means.
    fn answer(&self, code: c_int) -> String {
        let Ok(text) = self.symbol::<unsafe extern "C" fn(c_int) -> *const c_char>(c"nvrtcGetErrorString") else { return format!("error {code}") };
        // SAFETY: nvrtcGetErrorString gives a constant string for every code.
        unsafe { CStr::from_ptr(text(code)) }.to_string_lossy().into_owned()
    }

    fn symbol<T>(&self, name: &CStr) -> Result<Symbol<'_, T>> {
        // SAFETY: whoever asks states the signature of nvrtc.h; the symbol cannot outlive the library.
        let symbol = unsafe { self.library.get(name.to_bytes_with_nul()) };
        symbol.map_err(|e| Error::Nvrtc { looked_for: format!("{name:?} in {}", self.path.display()), reason: e.to_string() })
    }
}

/// A program of NVRTC's, given back when it is dropped.
struct Compilation<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Compilation<'_> {
    /// A result whose size one function gives and whose bytes another one.
    fn bytes(&self, size: &CStr, get: &CStr) -> Result<Vec<u8>> {
        let mut len = 0usize;
        // SAFETY: f(program, size_t*) and f(program, char*) as in nvrtc.h; the second writes as many bytes as the first said.
        unsafe {
            let mut code = self.nvrtc.symbol::<unsafe extern "C" fn(Program, *mut usize) -> c_int>(size)?(self.program, &mut len);
            let mut bytes = vec![0; len];
            if code == 0 {
                code = self.nvrtc.symbol::<unsafe extern "C" fn(Program, *mut u8) -> c_int>(get)?(self.program, bytes.as_mut_ptr());
            }
            if code == 0 { Ok(bytes) } else { Err(self.nvrtc.refused(format!("{get:?}: {}", self.nvrtc.answer(code)))) }
        }
    }
}

impl Drop for Compilation<'_> {
    fn drop(&mut self) {
        if let (Ok(destroy), false) = (self.nvrtc.symbol::<unsafe extern "C" fn(*mut Program) -> c_int>(c"nvrtcDestroyProgram"), self.program.is_null()) {
            // SAFETY: the program was created by this library and is not used again.
            unsafe { destroy(&mut self.program) };
        }
    }
}

/// The companion of the library in a folder.
fn builtins(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.into_iter().find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvrtc-builtins.so")))
}
