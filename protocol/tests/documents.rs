//! `docs/fault-model.md` names tests; each of them must exist, or its promise is shown by nothing.

use std::path::PathBuf;

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// In the last column of a table stand paths of Rust files, each followed by names of tests in it, all in backticks.
#[test]
fn the_fault_model_names_tests_that_exist() {
    let document = read("docs/fault-model.md");
    let mut missing = Vec::new();
    let mut named = 0;
    for (number, line) in document.lines().enumerate().filter(|(_, line)| line.starts_with("| ")) {
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
                missing.push(format!("docs/fault-model.md:{}: {quoted}", number + 1));
            }
        }
    }
    assert!(missing.is_empty(), "these tests do not exist in the file named before them:\n{}", missing.join("\n"));
    assert!(named > 60, "{named} tests are named");
}
