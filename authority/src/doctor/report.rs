//! Facts and verdicts in words, for a terminal of 80 columns or more, and as JSON.

use std::fmt::Write;

use meshpay_net::host::{Capabilities, Capability, Interface, Kernel, XdpMode};
use meshpay_net::rung::Obstacle;
use serde_json::{Value, json};

use super::verdict::{limit, mebibytes};
use super::{Facts, Verdict, best};

/// Lines are broken before this column.
const WIDTH: usize = 96;
/// Where text begins behind a label.
const LABEL: usize = 14;
/// Where text begins behind a rung and its answer.
const ANSWER: usize = 24;

/// Host and rights.
pub fn host(kernel: &Kernel, capabilities: &Capabilities) -> String {
    let mut out = String::new();
    let yes = |is: bool| if is { "yes" } else { "no" };
    let jit = match kernel.bpf_jit {
        Some(0) => "off",
        Some(_) => "on",
        None => "not to be seen",
    };
    labelled(
        &mut out,
        0,
        "kernel",
        &format!(
            "{} {}; BTF {}; AF_XDP {}; BPF compiler {jit}; lockdown {}",
            kernel.release,
            kernel.machine,
            yes(kernel.btf),
            yes(kernel.af_xdp),
            kernel.lockdown.as_deref().unwrap_or("none seen"),
        ),
    );
    let held: Vec<String> = Capability::NEEDED
        .into_iter()
        .chain([Capability::IpcLock])
        .map(|capability| {
            format!("{} {}", capability.name().trim_start_matches("CAP_"), yes(capabilities.has(capability)))
        })
        .collect();
    let user = rustix::process::geteuid().as_raw();
    let inside = if capabilities.in_user_namespace() { "; in a user namespace of its own" } else { "" };
    labelled(&mut out, 0, "rights", &format!("user {user}; {}{inside}", held.join(", ")));
    let free = if capabilities.has(Capability::IpcLock) { "; does not count, IPC_LOCK is held" } else { "" };
    labelled(
        &mut out,
        0,
        "memlock",
        &format!("{} now, {} at most{free}", limit(kernel.memlock), limit(kernel.memlock_max)),
    );
    out
}

/// One interface in full, with its verdicts.
pub fn interface(facts: &Facts, verdicts: &[Verdict]) -> String {
    let mut out = String::new();
    let one = &facts.interface;
    labelled(&mut out, 0, &one.link.name, &summary(one));
    let driver = one.driver.as_ref().map_or("none of its own".to_owned(), |driver| {
        format!("{} {} {}", driver.name, driver.version, driver.bus).trim_end().to_owned()
    });
    let most =
        if one.queues.receive_max > 0 { format!(" (at most {})", one.queues.receive_max) } else { String::new() };
    labelled(
        &mut out,
        2,
        "driver",
        &format!("{driver}; queues: {} in{most}, {} out", one.queues.receive, one.queues.transmit),
    );
    if let Some(mode) = one.wireless {
        labelled(&mut out, 2, "wireless", &mode.name());
    }
    labelled(&mut out, 2, "XDP", &features(one));
    labelled(&mut out, 2, "programs", &programs(one));
    let addresses: Vec<String> = one.addresses.iter().map(ToString::to_string).collect();
    labelled(&mut out, 2, "addresses", &or_none(&addresses));
    let vlans: Vec<String> = one.vlans.iter().map(ToString::to_string).collect();
    labelled(&mut out, 2, "VLANs", &or_none(&vlans));
    if let Some(peer) = &one.peer {
        labelled(&mut out, 2, "peer", &peer_words(facts, peer));
    }
    labelled(
        &mut out,
        2,
        "memory",
        &format!(
            "AF_XDP locks {} for {} worker{}",
            mebibytes(facts.locked_bytes()),
            facts.workers,
            if facts.workers == 1 { "" } else { "s" }
        ),
    );
    out.push('\n');
    // What is said of every rung is said once.
    let common: Vec<&Obstacle> = match verdicts.split_first() {
        Some((first, rest)) => {
            first.cautions.iter().filter(|caution| rest.iter().all(|other| other.cautions.contains(caution))).collect()
        }
        None => Vec::new(),
    };
    for caution in &common {
        labelled(&mut out, 2, "note", &sentence(caution));
    }
    let mut said = Vec::new();
    for verdict in verdicts {
        let answer = if verdict.reached() { "yes" } else { "no" };
        let mut texts: Vec<String> = Vec::new();
        let mut first_time = |obstacle: &Obstacle| {
            // What to do about it is said once.
            let again = said.contains(obstacle);
            said.push(obstacle.clone());
            if again { obstacle.why.clone() } else { sentence(obstacle) }
        };
        texts.extend(verdict.obstacles.iter().map(&mut first_time));
        // Of a rung that is out of reach only what stands in the way is of interest.
        if verdict.reached() {
            texts.push(verdict.rung.description().to_owned());
            let own = verdict.cautions.iter().filter(|caution| !common.contains(caution));
            texts.extend(own.map(|caution| format!("note: {}", first_time(caution))));
        }
        for (line, text) in texts.iter().enumerate() {
            let head = if line == 0 { format!("  {:<17}{answer}", verdict.rung.name()) } else { String::new() };
            wrapped(&mut out, &head, ANSWER, text);
        }
    }
    let _ = writeln!(out, "\n  {} can reach {}", one.link.name, best(verdicts));
    out
}

/// One line for an interface.
pub fn line(facts: &Facts, verdicts: &[Verdict]) -> String {
    let one = &facts.interface;
    let kind = one.driver.as_ref().map(|driver| driver.name.as_str()).or(one.link.kind.as_deref()).unwrap_or("-");
    let reached = best(verdicts);
    let why = verdicts
        .iter()
        .take_while(|verdict| verdict.rung != reached)
        .last()
        .and_then(|verdict| verdict.obstacles.first())
        .map_or(String::new(), |obstacle| obstacle.why.clone());
    format!(
        "{:<16}{:<6}{:<14}{:>6}{:>7}  {:<17}{why}",
        one.link.name,
        state(one),
        kind,
        one.link.mtu,
        one.queues.receive,
        reached.name()
    )
    .trim_end()
    .to_owned()
}

/// The heading of [`line()`]s.
pub fn heading() -> String {
    format!(
        "{:<16}{:<6}{:<14}{:>6}{:>7}  {:<17}{}",
        "interface", "state", "driver", "MTU", "queues", "rung", "why no higher"
    )
}

/// Host and rights as JSON.
pub fn host_json(kernel: &Kernel, capabilities: &Capabilities) -> Value {
    let bytes = |limit| match limit {
        meshpay_net::host::Limit::Bytes(bytes) => json!(bytes),
        meshpay_net::host::Limit::Unlimited => Value::Null,
    };
    let held: serde_json::Map<String, Value> = Capability::NEEDED
        .into_iter()
        .chain([Capability::IpcLock])
        .map(|capability| (capability.name().to_owned(), json!(capabilities.has(capability))))
        .collect();
    json!({
        "kernel": kernel.release,
        "machine": kernel.machine,
        "btf": kernel.btf,
        "af_xdp": kernel.af_xdp,
        "bpf_jit": kernel.bpf_jit,
        "unprivileged_bpf_disabled": kernel.unprivileged_bpf_disabled,
        "lockdown": kernel.lockdown,
        "maps_writable_without_rights": kernel.maps_writable_without_rights(),
        "memlock_bytes": bytes(kernel.memlock),
        "memlock_max_bytes": bytes(kernel.memlock_max),
        "capabilities": held,
        "user": rustix::process::geteuid().as_raw(),
        "user_namespace": capabilities.in_user_namespace(),
    })
}

/// An interface with its verdicts as JSON.
pub fn interface_json(facts: &Facts, verdicts: &[Verdict]) -> Value {
    let one = &facts.interface;
    let link = &one.link;
    let obstacles = |all: &[Obstacle]| -> Vec<Value> {
        all.iter().map(|obstacle| json!({"why": obstacle.why, "remedy": obstacle.remedy})).collect()
    };
    json!({
        "name": link.name,
        "index": link.index,
        "mac": link.mac.map(mac),
        "mtu": link.mtu,
        "up": link.up,
        "running": link.running,
        "kind": link.kind,
        "driver": one.driver.as_ref().map(|driver| json!({"name": driver.name, "version": driver.version, "bus": driver.bus})),
        "queues": {"receive": one.queues.receive, "transmit": one.queues.transmit, "receive_max": one.queues.receive_max},
        "xdp_features": one.xdp_features.map(|features| json!({
            "native": features.native(),
            "redirect": features.redirect(),
            "redirect_target": features.redirect_target(),
            "zero_copy": features.zero_copy(),
            "several_buffers": features.several_buffers(),
        })),
        "wireless": one.wireless.map(|mode| mode.name()),
        "programs": link.programs.iter().map(|program| json!({"mode": program.mode.name(), "id": program.program_id})).collect::<Vec<_>>(),
        "addresses": one.addresses,
        "vlans": one.vlans,
        "peer": one.peer.as_ref().map(|peer| json!({
            "index": peer.index,
            "namespace": peer.namespace,
            "name": peer.link.as_ref().map(|link| &link.name),
            "mtu": peer.link.as_ref().map(|link| link.mtu),
            "native_program": peer.link.as_ref().map(|link| has_native(&link.programs)),
        })),
        "locked_bytes": facts.locked_bytes(),
        "best": best(verdicts).name(),
        "rungs": verdicts.iter().map(|verdict| json!({
            "rung": verdict.rung.name(),
            "reached": verdict.reached(),
            "obstacles": obstacles(&verdict.obstacles),
            "cautions": obstacles(&verdict.cautions),
        })).collect::<Vec<_>>(),
    })
}

fn has_native(programs: &[meshpay_net::host::AttachedProgram]) -> bool {
    programs.iter().any(|program| program.mode == XdpMode::Native)
}

fn state(one: &Interface) -> &'static str {
    match (one.link.up, one.link.running) {
        (true, true) => "up",
        (true, false) => "idle",
        (false, _) => "down",
    }
}

fn summary(one: &Interface) -> String {
    let link = &one.link;
    let state = match state(one) {
        "idle" => "up without a carrier",
        other => other,
    };
    let mut words = format!("{state}; MTU {}; index {}", link.mtu, link.index);
    if let Some(address) = link.mac {
        let _ = write!(words, "; {}", mac(address));
    }
    if let Some(kind) = &link.kind {
        let _ = write!(words, "; {kind}");
    }
    if let Some(vlan) = link.vlan {
        let _ = write!(words, " {vlan}");
    }
    if let Some(master) = link.master {
        let _ = write!(words, "; a port of interface {master}");
    }
    words
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn features(one: &Interface) -> String {
    let Some(features) = one.xdp_features else {
        return "the kernel does not say what the driver can do (it does from 6.3 on)".to_owned();
    };
    let yes = |is: bool| if is { "yes" } else { "no" };
    format!(
        "native {}; redirect {}; zero-copy {}; takes redirected frames {}; packets of several buffers {}",
        yes(features.native()),
        yes(features.redirect()),
        yes(features.zero_copy()),
        yes(features.redirect_target()),
        yes(features.several_buffers()),
    )
}

fn programs(one: &Interface) -> String {
    let all: Vec<String> = one
        .link
        .programs
        .iter()
        .map(|program| format!("number {}, {}", program.program_id, program.mode.name()))
        .collect();
    or_none(&all)
}

fn peer_words(facts: &Facts, peer: &meshpay_net::host::VethPeer) -> String {
    let place = match peer.namespace {
        None => "in this namespace".to_owned(),
        Some(number) => format!("in another namespace (number {number} here)"),
    };
    let Some(link) = &peer.link else {
        return format!(
            "interface {} {place}; it cannot be seen from here: its MTU must be at most {} for native XDP, and frames redirected to it \
             need a program there",
            peer.index,
            meshpay_net::host::VETH_PEER_MTU_MAX
        );
    };
    let program = match has_native(&link.programs) {
        true => "has a native program, so frames can be redirected to it",
        false => {
            "has no native program: frames that XDP redirects to it are lost; AF_XDP in copy mode does not need one"
        }
    };
    let queues = if link.receive_queues != facts.interface.queues.transmit {
        format!("; {} queues", link.receive_queues)
    } else {
        String::new()
    };
    format!("{} (interface {}) {place}; MTU {}{queues}; {program}", link.name, link.index, link.mtu)
}

fn or_none(all: &[String]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn sentence(obstacle: &Obstacle) -> String {
    if obstacle.remedy.is_empty() { obstacle.why.clone() } else { format!("{}: {}", obstacle.why, obstacle.remedy) }
}

fn labelled(out: &mut String, indent: usize, label: &str, text: &str) {
    wrapped(out, &format!("{:indent$}{label}", ""), LABEL, text);
}

/// `head`, then `text` from column `at` on, broken between words.
fn wrapped(out: &mut String, head: &str, at: usize, text: &str) {
    let mut line = format!("{head:<at$}");
    // A head that is too long still has a space behind it.
    if !line.ends_with(' ') {
        line.push(' ');
    }
    let mut length = line.chars().count();
    let mut first = true;
    for word in text.split(' ') {
        let word_length = word.chars().count();
        if !first && length + 1 + word_length > WIDTH {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(at);
            length = at;
            first = true;
        }
        if !first {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += word_length;
        first = false;
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_between_words_and_indented() {
        let mut out = String::new();
        wrapped(&mut out, "head", 10, &"word ".repeat(40));
        for (number, line) in out.lines().enumerate() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(line.starts_with(if number == 0 { "head      word" } else { "          word" }), "{line:?}");
        }
        let mut out = String::new();
        wrapped(&mut out, "a head that is longer", 10, "text");
        assert_eq!(out, "a head that is longer text\n");
    }

    #[test]
    fn every_interface_of_this_host_can_be_told_of() {
        let kernel = Kernel::read();
        let capabilities = Capabilities::held().unwrap();
        assert!(host(&kernel, &capabilities).contains(&kernel.release));
        for interface in Interface::all().unwrap() {
            let facts = Facts { kernel: kernel.clone(), capabilities, interface, workers: 2, page_bytes: 4096 };
            let verdicts = super::super::verdicts(&facts, |_| None);
            let text = super::interface(&facts, &verdicts);
            assert!(text.contains("xsk-zero-copy") && text.contains(&facts.interface.link.name), "{text}");
            assert!(line(&facts, &verdicts).starts_with(&facts.interface.link.name));
            let value = interface_json(&facts, &verdicts);
            assert_eq!(value["rungs"].as_array().unwrap().len(), 5);
            assert_eq!(value["best"], best(&verdicts).name());
        }
    }
}
