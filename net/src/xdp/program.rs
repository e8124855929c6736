//! [`Program`]: an XDP program in the kernel, with the descriptors of its maps.
//!
//! What always holds: program and maps live as long as these descriptors (and the attachments) do, and nothing is pinned; after loading no
//! right is needed any more. aya parses, relocates and loads, and then only its descriptors are kept, so that a program that was loaded
//! and one that came back from systemd's store are the same thing.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::{Btf, EbpfError, EbpfLoader};

use super::error::{TO_LOAD, TO_USE_MAPS};
use super::map::{ObjectInfo, object_info};
use super::{KeySet, MappedArray, PerCpuCounters, Ring, SocketMap, XdpError};

/// Lines of the verifier's log that an error shows: its verdict stands at the end.
const LOG_LINES_MAX: usize = 20;

/// What is loaded from an object file.
#[derive(Clone, Copy, Debug)]
pub struct LoadRequest<'a> {
    /// The program's name: that of its function.
    pub program: &'a str,
    /// Maps by name with the number of their entries, instead of the object's own; of a ring buffer the number of bytes, a power of two and
    /// of whole pages.
    pub map_entries: &'a [(&'a str, u32)],
}

/// The beginning of `struct bpf_prog_info`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct ProgramInfo {
    program_type: u32,
    id: u32,
}
const _: () = assert!(size_of::<ProgramInfo>() == 8);
// SAFETY: two numbers of 4 bytes.
unsafe impl ObjectInfo for ProgramInfo {}

/// A program that is loaded; attached or not.
#[derive(Debug)]
pub struct Program {
    descriptor: OwnedFd,
    maps: BTreeMap<String, OwnedFd>,
}

impl Program {
    /// Loads a program and makes all maps of its object. Needs CAP_BPF and CAP_NET_ADMIN, for arithmetic with packet pointers CAP_PERFMON too,
    /// and before kernel 5.11 locked memory for the maps. Types of the kernel come from /sys/kernel/btf/vmlinux if it is there; without, a
    /// program that needs none loads all the same. The object may lie at any address.
    ///
    /// # Errors
    /// If the object is damaged or lacks what is asked for, a right or memory is missing, or the verifier refuses: then with the end of
    /// its log.
    pub fn load(object: &[u8], request: &LoadRequest<'_>) -> Result<Self, XdpError> {
        let object = Aligned::copy(object);
        let types = Btf::from_sys_fs().ok();
        let mut loader = EbpfLoader::new();
        loader.btf(types.as_ref());
        for (name, entries) in request.map_entries {
            loader.map_max_entries(name, *entries);
        }
        let mut loaded = loader.load(object.bytes()).map_err(load_failed)?;
        let present = loaded.programs().map(|(name, _)| name.to_owned()).collect::<Vec<_>>().join(", ");
        let program: &mut aya::programs::Xdp = loaded
            .program_mut(request.program)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| XdpError::NoProgram { name: request.program.to_owned(), present })?;
        program.load().map_err(|error| rejected(request.program, error))?;
        let descriptor = program
            .fd()
            .map_err(|error| XdpError::Object(error.to_string()))?
            .as_fd()
            .try_clone_to_owned()
            .map_err(XdpError::because("copy a program's descriptor", TO_LOAD))?;
        let mut maps = BTreeMap::new();
        for (name, map) in loaded.maps() {
            let copy = map_data(map)
                .map(|data| data.fd().as_fd().try_clone_to_owned())
                .transpose()
                .map_err(XdpError::because(format!("copy the descriptor of the map `{name}`"), TO_USE_MAPS))?;
            maps.extend(copy.map(|copy| (name.to_owned(), copy)));
        }
        for (name, _) in request.map_entries {
            if !maps.contains_key(*name) {
                return Err(XdpError::NoMap((*name).to_owned()));
            }
        }
        Ok(Self { descriptor, maps })
    }

    /// A program of these descriptors, as [`descriptors`](Self::descriptors) gave them away: from systemd's store after an upgrade. Needs no
    /// right.
    pub fn from_descriptors(program: OwnedFd, maps: impl IntoIterator<Item = (String, OwnedFd)>) -> Self {
        Self { descriptor: program, maps: maps.into_iter().collect() }
    }

    /// A program without maps, for tests that make their own.
    #[doc(hidden)]
    pub fn from_descriptor(program: OwnedFd) -> Self {
        Self::from_descriptors(program, [])
    }

    /// Descriptors of all maps by name, in the order of their names; the program's own is [`AsFd::as_fd`].
    pub fn descriptors(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.maps.iter().map(|(name, descriptor)| (name.as_str(), descriptor.as_fd()))
    }

    /// The kernel's number of the program, as `bpftool prog show id` takes it and `ip link show` prints it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn id(&self) -> Result<u32, XdpError> {
        object_info::<ProgramInfo>(self.descriptor.as_fd())
            .map(|info| info.id)
            .map_err(XdpError::because("learn the program's number", TO_LOAD))
    }

    /// How many instructions the verifier walked before it accepted the program; it gives up at a million. Needs CAP_SYS_ADMIN; kernel 5.16.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn verified_instructions(&self) -> Result<u32, XdpError> {
        self.listed()?
            .and_then(|info| info.verified_instruction_count())
            .ok_or_else(|| XdpError::Object("the kernel does not say what its verifier walked".to_owned()))
    }

    /// Whether the kernel holds the program's types: xdpdump and the verifier's messages need them. A kernel that refuses the object's BTF
    /// takes the program without. Needs CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn has_types(&self) -> Result<bool, XdpError> {
        Ok(self.listed()?.is_some_and(|info| info.btf_id().is_some()))
    }

    fn listed(&self) -> Result<Option<aya::programs::ProgramInfo>, XdpError> {
        let id = self.id()?;
        Ok(aya::programs::loaded_programs().filter_map(Result::ok).find(|info| info.id() == id))
    }

    /// The array of this name, mapped into memory.
    ///
    /// # Errors
    /// If there is none, or it cannot be mapped, or its values are not made of 8-byte words.
    pub fn mapped(&self, name: &str) -> Result<MappedArray, XdpError> {
        MappedArray::from_descriptor(name, self.map(name)?)
    }

    /// The map of AF_XDP sockets of this name.
    ///
    /// # Errors
    /// If there is none, or it is of another type.
    pub fn sockets(&self, name: &str) -> Result<SocketMap, XdpError> {
        SocketMap::from_descriptor(name, self.map(name)?)
    }

    /// The hash table of this name, with keys of `N` bytes.
    ///
    /// # Errors
    /// If there is none, or it is of another type or shape.
    pub fn set<const N: usize>(&self, name: &str) -> Result<KeySet<N>, XdpError> {
        KeySet::from_descriptor(name, self.map(name)?)
    }

    /// The counters of this name.
    ///
    /// # Errors
    /// If there are none, or the map is of another type.
    pub fn per_cpu_counters(&self, name: &str) -> Result<PerCpuCounters, XdpError> {
        PerCpuCounters::from_descriptor(name, self.map(name)?)
    }

    /// The ring of this name. One reader at a time.
    ///
    /// # Errors
    /// If there is none, or it is of another type.
    pub fn ring(&self, name: &str) -> Result<Ring, XdpError> {
        Ring::from_descriptor(name, self.map(name)?)
    }

    fn map(&self, name: &str) -> Result<OwnedFd, XdpError> {
        let map = self.maps.get(name).ok_or_else(|| XdpError::NoMap(name.to_owned()))?;
        map.try_clone().map_err(XdpError::because(format!("copy the descriptor of the map `{name}`"), TO_USE_MAPS))
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Bytes at an address that is a multiple of 8, as the parser needs them.
struct Aligned {
    words: Vec<u64>,
    bytes: usize,
}

impl Aligned {
    fn copy(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        Self { words: bytes.chunks(8).map(word).collect(), bytes: bytes.len() }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the words are at least as many bytes, all initialised, and a byte needs no alignment.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.bytes) }
    }
}

/// The data of a map of a kind that is used here; others (constants of the program) are kept alive by the program itself.
fn map_data(map: &aya::maps::Map) -> Option<&aya::maps::MapData> {
    use aya::maps::Map::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf, XskMap};
    match map {
        Array(data) | HashMap(data) | LpmTrie(data) | LruHashMap(data) | PerCpuArray(data) | PerCpuHashMap(data)
        | RingBuf(data) | XskMap(data) => Some(data),
        _ => None,
    }
}

fn load_failed(error: EbpfError) -> XdpError {
    match error {
        EbpfError::MapError(MapError::CreateError { name, io_error, .. }) => {
            XdpError::because(format!("make the map `{name}`"), TO_LOAD)(io_error)
        }
        other => XdpError::Object(with_causes(&other)),
    }
}

fn rejected(name: &str, error: ProgramError) -> XdpError {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = last_lines(&verifier_log.to_string());
            // Without a word of the verifier, it was not the verifier that refused.
            if log.is_empty() && matches!(io_error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOMEM)) {
                return XdpError::because(format!("load the program `{name}`"), TO_LOAD)(io_error);
            }
            XdpError::Rejected { name: name.to_owned(), source: io_error, log }
        }
        other => XdpError::Object(with_causes(&other)),
    }
}

/// An error with all its causes in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// The last lines of a log, without empty ones.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_aligned_and_equal() {
        let bytes: Vec<u8> = (0..=250).collect();
        for length in [0, 1, 7, 8, 9, 250] {
            let copy = Aligned::copy(&bytes[1..=length]);
            assert_eq!(copy.bytes(), &bytes[1..=length]);
            assert_eq!(copy.bytes().as_ptr().align_offset(8), 0);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let request = LoadRequest { program: "filter", map_entries: &[] };
        for bytes in [&b""[..], b"\x7fELF", &[0xff; 300]] {
            let error = Program::load(bytes, &request).unwrap_err();
            assert!(matches!(error, XdpError::Object(_)), "{error}");
        }
    }

    #[test]
    fn of_a_long_log_the_end_is_shown() {
        let log: String = (0..100).map(|line| format!("{line}\n\n")).collect();
        let shown = last_lines(&log);
        assert_eq!(shown.lines().count(), LOG_LINES_MAX);
        assert!(shown.ends_with("99"));
        assert_eq!(last_lines(""), "");
    }
}
