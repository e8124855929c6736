//! `docs/fault-model.md` and the safety argument in the crate's docs name tests; each of them must exist, or what they promise is shown by nothing.

use std::path::PathBuf;

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// In the last column of a table stand paths of Rust files, each followed by names of tests in it, all in backticks. Returns how many are
/// named; `prefix` is what the table's lines begin with.
fn named_tests_exist(path: &str, prefix: &str) -> usize {
    let document = read(path);
    let mut missing = Vec::new();
    let mut named = 0;
    for (number, line) in document.lines().enumerate().filter(|(_, line)| line.starts_with(prefix)) {
        let shown_by = line.trim_end_matches('|').rsplit('|').next().expect("a last column");
        let mut source = None;
        for quoted in shown_by.split('`').skip(1).step_by(2) {
            if quoted.ends_with(".rs") {
                source = Some(read(quoted));
                continue;
            }
            named += 1;
            let test = format!("fn {quoted}(");
            if !source.as_ref().is_some_and(|source| source.contains(&test)) {
                missing.push(format!("{path}:{}: {quoted}", number + 1));
            }
        }
    }
    assert!(missing.is_empty(), "these tests do not exist in the file named before them:\n{}", missing.join("\n"));
    named
}

#[test]
fn the_fault_model_names_tests_that_exist() {
    let named = named_tests_exist("docs/fault-model.md", "| ");
    assert!(named > 60, "{named} tests are named");
}

#[test]
fn every_lemma_of_the_safety_argument_names_tests_that_exist() {
    // The table of the steps of a payment has links in its last column, no tests.
    let lemmas = (1..=7).map(|lemma| named_tests_exist("protocol/src/lib.rs", &format!("//! | {lemma} |")));
    assert!({ lemmas }.all(|named| named >= 2), "a lemma names no test");
}
