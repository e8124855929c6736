//! `meshpay-bench`: see `meshpay-bench --help`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use meshpay_bench::allocations::CountingAllocator;
use meshpay_bench::filter::{self, Part};
use meshpay_bench::generator::{BUNDLE_REQUESTS_MAX, Interrupted};
use meshpay_bench::link::NapiScheduling;
use meshpay_bench::machine::{self, Machine};
use meshpay_bench::pipeline::{self, JournalSizes, PipelineOptions};
use meshpay_bench::progress::Console;
use meshpay_bench::report::{self, Broken, RunReport, Setting};
use meshpay_bench::scalar_lanes::{self, Kernel};
use meshpay_bench::scale;
use meshpay_bench::scenario::{self, Durability, LinkChoice, Loads, Options, Scenario};
use meshpay_bench::slowdown::Slowdown;
use meshpay_bench::workload::{Trace, Wallets};
use meshpay_bench::{interrupt, null_server, signatures};
use meshpay_net::Rung;

/// So that `pipeline` can say how often the hot path allocates. It adds a thread's counter to each allocation, and nothing else.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Measures authorities: payments settled a second, CPU per payment, latency, durable and audited.
#[derive(Parser)]
#[command(name = "meshpay-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start authorities, load them, audit them, and leave a report
    Run(RunArguments),
    /// Drive the whole worker loop in process, journal included, without network, and say what each stage costs
    Pipeline(PipelineArguments),
    /// Measure how an authority scales: workers, accounts, starts and committees
    Scale(ScaleArguments),
    /// Do one kernel of crypto's scalar lanes, for counting its instructions under callgrind
    ScalarLanes(ScalarLanesArguments),
    /// Make the page of a report.json again, with the stages of a pipeline.json that lies beside it
    Page(PageArguments),
    /// Measure the kernel's filter and every means of packet I/O; needs root
    Filter(FilterArguments),
    /// Answer requests with packets of the right size and nothing else, until SIGTERM
    NullServer(NullServerArguments),
}

#[derive(Args)]
struct RunArguments {
    /// What to measure [default: both, one after the other]
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
    /// A further place for the JSON report
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Measured seconds; of a trace, at most so many (0: all of it) [default: 10, of a trace 0]
    #[arg(long)]
    seconds: Option<f64>,
    /// Payments a second; 0: search for the highest rate that is sustained. With --trace: replay so fast on average [default: 0]
    #[arg(long)]
    rate: Option<f64>,
    /// Loads at which latency is measured besides, in percent of the rate that was found; "" for none. With --rate: of that rate [default: 10,50,80,95, with --rate or --trace none]
    #[arg(long, value_name = "PERCENTS")]
    loads: Option<Loads>,
    /// Measured seconds of each load
    #[arg(long, default_value_t = 5.0)]
    load_seconds: f64,
    /// Accounts in the genesis
    #[arg(long, default_value_t = 100_000)]
    accounts: usize,
    /// Authorities in the committee
    #[arg(long, default_value_t = 4)]
    committee: usize,
    /// Replay a recorded trace: lines of seconds,sender,recipient,amount
    #[arg(long, value_name = "FILE.csv")]
    trace: Option<PathBuf>,
    /// What every answer waits for
    #[arg(long, value_enum, default_value_t = Durability::PowerLoss)]
    durability: Durability,
    /// What connects generator and authorities; auto: veth with the rights for it, else loopback
    #[arg(long, value_enum, default_value_t = LinkChoice::Auto)]
    link: LinkChoice,
    /// Best means of packet I/O for a single authority: udp, xdp-udp, xdp-udp-xsk-out, xsk-copy, xsk-zero-copy [default: what wins]
    #[arg(long)]
    rung: Option<Rung>,
    /// How the threads that receive are scheduled; batch, that is SCHED_BATCH, lets an authority finish its burst first
    #[arg(long, value_enum, default_value_t = NapiScheduling::Batch)]
    napi: NapiScheduling,
    /// Most requests that share a datagram: 1 as from phones, up to 6 as from merchants' relays
    #[arg(long, default_value_t = 1)]
    bundle: usize,
    /// Keep the authorities' directories under this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Folder for directories that are removed after the run; must be on a disk
    #[arg(long, value_name = "DIR", default_value = "target/bench-run")]
    work: PathBuf,
    /// Folder for the report
    #[arg(long, value_name = "DIR", default_value = "bench-report")]
    report: PathBuf,
    /// The daemon [default: the environment's MESHPAY_AUTHORITY, else `meshpay-authority` beside this program]
    #[arg(long, value_name = "PATH")]
    authority_binary: Option<PathBuf>,
    /// Seed of accounts, transfers and times
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct PipelineArguments {
    /// Worker threads, each on a core of its own
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Cores for workers and journal, as 0,1 [default: the first ones]
    #[arg(long, value_delimiter = ',', value_name = "CORES")]
    cores: Vec<usize>,
    /// Accounts in the genesis
    #[arg(long, default_value_t = 100_000)]
    accounts: usize,
    /// Authorities in the committee, each of weight 1
    #[arg(long, default_value_t = 4)]
    committee: usize,
    /// Voting weights of the committee instead, as 5,3,1,1; the first is the authority that is measured
    #[arg(long, value_delimiter = ',', value_name = "WEIGHTS", conflicts_with = "committee")]
    weights: Vec<u32>,
    /// Payments, warm-up included
    #[arg(long, default_value_t = 200_000)]
    payments: usize,
    /// Payments under way at once, per worker
    #[arg(long, default_value_t = 1_024)]
    in_flight: usize,
    /// What every answer waits for
    #[arg(long, value_enum, default_value_t = Durability::PowerLoss)]
    durability: Durability,
    /// Kill the authority after the run and start it again
    #[arg(long)]
    restart: bool,
    /// Folder for the journal; must be on a disk
    #[arg(long, value_name = "DIR", default_value = "target/bench-run")]
    work: PathBuf,
    /// A place for the report as JSON
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Seed of accounts and transfers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct ScaleArguments {
    /// What to measure, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<scale::Part>,
    /// How often everything takes its turn; figures are medians
    #[arg(long)]
    rounds: Option<u32>,
    /// Payments in each turn, per worker
    #[arg(long)]
    payments: Option<usize>,
    /// Numbers of accounts among which the cost of a payment is compared, as 1000,10000000
    #[arg(long, value_delimiter = ',')]
    accounts: Vec<usize>,
    /// Accounts of the daemon that is started again and again
    #[arg(long)]
    restart_accounts: Option<usize>,
    /// Payments behind its checkpoint; each leaves two records
    #[arg(long)]
    restart_payments: Option<usize>,
    /// What every answer waits for
    #[arg(long, value_enum, default_value_t = Durability::PowerLoss)]
    durability: Durability,
    /// Folder for directories that are removed after the run; must be on a disk
    #[arg(long, value_name = "DIR", default_value = "target/bench-run")]
    work: PathBuf,
    /// A place for the report as JSON
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// The daemon, for starts [default: the environment's MESHPAY_AUTHORITY, else `meshpay-authority` beside this program]
    #[arg(long, value_name = "PATH")]
    authority_binary: Option<PathBuf>,
    /// Seed of accounts and transfers
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
struct PageArguments {
    /// The report
    #[arg(value_name = "REPORT.json", default_value = "bench-report/report.json")]
    report: PathBuf,
}

#[derive(Args)]
struct ScalarLanesArguments {
    /// Which kernel
    #[arg(value_enum)]
    kernel: Kernel,
    /// Groups of eight
    groups: usize,
}

#[derive(Args)]
struct FilterArguments {
    /// What to measure, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Seconds of each measurement of packets
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How often everything is measured; figures are medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measured seconds of each run with payments
    #[arg(long, default_value_t = 3.0)]
    payment_seconds: f64,
    /// Accounts of the runs with payments
    #[arg(long, default_value_t = 20_000)]
    accounts: usize,
    /// What an answer waits for in the runs with payments; `process` leaves out a disk that others use too
    #[arg(long, value_enum, default_value = "power-loss")]
    durability: Durability,
    /// Folder for directories that are removed after the run; must be on a disk
    #[arg(long, value_name = "DIR", default_value = "target/bench-run")]
    work: PathBuf,
    /// Folder for filter.json and filter.txt
    #[arg(long, value_name = "DIR", default_value = "bench-report")]
    report: PathBuf,
    /// The daemon [default: the environment's MESHPAY_AUTHORITY, else `meshpay-authority` beside this program]
    #[arg(long, value_name = "PATH")]
    authority_binary: Option<PathBuf>,
}

#[derive(Args)]
struct NullServerArguments {
    /// Where to listen; port 0 lets the kernel choose
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Take everything that arrives at this interface by AF_XDP instead of listening by a socket; needs root and a port other than 0
    #[arg(long, value_name = "IFACE")]
    interface: Option<String>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Pipeline(arguments) => run_pipeline(&arguments).map(|()| true),
        Command::Scale(arguments) => measure_scale(&arguments).map(|()| true),
        Command::Page(arguments) => report::write_page(&arguments.report).map(|path| {
            println!("page: {}", path.display());
            true
        }),
        Command::ScalarLanes(arguments) => {
            scalar_lanes::run(arguments.kernel, arguments.groups);
            Ok(true)
        }
        Command::Filter(arguments) => measure_filter(&arguments).map(|()| true),
        Command::NullServer(arguments) => serve_null(&arguments).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("meshpay-bench: {error:#}");
            if error.chain().any(|cause| cause.is::<Interrupted>() || is_interrupt(cause)) {
                return ExitCode::from(130);
            }
            ExitCode::FAILURE
        }
    }
}

fn is_interrupt(cause: &(dyn std::error::Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<Interrupted>())
}

fn serve_null(arguments: &NullServerArguments) -> Result<()> {
    let stop = interrupt::flag()?;
    let (mut port, address) = null_server::open(arguments.listen, arguments.interface.as_deref())?;
    println!("ready listen={address}");
    null_server::serve(&mut port, &stop).context("the null server's port failed")
}

fn run_pipeline(arguments: &PipelineArguments) -> Result<()> {
    let stop = interrupt::flag()?;
    let weights = if arguments.weights.is_empty() { vec![1; arguments.committee] } else { arguments.weights.clone() };
    let options = PipelineOptions {
        workers: arguments.workers,
        cores: arguments.cores.clone(),
        accounts: arguments.accounts,
        weights,
        payments: arguments.payments,
        in_flight: arguments.in_flight,
        durability: arguments.durability,
        journal: JournalSizes::default(),
        restart: arguments.restart,
        work: arguments.work.clone(),
        seed: arguments.seed,
        slowdown: Slowdown::from_environment()?,
    };
    let report = pipeline::run(&options, &stop, &Console::new())?;
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print!("pipeline\n--------\n{}", report.text());
    Ok(())
}

/// Measures how an authority scales, and prints it.
fn measure_scale(arguments: &ScaleArguments) -> Result<()> {
    let parts = if arguments.parts.is_empty() { scale::Part::ALL.to_vec() } else { arguments.parts.clone() };
    let authority_binary = match parts.contains(&scale::Part::Restart) {
        true => binaries(arguments.authority_binary.as_deref())?.0,
        false => PathBuf::new(),
    };
    let sizes = scale::Request::new(arguments.work.clone(), authority_binary);
    let request = scale::Request {
        parts,
        rounds: arguments.rounds.unwrap_or(sizes.rounds),
        payments: arguments.payments.unwrap_or(sizes.payments),
        accounts: if arguments.accounts.is_empty() { sizes.accounts } else { arguments.accounts.clone() },
        restart_accounts: arguments.restart_accounts.unwrap_or(sizes.restart_accounts),
        restart_payments: arguments.restart_payments.unwrap_or(sizes.restart_payments),
        durability: arguments.durability,
        seed: arguments.seed.unwrap_or(sizes.seed),
        ..sizes
    };
    let stop = interrupt::flag()?;
    let report = scale::run(&request, &stop, &Console::new())?;
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?;
        std::fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    print!("{}", report.text());
    Ok(())
}

/// Measures the filter and leaves its report.
fn measure_filter(arguments: &FilterArguments) -> Result<()> {
    let FilterArguments { seconds, rounds, payment_seconds, accounts, .. } = *arguments;
    for (name, value) in [("--seconds", seconds), ("--payment-seconds", payment_seconds)] {
        ensure!(value.is_finite() && value > 0.0, "{name} must be above 0");
    }
    ensure!(rounds > 0, "--rounds must be above 0");
    ensure!(accounts >= 2, "--accounts must be at least 2, or nobody can pay anybody");
    let parts = if arguments.parts.is_empty() { Part::ALL.to_vec() } else { arguments.parts.clone() };
    let payments = parts.iter().any(|part| part.has_payments()).then(|| -> Result<Options> {
        let (authority_binary, bench_binary) = binaries(arguments.authority_binary.as_deref())?;
        Ok(Options {
            seconds: payment_seconds,
            rate: None,
            loads: Vec::new(),
            load_seconds: 0.0,
            accounts,
            committee: 4,
            trace: None,
            durability: arguments.durability,
            link: LinkChoice::Veth,
            rung: None,
            napi: NapiScheduling::Normal,
            bundle: 1,
            keep: None,
            work: arguments.work.clone(),
            authority_binary,
            bench_binary,
            seed: 1,
        })
    });
    let request =
        filter::Request { parts, seconds, rounds, payments: payments.transpose()?, folder: arguments.report.clone() };
    let stop = interrupt::flag()?;
    let report = filter::run(&request, &stop, &Console::new())?;
    filter::write(&request.folder, &report)?;
    print!("{}", filter::report_text(&report));
    println!("\nreport: {}", request.folder.display());
    Ok(())
}

/// The daemon and this program.
fn binaries(named: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    let bench_binary = std::env::current_exe().context("cannot find this program's own file")?;
    let authority_binary = named
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("MESHPAY_AUTHORITY").map(PathBuf::from))
        .unwrap_or_else(|| bench_binary.with_file_name("meshpay-authority"));
    ensure!(
        authority_binary.is_file(),
        "there is no daemon at {}; build it by `cargo build --release -p meshpay-authority`, or name it by --authority-binary",
        authority_binary.display()
    );
    Ok((authority_binary, bench_binary))
}

/// Runs what was asked for; true if every run passed.
fn run(arguments: &RunArguments) -> Result<bool> {
    let stop = interrupt::flag()?;
    let console = Console::new();
    let trace = arguments.trace.as_deref().map(|path| read_trace(path, arguments)).transpose()?;
    let options = options(arguments)?;
    let accounts = options.accounts.max(trace.as_ref().map_or(0, |trace| trace.accounts() as usize));
    let began_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let step = console.step("measuring signatures", 1);
    let signature_us = signatures::measure()?;
    step.finish(&format!(
        "{:.2}, {:.2} and {:.2} us to verify, verify by a known key and sign",
        signature_us.verify_us, signature_us.known_key_us, signature_us.sign_us
    ));
    let setting = Setting {
        machine: Machine::this(),
        commit: machine::commit(),
        command_line: command_line(),
        began_unix_s,
        signature_us: Some(signature_us),
        is_trace: trace.is_some(),
    };

    let step = console.step("making account keys", accounts as u64);
    let wallets = Wallets::from_seed(options.seed, accounts, |made| step.advance(made));
    step.finish(&format!("{accounts} accounts"));

    let scenarios = arguments.scenario.map_or_else(|| vec![Scenario::Single, Scenario::Committee], |one| vec![one]);
    let mut runs = Vec::new();
    let (mut broken, mut unfinished) = (None, None);
    for scenario in scenarios {
        match scenario::run(scenario, &options, &wallets, trace.as_ref(), &stop, &console) {
            Ok(measured) => {
                runs.push((RunReport::new(&measured, &setting), measured));
            }
            Err(error) => {
                // What was measured before is still reported.
                unfinished = Some(Broken { scenario: scenario.name().to_owned(), reason: format!("{error:#}") });
                broken = Some(error.context(format!("the run `{}` came to no end", scenario.name())));
                break;
            }
        }
    }
    if !runs.is_empty() {
        report::write(&arguments.report, arguments.json.as_deref(), &runs, unfinished.as_ref())?;
        let reports: Vec<&RunReport> = runs.iter().map(|(report, _)| report).collect();
        print!("{}", report::report_text(&reports));
        println!("\nreport: {}", arguments.report.display());
    }
    match broken {
        Some(error) => Err(error),
        None => Ok(runs.iter().all(|(_, measured)| measured.failures.is_empty())),
    }
}

/// What was typed, without the folders in which programs lie.
fn command_line() -> String {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).map(quoted).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn read_trace(path: &Path, arguments: &RunArguments) -> Result<Trace> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the trace {}", path.display()))?;
    let mut trace = Trace::parse(&text).with_context(|| format!("in the trace {}", path.display()))?;
    if let Some(rate) = arguments.rate.filter(|rate| *rate > 0.0) {
        trace.scale_to(rate);
    }
    if let Some(seconds) = arguments.seconds.filter(|seconds| *seconds > 0.0) {
        trace.cut((seconds * 1e9) as u64);
    }
    Ok(trace)
}

fn options(arguments: &RunArguments) -> Result<Options> {
    let seconds = arguments.seconds.unwrap_or(10.0);
    let rate = arguments.rate.unwrap_or(0.0);
    ensure!(seconds.is_finite() && seconds >= 0.0, "--seconds must not be negative");
    ensure!(seconds > 0.0 || arguments.trace.is_some(), "--seconds must be above 0, unless a trace is replayed");
    ensure!(rate.is_finite() && rate >= 0.0, "--rate must not be negative");
    ensure!(arguments.accounts >= 2, "--accounts must be at least 2, or nobody can pay anybody");
    let most = meshpay_wire::COMMITTEE_MAX;
    ensure!((1..=most).contains(&arguments.committee), "--committee must be 1 to {most}");
    ensure!((1..=BUNDLE_REQUESTS_MAX).contains(&arguments.bundle), "--bundle must be 1 to {BUNDLE_REQUESTS_MAX}");
    let load_seconds = arguments.load_seconds;
    ensure!(load_seconds.is_finite() && load_seconds > 0.0, "--load-seconds must be above 0");
    let is_searched = rate == 0.0 && arguments.trace.is_none();
    let loads = arguments.loads.clone().unwrap_or_else(|| if is_searched { Loads::usual() } else { Loads::default() });
    ensure!(
        loads.0.is_empty() || arguments.trace.is_none(),
        "--loads are shares of a capacity, and a trace has none; leave one of them out"
    );
    let (authority_binary, bench_binary) = binaries(arguments.authority_binary.as_deref())?;
    Ok(Options {
        seconds,
        rate: (rate > 0.0).then_some(rate),
        loads: loads.0,
        load_seconds,
        accounts: arguments.accounts,
        committee: arguments.committee,
        trace: arguments.trace.clone(),
        durability: arguments.durability,
        link: arguments.link,
        rung: arguments.rung,
        napi: arguments.napi,
        bundle: arguments.bundle,
        keep: arguments.keep.clone(),
        work: arguments.work.clone(),
        authority_binary,
        bench_binary,
        seed: arguments.seed,
    })
}
