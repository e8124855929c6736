//! The golden vectors: all messages among them are well formed, and `docs/wire.md` quotes them without a slip.
//!
//! They are made, and compared with what the code makes today, by `protocol/tests/golden.rs`, since that takes keys and a genesis.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use meshpay_wire::*;

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn vectors() -> BTreeMap<String, String> {
    read("tests/golden/vectors.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" = ").expect("name = value"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn every_kind_is_among_the_vectors_and_well_formed() {
    let mut kinds = BTreeSet::new();
    for (name, value) in vectors() {
        // Files begin with the same letters, but not with a version of the wire.
        if !value.starts_with("4d50415901") {
            continue;
        }
        let bytes = hex::decode(&value).expect("hex");
        let (message, rest) = Message::decode(&bytes).unwrap_or_else(|malformed| panic!("{name}: {malformed:?}"));
        assert!(rest.is_empty(), "{name}");
        kinds.insert(message.header().kind().expect("a kind"));
    }
    let unreserved: BTreeSet<_> = (0..16).filter_map(Kind::from_byte).collect();
    assert_eq!(kinds, unreserved);
}

/// A block that begins with `golden NAME` holds that vector: hex, broken into lines anywhere, each with a comment after `#` at will.
/// A line `...` stands for bytes that are left out.
#[test]
fn the_document_quotes_the_vectors() {
    let (vectors, document) = (vectors(), read("../docs/wire.md"));
    let mut quoted = 0;
    let mut lines = document.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(name) = line.strip_prefix("```golden ") else { continue };
        let expected = vectors.get(name).unwrap_or_else(|| panic!("docs/wire.md:{}: no vector {name}", number + 1));
        let mut rest = expected.as_str();
        let mut skipping = false;
        for (number, line) in lines.by_ref().take_while(|(_, line)| !line.starts_with("```")) {
            let hex: String = line.split('#').next().unwrap_or("").split_whitespace().collect();
            if hex == "..." {
                skipping = true;
                continue;
            }
            if skipping {
                let at = rest.find(&hex).unwrap_or_else(|| panic!("docs/wire.md:{}: not in {name}", number + 1));
                rest = &rest[at..];
                skipping = false;
            }
            rest = rest
                .strip_prefix(hex.as_str())
                .unwrap_or_else(|| panic!("docs/wire.md:{}: {name} goes on with {rest}", number + 1));
        }
        assert!(rest.is_empty() || skipping, "docs/wire.md: {name} does not end with {rest}");
        quoted += 1;
    }
    assert!(quoted >= 20, "{quoted} vectors are quoted");
}

/// Numbers that the document's tables state are those of the code.
#[test]
fn the_document_states_the_codes_numbers() {
    let document = read("../docs/wire.md");
    for code in RefusalCode::ALL {
        let row = format!("| {} | `{}` |", *code as u16, code.name());
        assert!(document.contains(&row), "docs/wire.md has no row {row}");
    }
    for kind in (0..=255).filter_map(Kind::from_byte) {
        let row = format!("| {} | {} |", kind as u8, kind.class() as u8);
        assert!(document.contains(&row), "docs/wire.md has no row {row} for {kind:?}");
    }
    for number in [
        format!("{DATAGRAM_MAX} bytes"),
        format!("{ECHO_WINDOW_MS} ms"),
        format!("{FIRST_RETRY_MS} ms"),
        format!("port {DEFAULT_PORT}"),
        format!("at most {SIGNERS_MAX} signatures"),
        format!("at most {BUNDLE_MAX} messages"),
        format!("{COMMITTEE_MAX} authorities"),
    ] {
        assert!(document.contains(&number), "docs/wire.md does not say '{number}'");
    }
}
