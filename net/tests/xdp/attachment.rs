//! A program comes onto an interface and goes off it again, whatever happens to the interface meanwhile; what is in the way is named.

use std::os::fd::AsFd;

use meshpay_net::host::VETH_PEER_MTU_MAX;
use meshpay_net::xdp::{AttachMode, Attachment, XdpError};

use crate::support::{XDP_DROP, XDP_PASS, attached, comes_off, index, ip, verdict, with_veth};

#[test]
fn it_is_attached_replaced_and_taken_off() {
    with_veth(|| {
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let (pass, drops) = (verdict(XDP_PASS), verdict(XDP_DROP));
            let attachment = pass.attach(index("left"), mode).expect("attached");
            assert_eq!(attached("left"), [pass.id().expect("a number")]);
            attachment.replace(&drops).expect("replaced");
            assert_eq!(attached("left"), [drops.id().expect("a number")]);
            let state = attachment.state().expect("a state");
            assert_eq!((state.program_id, state.interface), (drops.id().expect("a number"), Some(index("left"))));
            drop(attachment);
            comes_off("left");
        }
    });
}

#[test]
fn it_outlives_its_program_and_may_be_handed_on() {
    with_veth(|| {
        let program = verdict(XDP_PASS);
        let attachment = program.attach(index("left"), AttachMode::Native).expect("attached");
        drop(program);
        let handed_on = attachment.as_fd().try_clone_to_owned().expect("a copy");
        drop(attachment);
        assert_eq!(attached("left").len(), 1, "the copy keeps it");
        let adopted = Attachment::from_fd(handed_on).expect("a link of XDP");
        let kept = adopted.as_fd().try_clone_to_owned().expect("a copy");
        adopted.detach().expect("taken off");
        assert!(attached("left").is_empty(), "taken off although a copy is open");
        let state = Attachment::from_fd(kept).expect("still a link").state().expect("a state");
        assert_eq!(state.interface, None);
    });
}

#[test]
fn what_is_no_link_is_not_adopted() {
    with_veth(|| {
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert!(Attachment::from_fd(file.into()).is_err());
    });
}

#[test]
fn an_interface_that_goes_takes_the_program_with_it() {
    with_veth(|| {
        let program = verdict(XDP_PASS);
        let left = index("left");
        let attachment = program.attach(left, AttachMode::Native).expect("attached");
        ip("link set left down");
        ip("link set left up");
        assert_eq!(attached("left").len(), 1, "down and up changes nothing");
        ip("link delete left");
        assert_eq!(attachment.state().expect("a state").interface, None);
        let refused = attachment.replace(&verdict(XDP_DROP)).expect_err("there is nothing to run on");
        assert!(refused.to_string().contains("replace"), "{refused}");
        let refused = program.attach(left, AttachMode::Native).expect_err("no such interface");
        assert!(matches!(refused, XdpError::NoInterface { index } if index == left), "{refused}");
        attachment.detach().expect("nothing left to do");
    });
}

#[test]
fn another_program_is_left_alone_and_named() {
    with_veth(|| {
        let (first, second) = (verdict(XDP_PASS), verdict(XDP_DROP));
        let number = first.id().expect("a number");
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let _attachment = first.attach(index("left"), mode).expect("attached");
            for second_mode in [AttachMode::Native, AttachMode::Generic] {
                let refused = second.attach(index("left"), second_mode).expect_err("occupied");
                assert!(matches!(refused, XdpError::Occupied { .. }), "{refused}");
                let message = refused.to_string();
                let named = message.contains("ip link show left") && message.contains(&number.to_string());
                assert!(named, "{message}");
            }
            assert_eq!(attached("left"), [number]);
        }
    });
}

#[test]
fn too_long_packets_of_the_peer_are_refused() {
    with_veth(|| {
        ip("link set right mtu 9000");
        let refused = verdict(XDP_PASS).attach(index("left"), AttachMode::Native).expect_err("too long");
        assert!(matches!(refused, XdpError::MtuTooLarge { .. }), "{refused}");
        assert!(refused.to_string().contains("left") && refused.to_string().contains("peer"), "{refused}");
        verdict(XDP_PASS).attach(index("left"), AttachMode::Generic).expect("generic mode takes any length");
        ip(&format!("link set right mtu {VETH_PEER_MTU_MAX}"));
        verdict(XDP_PASS).attach(index("left"), AttachMode::Native).expect("what fits is taken");
    });
}

#[test]
fn a_driver_without_native_mode_is_named() {
    with_veth(|| {
        let refused = verdict(XDP_PASS).attach(index("lo"), AttachMode::Native).expect_err("no native mode");
        assert!(matches!(refused, XdpError::NoNativeMode { .. }), "{refused}");
        assert!(refused.to_string().contains("lo "), "{refused}");
        verdict(XDP_PASS).attach(index("lo"), AttachMode::Generic).expect("generic mode works anywhere");
    });
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    with_veth(|| {
        let refused = verdict(XDP_PASS).attach(0x7fff_0000, AttachMode::Native).expect_err("no such interface");
        assert!(matches!(refused, XdpError::NoInterface { index: 0x7fff_0000 }), "{refused}");
    });
}
