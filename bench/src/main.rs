//! `meshpay-bench`: see `meshpay-bench --help`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use meshpay_bench::generator::Interrupted;
use meshpay_bench::machine::{self, Machine};
use meshpay_bench::progress::Console;
use meshpay_bench::report::{self, RunReport};
use meshpay_bench::scenario::{self, Durability, LinkChoice, Options, Scenario};
use meshpay_bench::workload::{Trace, Wallets};
use meshpay_bench::{interrupt, null_server};

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
    /// Run the thread that receives for the authorities under SCHED_BATCH: larger bursts, later answers
    #[arg(long)]
    napi_batch: bool,
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
struct NullServerArguments {
    /// Where to listen; port 0 lets the kernel choose
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => run(&arguments),
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
    let mut port = null_server::open(arguments.listen)?;
    println!("ready listen={}", port.local_address());
    null_server::serve(&mut port, &stop).context("the null server's socket failed")
}

/// Runs what was asked for; true if every run passed.
fn run(arguments: &RunArguments) -> Result<bool> {
    let stop = interrupt::flag()?;
    let console = Console::new();
    let trace = arguments.trace.as_deref().map(|path| read_trace(path, arguments)).transpose()?;
    let options = options(arguments)?;
    let accounts = options.accounts.max(trace.as_ref().map_or(0, |trace| trace.accounts() as usize));
    let (machine, commit) = (Machine::this(), machine::commit());

    let step = console.step("making account keys", accounts as u64);
    let wallets = Wallets::from_seed(options.seed, accounts, |made| step.advance(made));
    step.finish(&format!("{accounts} accounts"));

    let scenarios = arguments.scenario.map_or_else(|| vec![Scenario::Single, Scenario::Committee], |one| vec![one]);
    let mut runs = Vec::new();
    let mut broken = None;
    for scenario in scenarios {
        match scenario::run(scenario, &options, &wallets, trace.as_ref(), &stop, &console) {
            Ok(measured) => {
                runs.push((RunReport::new(&measured, &machine, &commit, trace.is_some()), measured));
            }
            Err(error) => {
                // What was measured before is still reported.
                broken = Some(error.context(format!("the run `{}` came to no end", scenario.name())));
                break;
            }
        }
    }
    if !runs.is_empty() {
        report::write(&arguments.report, arguments.json.as_deref(), &runs)?;
        let reports: Vec<&RunReport> = runs.iter().map(|(report, _)| report).collect();
        print!("{}", report::report_text(&reports));
        println!("\nreport: {}", arguments.report.display());
    }
    match broken {
        Some(error) => Err(error),
        None => Ok(runs.iter().all(|(_, measured)| measured.failures.is_empty())),
    }
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
    let bench_binary = std::env::current_exe().context("cannot find this program's own file")?;
    let authority_binary = arguments
        .authority_binary
        .clone()
        .or_else(|| std::env::var_os("MESHPAY_AUTHORITY").map(PathBuf::from))
        .unwrap_or_else(|| bench_binary.with_file_name("meshpay-authority"));
    ensure!(
        authority_binary.is_file(),
        "there is no daemon at {}; build it by `cargo build --release -p meshpay-authority`, or name it by --authority-binary",
        authority_binary.display()
    );
    Ok(Options {
        seconds,
        rate: (rate > 0.0).then_some(rate),
        accounts: arguments.accounts,
        committee: arguments.committee,
        trace: arguments.trace.clone(),
        durability: arguments.durability,
        link: arguments.link,
        napi_batch: arguments.napi_batch,
        keep: arguments.keep.clone(),
        work: arguments.work.clone(),
        authority_binary,
        bench_binary,
        seed: arguments.seed,
    })
}
