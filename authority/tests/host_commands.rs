//! `doctor` and `dump` as an operator types them, in a network namespace with a veth pair.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PORT: u16 = 7450;
/// nobody, on every Linux.
const NOBODY: u32 = 65_534;

/// Runs `scene` in a thread that is alone in a new network namespace, which goes with the thread.
fn in_namespace(scene: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!ci, "in CI no test may be skipped, but this one needs CAP_SYS_ADMIN");
        eprintln!("skipped: needs CAP_SYS_ADMIN (run as root)");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: a network namespace is a thread's own; no memory or descriptor is affected.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
                .expect("a network namespace");
            for words in [
                "link set lo up",
                "link add mesh0 type veth peer name far0 mtu 9000",
                "link set mesh0 up",
                "link set far0 up",
                "address add 192.0.2.1/24 dev mesh0",
                "neighbor add 192.0.2.2 lladdr 02:00:00:00:00:02 dev mesh0",
            ] {
                let done =
                    Command::new("ip").args(words.split(' ')).output().expect("the command ip (package iproute2)");
                assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
            }
            scene();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn authority(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpay-authority"));
    command.args(words.split_whitespace());
    command
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn json(words: &str) -> Value {
    let done = authority(words).output().expect("the daemon's program");
    assert!(done.status.success(), "{:?}", said(&done));
    serde_json::from_slice(&done.stdout).expect("JSON")
}

#[test]
fn doctor_says_what_stands_in_the_way() {
    in_namespace(|| {
        let all = json("doctor --json");
        assert_eq!(all["interfaces"].as_array().unwrap().len(), 3);
        assert!(all["host"]["af_xdp"].is_boolean() && all["host"]["capabilities"]["CAP_BPF"] == true);

        let mesh = &json("doctor mesh0 --json")["interfaces"][0];
        assert_eq!(
            (&mesh["driver"]["name"], &mesh["peer"]["mtu"], &mesh["up"]),
            (&"veth".into(), &9000.into(), &true.into())
        );
        assert_eq!(mesh["best"], "xsk-copy");
        let copy = &mesh["rungs"][1];
        assert_eq!((&copy["rung"], &copy["reached"]), (&"xsk-copy".into(), &true.into()));
        assert!(
            copy["cautions"].to_string().contains("far0"),
            "the peer's MTU keeps the filter from running natively: {copy}"
        );

        let (text, _) = said(&authority("doctor mesh0").output().unwrap());
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in
            ["xsk-zero-copy no the driver veth has no zero-copy", "ip link set far0 mtu", "mesh0 can reach xsk-copy"]
        {
            assert!(words.contains(part), "{part}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let (short, _) = said(&authority("doctor").output().unwrap());
        assert!(short.lines().any(|line| line.starts_with("mesh0") && line.contains("xsk-copy")), "{short}");
    });
}

#[test]
fn doctor_refuses_what_is_not_reached_and_names_what_there_is() {
    in_namespace(|| {
        let refused = authority("doctor mesh0 --require xsk-zero-copy").output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).1.contains("mesh0 reaches xsk-copy, not xsk-zero-copy"), "{:?}", said(&refused));
        assert!(authority("doctor mesh0 --require xsk-copy").output().unwrap().status.success());
        let absent = authority("doctor mesh1").output().unwrap();
        assert_eq!(absent.status.code(), Some(1));
        let message = said(&absent).1;
        assert!(message.contains("\"mesh1\"") && message.contains("far0") && message.contains("mesh0"), "{message}");
        for wrong in ["doctor mesh0 --require best", "doctor --require udp", "doctor --workers 0"] {
            assert_eq!(authority(wrong).output().unwrap().status.code(), Some(2), "{wrong}");
        }
    });
}

#[test]
fn without_rights_both_say_what_they_miss() {
    in_namespace(|| {
        // The program may lie where that user cannot go; then it is a copy that runs.
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("meshpay-authority");
        std::fs::copy(env!("CARGO_BIN_EXE_meshpay-authority"), &program).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let as_nobody = |words: &str| {
            Command::new(&program).args(words.split_whitespace()).uid(NOBODY).gid(NOBODY).output().expect("the copy")
        };
        let doctor = as_nobody("doctor mesh0");
        let (text, errors) = said(&doctor);
        assert!(doctor.status.success(), "{errors}");
        assert!(text.contains("mesh0 can reach udp") && text.contains("CAP_BPF"), "{text}");
        let dump = as_nobody("dump mesh0 --seconds 1");
        assert_eq!(dump.status.code(), Some(1));
        assert!(said(&dump).1.contains("CAP_NET_RAW"), "{:?}", said(&dump));
    });
}

/// Starts `dump`, and sends `payload` until it has ended.
fn dump(words: &str, payload: &[u8]) -> Output {
    let mut child =
        authority(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the daemon's program");
    let socket = UdpSocket::bind("192.0.2.1:0").expect("a socket");
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().expect("its state").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("dump did not end: {:?}", child.wait_with_output());
        }
        socket.send_to(payload, ("192.0.2.2", PORT)).expect("to send");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("its output")
}

fn golden(name: &str) -> Vec<u8> {
    let vectors = include_str!("../../wire/tests/golden/vectors.txt");
    let line = vectors.lines().find_map(|line| line.strip_prefix(&format!("{name} = "))).expect(name);
    hex::decode(line).expect("hex")
}

#[test]
fn dump_tells_messages_in_words() {
    in_namespace(|| {
        let done = dump("dump mesh0 --count 3", &golden("transfer_request"));
        let (text, errors) = said(&done);
        assert!(done.status.success(), "{errors}");
        assert_eq!(text.lines().count(), 3, "{text}");
        for line in text.lines() {
            assert!(line.contains(" out 192.0.2.1:") && line.contains("TRANSFER_REQUEST account=bc7cbcb5"), "{line}");
        }
        assert!(errors.contains("3 packets shown, 0 lost"), "{errors}");
        let garbage = said(&dump("dump --count 1", &[0xff; 77])).0;
        assert!(garbage.contains("malformed (truncated), datagram of 77 bytes"), "{garbage}");
    });
}

#[test]
fn dump_writes_a_file_that_only_its_owner_reads() {
    in_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packets.pcapng");
        let done = dump(&format!("dump mesh0 --count 2 --pcapng {}", path.display()), &golden("confirmation_request"));
        assert!(done.status.success() && done.stdout.is_empty(), "{:?}", said(&done));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[..4], b"\x0a\x0d\x0d\x0a");
        let count = |words: &[u8]| bytes.windows(words.len()).filter(|window| *window == words).count();
        assert_eq!((count(b"CONFIRMATION_REQUEST account=bc7cbcb5"), count(b"mesh0"), count(b"MPAY")), (2, 1, 2));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let piped = dump("dump mesh0 --seconds 1 --pcapng -", &golden("account_query"));
        assert!(piped.status.success() && piped.stdout.starts_with(b"\x0a\x0d\x0d\x0a"), "{:?}", said(&piped).1);
    });
}

#[test]
fn dump_shows_what_the_daemon_streams() {
    use meshpay_authority::control::ControlSocket;
    use meshpay_authority::dump::{self, DumpRing};
    use std::sync::Arc;

    let folder = tempfile::tempdir().unwrap();
    let words = format!("dump --daemon --directory {} --count 2", folder.path().display());
    let nobody = authority(&words).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(said(&nobody).1.contains("no daemon answers"), "{:?}", said(&nobody));

    let ring = Arc::new(DumpRing::default());
    let socket = ControlSocket::bind(folder.path()).unwrap();
    let router = dump::router(Arc::clone(&ring));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                served = socket.serve(router) => served.unwrap(),
                _ = ended => {}
            }
        });
    });
    let mut child = authority(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ends = ("192.0.2.7:4321".parse().unwrap(), "[2001:db8::1]:7450".parse().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("dump did not end: {:?}", child.wait_with_output());
        }
        ring.offer(false, ends.0, ends.1, &[&golden("account_query")]);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(end);
    server.join().unwrap();
    let (text, errors) = said(&child.wait_with_output().unwrap());
    assert_eq!(text.lines().count(), 2, "{text}{errors}");
    assert!(text.lines().all(|line| line.contains(" in 192.0.2.7:4321 > [2001:db8::1]:7450 ACCOUNT_QUERY")), "{text}");
}
