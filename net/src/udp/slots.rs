//! The memory that recvmmsg(2) and sendmmsg(2) work on: headers, addresses, control data and payloads of one burst.
//!
//! What always holds: the block is allocated once and never moves; every pointer in its headers points into the block
//! itself; the kernel touches it only during a call that holds `&mut self`. The block is reached through a raw pointer
//! alone, never through a `Box`, so that the headers' pointers into it stay valid by the language's rules too.

use crate::{BURST_MAX, DATAGRAM_MAX_BYTES};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A slot's payload, rounded up to whole cache lines.
const SLOT_BYTES: usize = DATAGRAM_MAX_BYTES.next_multiple_of(64);

/// Control data of one message: one in_pktinfo or in6_pktinfo with its header, in words for its alignment.
pub(super) type Control = [u64; 6];

#[repr(C, align(64))]
struct Block {
    headers: [libc::mmsghdr; BURST_MAX],
    vectors: [libc::iovec; BURST_MAX],
    names: [libc::sockaddr_in6; BURST_MAX],
    controls: [Control; BURST_MAX],
    payloads: [[u8; SLOT_BYTES]; BURST_MAX],
}

/// One burst of messages, to be received or to be sent.
pub(super) struct Slots {
    block: NonNull<Block>,
}

// SAFETY: the block belongs to this value alone, and nothing in it depends on the thread that uses it.
unsafe impl Send for Slots {}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: `block` came from `Box::into_raw` in `new` and is given back exactly once.
        drop(unsafe { Box::from_raw(self.block.as_ptr()) });
    }
}

impl Slots {
    /// Allocates the block and points every header at its slot, without control data.
    pub(super) fn new() -> Self {
        // SAFETY: all fields are integers, arrays of integers and raw pointers, for which zero is a value.
        let block = Box::into_raw(unsafe { Box::<Block>::new_zeroed().assume_init() });
        for index in 0..BURST_MAX {
            // SAFETY: `block` was allocated above, `index` is within its arrays, and nobody else has the pointer yet.
            unsafe {
                (*block).vectors[index] =
                    libc::iovec { iov_base: (&raw mut (*block).payloads[index]).cast(), iov_len: DATAGRAM_MAX_BYTES };
                let vector = &raw mut (*block).vectors[index];
                let name = &raw mut (*block).names[index];
                let header = &mut (*block).headers[index].msg_hdr;
                header.msg_iov = vector;
                header.msg_iovlen = 1;
                header.msg_name = name.cast();
            }
        }
        // SAFETY: `Box::into_raw` never returns null.
        Self { block: unsafe { NonNull::new_unchecked(block) } }
    }

    /// Makes slot `index` ready to receive: room for a name, a whole datagram and, if wanted, control data.
    pub(super) fn arm(&mut self, index: usize, with_control: bool) {
        assert!(index < BURST_MAX);
        // SAFETY: `index` was checked, and `&mut self` gives sole access to the block.
        unsafe {
            let block = self.block.as_ptr();
            let control = &raw mut (*block).controls[index];
            let header = &mut (*block).headers[index].msg_hdr;
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            if with_control {
                header.msg_control = control.cast();
                header.msg_controllen = size_of::<Control>() as _;
            }
        }
    }

    /// recvmmsg(2) into the slots, without blocking. They must have been armed since they were used last.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: all headers describe memory within the block, to which `&mut self` gives sole access.
        let outcome = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                (&raw mut (*self.block.as_ptr()).headers).cast(),
                BURST_MAX as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(outcome).map_err(|_| io::Error::last_os_error())
    }

    /// sendmmsg(2) of the slots from `first` to before `end`, without blocking.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, first: usize, end: usize) -> io::Result<usize> {
        assert!(first <= end && end <= BURST_MAX);
        // SAFETY: the range was checked; all headers describe memory within the block, and `&mut self` gives sole access.
        let outcome = unsafe {
            let headers: *mut libc::mmsghdr = (&raw mut (*self.block.as_ptr()).headers).cast();
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.add(first),
                (end - first) as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(outcome).map_err(|_| io::Error::last_os_error())
    }

    /// Flags that the kernel set on a received message, such as MSG_TRUNC.
    pub(super) fn flags(&self, index: usize) -> libc::c_int {
        self.header(index).msg_hdr.msg_flags
    }

    /// The payload of a received message.
    pub(super) fn payload(&self, index: usize) -> &[u8] {
        let length = (self.header(index).msg_len as usize).min(DATAGRAM_MAX_BYTES);
        // SAFETY: `header` has checked the index, and `&self` keeps the kernel and writers away while the slice lives.
        unsafe { &(&(*self.block.as_ptr()).payloads[index])[..length] }
    }

    /// The sender's address of a received message, and its length as the kernel gave it.
    pub(super) fn name(&self, index: usize) -> (&libc::sockaddr_in6, usize) {
        let length = self.header(index).msg_hdr.msg_namelen as usize;
        // SAFETY: as in `payload`.
        (unsafe { &(*self.block.as_ptr()).names[index] }, length)
    }

    /// Control data of a received message, and how many bytes of it are set.
    pub(super) fn control(&self, index: usize) -> (&Control, usize) {
        let length = self.header(index).msg_hdr.msg_controllen;
        // SAFETY: as in `payload`.
        (unsafe { &(*self.block.as_ptr()).controls[index] }, length)
    }

    fn header(&self, index: usize) -> &libc::mmsghdr {
        assert!(index < BURST_MAX);
        // SAFETY: the index was checked, and `&self` keeps the kernel and writers away while the reference lives.
        unsafe { &(*self.block.as_ptr()).headers[index] }
    }

    /// Fills slot `index` for sending. `length` is the sum of the parts' lengths and at most [`DATAGRAM_MAX_BYTES`].
    pub(super) fn fill(
        &mut self,
        index: usize,
        parts: &[&[u8]],
        name: (libc::sockaddr_in6, usize),
        control: Option<(Control, usize)>,
    ) {
        assert!(index < BURST_MAX);
        // SAFETY: the index was checked; `&mut self` gives sole access to the block. The references made here end with
        // this block, before the kernel next uses the pointers in the header.
        unsafe {
            let block = self.block.as_ptr();
            let payload = &mut (*block).payloads[index];
            let mut length = 0;
            for part in parts {
                payload[length..length + part.len()].copy_from_slice(part);
                length += part.len();
            }
            (*block).vectors[index].iov_len = length;
            (*block).names[index] = name.0;
            let control_pointer = &raw mut (*block).controls[index];
            let header = &mut (*block).headers[index].msg_hdr;
            header.msg_namelen = name.1 as libc::socklen_t;
            match control {
                Some((bytes, length)) => {
                    (*control_pointer) = bytes;
                    header.msg_control = control_pointer.cast();
                    header.msg_controllen = length as _;
                }
                None => {
                    header.msg_control = std::ptr::null_mut();
                    header.msg_controllen = 0;
                }
            }
        }
    }
}
