//! Modes, rights, and an interface that goes down, away, and comes back.

use crate::program::Redirect;
use crate::scene::{PATIENCE, PORT, Scene, create_pair, echo, look_up, receive_all, server_address};
use meshpay_net::xsk::{BusyPoll, LinkState};
use meshpay_net::{PacketPort, Waitable, XskConfig, XskMode, XskPort, XskSpare};
use std::time::{Duration, Instant};

fn wait_for(port: &mut XskPort, state: LinkState) {
    let deadline = Instant::now() + PATIENCE;
    while port.gauge().state() != state {
        assert!(Instant::now() < deadline, "the state stays {:?}", port.gauge().state());
        port.wait(Duration::from_millis(20), &[]).expect("an interface's state is no error");
        assert_eq!(port.receive().expect("nor here"), 0);
    }
}

fn echo_once(scene: &Scene, server: &mut XskPort) {
    let socket = scene.client_socket("198.18.0.2:0");
    socket.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    echo(server, 1);
    assert_eq!(socket.recv(&mut [0; 16]).expect("an answer"), 5);
}

#[test]
fn zero_copy_is_refused_by_name_and_the_same_sockets_then_bind_in_copy_mode() {
    let Some(scene) = Scene::build(1, 2) else { return };
    let spare = scene.server.inside(|| XskSpare::new(&XskConfig::new(PORT), 1, 2)).expect("sockets");
    let group = match spare.bind(&scene.interface, XskMode::ZeroCopy) {
        Ok(group) => {
            println!("this kernel's veth has zero-copy");
            assert!(group.ports[0].is_zero_copy());
            group
        }
        Err(failed) => {
            assert_eq!(failed.error.raw_os_error(), Some(libc::EOPNOTSUPP), "{failed}");
            assert!(failed.to_string().contains("copy mode"), "{failed}");
            let spare = failed.spare.expect("nothing was bound yet");
            spare.bind(&scene.interface, XskMode::Copy).expect("the same sockets")
        }
    };
    let mut ports = scene.install(group);
    let socket = scene.client_socket("198.18.0.2:0");
    let worker = usize::from(socket.local_addr().expect("its address").port()) % 2;
    socket.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    echo(&mut ports[worker], 1);
    assert_eq!(socket.recv(&mut [0; 16]).expect("an answer"), 5);
}

#[test]
fn with_generic_xdp_it_works_too() {
    let Some(mut scene) = Scene::build(1, 1) else { return };
    let index = scene.interface.index;
    // An interface has one program at a time; with the link's descriptor the first one goes.
    scene.program.detach();
    scene.program = scene.server.inside(|| Redirect::attach_generic(index, 1, 1)).expect("generic XDP");
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    echo_once(&scene, &mut server);
}

#[test]
fn busy_polling_is_used_only_where_there_is_a_napi() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let busy_poll = Some(BusyPoll { time_us: 20, budget_packets: 64 });
    let mut server = scene.open(&XskConfig { busy_poll, ..XskConfig::new(PORT) }, 1).remove(0);
    for _ in 0..20 {
        echo_once(&scene, &mut server);
        assert_eq!(server.receive().expect("receiving"), 0);
    }
    println!("the socket's NAPI is known: {}", server.has_napi());
}

#[test]
fn an_interface_that_goes_down_and_up_again_is_served_by_the_same_sockets() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    socket.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    let (_, peer) = receive_all(&mut server, 1).remove(0);

    scene.server.ip("link set xs0 down");
    assert!(server.queue(&peer, &[b"lost or late"]));
    let _ = server.flush().expect("an interface's state is no error");
    wait_for(&mut server, LinkState::Down);
    assert!(server.queue(&peer, &[b"lost"]));
    assert_eq!(server.flush().expect("flushing").refused, 1);
    assert!(server.counters().refused.unreachable >= 1);

    scene.server.ip("link set xs0 up");
    wait_for(&mut server, LinkState::Up);
    echo_once(&scene, &mut server);
}

#[test]
fn an_interface_that_went_away_is_served_again_by_spare_sockets_without_any_right() {
    let Some(mut scene) = Scene::build(1, 1) else { return };
    let config = XskConfig::new(PORT);
    let mut server = scene.open(&config, 1).remove(0);
    let spare = scene.server.inside(|| XskSpare::new(&config, 1, 1)).expect("spare sockets");
    echo_once(&scene, &mut server);

    scene.server.ip("link delete xs0");
    wait_for(&mut server, LinkState::Away);
    // It is not there: the spare comes back unused.
    let failed = spare.bind(&scene.interface, XskMode::Copy).err().expect("there is no interface");
    assert!(matches!(failed.error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)), "{failed}");
    let spare = failed.spare.expect("nothing was bound");

    create_pair(&scene.server, &scene.client, 1);
    scene.interface = look_up(&scene.server, 1);
    scene.program = scene.server.inside(|| Redirect::attach(scene.interface.index, 1, 1)).expect("native XDP on veth");
    let interface = scene.interface;
    let group = std::thread::spawn(move || {
        // Capabilities are a thread's own.
        drop_all_capabilities();
        assert!(XskSpare::new(&config, 1, 1).is_err(), "new sockets need a right");
        spare.bind(&interface, XskMode::Copy)
    });
    let group = group.join().expect("no panic").expect("binding needs no right");
    let mut again = scene.install(group).remove(0);
    echo_once(&scene, &mut again);
    assert_eq!(server.gauge().state(), LinkState::Away);
    drop(server);
    echo_once(&scene, &mut again);
}

fn drop_all_capabilities() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    // _LINUX_CAPABILITY_VERSION_3 of linux/capability.h, this thread, and two times three words of nothing.
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [0u32; 6];
    // SAFETY: both structures live through the call, which only reads them.
    let outcome = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    assert_eq!(outcome, 0, "capset: {}", std::io::Error::last_os_error());
}

#[test]
fn sockets_can_be_closed_and_opened_while_packets_fly() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let config = XskConfig { ring_entries: 256, ..XskConfig::new(PORT) };
    let socket = scene.client_socket("198.18.0.2:0");
    for _ in 0..10 {
        let mut server = scene.open(&config, 1).remove(0);
        for _ in 0..200 {
            socket.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
        }
        for (payload, peer) in receive_all(&mut server, 50) {
            assert!(server.queue(&peer, &[&payload]));
        }
        // Without a flush: some are in the ring, some on their way, some received.
        drop(server);
    }
    let mut server = scene.open(&config, 1).remove(0);
    socket.send_to(b"last", server_address("198.18.0.2")).expect("sending");
    assert_eq!(receive_all(&mut server, 1)[0].0, b"last");
}
