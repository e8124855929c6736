//! What XDP leaves and needs when a process dies or has given up its rights. Each case runs in a process of its own with one thread, so
//! there is no test harness here.

#[path = "xdp/support.rs"]
#[allow(dead_code, reason = "shared with the tests that have a harness; each uses a part of it")]
mod support;

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use meshpay_net::host::{User, drop_privileges};
use meshpay_net::xdp::{
    AttachMode, Attachment, KeySet, LoadRequest, MappedArray, PerCpuCounters, Program, Ring, SocketMap, TestRun,
    XdpError,
};
use support::{
    ARRAY, HASH, MAPPABLE, PER_CPU_ARRAY, RING_BUFFER, XDP_DROP, XDP_PASS, XSK_MAP, attached, counting, frame, index,
    map, program_exists, reading, telling, verdict, with_veth,
};

const COMMITTED_OBJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../xdp-ebpf/object/meshpay-filter.o");
/// How long the kernel may take to free what nobody holds any more.
const FREED_WITHIN: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("--case") {
        match words.next().as_deref() {
            Some("without_any_right") => without_any_right(),
            Some("hold") => hold(),
            other => panic!("no such case: {other:?}"),
        }
        return ExitCode::SUCCESS;
    }
    with_veth(|| {
        let status = child("without_any_right").status().expect("this program again");
        assert!(status.success(), "without_any_right failed: {status}");
        println!("without_any_right: ok");
        a_killed_process_leaves_nothing();
        println!("a_killed_process_leaves_nothing: ok");
    });
    ExitCode::SUCCESS
}

/// This program again, in this thread's namespace.
fn child(case: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.args(["--case", case]);
    command
}

/// All that a daemon does after its start works by descriptors alone.
fn without_any_right() {
    let (pass, drops) = (verdict(XDP_PASS), verdict(XDP_DROP));
    let table = map(ARRAY, 4, 24, 8, MAPPABLE);
    let reads = reading(table.as_fd());
    let counters = map(PER_CPU_ARRAY, 4, 8, 2, 0);
    let counts = counting(counters.as_fd());
    let ring = map(RING_BUFFER, 0, 0, 4096, 0);
    let tells = telling(ring.as_fd());
    let keys = map(HASH, 16, 1, 4, 0);
    let sockets = map(XSK_MAP, 4, 4, 1, 0);
    let xdp = rustix::net::AddressFamily::from_raw(libc::AF_XDP as _);
    let socket = rustix::net::socket(xdp, rustix::net::SocketType::RAW, None).expect("a socket");

    // Read now: an ordinary user may not be allowed into this directory.
    let object = std::fs::read(COMMITTED_OBJECT);

    drop_privileges(Some(&User::named("nobody").expect("the user nobody"))).expect("to become nobody");

    let setting = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").unwrap_or_default();
    println!("kernel.unprivileged_bpf_disabled = {}", setting.trim());
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let attachment = pass.attach(index("left"), mode).expect("attached without rights");
        assert_eq!(attachment.state().expect("a state").program_id, pass.id().expect("a number"));
        attachment.replace(&drops).expect("replaced without rights");
        assert_eq!(attached("left"), [drops.id().expect("a number")]);
        let attachment = Attachment::from_fd(attachment.into()).expect("adopted without rights");
        attachment.detach().expect("taken off without rights");
        assert!(attached("left").is_empty());
    }
    let packet = frame(64);
    let once = TestRun { packet: &packet, repeat: 1, ..TestRun::default() };
    let table = MappedArray::from_descriptor("table", table).expect("mapped without rights");
    table.words()[1].store(5, Ordering::Release);
    assert_eq!(reads.test_run(&once).expect("run without rights").verdict, 5);
    counts.test_run(&once).expect("run without rights");
    let counters = PerCpuCounters::from_descriptor("counters", counters).expect("counters without rights");
    assert_eq!(counters.read(1).expect("read without rights"), 5);
    let mut ring = Ring::from_descriptor("ring", ring).expect("a ring without rights");
    tells.test_run(&once).expect("run without rights");
    assert_eq!(ring.next(<[u8]>::len), Some(8));
    let keys = KeySet::<16>::from_descriptor("keys", keys).expect("keys without rights");
    keys.insert(&[1; 16]).expect("inserted without rights");
    keys.clear().expect("cleared without rights");
    let sockets = SocketMap::from_descriptor("sockets", sockets).expect("sockets without rights");
    sockets.set(0, socket.as_fd()).expect("put in without rights");
    sockets.clear(0).expect("taken out without rights");
    // Only loading needs rights, and says so.
    if let Ok(object) = object {
        let request = LoadRequest { program: "meshpay_filter", map_entries: &[] };
        let refused = Program::load(&object, &request).expect_err("loaded without rights");
        assert!(matches!(refused, XdpError::NotPermitted { .. }), "{refused}");
        assert!(refused.to_string().contains("CAP_BPF"), "{refused}");
    }
}

/// Attaches, says so, and waits to be killed.
fn hold() {
    let program = verdict(XDP_PASS);
    let _attachment = program.attach(index("left"), AttachMode::Native).expect("attached");
    println!("{}", program.id().expect("a number"));
    loop {
        std::thread::park();
    }
}

fn a_killed_process_leaves_nothing() {
    let mut holder = child("hold").stdout(Stdio::piped()).spawn().expect("this program again");
    let mut line = String::new();
    let told = BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut line);
    let seen = attached("left");
    let existed = line.trim().parse().is_ok_and(program_exists);
    // SIGKILL, before anything here can fail.
    holder.kill().expect("killed");
    holder.wait().expect("ended");
    told.expect("a number");
    let id: u32 = line.trim().parse().expect("a number");
    assert_eq!((seen, existed), (vec![id], true));
    let deadline = Instant::now() + FREED_WITHIN;
    while !attached("left").is_empty() || program_exists(id) {
        assert!(Instant::now() < deadline, "program {id} is still there: {:?}", attached("left"));
        std::thread::sleep(Duration::from_millis(5));
    }
}
