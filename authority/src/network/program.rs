//! The compiled filter in the kernel, and the tables in our memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use meshpay_net::xdp::{LoadRequest, MappedArray, PerCpuCounters, Program, Ring, SocketMap, XdpError};
use meshpay_wire::filter::{FilterTables, FilterWriter, Outcome, Settings, TableSizes, maps};

use crate::filter::PlainTables;

/// The object as it is committed; `cargo xtask build-ebpf` makes it.
const OBJECT: &[u8] = include_bytes!("../../../xdp-ebpf/object/meshpay-filter.o");
/// Another object to load instead, for the test suite, which runs on the committed and on the rebuilt one.
const OBJECT_ENV: &str = "MESHPAY_FILTER_OBJECT";
/// Evidence that waits to be read: some 190 conflicting orders.
const EVIDENCE_BYTES: u32 = 1 << 16;

/// Program and tables. All of it is descriptors and memory of this process: when it ends, nothing is left.
pub struct FilterProgram {
    program: Program,
    tables: Tables,
    counters: PerCpuCounters,
    sockets: SocketMap,
}

/// The filter's tables, shared by the workers and whoever looks after the interface.
#[derive(Clone)]
pub enum Tables {
    /// Those of the kernel's program, mapped.
    Kernel(MappedTables),
    /// Our own, where no program is loaded.
    Plain(Arc<PlainTables>),
}

/// The tables of the kernel's program in our memory.
#[derive(Clone)]
pub struct MappedTables {
    config: MappedArray,
    own_addresses: MappedArray,
    shared: MappedArray,
    accounts: MappedArray,
    sources: MappedArray,
    allowances: MappedArray,
    echoes: MappedArray,
}

impl FilterProgram {
    /// Loads the filter with tables of these sizes and room for so many AF_XDP sockets. Needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON.
    ///
    /// # Errors
    /// If a right or memory is missing, or the kernel refuses the program.
    pub fn load(sizes: TableSizes, sockets: u32) -> Result<Self, XdpError> {
        let entries: Vec<(&str, u32)> = sizes
            .entries()
            .into_iter()
            .chain([(maps::SOCKETS, sockets.max(1)), (maps::EVIDENCE, EVIDENCE_BYTES)])
            .collect();
        let request = LoadRequest { program: maps::PROGRAM, map_entries: &entries };
        let program = match std::env::var_os(OBJECT_ENV) {
            None => Program::load(OBJECT, &request)?,
            Some(path) => {
                let object = std::fs::read(&path)
                    .map_err(|error| XdpError::Object(format!("{}: {error}", std::path::Path::new(&path).display())))?;
                Program::load(&object, &request)?
            }
        };
        let tables = Tables::Kernel(MappedTables {
            config: program.mapped(maps::CONFIG)?,
            own_addresses: program.mapped(maps::OWN_ADDRESSES)?,
            shared: program.mapped(maps::SHARED)?,
            accounts: program.mapped(maps::ACCOUNTS)?,
            sources: program.mapped(maps::SOURCES)?,
            allowances: program.mapped(maps::ALLOWANCES)?,
            echoes: program.mapped(maps::ECHOES)?,
        });
        let counters = program.per_cpu_counters(maps::COUNTERS)?;
        let sockets = program.sockets(maps::SOCKETS)?;
        Ok(Self { program, tables, counters, sockets })
    }

    /// Writes the settings and switches the filter on. Until it is told our addresses nothing is ours, so all passes.
    pub fn start(&self, settings: &Settings) {
        let started = self.tables.writer().start(settings);
        debug_assert!(started, "the tables have the sizes that they were loaded with");
        self.tables.set_wall_clock();
    }

    /// The program, for attaching.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The AF_XDP sockets.
    pub fn sockets(&self) -> &SocketMap {
        &self.sockets
    }

    /// Conflicting orders that were dropped. One reader.
    ///
    /// # Errors
    /// If the ring cannot be mapped.
    pub fn evidence(&self) -> Result<Ring, XdpError> {
        self.program.ring(maps::EVIDENCE)
    }

    /// How often each outcome came, by number.
    pub fn counts(&self) -> [u64; Outcome::COUNT] {
        let mut counts = [0; Outcome::COUNT];
        if let Ok(read) = self.counters.read_all() {
            for (count, value) in counts.iter_mut().zip(read) {
                *count = value;
            }
        }
        counts
    }
}

impl Tables {
    /// Writes verified facts.
    pub fn writer(&self) -> FilterWriter<'_> {
        FilterWriter::new(match self {
            Self::Kernel(mapped) => FilterTables {
                config: mapped.config.words(),
                own_addresses: mapped.own_addresses.words(),
                shared: mapped.shared.words(),
                accounts: mapped.accounts.words(),
                sources: mapped.sources.words(),
                allowances: mapped.allowances.words(),
                echoes: mapped.echoes.words(),
            },
            Self::Plain(plain) => plain.tables(),
        })
    }

    /// Tells the filter the date, by which return tokens are judged.
    pub fn set_wall_clock(&self) {
        self.writer().set_wall_clock(wall_ms(), kernel_ns());
    }

    /// Tells the filter which addresses are this host's. False where there are more than its table holds; then the rest passes to the
    /// socket.
    pub fn set_own_addresses(&self, addresses: &[IpAddr]) -> bool {
        self.writer().set_own_addresses(addresses).is_ok()
    }
}

/// The clock of the kernel's program: CLOCK_MONOTONIC in nanoseconds.
pub(super) fn kernel_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub(super) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
