//! The filter comes and goes: the daemon is killed, the interface vanishes, the operator switches, rights are missing.
//!
//! What always holds: payments go on by sockets, and nothing is left on an interface by a daemon that is gone.

use super::{scene, until_clean};
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use meshpay_tests::committee::{Committee, Plan};
use meshpay_tests::link::{GATEWAY_V4, INTERFACE, Link};
use meshpay_tests::network::Actor;
use meshpay_tests::process::finish;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

/// An authority at the gateway with one account, not running yet, which tries for the best rung that veth has.
fn plan_of_one(link: &Arc<Link>) -> Plan {
    Plan::single().fund(&Actor::account(0), 100).on(link, GATEWAY_V4.into()).flag("--rung", "xsk-copy")
}

/// A second one at the same gateway, whose ports do not clash.
fn second(link: &Arc<Link>) -> Result<Committee> {
    let mut committee = plan_of_one(link).prepare()?;
    let daemon = &mut committee.daemons[0];
    daemon.address = SocketAddr::new(daemon.address.ip(), daemon.address.port() + 100);
    daemon.metrics = SocketAddr::new(daemon.metrics.ip(), daemon.metrics.port() + 100);
    Ok(committee)
}

/// The command by which a daemon runs without any right: as root's own files, but with no capability.
fn without_rights(scene: &meshpay_tests::daemon::Daemon) -> Result<Command> {
    let run = scene.run_command()?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]).arg(run.get_program());
    command.args(run.get_args());
    if let Some(link) = &scene.link {
        link.gateway.enter(&mut command)?;
    }
    Ok(command)
}

/// Pays once, through the filter.
fn pay_filtered(scene: &mut Scene) -> Result<()> {
    let before = scene.committee.daemons[0].filtered("delivered")?;
    scene.pay(1)?;
    ensure!(scene.committee.daemons[0].filtered("delivered")? > before, "a payment was made past the filter");
    Ok(())
}

/// One program, no more and no fewer, is attached to the gateway's interface.
fn one_is_attached(link: &Link) -> Result<()> {
    let attached = link.gateway.programs(INTERFACE)?;
    ensure!(attached.len() == 1, "not one program is attached: {attached:?}");
    Ok(())
}

/// The authority of a committee without a scene votes for an order of its one account.
fn votes(committee: &mut Committee) -> Result<()> {
    let (address, rules) = (committee.daemons[0].address, committee.network.rules.clone());
    let order = committee.network.order(&Actor::account(0), &Actor::account(1), 0, 1);
    committee.client()?.order(address, &rules, &order)?.vote().map(drop)
}

#[test]
fn killed_it_leaves_the_interface_clean() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xdp-udp-xsk-out", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        scene.pay(1)?;
        one_is_attached(&link).with_context(|| format!("on {rung}"))?;
        scene.committee.daemons[0].kill()?;
        until_clean(&link).with_context(|| format!("on {rung} the daemon was killed"))?;
        let pinned = std::fs::read_dir("/sys/fs/bpf").map(|entries| {
            entries.flatten().filter(|entry| entry.file_name().to_string_lossy().contains("meshpay")).count()
        });
        ensure!(pinned.unwrap_or(0) == 0, "something is pinned");
        scene.committee.daemons[0].start()?;
        scene.state_is_right()?;
        scene.pay(1)?;
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn taken_off_and_put_back_by_the_operator() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xdp-udp-xsk-out", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        scene.pay(1)?;
        let off = scene.committee.daemons[0].filter("off")?;
        ensure!(off["is_off"] == true && off["rung"] == "udp", "{off}");
        ensure!(link.gateway.programs(INTERFACE)?.is_empty(), "taken off, and still attached");
        scene.pay(1)?;
        scene.committee.daemons[0].filter("on")?;
        scene.committee.daemons[0]
            .wait_for_filter("it has climbed back", |status| status["is_off"] == false && status["rung"] == rung)?;
        one_is_attached(&link)?;
        pay_filtered(&mut scene).with_context(|| format!("on {rung}"))?;
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn again_and_again_taken_off_and_put_back() -> Result<()> {
    // An operator who hesitates must end where he began, on the same rung.
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut scene = scene(&link, "xsk-copy", Plan::single())?;
    for round in 0..5 {
        scene.committee.daemons[0].filter("off")?;
        scene.pay(1)?;
        scene.committee.daemons[0].filter("on")?;
        scene.committee.daemons[0]
            .wait_for_filter("it has climbed back", |status| status["rung"] == "xsk-copy")
            .with_context(|| format!("in round {round}"))?;
        scene.pay(1)?;
    }
    scene.stop_and_audit()
}

#[test]
fn the_interface_goes_down_and_up() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        for _ in 0..3 {
            scene.pay(1)?;
            link.gateway.ip(&format!("link set {INTERFACE} down"))?;
            scene.committee.daemons[0]
                .wait_for_filter("it knows", |status| status["state"] == "the interface is down")?;
            link.gateway.ip(&format!("link set {INTERFACE} up"))?;
            // IPv6 addresses go with the link; the IPv4 address stays.
            scene.committee.daemons[0].wait_for_filter("it knows", |status| status["state"] == "filtering")?;
            pay_filtered(&mut scene)?;
        }
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn the_interface_is_deleted_and_made_again() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xdp-udp-xsk-out", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        for round in 0..2 {
            scene.pay(1)?;
            link.cut()?;
            let gone = scene.committee.daemons[0]
                .wait_for_filter("it knows", |status| status["state"] == "the interface is gone")?;
            ensure!(gone["rung"] == "udp", "{gone}");
            link.connect(1500)?;
            // A socket at the client that survived its device has no route until now.
            scene.client = scene.committee.client()?;
            scene.committee.daemons[0]
                .wait_for_filter("it has climbed back", |status| status["rung"] == rung)
                .with_context(|| format!("round {round}"))?;
            one_is_attached(&link)?;
            pay_filtered(&mut scene)?;
        }
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn another_program_on_the_interface_stays_where_it_is() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut first = scene(&link, "xsk-copy", Plan::single())?;
    let attached = link.gateway.programs(INTERFACE)?;
    // Required, the filter is refused by name of what stands in its way.
    let mut other = second(&link)?;
    other.daemons[0].flags.extend(["--require".to_owned(), "xdp-udp".to_owned()]);
    let message = other.daemons[0].refuses_to_start()?;
    ensure!(message.contains(INTERFACE) && message.contains("xdp-udp"), "{message}");
    ensure!(link.gateway.programs(INTERFACE)? == attached, "somebody else's program was touched");
    // Not required, it goes without, and says why.
    let flags = &mut other.daemons[0].flags;
    flags.truncate(flags.len() - 2);
    let ready = other.daemons[0].start()?;
    ensure!(ready.get("rung").is_some_and(|rung| rung == "udp"), "{ready:?}");
    ensure!(other.daemons[0].log_text().contains("xdp-udp"), "it must say why: {}", other.daemons[0].log_end());
    ensure!(link.gateway.programs(INTERFACE)? == attached, "somebody else's program was touched");
    votes(&mut other)?;
    first.pay(1)?;
    ensure!(other.daemons[0].stop()?.success(), "no clean stop");
    first.stop_and_audit()
}

#[test]
fn without_rights_it_goes_by_sockets_and_says_so() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut committee = plan_of_one(&link).prepare()?;
    let command = without_rights(&committee.daemons[0])?;
    committee.daemons[0].launch_as(command)?;
    let ready = committee.daemons[0].wait_until_ready()?;
    ensure!(ready.get("rung").is_some_and(|rung| rung == "udp"), "{ready:?}");
    let log = committee.daemons[0].log_text();
    ensure!(log.contains("CAP_BPF") && log.contains("xsk-copy"), "the log must name rung and right: {log}");
    votes(&mut committee)?;
    ensure!(committee.daemons[0].metric("meshpay_rung")? == 0.0, "another rung in the metrics");
    ensure!(committee.daemons[0].stop()?.success(), "no clean stop");
    committee.daemons[0].audit().map(drop)
}

#[test]
fn without_rights_what_is_required_is_refused_with_the_reasons() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let committee = plan_of_one(&link).flag("--require", "xsk-copy").prepare()?;
    let message = finish(without_rights(&committee.daemons[0])?)?.failure()?;
    ensure!(message.contains("xsk-copy") && message.contains("CAP_BPF"), "it must name rung and right: {message}");
    ensure!(link.gateway.programs(INTERFACE)?.is_empty(), "a refused start has attached something");
    Ok(())
}

#[test]
fn a_running_daemon_holds_no_right() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut scene = scene(&link, "xsk-copy", Plan::single())?;
    scene.pay(1)?;
    let id = scene.committee.daemons[0].id().context("it runs")?;
    for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            let held = status.lines().find_map(|line| line.strip_prefix(set)).context("a set of capabilities")?;
            ensure!(held.trim().trim_start_matches('0').is_empty(), "a thread has kept {set}{held}");
        }
    }
    scene.stop_and_audit()
}

#[test]
fn an_mtu_too_large_for_the_filter_is_named() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    link.cut()?;
    link.connect(9_000)?;
    // Native XDP wants a whole frame in one page, which the peer's MTU decides on veth (ERANGE): generic mode takes its place.
    let mut scene: Scene = Scene::of(Plan::single().on(&link, GATEWAY_V4.into()))?;
    let status = scene.committee.daemons[0].filter("status")?;
    let reason = status["not_native"].as_str().unwrap_or_default();
    ensure!(status["mode"] == "generic" && reason.contains("MTU"), "{status}");
    scene.pay(1)?;
    ensure!(scene.committee.daemons[0].filtered("delivered")? > 0, "it does not filter: {status}");
    scene.stop_and_audit()
}
