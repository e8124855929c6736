//! The pcapng file format, as far as Wireshark, tshark and tcpdump need it: one section, an interface each, packets with nanoseconds, a
//! direction and a comment.
//!
//! Layouts: draft-ietf-opsawg-pcapng, sections 4.1 to 4.3. Every block is a multiple of 4 bytes and says its length at both ends; the
//! section's length is left open, so a file that was cut off at a block's end is whole.

use std::io::{self, Read, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const OPTION_COMMENT: u16 = 1;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_APPLICATION: u16 = 4;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_PACKET_FLAGS: u16 = 2;
/// Longest comment that is written, in bytes; an option's length has 16 bits.
const COMMENT_MAX_BYTES: usize = 16 << 10;
/// Longest packet that is announced.
const SNAP_BYTES: u32 = 65_535;

/// What packets of an interface begin with, from <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet = 1,
    /// An IPv4 or IPv6 header.
    Ip = 101,
}

/// A packet as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Number that [`PcapngWriter::interface`] gave.
    pub interface: u32,
    /// Nanoseconds since 1970 UTC.
    pub time_ns: u64,
    /// Sent by this host.
    pub outgoing: bool,
    /// The bytes at hand.
    pub bytes: &'a [u8],
    /// Length on the wire, in bytes.
    pub length: usize,
    /// Text that is shown beside the packet; may be empty.
    pub comment: &'a str,
}

/// Writes a file.
pub struct PcapngWriter<W: Write> {
    out: W,
    interfaces: u32,
    block: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If nothing can be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, interfaces: 0, block: Vec::with_capacity(4096) };
        writer.begin(SECTION_HEADER);
        writer.block.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        // Version 1.0; the section's length is not given.
        writer.block.extend([1, 0, 0, 0]);
        writer.block.extend([0xff; 8]);
        writer.option(OPTION_APPLICATION, concat!("meshpay-authority ", env!("CARGO_PKG_VERSION")).as_bytes());
        writer.end()?;
        Ok(writer)
    }

    /// Adds an interface and returns the number that its packets name it by.
    ///
    /// # Errors
    /// If nothing can be written.
    pub fn interface(&mut self, name: &str, link: LinkType) -> io::Result<u32> {
        self.begin(INTERFACE_DESCRIPTION);
        self.block.extend((link as u16).to_le_bytes());
        self.block.extend([0, 0]);
        self.block.extend(SNAP_BYTES.to_le_bytes());
        self.option(OPTION_INTERFACE_NAME, name.as_bytes());
        // Ten to the minus nine.
        self.option(OPTION_TIME_RESOLUTION, &[9]);
        self.end()?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// If nothing can be written.
    pub fn packet(&mut self, record: &Record<'_>) -> io::Result<()> {
        debug_assert!(record.interface < self.interfaces, "an interface is described before its packets");
        self.begin(ENHANCED_PACKET);
        let length = u32::try_from(record.bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        for number in [
            record.interface,
            (record.time_ns >> 32) as u32,
            record.time_ns as u32,
            length,
            u32::try_from(record.length).unwrap_or(u32::MAX),
        ] {
            self.block.extend(number.to_le_bytes());
        }
        self.block.extend(record.bytes);
        self.pad();
        // Bits 0 and 1: 1 inbound, 2 outbound.
        let flags: u32 = if record.outgoing { 2 } else { 1 };
        self.option(OPTION_PACKET_FLAGS, &flags.to_le_bytes());
        if !record.comment.is_empty() {
            let mut end = record.comment.len().min(COMMENT_MAX_BYTES);
            while !record.comment.is_char_boundary(end) {
                end -= 1;
            }
            self.option(OPTION_COMMENT, &record.comment.as_bytes()[..end]);
        }
        self.end()
    }

    /// What is written below.
    pub fn inner_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Hands on what is buffered below.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.block.extend(kind.to_le_bytes());
        // The length, to be filled in.
        self.block.extend([0; 4]);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.block.extend(code.to_le_bytes());
        self.block.extend((value.len() as u16).to_le_bytes());
        self.block.extend(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn end(&mut self) -> io::Result<()> {
        // End of options.
        self.block.extend([0; 4]);
        let length = (self.block.len() + 4) as u32;
        self.block[4..8].copy_from_slice(&length.to_le_bytes());
        self.block.extend(length.to_le_bytes());
        self.out.write_all(&self.block)
    }
}

/// Longest block that is read: a packet and a comment of the greatest lengths.
const BLOCK_MAX_BYTES: usize = 128 << 10;

/// Reads what [`PcapngWriter`] writes, block by block, from a file or while it is written.
pub struct PcapngReader<R: Read> {
    from: R,
    block: Vec<u8>,
}

impl<R: Read> PcapngReader<R> {
    /// Reads from here.
    pub fn new(from: R) -> Self {
        Self { from, block: Vec::with_capacity(4096) }
    }

    /// What is read below.
    pub fn inner(&self) -> &R {
        &self.from
    }

    /// The next block as it is, and the comment of a packet; nothing at the end. A block that is cut off at the end is no block.
    ///
    /// # Errors
    /// If it cannot be read, or is not what a block looks like.
    pub fn next_block(&mut self) -> io::Result<Option<(&[u8], Option<&str>)>> {
        self.block.resize(8, 0);
        match self.from.read_exact(&mut self.block) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = read_u32(&self.block, 4).unwrap_or(0) as usize;
        if !(12..=BLOCK_MAX_BYTES).contains(&length) || !length.is_multiple_of(4) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a block of {length} bytes is no pcapng")));
        }
        self.block.resize(length, 0);
        match self.from.read_exact(&mut self.block[8..]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        Ok(Some((&self.block, comment(&self.block))))
    }
}

/// The comment of a packet's block.
fn comment(block: &[u8]) -> Option<&str> {
    if read_u32(block, 0)? != ENHANCED_PACKET {
        return None;
    }
    let captured = read_u32(block, 20)? as usize;
    let mut rest = block.get(28..block.len() - 4)?.get(captured.checked_next_multiple_of(4)?..)?;
    loop {
        let code = u16::from_le_bytes(*rest.first_chunk()?);
        let length = usize::from(u16::from_le_bytes(*rest.get(2..)?.first_chunk()?));
        if code == OPTION_COMMENT {
            return std::str::from_utf8(rest.get(4..4 + length)?).ok();
        }
        if code == 0 {
            return None;
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::packet_of;
    use std::process::Command;

    /// A packet from each of two interfaces; the second's link type is as given.
    fn file(second: LinkType) -> Vec<u8> {
        let mut writer = PcapngWriter::new(Vec::new()).unwrap();
        let wire = writer.interface("mesh0", LinkType::Ethernet).unwrap();
        let rings = writer.interface("rings", second).unwrap();
        let ends = ("192.0.2.7:4321".parse().unwrap(), "192.0.2.1:7450".parse().unwrap());
        let packet = packet_of(ends.0, ends.1, b"odd payload");
        let frame = [&[2; 12][..], &[8, 0], &packet].concat();
        for (interface, bytes, outgoing) in
            [(wire, &frame, false), (rings, if second == LinkType::Ip { &packet } else { &frame }, true)]
        {
            let time_ns = 1_700_000_000_123_456_789;
            let comment = "TRANSFER_REQUEST account=bc7cbcb5";
            writer.packet(&Record { interface, time_ns, outgoing, bytes, length: bytes.len(), comment }).unwrap();
        }
        writer.out
    }

    /// Kind and content of each block, after both lengths were compared.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
        let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = number(bytes, 4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(number(bytes, length - 4) as usize, length);
            found.push((number(bytes, 0), &bytes[8..length - 4]));
            bytes = &bytes[length..];
        }
        found
    }

    #[test]
    fn blocks_are_as_the_format_says() {
        let file = file(LinkType::Ip);
        let all = blocks(&file);
        assert_eq!(all.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [SECTION_HEADER, 1, 1, 6, 6]);
        assert_eq!(&all[0].1[..4], &BYTE_ORDER_MAGIC.to_le_bytes());
        assert_eq!((all[1].1[0], all[2].1[0]), (1, 101));
        let packet = all[3].1;
        let high = u64::from(u32::from_le_bytes(packet[4..8].try_into().unwrap()));
        let low = u64::from(u32::from_le_bytes(packet[8..12].try_into().unwrap()));
        assert_eq!(high << 32 | low, 1_700_000_000_123_456_789);
        assert!(packet.windows(16).any(|window| window == b"TRANSFER_REQUEST"));
    }

    #[test]
    fn the_reader_reads_what_the_writer_wrote() {
        let file = file(LinkType::Ip);
        let mut reader = PcapngReader::new(file.as_slice());
        let (mut whole, mut comments) = (Vec::new(), Vec::new());
        while let Some((block, comment)) = reader.next_block().unwrap() {
            whole.extend_from_slice(block);
            comments.extend(comment.map(str::to_owned));
        }
        assert_eq!(whole, file);
        assert_eq!(comments, ["TRANSFER_REQUEST account=bc7cbcb5"; 2]);
        for length in 0..file.len() {
            let mut reader = PcapngReader::new(&file[..length]);
            while reader.next_block().unwrap().is_some() {}
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0xff;
            let mut reader = PcapngReader::new(changed.as_slice());
            // An error or an end, never a panic.
            while let Ok(Some(_)) = reader.next_block() {}
        }
    }

    #[test]
    fn a_comment_that_is_too_long_is_cut_between_characters() {
        let mut writer = PcapngWriter::new(Vec::new()).unwrap();
        let interface = writer.interface("x", LinkType::Ip).unwrap();
        let comment = "ä".repeat(COMMENT_MAX_BYTES);
        writer
            .packet(&Record { interface, time_ns: 0, outgoing: false, bytes: &[], length: 0, comment: &comment })
            .unwrap();
        assert_eq!(blocks(&writer.out).len(), 3);
    }

    /// Other people's readers, where they are installed.
    #[test]
    fn other_tools_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packets.pcapng");
        // tcpdump reads only files whose interfaces are of one link type; the others read both.
        std::fs::write(&path, file(LinkType::Ethernet)).unwrap();
        let mut read = 0;
        for (tool, arguments, expected) in [
            ("tcpdump", &["-nn", "-r"][..], "192.0.2.7.4321 > 192.0.2.1.7450: UDP, length 11"),
            ("tshark", &["-n", "-V", "-r"], "TRANSFER_REQUEST account=bc7cbcb5"),
            ("capinfos", &["-c", "-M", "-r"], "2"),
        ] {
            let Ok(done) = Command::new(tool).args(arguments).arg(&path).output() else {
                eprintln!("skipped: needs {tool}");
                continue;
            };
            let said = String::from_utf8_lossy(&done.stdout);
            let complained = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success() && said.contains(expected), "{tool}: {said}{complained}");
            read += 1;
        }
        eprintln!("{read} tools have read the file");
    }
}
