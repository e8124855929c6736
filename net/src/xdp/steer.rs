//! [`Program::steering`]: hands IPv4 datagrams of an interface to one AF_XDP socket and lets everything else pass. It is for measurements and
//! tests, whose own side has no filter.
//!
//! What always holds: a frame that is no plain IPv4 datagram goes to the network stack, and so does every frame while there is no socket.

use std::mem::size_of;
use std::os::fd::AsFd;

use super::error::{TO_LOAD, TO_USE_MAPS};
use super::{Program, SocketMap, XdpError};
use crate::bpf::assembly::{Instruction, ProgramType, load};
use crate::bpf::call_for_descriptor;

// From linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_FUNC_REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;

/// Where an IPv4 header without VLAN tags ends, and what is looked at before: all in bytes from the frame's start.
const IPV4_END: i32 = 34;
const ETHERTYPE_AT: i16 = 12;
const PROTOCOL_AT: i16 = 23;
/// The Ethernet type of IPv4 as a load reads it from the frame.
const TYPE_IPV4: i32 = u16::from_ne_bytes([0x08, 0x00]) as i32;
const PROTOCOL_UDP: i32 = 17;

/// The name of the map.
const SOCKETS: &str = "SOCKETS";

/// The start of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}
const _: () = assert!(size_of::<MapCreate>() == 20);

impl Program {
    /// Loads the program, for an interface with one queue, and the map whose socket at index 0 gets its datagrams. Needs CAP_BPF and CAP_NET_ADMIN.
    ///
    /// # Errors
    /// If a right is missing.
    pub fn steering() -> Result<(Self, SocketMap), XdpError> {
        let mut request = MapCreate { kind: BPF_MAP_TYPE_XSKMAP, key_bytes: 4, value_bytes: 4, entries: 1, flags: 0 };
        // SAFETY: the structure is that of the command, and it points to nothing.
        let map = unsafe { call_for_descriptor(BPF_MAP_CREATE, &mut request) }
            .map_err(XdpError::because("make a map of AF_XDP sockets", TO_USE_MAPS))?;
        let redirect = Instruction::map(1, map.as_fd());
        let found = [
            redirect[0],
            redirect[1],
            Instruction::set(2, 0),
            Instruction::set(3, XDP_PASS),
            Instruction::call(BPF_FUNC_REDIRECT_MAP),
            Instruction::exit(),
        ];
        let looks = [
            Instruction::load16(4, 2, ETHERTYPE_AT),
            Instruction::skip_unless_equal(4, TYPE_IPV4, 2 + found.len() as i16),
            Instruction::load8(4, 2, PROTOCOL_AT),
            Instruction::skip_unless_equal(4, PROTOCOL_UDP, found.len() as i16),
        ];
        let mut program = vec![
            // 2 is the frame's beginning, 3 its end.
            Instruction::load32(2, 1, 0),
            Instruction::load32(3, 1, 4),
            Instruction::copy(4, 2),
            Instruction::add(4, IPV4_END),
            Instruction::skip_if_above(4, 3, (looks.len() + found.len()) as i16),
        ];
        program.extend(looks);
        program.extend(found);
        program.extend([Instruction::set(0, XDP_PASS), Instruction::exit()]);
        let program =
            load(ProgramType::Xdp, &program).map_err(XdpError::because("load a steering program", TO_LOAD))?;
        Ok((Self::from_descriptors(program, []), SocketMap::from_descriptor(SOCKETS, map)?))
    }
}
