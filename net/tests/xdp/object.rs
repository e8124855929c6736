//! An object file: the committed one loads, attaches and runs; what is none is refused. What the program decides is not asked here.

use std::path::{Path, PathBuf};

use meshpay_net::xdp::{AttachMode, LoadRequest, Program, TestRun, XdpError};

use crate::support::{attached, frame, index, is_root, with_veth};

/// The only program of the object.
const PROGRAM: &str = "meshpay_filter";

/// The committed object, or the one that was built anew for this run. Says 'skipped' if it is not there, and fails there in CI.
fn object() -> Option<Vec<u8>> {
    let committed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../xdp-ebpf/object");
    let directory = std::env::var_os("MESHPAY_FILTER_OBJECT_DIR").map_or_else(committed, PathBuf::from);
    let path = directory.join("meshpay-filter.o");
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!ci, "in CI no test may be skipped, but {} is missing", path.display());
        eprintln!("skipped: needs {} (`cargo xtask build-ebpf`)", path.display());
    }
    bytes
}

#[test]
fn the_object_loads_from_any_address_and_runs() {
    let Some(bytes) = object() else { return };
    with_veth(|| {
        // One byte in front, so that the object lies at an odd address.
        let shifted: Vec<u8> = std::iter::once(0).chain(bytes).collect();
        let request = LoadRequest { program: PROGRAM, map_entries: &[] };
        let program = Program::load(&shifted[1..], &request).expect("the object");
        assert!(program.has_types().expect("what the kernel holds"), "the kernel refused the object's BTF");
        let maps: Vec<&str> = program.descriptors().map(|(name, _)| name).collect();
        assert!(!maps.is_empty());
        let packet = frame(64);
        program.test_run(&TestRun { packet: &packet, ..TestRun::default() }).expect("a run");
        let attachment = program.attach(index("left"), AttachMode::Native).expect("attached");
        assert_eq!(attached("left"), [program.id().expect("a number")]);
        // Its descriptors are all that a next process needs.
        let copies: Vec<_> = program
            .descriptors()
            .map(|(name, descriptor)| (name.to_owned(), descriptor.try_clone_to_owned().expect("a copy")))
            .collect();
        let own = std::os::fd::AsFd::as_fd(&program).try_clone_to_owned().expect("a copy");
        let id = program.id().expect("a number");
        drop(program);
        let adopted = Program::from_descriptors(own, copies);
        assert_eq!(adopted.id().expect("a number"), id);
        attachment.replace(&adopted).expect("replaced by itself");
    });
}

#[test]
fn what_the_object_lacks_is_named() {
    let Some(bytes) = object() else { return };
    if !is_root() {
        return;
    }
    let refused = Program::load(&bytes, &LoadRequest { program: "no_such", map_entries: &[] }).expect_err("no program");
    assert!(matches!(refused, XdpError::NoProgram { .. }), "{refused}");
    assert!(refused.to_string().contains("no_such") && refused.to_string().contains(PROGRAM), "{refused}");
    let request = LoadRequest { program: PROGRAM, map_entries: &[("NO_SUCH", 1)] };
    let refused = Program::load(&bytes, &request).expect_err("no map");
    assert!(matches!(&refused, XdpError::NoMap(name) if name == "NO_SUCH"), "{refused}");
    let program = Program::load(&bytes, &LoadRequest { program: PROGRAM, map_entries: &[] }).expect("the object");
    assert!(matches!(program.mapped("NO_SUCH"), Err(XdpError::NoMap(_))));
    assert!(matches!(program.set::<4>("NO_SUCH"), Err(XdpError::NoMap(_))));
}

#[test]
fn of_a_refused_program_the_verifiers_last_words_are_shown() {
    let Some(mut bytes) = object() else { return };
    if !is_root() {
        return;
    }
    // Its first instruction becomes an exit, and what follows is never reached.
    let start = section(&bytes, "xdp").expect("a section of XDP programs");
    bytes[start..start + 8].copy_from_slice(&[0x95, 0, 0, 0, 0, 0, 0, 0]);
    let refused = Program::load(&bytes, &LoadRequest { program: PROGRAM, map_entries: &[] }).expect_err("unreachable");
    assert!(matches!(refused, XdpError::Rejected { .. }), "{refused}");
    let message = refused.to_string();
    assert!(message.contains(PROGRAM) && message.contains("insn"), "{message}");
    assert!(message.lines().count() <= 25, "{message}");
}

#[test]
fn maps_have_the_size_that_was_asked_for() {
    let Some(bytes) = object() else { return };
    if !is_root() {
        return;
    }
    let program = Program::load(&bytes, &LoadRequest { program: PROGRAM, map_entries: &[] }).expect("the object");
    let arrays: Vec<(String, u32)> = program
        .descriptors()
        .filter_map(|(name, _)| Some((name.to_owned(), u32::try_from(program.mapped(name).ok()?.entries()).ok()?)))
        .collect();
    let (name, entries) = arrays.iter().max_by_key(|(_, entries)| entries).expect("an array in shared memory");
    let request = LoadRequest { program: PROGRAM, map_entries: &[(name, entries + 1)] };
    let larger = Program::load(&bytes, &request).expect("the object");
    assert_eq!(larger.mapped(name).expect("mapped").entries(), *entries as usize + 1);
}

/// Where a section's contents begin. Layout: `Elf64_Ehdr` and `Elf64_Shdr` of elf.h.
fn section(elf: &[u8], name: &str) -> Option<usize> {
    let number = |at: usize, bytes: usize| {
        elf.get(at..at + bytes)?.iter().rev().try_fold(0, |sum, byte| Some(sum << 8 | usize::from(*byte)))
    };
    let header = |index: usize| Some(number(0x28, 8)? + index * number(0x3a, 2)?);
    let names = number(header(number(0x3e, 2)?)? + 0x18, 8)?;
    (0..number(0x3c, 2)?).find_map(|index| {
        let start = header(index)?;
        let found = &elf[names + number(start, 4)?..];
        (found.starts_with(name.as_bytes()) && found[name.len()] == 0).then(|| number(start + 0x18, 8))?
    })
}

#[test]
fn what_is_no_object_is_refused_and_says_what_to_do() {
    for bytes in [&b""[..], b"\x7fELF", &[0xff; 4096]] {
        let refused = Program::load(bytes, &LoadRequest { program: PROGRAM, map_entries: &[] }).expect_err("damaged");
        assert!(matches!(refused, XdpError::Object(_)), "{refused}");
        assert!(refused.to_string().contains("build-ebpf"), "{refused}");
    }
}

#[test]
fn a_damaged_object_never_brings_us_down() {
    let Some(bytes) = object() else { return };
    if !is_root() {
        return;
    }
    let request = LoadRequest { program: PROGRAM, map_entries: &[] };
    for length in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
        assert!(Program::load(&bytes[..length], &request).is_err(), "cut at {length}");
    }
}
