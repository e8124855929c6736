//! [`Bare`]: the smallest XDP programs, for measurements and tests. They drop, pass or send every frame, as fast as a program can, so that
//! other programs can be compared with them; and they are what sends floods of live frames ([`Program::test_run`]).
//!
//! What always holds: they have no maps and need no object file; a frame that is too short for a variation leaves as it is.

use std::net::Ipv4Addr;

use super::error::TO_LOAD;
use super::{Program, XdpError};
use crate::bpf::assembly::{Instruction, ProgramType, load};

// From linux/bpf.h.
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const XDP_TX: i32 = 3;
const BPF_FUNC_GET_PRANDOM_U32: i32 = 7;
const BPF_FUNC_REDIRECT: i32 = 23;

/// What a bare program does with every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// It ends here.
    Drop,
    /// It goes on to the network stack.
    Pass,
    /// It leaves by the interface that it came to.
    Transmit,
    /// It leaves by the interface of this number, in the same network namespace.
    Redirect(u32),
    /// It leaves by the interface that it came to, varied.
    TransmitVaried(Variation),
}

/// How copies of one frame are made different: each gets a source address by chance and four random bytes. The frame carries IPv4 without
/// options behind an untagged Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variation {
    /// The first of the sources' addresses. All of them share its upper half.
    pub first_source: Ipv4Addr,
    /// How many sources there are, at least 1.
    pub sources: u16,
    /// Where the random bytes are, counted from the frame's first byte.
    pub random_at: u16,
}

/// Places in a frame: identification, checksum, and the halves of the source address.
const IDENTIFICATION: usize = 14 + 4;
const CHECKSUM: usize = 14 + 10;
const SOURCE: usize = 14 + 12;

impl Variation {
    /// Makes a frame one that can be varied: from the first source, and with a checksum that is right for all of them.
    ///
    /// The identification is always the complement of the address's lower half. In the checksum's arithmetic their sum is a constant, so
    /// the program need not compute any.
    ///
    /// # Panics
    /// If the frame is shorter than its headers.
    pub fn prepare(&self, frame: &mut [u8]) {
        let source = self.first_source.octets();
        frame[SOURCE..SOURCE + 4].copy_from_slice(&source);
        frame[IDENTIFICATION..IDENTIFICATION + 2].copy_from_slice(&[!source[2], !source[3]]);
        frame[CHECKSUM..CHECKSUM + 2].fill(0);
        let words = frame[14..34].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
        frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    fn program(&self) -> Vec<Instruction> {
        let end = i32::from(self.random_at).max(SOURCE as i32) + 4;
        let [_, _, third, fourth] = self.first_source.octets();
        let first = i32::from(u16::from_be_bytes([third, fourth]));
        let change = [
            Instruction::store32(2, 8, self.random_at.cast_signed()),
            Instruction::modulo(7, i32::from(self.sources.max(1))),
            Instruction::add(7, first),
            Instruction::to_network16(7),
            Instruction::store16(2, 7, SOURCE as i16 + 2),
            Instruction::xor(7, 0xffff),
            Instruction::store16(2, 7, IDENTIFICATION as i16),
        ];
        let mut program = vec![
            // Registers from 6 on outlive calls: 6 is the context, 7 the choice of a source, 8 the random bytes.
            Instruction::copy(6, 1),
            Instruction::call(BPF_FUNC_GET_PRANDOM_U32),
            Instruction::copy(7, 0),
            Instruction::call(BPF_FUNC_GET_PRANDOM_U32),
            Instruction::copy(8, 0),
            // 2 is the frame's beginning, 3 its end.
            Instruction::load32(2, 6, 0),
            Instruction::load32(3, 6, 4),
            Instruction::copy(4, 2),
            Instruction::add(4, end),
            Instruction::skip_if_above(4, 3, change.len() as i16),
        ];
        program.extend(change);
        program.extend([Instruction::set(0, XDP_TX), Instruction::exit()]);
        program
    }
}

impl Program {
    /// Loads a bare program. Needs CAP_BPF and CAP_NET_ADMIN, for variations CAP_PERFMON too.
    ///
    /// # Errors
    /// If a right is missing, or a variation reaches beyond what the kernel lets a program address.
    pub fn bare(what: Bare) -> Result<Self, XdpError> {
        let always = |verdict| vec![Instruction::set(0, verdict), Instruction::exit()];
        let program = match what {
            Bare::Drop => always(XDP_DROP),
            Bare::Pass => always(XDP_PASS),
            Bare::Transmit => always(XDP_TX),
            Bare::Redirect(interface) => vec![
                Instruction::set(1, interface.cast_signed()),
                Instruction::set(2, 0),
                Instruction::call(BPF_FUNC_REDIRECT),
                Instruction::exit(),
            ],
            Bare::TransmitVaried(variation) => variation.program(),
        };
        load(ProgramType::Xdp, &program)
            .map(|descriptor| Self::from_descriptors(descriptor, []))
            .map_err(XdpError::because("load a bare program", TO_LOAD))
    }
}
