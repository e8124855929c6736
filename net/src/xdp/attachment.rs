//! [`Attachment`]: a program on an interface, by a bpf_link and nothing else.
//!
//! What always holds: the link is a descriptor of this process, so the kernel takes the program off when the process dies, in any way; a
//! program of somebody else is never replaced. No fall-back to netlink: an attachment made that way would survive us.
//!
//! Rights, tried on Linux 6.18 (the test `without_any_right`): the kernel asks for them when a program is loaded, and for none when a link
//! is made, changed or closed. So a process that has given up all capabilities can still attach a program whose descriptor it kept, also
//! with kernel.unprivileged_bpf_disabled = 2. Kernels before 5.19 refuse every bpf(2) call of such a process if that setting is not 0.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::map::{ObjectInfo, object_info};
use super::{Program, XdpError};
use crate::bpf::{call, call_for_descriptor};
use crate::host::{Link, VETH_PEER_MTU_MAX};

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_XDP: u32 = 37;
const BPF_LINK_TYPE_XDP: u32 = 6;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// What an old kernel needs to attach.
const TO_ATTACH: &str =
    "CAP_NET_ADMIN and CAP_BPF on kernels before 5.19, unless kernel.unprivileged_bpf_disabled is 0";

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before a packet is allocated.
    Native,
    /// In the stack, on any interface.
    Generic,
}

impl AttachMode {
    fn flags(self) -> u32 {
        match self {
            Self::Native => XDP_FLAGS_DRV_MODE,
            Self::Generic => XDP_FLAGS_SKB_MODE,
        }
    }
}

/// What an attachment is doing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachmentState {
    /// The kernel's number of the program that runs.
    pub program_id: u32,
    /// The interface's number; nothing if the interface has gone (or went to another namespace), or the program was taken off.
    pub interface: Option<u32>,
}

/// `BPF_LINK_CREATE`: program, interface, type, `XDP_FLAGS_*`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}
const _: () = assert!(size_of::<LinkCreate>() == 16);

#[repr(C)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}
const _: () = assert!(size_of::<LinkUpdate>() == 16);

/// The beginning of `struct bpf_link_info` for a link of XDP.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    reserved: u32,
    interface: u32,
    rest: u32,
}
const _: () = assert!(size_of::<LinkInfo>() == 24);
// SAFETY: six numbers of 4 bytes.
unsafe impl ObjectInfo for LinkInfo {}

/// A program on an interface. Dropping it takes the program off, if no other descriptor of it is open (in systemd's store, say).
#[derive(Debug)]
pub struct Attachment {
    link: OwnedFd,
}

impl Program {
    /// Attaches the program to the interface of this number in the calling thread's network namespace. Needs no right beside the program's
    /// descriptor (kernel 5.19 and newer). The interface may be down.
    ///
    /// # Errors
    /// If another program is attached ([`XdpError::Occupied`]), packets may be too long for native mode ([`XdpError::MtuTooLarge`]), the
    /// driver has no native mode or too few queues, or there is no such interface.
    pub fn attach(&self, interface: u32, mode: AttachMode) -> Result<Attachment, XdpError> {
        let mut request = LinkCreate {
            program: self.as_fd().as_raw_fd().cast_unsigned(),
            interface,
            attach_type: BPF_XDP,
            flags: mode.flags(),
        };
        // SAFETY: the structure is that of the command, which makes a descriptor; it holds no pointers.
        match unsafe { call_for_descriptor(BPF_LINK_CREATE, &mut request) } {
            Ok(link) => Ok(Attachment { link }),
            Err(error) => Err(attach_failed(error, interface, mode)),
        }
    }
}

impl Attachment {
    /// Takes over an attachment whose descriptor outlived its process, from systemd's store. Needs no right.
    ///
    /// # Errors
    /// If the descriptor is no link of an XDP program.
    pub fn from_fd(link: OwnedFd) -> Result<Self, XdpError> {
        let info: LinkInfo =
            object_info(link.as_fd()).map_err(XdpError::because("take over an attachment", TO_ATTACH))?;
        if info.link_type != BPF_LINK_TYPE_XDP {
            let source = io::Error::other(format!("the descriptor is a link of type {}, not of XDP", info.link_type));
            return Err(XdpError::Failed { what: "take over an attachment".to_owned(), source });
        }
        Ok(Self { link })
    }

    /// Puts another program in the place of this one, without a gap: each packet meets the one or the other. Needs no right.
    ///
    /// # Errors
    /// If the interface has gone (ENOLINK), or the kernel refuses the new program; then the old one stays.
    pub fn replace(&self, program: &Program) -> Result<(), XdpError> {
        let mut request = LinkUpdate {
            link: self.link.as_raw_fd().cast_unsigned(),
            program: program.as_fd().as_raw_fd().cast_unsigned(),
            flags: 0,
            old_program: 0,
        };
        // SAFETY: the structure is that of the command and holds no pointers.
        unsafe { call(BPF_LINK_UPDATE, &mut request) }
            .map(drop)
            .map_err(XdpError::because("replace the attached program", TO_ATTACH))
    }

    /// Which program runs where. When the interface goes away the link stays, without an interface, and attaches to nothing again: then
    /// drop it and attach anew.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn state(&self) -> Result<AttachmentState, XdpError> {
        let info: LinkInfo =
            object_info(self.link.as_fd()).map_err(XdpError::because("learn the state of an attachment", TO_ATTACH))?;
        Ok(AttachmentState { program_id: info.program_id, interface: (info.interface != 0).then_some(info.interface) })
    }

    /// Takes the program off now, even if other descriptors of the link are open. Dropping is enough where there are none.
    ///
    /// # Errors
    /// If the kernel refuses; nothing is wrong if the interface has gone already.
    pub fn detach(self) -> Result<(), XdpError> {
        let mut link = self.link.as_raw_fd().cast_unsigned();
        // SAFETY: the request is the link's descriptor alone.
        match unsafe { call(BPF_LINK_DETACH, &mut link) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => {
                Err(XdpError::because("detach the program", TO_ATTACH)(error))
            }
            _ => Ok(()),
        }
    }
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl From<Attachment> for OwnedFd {
    fn from(attachment: Attachment) -> Self {
        attachment.link
    }
}

/// The error that says what to do, with what rtnetlink knows of the interface.
fn attach_failed(error: io::Error, index: u32, mode: AttachMode) -> XdpError {
    let link = Link::all().ok().and_then(|links| links.into_iter().find(|link| link.index == index));
    let interface = link.as_ref().map_or_else(|| format!("interface {index}"), |link| link.name.clone());
    let attached = || {
        let programs = link.iter().flat_map(|link| &link.programs);
        let listed: Vec<String> =
            programs.map(|program| format!("{} mode, number {}", program.mode.name(), program.program_id)).collect();
        if listed.is_empty() { "its number could not be learnt".to_owned() } else { listed.join("; ") }
    };
    let mtu = || link.as_ref().map_or_else(|| "unknown".to_owned(), |link| link.mtu.to_string());
    let native = mode == AttachMode::Native;
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => XdpError::Occupied { interface, program: attached() },
        Some(libc::ERANGE) => XdpError::MtuTooLarge { interface, mtu: mtu(), fits: VETH_PEER_MTU_MAX },
        // virtio_net and others say EINVAL for an MTU that does not fit.
        Some(libc::EINVAL) if native && link.as_ref().is_some_and(|link| link.mtu > VETH_PEER_MTU_MAX) => {
            XdpError::MtuTooLarge { interface, mtu: mtu(), fits: VETH_PEER_MTU_MAX }
        }
        Some(libc::EOPNOTSUPP) if native => XdpError::NoNativeMode { interface },
        Some(libc::ENOSPC) if native => XdpError::TooFewQueues { interface },
        Some(libc::ENODEV) => XdpError::NoInterface { index },
        // Of the first call the kernel says EINVAL for a number that is nobody's.
        Some(libc::EINVAL) if link.is_none() => XdpError::NoInterface { index },
        _ => XdpError::because(format!("attach a program to {interface}"), TO_ATTACH)(error),
    }
}
