//! `meshpay-sim`, which `cargo xtask sim` builds and becomes: one seed, many seeds, or a long campaign.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use meshpay_sim::campaign::{Campaign, Results, Sum, command_of, commit, read_results, report, run_caught};
use meshpay_sim::mesh::MeshRequest;
use meshpay_sim::{Canary, Request, crash_matrix};

/// Operations of a seed where nothing else is said: long enough for dozens of faults.
const OPERATIONS: u64 = 20_000;

#[derive(Parser)]
#[command(
    name = "cargo xtask sim",
    about = "Simulates a whole committee with faults and checks what must never happen",
    version
)]
struct Arguments {
    /// Runs this seed and prints how it went
    #[arg(long, conflicts_with_all = ["seeds", "long"])]
    seed: Option<u64>,
    /// Runs these seeds over all cores, for example 0..100
    #[arg(long, value_parser = parse_range, conflicts_with = "long")]
    seeds: Option<Range<u64>>,
    /// Orders and certificates that reach honest authorities in each seed, before the faults heal
    #[arg(long, default_value_t = OPERATIONS)]
    ops: u64,
    /// Only these faults happen, by number; 0 are the cheating clients; `none` for no fault at all
    #[arg(long, value_parser = parse_keep)]
    keep: Option<Keep>,
    /// Prints what happens
    #[arg(long)]
    trace: bool,
    /// Breaks the build in a way that must be found
    #[arg(long, value_parser = parse_canary)]
    canary: Option<Canary>,
    /// Goes on with the seeds that the file of results does not hold, until stopped or --total is reached
    #[arg(long)]
    long: bool,
    /// Operations in all, those in the file of results included, after which --long ends
    #[arg(long, default_value_t = 100_000_000)]
    total: u64,
    /// File of results of --long, a line of JSON for each seed
    #[arg(long, default_value = "sim-results.jsonl")]
    results: PathBuf,
    /// Lets the power go at every disk operation of a fixed workload, and again at every step of each recovery
    #[arg(long, conflicts_with_all = ["seed", "seeds", "long"])]
    crash_matrix: bool,
    /// Only every so many steps of a recovery are crash points of --crash-matrix
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// Simulates a mesh of so many phones and 20 gateways; prints a table and leaves a plot
    #[arg(long, value_name = "PHONES", conflicts_with_all = ["seeds", "long", "crash_matrix"])]
    mesh: Option<usize>,
    /// Where --mesh leaves its plot
    #[arg(long, default_value = "mesh.svg")]
    plot: PathBuf,
    /// Threads; all cores where nothing is said
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Clone)]
struct Keep(Vec<u64>);

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected FIRST..END, for example 0..100")?;
    let number = |text: &str| text.trim().parse().map_err(|_| format!("`{text}` is no number"));
    Ok(number(from)?..number(to)?)
}

fn parse_keep(text: &str) -> Result<Keep, String> {
    if text == "none" {
        return Ok(Keep(Vec::new()));
    }
    let number = |text: &str| text.trim().parse().map_err(|_| format!("`{text}` is no number"));
    text.split(',').map(number).collect::<Result<_, _>>().map(Keep)
}

fn parse_canary(text: &str) -> Result<Canary, String> {
    let names: Vec<&str> = Canary::ALL.iter().map(|canary| canary.name()).collect();
    Canary::named(text).ok_or_else(|| format!("there is no canary `{text}`; there are {}", names.join(", ")))
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let jobs = match arguments.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().context("cannot count the cores")?.get(),
    };
    if arguments.long {
        return long(arguments, jobs);
    }
    if let Some(clients) = arguments.mesh {
        return mesh(arguments, clients);
    }
    if arguments.crash_matrix {
        let counts = crash_matrix(jobs, arguments.stride)?;
        println!(
            "{} crashes at {} disk operations, {} of them in a recovery: nothing was lost",
            counts.crashes, counts.points, counts.double_crashes
        );
        return Ok(true);
    }
    if let Some(seeds) = &arguments.seeds {
        let campaign = Campaign { seeds: seeds.clone(), operations: arguments.ops, jobs, enough: None };
        let mut first_failure = None;
        let sum = campaign.run(&BTreeSet::new(), |request, outcome| {
            if outcome.violation.is_some() && first_failure.is_none() {
                first_failure = Some((request.clone(), outcome.clone()));
            }
            Ok(())
        })?;
        if let Some((request, outcome)) = first_failure {
            println!("{}", report(&request, &outcome));
        }
        print_sum(&sum);
        return Ok(sum.failed == 0);
    }
    let Some(seed) = arguments.seed else { bail!("say --seed N, --seeds A..B or --long; --help tells more") };
    let request = Request {
        seed,
        operations: arguments.ops,
        canary: arguments.canary,
        keep: arguments.keep.clone().map(|keep| keep.0),
        verbose: arguments.trace,
        mesh: None,
    };
    let outcome = run_caught(&request);
    for line in &outcome.lines {
        println!("{line}");
    }
    let totals = &outcome.totals;
    println!(
        "seed {seed} of commit {}: {} operations, {} payments final, {} of cheats, {} faults, {} power cuts, {} starts, \
         settled {:.2} s after the last fault; trace {}",
        commit(),
        totals.operations,
        totals.certified,
        totals.cheats_certified,
        totals.faults,
        totals.power_cuts,
        totals.starts,
        totals.settled_us as f64 / 1e6,
        outcome.trace_hash
    );
    match &outcome.violation {
        None => Ok(true),
        // A replay of a run that was made small already is not made smaller again.
        Some(violation) if request.keep.is_some() => {
            println!("broken: {}\n  {}\n  replay it with: {}", violation.promise, violation.what, command_of(&request));
            Ok(false)
        }
        Some(_) => {
            println!("{}", report(&request, &outcome));
            Ok(false)
        }
    }
}

fn mesh(arguments: &Arguments, clients: usize) -> Result<bool> {
    let mesh = MeshRequest::of(clients);
    let request = Request { mesh: Some(mesh), ..Request::new(arguments.seed.unwrap_or(0), u64::MAX) };
    let outcome = run_caught(&request);
    if let Some(violation) = &outcome.violation {
        println!("broken: {}\n  {}", violation.promise, violation.what);
        return Ok(false);
    }
    let Some(report) = &outcome.mesh else { bail!("the mesh left no report") };
    println!("{}", report.table(&mesh, &outcome.totals.air));
    std::fs::write(&arguments.plot, report.plot(&mesh))
        .with_context(|| format!("cannot write {}", arguments.plot.display()))?;
    println!("  plot: {}; trace {}", arguments.plot.display(), outcome.trace_hash);
    Ok(true)
}

fn long(arguments: &Arguments, jobs: usize) -> Result<bool> {
    let earlier = read_results(&arguments.results)?;
    let done: BTreeSet<u64> = earlier.iter().map(|line| line.seed).collect();
    let before: u64 = earlier.iter().map(|line| line.operations).sum();
    println!("{} seeds and {before} operations are in {} already", done.len(), arguments.results.display());
    if before >= arguments.total {
        return Ok(true);
    }
    let mut results = Results::append_to(&arguments.results)?;
    let enough = Some(arguments.total - before);
    let campaign = Campaign { seeds: 0..u64::MAX, operations: arguments.ops, jobs, enough };
    let sum = campaign.run(&done, |request, outcome| {
        if outcome.violation.is_some() {
            println!("{}", report(request, outcome));
        }
        results.add(outcome)
    })?;
    print_sum(&sum);
    println!("{} operations in all", before + sum.operations);
    Ok(sum.failed == 0 && earlier.iter().all(|line| line.violation.is_none()))
}

fn print_sum(sum: &Sum) {
    println!(
        "{} seeds, {} operations, {} payments final, {} faults, {} power cuts: {} broke a promise",
        sum.seeds, sum.operations, sum.certified, sum.faults, sum.power_cuts, sum.failed
    );
}
