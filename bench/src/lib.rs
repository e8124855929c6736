//! The load generator, its reports, and the ground they stand on: a measured link and CPU accounting.
//!
//! | folder | what |
//! |---|---|
//! | `workload` | who pays whom: accounts, a uniform mix or a recorded trace, and batches of payments signed beforehand |
//! | `generator` | the open loop: sends at intended times, checks every answer, repeats what was lost, keeps the figures |
//! | `null_server` | answers with packets of the right size and nothing else: what the generator itself can do |
//! | `daemons` | the authorities as processes: directories, start, stop, audit |
//! | `scenario` | the runs: `single` and `committee`, and the search for the highest rate |
//! | `pipeline` | the whole worker loop in process, without network: what the software costs by itself |
//! | `scale` | workers, accounts, starts and committees, each by what it costs more than less of it |
//! | `report` | text, page, JSON, HdrHistogram file and plot |
//! | `allocations`, `slowdown` | counted allocations; a slowdown on command, for the test of what judges the figures |
//! | `signatures` | what signatures cost on this machine, beside a library's |
//! | `scalar_lanes` | one kernel of crypto's scalar lanes, for counting its instructions |
//! | `link`, `cpu`, `affinity`, `machine` | the ground: veth or loopback, who used a core, what this machine is |
//!
//! What always holds: a payment's latency counts from the time at which it was *meant* to be sent, whatever kept the
//! generator from sending it (no coordinated omission); answers are compared with bytes computed beforehand; and no
//! figure is reported as good unless the journals were audited after the run.

pub mod affinity;
pub mod allocations;
pub mod cpu;
pub mod daemons;
pub mod filter;
pub mod generator;
pub mod interrupt;
pub mod link;
pub mod machine;
pub mod null_server;
pub mod pipeline;
pub mod progress;
pub mod report;
pub mod scalar_lanes;
pub mod scale;
pub mod scenario;
pub mod signatures;
pub mod slowdown;
pub mod workload;
