//! `dump`: messages as they pass, in words or as a pcapng file; seen at interfaces, or shown by the running daemon.
//!
//! What always holds: rights are given up before the first byte of a peer is looked at; a reader that goes away is an end, not a failure.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use meshpay_net::host::{Link, drop_privileges};
use meshpay_net::{Tap, TappedFrame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::control;
use crate::directory::Directory;
use crate::dump::{self, Datagram, LinkType, PcapngReader, PcapngWriter, Record, lines};
use crate::settings::Settings;

/// Longest sleep, and how long what was written may wait for its flush.
const SLEEP_MAX: Duration = Duration::from_millis(200);

/// Flags of `dump`.
#[derive(clap::Args)]
pub struct Dump {
    /// The interface [default: all].
    interface: Option<String>,
    /// UDP port of the authority [default: that of the directory's settings, else 7450].
    #[arg(long)]
    port: Option<u16>,
    /// The authority's directory, whose settings say the port.
    #[arg(long, conflicts_with = "port")]
    directory: Option<PathBuf>,
    /// Ask the running daemon of --directory instead of looking at interfaces: shows AF_XDP traffic too, and needs no right but to be
    /// its user or root.
    #[arg(long, requires = "directory", conflicts_with = "interface")]
    daemon: bool,
    /// Write packets with our words as comments into this file, `-` for standard output, instead of text.
    #[arg(long)]
    pcapng: Option<PathBuf>,
    /// End after this many packets.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    seconds: Option<u64>,
}

/// Where bytes or text go.
type Out = BufWriter<Box<dyn Write>>;

impl Dump {
    pub fn run(self) -> Result<ExitCode> {
        match (self.daemon, &self.directory) {
            (true, Some(directory)) => {
                let answer = control::ask(directory, dump::PATH)?;
                let out = self.out()?;
                give_up_rights()?;
                eprintln!("packets of the daemon in {}, as far as it has time to show them", directory.display());
                let shown = self.show_daemon(PcapngReader::new(answer), out)?;
                eprintln!("{shown} packets shown");
            }
            _ => {
                let links = Link::all()?;
                let port = self.port()?;
                let mut tap = self.tap(&links, port)?;
                let mut sink = Sink::new(self.out()?, self.pcapng.is_some(), links)?;
                give_up_rights()?;
                let place = self.interface.as_deref().unwrap_or("all interfaces");
                eprintln!(
                    "packets of UDP port {port} at {place}; what XDP drops or hands to AF_XDP sockets is not seen here \
                     (--daemon shows it)"
                );
                let shown = self.show(&mut tap, &mut sink)?;
                eprintln!("{shown} packets shown, {} lost because they came too fast", tap.lost()?);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn port(&self) -> Result<u16> {
        Ok(match (self.port, &self.directory) {
            (Some(port), _) => port,
            (None, Some(directory)) => Settings::read(&Directory::new(directory).settings())?.listen.port(),
            (None, None) => meshpay_wire::DEFAULT_PORT,
        })
    }

    fn tap(&self, links: &[Link], port: u16) -> Result<Tap> {
        let mut index = None;
        if let Some(name) = &self.interface {
            let Some(link) = links.iter().find(|link| link.name == *name) else {
                let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
                bail!("there is no interface {name:?} in this network namespace; there are {}", names.join(", "))
            };
            index = Some(link.index);
        }
        Tap::open(index, port).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::PERM) => {
                anyhow::anyhow!("looking at packets needs CAP_NET_RAW: run it as root (it gives all rights up at once)")
            }
            _ => anyhow::Error::new(error).context("cannot open a tap"),
        })
    }

    fn out(&self) -> Result<Out> {
        let to: Box<dyn Write> = match &self.pcapng {
            Some(path) if path.as_os_str() != "-" => {
                // Who pays whom is nobody else's business.
                let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
                Box::new(file.with_context(|| format!("cannot write {}", path.display()))?)
            }
            _ => Box::new(io::stdout()),
        };
        Ok(BufWriter::new(to))
    }

    fn end(&self) -> Option<Instant> {
        self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds))
    }

    /// Until enough came, time is over, or nobody reads any more. Returns how many packets were shown.
    fn show(&self, tap: &mut Tap, sink: &mut Sink) -> Result<u64> {
        let end = self.end();
        let mut shown = 0;
        while self.goes_on(shown, end) {
            let frame = match tap.receive() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    if nobody_reads(&sink.flush())? {
                        break;
                    }
                    readable(&*tap, end)?;
                    continue;
                }
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NETDOWN) => {
                    eprintln!("an interface went down; waiting for it");
                    continue;
                }
                Err(error) => return Err(error).context("the tap failed"),
            };
            let parsed =
                if frame.ethernet { Datagram::of_frame(frame.bytes) } else { Datagram::of_packet(frame.bytes) };
            // The kernel's filter lets a few others through.
            let Some(datagram) = parsed else { continue };
            if nobody_reads(&sink.show(&frame, &datagram))? {
                break;
            }
            shown += 1;
        }
        nobody_reads(&sink.flush())?;
        Ok(shown)
    }

    /// Likewise for what the daemon streams, which may end too.
    fn show_daemon(&self, mut reader: PcapngReader<BufReader<UnixStream>>, mut out: Out) -> Result<u64> {
        let end = self.end();
        let mut shown = 0;
        while self.goes_on(shown, end) {
            if reader.inner().buffer().is_empty() {
                if nobody_reads(&out.flush())? {
                    break;
                }
                // The daemon sends whole blocks, so whoever reads after this waits for the rest of one at most.
                if !readable(reader.inner().get_ref(), end)? {
                    continue;
                }
            }
            let Some((block, comment)) = reader.next_block().context("the daemon's stream broke off")? else {
                eprintln!("the daemon has ended");
                break;
            };
            let written = match (&self.pcapng, comment) {
                (Some(_), _) => out.write_all(block),
                (None, Some(told)) => writeln!(out, "{told}"),
                (None, None) => Ok(()),
            };
            if nobody_reads(&written)? {
                break;
            }
            shown += u64::from(comment.is_some());
        }
        nobody_reads(&out.flush())?;
        Ok(shown)
    }

    fn goes_on(&self, shown: u64, end: Option<Instant>) -> bool {
        self.count.is_none_or(|count| shown < count) && end.is_none_or(|end| Instant::now() < end)
    }
}

/// From here on bytes come from anybody.
fn give_up_rights() -> Result<()> {
    drop_privileges(None).context("cannot give up this process's rights")?;
    Ok(())
}

/// Waits until there is something to read, at most until `end` and [`SLEEP_MAX`].
fn readable(from: &impl AsFd, end: Option<Instant>) -> Result<bool> {
    let left = end.map_or(SLEEP_MAX, |end| end.saturating_duration_since(Instant::now()).min(SLEEP_MAX));
    let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
    match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(io::Error::from(error)).context("cannot wait for packets"),
    }
}

/// Whether writing failed because the reader has gone (`dump | head`), which is no failure.
fn nobody_reads(outcome: &io::Result<()>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => bail!("cannot write the packets: {error}"),
    }
}

/// Where packets of interfaces go.
enum Sink {
    Text(Out),
    File(Box<PacketFile>),
}

/// A file, with the number that it has for each interface.
struct PacketFile {
    writer: PcapngWriter<Out>,
    numbers: BTreeMap<u32, u32>,
    links: Vec<Link>,
}

impl Sink {
    fn new(out: Out, pcapng: bool, links: Vec<Link>) -> Result<Self> {
        if !pcapng {
            return Ok(Self::Text(out));
        }
        let writer = PcapngWriter::new(out).context("cannot begin the file")?;
        Ok(Self::File(Box::new(PacketFile { writer, numbers: BTreeMap::new(), links })))
    }

    fn show(&mut self, frame: &TappedFrame<'_>, datagram: &Datagram<'_>) -> io::Result<()> {
        let told = lines(frame.time_ns, frame.outgoing, datagram);
        match self {
            Self::Text(out) => told.iter().try_for_each(|line| writeln!(out, "{line}")),
            Self::File(file) => {
                let interface = file.number(frame)?;
                file.writer.packet(&Record {
                    interface,
                    time_ns: frame.time_ns,
                    outgoing: frame.outgoing,
                    bytes: frame.bytes,
                    length: frame.length,
                    comment: &told.join("\n"),
                })
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Text(out) => out.flush(),
            Self::File(file) => file.writer.flush(),
        }
    }
}

impl PacketFile {
    fn number(&mut self, frame: &TappedFrame<'_>) -> io::Result<u32> {
        if let Some(number) = self.numbers.get(&frame.interface) {
            return Ok(*number);
        }
        let name = self.links.iter().find(|link| link.index == frame.interface).map_or("?", |link| link.name.as_str());
        let number = self.writer.interface(name, if frame.ethernet { LinkType::Ethernet } else { LinkType::Ip })?;
        self.numbers.insert(frame.interface, number);
        Ok(number)
    }
}
