//! The few bpf(2) calls that the counting of redirect errors makes by hand: a map and a tracepoint. Its program is assembled by
//! `crate::bpf::assembly`.
//!
//! Layouts: `union bpf_attr` of linux/bpf.h.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::bpf::call_for_descriptor;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
}
const _: () = assert!(size_of::<MapCreate>() == 20);

#[repr(C)]
struct RawTracepointOpen {
    name: u64,
    program: u32,
    reserved: u32,
}
const _: () = assert!(size_of::<RawTracepointOpen>() == 16);

/// An array of one value of this many bytes that can be mapped into memory.
pub(super) fn mappable_value(bytes: u32) -> io::Result<OwnedFd> {
    let mut request = MapCreate {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_bytes: 4,
        value_bytes: bytes,
        entries_max: 1,
        flags: BPF_F_MMAPABLE,
    };
    // SAFETY: the structure is that of the command and holds no pointers.
    unsafe { call_for_descriptor(BPF_MAP_CREATE, &mut request) }
}

/// Runs a program at a tracepoint as long as the returned descriptor is open.
pub(super) fn open_raw_tracepoint(name: &CStr, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut request =
        RawTracepointOpen { name: name.as_ptr() as u64, program: program.as_raw_fd().cast_unsigned(), reserved: 0 };
    // SAFETY: the structure is that of the command, and the name lives through the call.
    unsafe { call_for_descriptor(BPF_RAW_TRACEPOINT_OPEN, &mut request) }
}

/// A map of one interface that frames can be redirected to, and the map's number.
#[cfg(test)]
pub(super) fn device_map(interface: u32) -> io::Result<(OwnedFd, u32)> {
    #[repr(C)]
    struct Update {
        map: u32,
        reserved: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    #[repr(C)]
    struct GetInfo {
        descriptor: u32,
        info_bytes: u32,
        info: u64,
    }
    const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
    const BPF_MAP_TYPE_DEVMAP: u32 = 14;
    let mut request =
        MapCreate { map_type: BPF_MAP_TYPE_DEVMAP, key_bytes: 4, value_bytes: 4, entries_max: 1, flags: 0 };
    // SAFETY: the structure is that of the command and holds no pointers.
    let map = unsafe { call_for_descriptor(BPF_MAP_CREATE, &mut request) }?;
    let descriptor = map.as_raw_fd().cast_unsigned();
    let key = 0u32;
    let mut update = Update {
        map: descriptor,
        reserved: 0,
        key: &raw const key as u64,
        value: &raw const interface as u64,
        flags: 0,
    };
    // SAFETY: the structure is that of the command; key and value are of the map's lengths and live through the call.
    unsafe { crate::bpf::call(BPF_MAP_UPDATE_ELEM, &mut update) }?;
    // The beginning of bpf_map_info: type and number.
    let mut info = [0u32; 2];
    let mut request = GetInfo { descriptor, info_bytes: size_of_val(&info) as u32, info: info.as_mut_ptr() as u64 };
    // SAFETY: the structure is that of the command; the kernel writes at most the given length.
    unsafe { crate::bpf::call(BPF_OBJ_GET_INFO_BY_FD, &mut request) }?;
    Ok((map, info[1]))
}

/// Attaches an XDP program to an interface by a link, as long as the returned descriptor is open.
#[cfg(test)]
pub(super) fn attach_xdp(program: BorrowedFd<'_>, interface: u32, mode: super::XdpMode) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LinkCreate {
        program: u32,
        interface: u32,
        attach_type: u32,
        flags: u32,
    }
    const BPF_LINK_CREATE: libc::c_int = 28;
    const BPF_XDP: u32 = 37;
    let flags = if mode == super::XdpMode::Generic { 1 << 1 } else { 1 << 2 };
    let mut request =
        LinkCreate { program: program.as_raw_fd().cast_unsigned(), interface, attach_type: BPF_XDP, flags };
    // SAFETY: the structure is that of the command and holds no pointers.
    unsafe { call_for_descriptor(BPF_LINK_CREATE, &mut request) }
}
