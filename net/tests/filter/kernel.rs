//! The filter's object, loaded, with its maps as memory.

use meshpay_net::xdp::{LoadRequest, MappedArray, Program, XdpError};
use meshpay_wire::filter::{FilterTables, TableSizes, maps};

/// The object that is shipped.
pub const OBJECT: &[u8] = include_bytes!("../../../xdp-ebpf/object/meshpay-filter.o");
/// The object that takes time from a map and reports its verdict there.
pub const TEST_OBJECT: &[u8] = include_bytes!("../../../xdp-ebpf/object/meshpay-filter-test.o");

/// A loaded program with its tables.
pub struct Kernel {
    pub program: Program,
    pub test_run: Option<MappedArray>,
    config: MappedArray,
    own_addresses: MappedArray,
    shared: MappedArray,
    accounts: MappedArray,
    sources: MappedArray,
    allowances: MappedArray,
    echoes: MappedArray,
}

impl Kernel {
    /// Loads an object, or says visibly that the test is skipped.
    pub fn load(object: &[u8], sizes: TableSizes) -> Option<Self> {
        let rebuilt = rebuilt(object);
        let object = rebuilt.as_deref().unwrap_or(object);
        let mut entries = sizes.entries().to_vec();
        entries.push((maps::SOCKETS, 8));
        let program = match Program::load(object, &LoadRequest { program: maps::PROGRAM, map_entries: &entries }) {
            Ok(program) => program,
            Err(XdpError::NotPermitted { .. }) => {
                let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
                assert!(!ci, "in CI no test may be skipped, but this one needs CAP_BPF");
                eprintln!("skipped: needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (run as root)");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let mapped = |name| program.mapped(name).unwrap();
        Some(Self {
            test_run: program.mapped(maps::TEST_RUN).ok(),
            config: mapped(maps::CONFIG),
            own_addresses: mapped(maps::OWN_ADDRESSES),
            shared: mapped(maps::SHARED),
            accounts: mapped(maps::ACCOUNTS),
            sources: mapped(maps::SOURCES),
            allowances: mapped(maps::ALLOWANCES),
            echoes: mapped(maps::ECHOES),
            program,
        })
    }

    /// Its tables.
    pub fn tables(&self) -> FilterTables<'_> {
        FilterTables {
            config: self.config.words(),
            own_addresses: self.own_addresses.words(),
            shared: self.shared.words(),
            accounts: self.accounts.words(),
            sources: self.sources.words(),
            allowances: self.allowances.words(),
            echoes: self.echoes.words(),
        }
    }
}

/// The same object as `cargo xtask build-ebpf --check` has just built it, where it has.
fn rebuilt(object: &[u8]) -> Option<Vec<u8>> {
    let directory = std::path::PathBuf::from(std::env::var_os("MESHPAY_FILTER_OBJECT_DIR")?);
    let name = if object == OBJECT { "meshpay-filter.o" } else { "meshpay-filter-test.o" };
    Some(std::fs::read(directory.join(name)).expect("the object that was just built"))
}
