//! [`Map`]: a descriptor of a map with its shape, and the four calls on elements that every map knows.
//!
//! What always holds: keys and values that are passed to the kernel have the lengths that the kernel itself reported for the map.
//! Since kernel 5.19 these calls need no right, only the descriptor.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::XdpError;
use super::error::TO_USE_MAPS;
use crate::bpf::call;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// `BPF_MAP_TYPE_*` of linux/bpf.h, as far as they are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum MapType {
    Hash = 1,
    Array = 2,
    PerCpuArray = 6,
    XskMap = 17,
    RingBuffer = 27,
}

impl MapType {
    fn name(self) -> &'static str {
        match self {
            Self::Hash => "a hash table",
            Self::Array => "an array",
            Self::PerCpuArray => "an array of one value for every processor",
            Self::XskMap => "a map of AF_XDP sockets",
            Self::RingBuffer => "a ring buffer",
        }
    }
}

/// The beginning of `struct bpf_map_info`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct MapInfo {
    map_type: u32,
    pub(super) id: u32,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    pub(super) entries_max: u32,
    pub(super) flags: u32,
}
const _: () = assert!(size_of::<MapInfo>() == 24);

/// `struct { __u32 map_fd; __aligned_u64 key; union { value; next_key; }; __u64 flags; }`
#[repr(C)]
struct Element {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}
const _: () = assert!(size_of::<Element>() == 32);

/// A map and its shape.
#[derive(Debug)]
pub(super) struct Map {
    name: String,
    descriptor: OwnedFd,
    info: MapInfo,
}

impl Map {
    /// Asks the kernel for the shape, and refuses a map of another type.
    pub(super) fn open(name: &str, descriptor: OwnedFd, expected: MapType) -> Result<Self, XdpError> {
        let info: MapInfo = object_info(descriptor.as_fd())
            .map_err(XdpError::because(format!("learn the shape of the map `{name}`"), TO_USE_MAPS))?;
        let map = Self { name: name.to_owned(), descriptor, info };
        if info.map_type != expected as u32 {
            return Err(map.wrong(format!("is of type {} and not {}", info.map_type, expected.name())));
        }
        Ok(map)
    }

    pub(super) fn info(&self) -> &MapInfo {
        &self.info
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }

    /// That the map is not what its user expects.
    pub(super) fn wrong(&self, what: impl Into<String>) -> XdpError {
        XdpError::WrongMap { name: self.name.clone(), what: what.into() }
    }

    /// For `map_err`: `what` completes 'cannot ... the map'.
    pub(super) fn failed(&self, what: &str) -> impl FnOnce(io::Error) -> XdpError {
        XdpError::because(format!("{what} the map `{}`", self.name), TO_USE_MAPS)
    }

    /// Sets the value of a key, whether it was there or not.
    pub(super) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut value = value.to_vec();
        self.element(BPF_MAP_UPDATE_ELEM, Some(key), Some(&mut value)).map(drop)
    }

    /// Takes a key away; whether it was there.
    pub(super) fn delete(&self, key: &[u8]) -> io::Result<bool> {
        found(self.element(BPF_MAP_DELETE_ELEM, Some(key), None))
    }

    /// Fills `value`; whether the key was there.
    pub(super) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        found(self.element(BPF_MAP_LOOKUP_ELEM, Some(key), Some(value)))
    }

    /// The key behind this one, or the first, in no particular order; whether there is one. A key that is gone stands for none.
    pub(super) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
        assert_eq!(next.len(), self.info.key_bytes as usize, "a key of another length");
        // SAFETY: `next` has the length of a key, and `raw_element` checks that of `key`.
        found(unsafe { self.raw_element(BPF_MAP_GET_NEXT_KEY, key, next.as_mut_ptr()) })
    }

    fn element(&self, command: libc::c_int, key: Option<&[u8]>, value: Option<&mut [u8]>) -> io::Result<()> {
        let value = value.map_or(std::ptr::null_mut(), |value| {
            assert_eq!(value.len(), self.info.value_bytes as usize, "a value of another length");
            value.as_mut_ptr()
        });
        // SAFETY: `value` has the length of a value (of a map without one for every processor), or the command takes none.
        unsafe { self.raw_element(command, key, value) }
    }

    /// # Safety
    /// `value` must be what the command takes in its place: nothing, or memory of the length of this map's values or keys.
    unsafe fn raw_element(&self, command: libc::c_int, key: Option<&[u8]>, value: *mut u8) -> io::Result<()> {
        let key = key.map_or(0, |key| {
            assert_eq!(key.len(), self.info.key_bytes as usize, "a key of another length");
            key.as_ptr().expose_provenance() as u64
        });
        let mut request = Element {
            map: self.descriptor.as_raw_fd().cast_unsigned(),
            reserved: 0,
            key,
            value: value.expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: the structure is that of the command; key and value have the map's own lengths and live through the call.
        unsafe { call(command, &mut request) }.map(drop)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether there was something, where ENOENT says that there was not.
fn found(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The beginning of a `struct bpf_*_info`.
///
/// # Safety
/// Made of numbers only, laid out as C does, so that any bytes are a value of it.
pub(super) unsafe trait ObjectInfo: Default {}

// SAFETY: six numbers of 4 bytes.
unsafe impl ObjectInfo for MapInfo {}

/// What the kernel says of a map, program or link; what it does not know stays zero. Needs no right.
pub(super) fn object_info<T: ObjectInfo>(object: BorrowedFd<'_>) -> io::Result<T> {
    #[repr(C)]
    struct Request {
        object: u32,
        info_bytes: u32,
        info: u64,
    }
    const _: () = assert!(size_of::<Request>() == 16);
    let mut info = T::default();
    let mut request = Request {
        object: object.as_raw_fd().cast_unsigned(),
        info_bytes: size_of::<T>() as u32,
        info: std::ptr::from_mut(&mut info).expose_provenance() as u64,
    };
    // SAFETY: the structure is that of the command; the kernel writes at most `info_bytes` bytes to `info`, of which any are a value.
    unsafe { call(BPF_OBJ_GET_INFO_BY_FD, &mut request) }?;
    Ok(info)
}
