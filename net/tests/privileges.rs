//! Rights are given up for good. Each case runs in a process of its own with one thread, so there is no test harness here.

use std::fs;
use std::process::{Command, ExitCode};

use meshpay_net::host::{Capabilities, Capability, PrivilegeError, User, drop_privileges, threads_with_capabilities};

/// Cases by name; the parent starts itself once for each.
const CASES: [(&str, fn()); 5] = [
    ("root_stays_root_without_rights", root_stays_root_without_rights),
    ("root_becomes_an_ordinary_user", root_becomes_an_ordinary_user),
    ("an_ordinary_user_with_ambient_rights", an_ordinary_user_with_ambient_rights),
    ("threads_started_later_have_nothing", threads_started_later_have_nothing),
    ("with_a_second_thread_it_is_refused", with_a_second_thread_it_is_refused),
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("--case") {
        let name = words.next().expect("a case");
        CASES.iter().find(|(case, _)| *case == name).expect("a known case").1();
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!ci, "in CI no test may be skipped, but this one needs root");
        eprintln!("skipped: needs CAP_SETPCAP and CAP_SETUID (run as root)");
        return ExitCode::SUCCESS;
    }
    let own = std::env::current_exe().expect("the path of this program");
    for (name, _) in CASES {
        let status = Command::new(&own).args(["--case", name]).status().expect("this program again");
        assert!(status.success(), "{name} failed: {status}");
        println!("{name}: ok");
    }
    ExitCode::SUCCESS
}

/// Sets of this thread's capabilities as the kernel shows them, without the bounding set.
fn shown() -> Vec<String> {
    let status = fs::read_to_string("/proc/thread-self/status").expect("the status");
    let wanted = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    status.lines().filter(|line| wanted.iter().any(|set| line.starts_with(set))).map(str::to_owned).collect()
}

fn nothing_is_held() {
    for line in shown() {
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    assert!(Capabilities::held().expect("capget").is_empty());
    assert_eq!(threads_with_capabilities().expect("/proc"), Vec::<String>::new());
    assert!(rustix::thread::no_new_privs().expect("prctl"));
    // A program that root executes gets root's rights back, unless that was forbidden.
    let child = Command::new("cat").arg("/proc/self/status").output().expect("cat");
    let status = String::from_utf8(child.stdout).expect("text");
    let effective = status.lines().find(|line| line.starts_with("CapEff")).expect("CapEff");
    assert_eq!(effective, "CapEff:\t0000000000000000");
}

fn raw_socket() -> rustix::io::Result<rustix::fd::OwnedFd> {
    rustix::net::socket(rustix::net::AddressFamily::PACKET, rustix::net::SocketType::RAW, None)
}

fn root_stays_root_without_rights() {
    let open_before = raw_socket().expect("a packet socket as root");
    let dropped = drop_privileges(None).expect("to give up all");
    assert!(dropped.still_uid_root);
    nothing_is_held();
    let status = fs::read_to_string("/proc/self/status").expect("the status");
    assert!(status.contains("CapBnd:\t0000000000000000"), "{status}");
    assert_eq!(raw_socket().err(), Some(rustix::io::Errno::PERM));
    rustix::io::fcntl_getfd(&open_before).expect("what was open stays open");
}

fn root_becomes_an_ordinary_user() {
    let user = User::named("nobody").expect("the user nobody");
    let dropped = drop_privileges(Some(&user)).expect("to become nobody");
    assert_eq!((dropped.uid, dropped.still_uid_root), (user.uid(), false));
    nothing_is_held();
    let status = fs::read_to_string("/proc/self/status").expect("the status");
    let uid = user.uid();
    assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
    assert!(
        !status.lines().any(|line| line.starts_with("Groups:") && line.split_whitespace().any(|group| group == "0"))
    );
    assert!(rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).is_err(), "there is a way back");
    assert!(fs::File::open("/etc/shadow").is_err());
    // Once more is allowed and changes nothing.
    drop_privileges(Some(&user)).expect("to stay nobody");
}

/// As a systemd unit with User= and AmbientCapabilities= starts it.
fn an_ordinary_user_with_ambient_rights() {
    use rustix::thread::{
        CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities, set_keep_capabilities,
        set_thread_res_uid,
    };
    let user = User::named("nobody").expect("the user nobody");
    let rights = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::BPF | CapabilitySet::PERFMON;
    set_keep_capabilities(true).expect("prctl");
    let uid = rustix::process::Uid::from_raw(user.uid());
    set_thread_res_uid(uid, uid, uid).expect("setresuid");
    set_capabilities(None, CapabilitySets { effective: rights, permitted: rights, inheritable: rights })
        .expect("capset");
    for right in rights.iter() {
        configure_capability_in_ambient_set(right, true).expect("an ambient capability");
    }
    let held = Capabilities::held().expect("capget");
    assert_eq!(held.missing(), []);
    assert!(held.has(Capability::NetRaw) && !held.has(Capability::IpcLock));
    assert!(matches!(User::named("root"), Err(PrivilegeError::IsRoot(_))));
    let other = User::named("daemon").expect("the user daemon");
    // Refused before anything but no_new_privs was touched.
    assert!(matches!(drop_privileges(Some(&other)), Err(PrivilegeError::NotRoot { .. })));
    let dropped = drop_privileges(Some(&user)).expect("to give up all");
    assert!(!dropped.still_uid_root);
    nothing_is_held();
    assert!(configure_capability_in_ambient_set(CapabilitySet::NET_RAW, true).is_err(), "there is a way back");
}

fn threads_started_later_have_nothing() {
    drop_privileges(None).expect("to give up all");
    std::thread::spawn(nothing_is_held).join().expect("the thread");
}

fn with_a_second_thread_it_is_refused() {
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let (started, starts) = std::sync::mpsc::channel();
    let second = move || {
        started.send(()).expect("the first thread");
        ends.recv()
    };
    let thread = std::thread::Builder::new().name("second".to_owned()).spawn(second).expect("a thread");
    starts.recv().expect("the second thread");
    let refused = drop_privileges(None).expect_err("two threads run");
    assert!(refused.to_string().contains("second"), "{refused}");
    assert!(Capabilities::held().expect("capget").has(Capability::NetAdmin));
    assert_eq!(threads_with_capabilities().expect("/proc").len(), 2);
    drop(end);
    let _ = thread.join();
    drop_privileges(None).expect("alone again, it works");
    nothing_is_held();
}
