//! The metrics page: Prometheus text format 0.0.4. Every counter of the daemon is on it.

use std::fmt::Write;

use meshpay_wire::filter::{Action, Outcome};
use meshpay_wire::{Malformed, RefusalCode};

use super::ControlState;
use super::latency::LatencyHistogram;
use crate::network::NetworkView;
use crate::pipeline::counters::{BUCKETS_US, Histogram};

/// Writes the page.
pub fn page(state: &ControlState) -> String {
    let mut out = String::with_capacity(32 << 10);
    head(&mut out, "meshpay_info", "gauge", "What runs here.");
    let _ = writeln!(
        out,
        "meshpay_info{{authority=\"{}\",genesis=\"{}\",durability=\"{}\",rung=\"{}\",signatures=\"{}\"}} 1",
        state.authority,
        state.genesis,
        state.durability,
        state.network.rung(),
        state.signatures
    );
    gauge(&mut out, "meshpay_voting", "1 while votes are given.", u64::from(state.voting.stopped().is_none()));
    let rung = u64::from(state.network.rung().level());
    gauge(&mut out, "meshpay_rung", "Means of packet I/O: 0 sockets alone, more is better.", rung);
    write_network(&mut out, &state.network);
    gauge(&mut out, "meshpay_healthy", "1 while /health answers ok.", u64::from(state.unhealthy().is_none()));
    gauge(&mut out, "meshpay_journal_appended_bytes", "End of what was appended.", state.journal.appended().0);
    gauge(&mut out, "meshpay_journal_durable_bytes", "End of what is durable.", state.journal.durable().0);
    gauge(&mut out, "meshpay_journal_left_bytes", "Bytes left in allocated segments.", state.journal.bytes_left());
    let (used, slots) = state.fill();
    gauge(&mut out, "meshpay_account_slots_used", "Slots of the account table in use or set aside.", used);
    gauge(&mut out, "meshpay_account_slots", "Slots of the account table.", slots);
    for (name, value) in state.journal.counters().entries() {
        head(&mut out, &format!("meshpay_journal_{name}_total"), "counter", "Of the journal.");
        let _ = writeln!(out, "meshpay_journal_{name}_total {value}");
    }

    let names: Vec<&str> = state.workers[0].totals.entries().iter().map(|(name, _)| *name).collect();
    for (at, name) in names.iter().enumerate() {
        head(&mut out, &format!("meshpay_{name}_total"), "counter", "See the pipeline's counters.");
        for (worker, counters) in state.workers.iter().enumerate() {
            let _ = writeln!(out, "meshpay_{name}_total{{worker=\"{worker}\"}} {}", counters.totals.entries()[at].1);
        }
    }
    head(&mut out, "meshpay_malformed_total", "counter", "Messages that are none, by reason; they get no answer.");
    head(&mut out, "meshpay_refusals_total", "counter", "Refusals, by code.");
    head(
        &mut out,
        "meshpay_filtered_total",
        "counter",
        "Datagrams that came by a socket and that the filter ended there.",
    );
    for (worker, counters) in state.workers.iter().enumerate() {
        for (outcome, count) in Outcome::ALL.iter().zip(&counters.filtered) {
            if outcome.action() == Action::Drop {
                let (outcome, count) = (outcome.name(), count.get());
                let _ = writeln!(out, "meshpay_filtered_total{{worker=\"{worker}\",outcome=\"{outcome}\"}} {count}");
            }
        }
    }
    head(&mut out, "meshpay_stage_microseconds", "histogram", "Time of a burst in each stage, in microseconds.");
    for (worker, counters) in state.workers.iter().enumerate() {
        for reason in Malformed::ALL {
            let value = counters.malformed[reason as usize].get();
            let _ =
                writeln!(out, "meshpay_malformed_total{{worker=\"{worker}\",reason=\"{}\"}} {value}", reason.name());
        }
        for (code, value) in RefusalCode::ALL.iter().zip(&counters.refusals) {
            let _ =
                writeln!(out, "meshpay_refusals_total{{worker=\"{worker}\",code=\"{}\"}} {}", code.name(), value.get());
        }
        for (stage, histogram) in counters.stages() {
            write_histogram(&mut out, &format!("worker=\"{worker}\",stage=\"{stage}\""), histogram);
        }
    }
    write_histogram(&mut out, "worker=\"journal\",stage=\"write\"", &state.commits.write);
    write_histogram(&mut out, "worker=\"journal\",stage=\"sync\"", &state.commits.sync);
    write_sync_latency(&mut out, &state.commits.sync_latency);

    head(&mut out, "meshpay_port_total", "counter", "Datagrams at the socket, by what became of them.");
    for (worker, shared) in state.threads.iter().enumerate() {
        let Ok(port) = shared.port.lock() else { continue };
        let refused = &port.refused;
        for (what, value) in [
            ("received", port.received),
            ("received_oversized", port.received_oversized),
            ("dropped_by_kernel", port.receive_dropped_by_kernel),
            ("receive_errors", port.receive_errors),
            ("sent", port.sent),
            ("refused_would_block", refused.would_block),
            ("refused_no_buffers", refused.no_buffers),
            ("refused_not_permitted", refused.not_permitted),
            ("refused_unreachable", refused.unreachable),
            ("refused_too_large", refused.too_large),
            ("refused_other", refused.other),
        ] {
            let _ = writeln!(out, "meshpay_port_total{{worker=\"{worker}\",what=\"{what}\"}} {value}");
        }
    }
    out
}

fn write_network(out: &mut String, network: &NetworkView) {
    if let Some(filter) = network.filter() {
        head(out, "meshpay_filter_total", "counter", "Packets at the filter, by outcome.");
        for (outcome, count) in filter.outcomes() {
            let _ = writeln!(out, "meshpay_filter_total{{outcome=\"{}\"}} {count}", outcome.name());
        }
        gauge(out, "meshpay_filter_attached", "1 unless the operator took it off.", u64::from(!filter.is_off()));
        if let Some(status) = network.filter_status() {
            let (known, sources) = (status.accounts_known as u64, status.sources_known as u64);
            gauge(out, "meshpay_filter_shed_level", "What is shed: 1 best effort, 2 queries too.", status.shed_level);
            gauge(out, "meshpay_filter_accounts_known", "Accounts that the filter knows.", known);
            gauge(out, "meshpay_filter_sources_known", "Sources with a rate of their own.", sources);
            head(out, "meshpay_filter_evidence_total", "counter", "Dropped conflicting orders that workers looked at.");
            let _ = writeln!(out, "meshpay_filter_evidence_total {}", status.evidence);
        }
    }
    let rings = network.rings();
    head(out, "meshpay_rings_total", "counter", "Frames at the AF_XDP rings, by what became of them.");
    for (what, value) in [
        ("truncated", rings.truncated),
        ("not_ours", rings.not_ours),
        ("bad_address", rings.bad_address),
        ("kernel_dropped", rings.kernel_dropped),
        ("kernel_ring_full", rings.kernel_ring_full),
        ("kernel_fill_empty", rings.kernel_fill_empty),
        ("kernel_invalid", rings.kernel_invalid),
        ("frames_lost", rings.frames_lost),
        ("kicks", rings.kicks),
    ] {
        let _ = writeln!(out, "meshpay_rings_total{{what=\"{what}\"}} {value}");
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn gauge(out: &mut String, name: &str, help: &str, value: u64) {
    head(out, name, "gauge", help);
    let _ = writeln!(out, "{name} {value}");
}

fn write_histogram(out: &mut String, labels: &str, histogram: &Histogram) {
    let counts = histogram.counts();
    let mut sum = 0;
    for (bound, count) in BUCKETS_US.iter().zip(counts) {
        sum += count;
        let _ = writeln!(out, "meshpay_stage_microseconds_bucket{{{labels},le=\"{}\"}} {sum}", bound);
    }
    sum += counts[BUCKETS_US.len()];
    let _ = writeln!(out, "meshpay_stage_microseconds_bucket{{{labels},le=\"+Inf\"}} {sum}");
    let _ = writeln!(out, "meshpay_stage_microseconds_sum{{{labels}}} {}", histogram.sum_ns() as f64 / 1e3);
    let _ = writeln!(out, "meshpay_stage_microseconds_count{{{labels}}} {sum}");
}

fn write_sync_latency(out: &mut String, syncs: &LatencyHistogram) {
    const NAME: &str = "meshpay_journal_sync_microseconds";
    head(out, NAME, "histogram", "Time of each sync of the journal, in buckets of an eighth of a doubling.");
    let mut sum = 0;
    for (bound, count) in syncs.buckets() {
        sum += count;
        let _ = match bound {
            Some(bound) => writeln!(out, "{NAME}_bucket{{le=\"{bound}\"}} {sum}"),
            None => writeln!(out, "{NAME}_bucket{{le=\"+Inf\"}} {sum}"),
        };
    }
    let _ = writeln!(out, "{NAME}_sum {}\n{NAME}_count {sum}", syncs.sum_us());
}
