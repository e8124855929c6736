//! The machine code of signing in vector lanes: every instruction whose time or place could depend on a value is counted by the source line it came from, and must be
//! on the list `crypto/signing-machine-code.txt`, which says for each why it depends on nothing secret.
//!
//! Counted are conditional jumps and jumps through registers, operands with an index register and gathers, divisions, and calls of what is not ours. That is no proof: an
//! address that is computed beforehand and kept in one register looks like any other. Those are found where the same source runs in scalar lanes (`memcheck`).

use super::disassembly::{self, Function, Slot, SourceLine};
use crate::{setup, shell};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// What is allowed, and why.
const LIST: &str = "crypto/signing-machine-code.txt";
/// Where signing begins.
const ROOT: &str = "EightLanes<L>::sign_many";
/// Functions of this crate are followed, others are counted as calls.
const OURS: &str = "meshpay_crypto::";
/// What signing must lead through, or its path has not been found.
const MUST_REACH: [&str; 5] = ["sign::sign", "point::encode", "field::invert", "scalar::reduce", "sha512::fill_block"];

/// What an instruction could show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Which way it jumps.
    Branch,
    /// What it reads or writes.
    Index,
    /// How long it takes.
    Division,
    /// Whatever is called.
    Call,
}

impl Kind {
    const ALL: [(Self, &str); 4] =
        [(Self::Branch, "branch"), (Self::Index, "index"), (Self::Division, "division"), (Self::Call, "call")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// Instructions of one kind that came from one line, or calls of one function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    function: String,
    kind: Kind,
    /// Text of the source line; of a call, whom it calls.
    what: String,
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    place: Place,
    count: usize,
}

/// Where instructions of a place are.
type Found = BTreeMap<Place, Vec<(u64, Option<SourceLine>)>>;

/// Reads the program and compares with the list.
///
/// # Errors
/// If there is anything that the list does not have, with where it is.
pub fn check(program: &Path, list_all: bool) -> Result<()> {
    for tool in ["objdump", "addr2line"] {
        setup::require(tool, "binutils", "reading machine code")?;
    }
    eprintln!("== machine code of signing");
    let functions = disassembly::functions(program)?;
    let reached = reach(&functions, &disassembly::slots(program)?)?;
    let found = locate(program, &functions, &reached)?;
    if list_all {
        print!("{}", text_of(&found));
    }
    let list = std::fs::read_to_string(shell::root().join(LIST)).with_context(|| format!("there is no {LIST}"))?;
    let allowed = parse_list(&list)?;
    for stale in stale(&allowed, &found) {
        eprintln!("note: {LIST} allows more than there is: {stale}");
    }
    let new = beyond(&allowed, &found);
    if !new.is_empty() {
        bail!(
            "signing in vector lanes has what {LIST} does not allow; make sure that it depends on nothing secret, and add it with the reason:\n{}",
            text_of(&new)
        );
    }
    let count: usize = found.values().map(Vec::len).sum();
    println!(
        "machine code of signing: {} functions, {count} instructions that could tell, each allowed with a reason",
        reached.functions.len()
    );
    Ok(())
}

/// What signing leads to.
#[derive(Debug, Default)]
struct Reached {
    /// Addresses of our functions.
    functions: BTreeSet<u64>,
    /// Calls of others: address, our function, whom.
    calls: Vec<(u64, u64, String)>,
}

/// Follows calls from [`ROOT`].
fn reach(functions: &BTreeMap<u64, Function>, slots: &BTreeMap<u64, Slot>) -> Result<Reached> {
    let mut reached = Reached::default();
    let root = |function: &Function| function.name.starts_with(OURS) && function.name.ends_with(ROOT);
    let mut open: Vec<u64> = functions.iter().filter(|(_, it)| root(it)).map(|(address, _)| *address).collect();
    ensure!(!open.is_empty(), "the program has no {ROOT}: was it built for x86-64?");
    while let Some(at) = open.pop() {
        if !reached.functions.insert(at) {
            continue;
        }
        let function = &functions[&at];
        let end = function.instructions.last().map_or(at, |(address, _)| *address);
        for (address, text) in &function.instructions {
            let taken = || taken_address(text, slots).filter(|it| is_function(it, functions));
            let Some(target) = target_of(text, slots).or_else(taken) else { continue };
            let name = match &target {
                Slot::Address(target) if (at..=end).contains(target) => continue,
                Slot::Address(target) => functions.get(target).map(|it| it.name.clone()),
                Slot::Symbol(name) => Some(name.clone()),
            };
            match (target, name) {
                (Slot::Address(target), Some(name)) if name.contains(OURS) => open.push(target),
                (_, name) => reached.calls.push((*address, at, name.unwrap_or_else(|| "unknown".to_owned()))),
            }
        }
    }
    for name in MUST_REACH {
        let has = reached.functions.iter().any(|at| functions[at].name.contains(name));
        ensure!(has, "signing does not lead to {name}: inlined or renamed, so the list of what to reach must follow");
    }
    Ok(reached)
}

/// A slot that is read into a register, as before several calls of one function.
fn taken_address(text: &str, slots: &BTreeMap<u64, Slot>) -> Option<Slot> {
    let (instruction, comment) = text.split_once("# ")?;
    let slot = u64::from_str_radix(comment.split_whitespace().next()?, 16).ok()?;
    instruction.starts_with("mov").then(|| slots.get(&slot).cloned()).flatten()
}

fn is_function(slot: &Slot, functions: &BTreeMap<u64, Function>) -> bool {
    match slot {
        Slot::Address(address) => functions.contains_key(address),
        Slot::Symbol(_) => true,
    }
}

/// Where a call, or a jump that may be a call at a function's end, leads. A register as target is a symbol `register`.
fn target_of(text: &str, slots: &BTreeMap<u64, Slot>) -> Option<Slot> {
    let (operation, operand) = text.split_once(' ')?;
    if !(operation.starts_with("call") || operation == "jmp") {
        return None;
    }
    let operand = operand.trim();
    if let Some((_, comment)) = operand.split_once("# ") {
        let slot = u64::from_str_radix(comment.split_whitespace().next()?, 16).ok()?;
        return Some(slots.get(&slot).cloned().unwrap_or_else(|| Slot::Symbol("unknown".to_owned())));
    }
    if operand.starts_with('*') {
        // A jump through a register is a branch of its own kind.
        return operation.starts_with("call").then(|| Slot::Symbol("register".to_owned()));
    }
    u64::from_str_radix(operand.split_whitespace().next()?, 16).ok().map(Slot::Address)
}

/// What an instruction could show, if anything.
fn kind_of(text: &str) -> Option<Kind> {
    let (operation, operands) = text.split_once(' ').unwrap_or((text, ""));
    let operands = operands.split("# ").next().unwrap_or_default();
    if operation == "jmp" {
        return operands.trim().starts_with('*').then_some(Kind::Branch).filter(|_| !operands.contains("(%rip)"));
    }
    if operation.starts_with('j') || operation.starts_with("loop") {
        return Some(Kind::Branch);
    }
    if operation.trim_start_matches('i').starts_with("div") {
        return Some(Kind::Division);
    }
    let has_index = operands.split('(').skip(1).any(|part| {
        let inside = part.split(')').next().unwrap_or_default();
        inside.contains(',')
    });
    // Addresses that are only computed, and padding, read nothing.
    let reads_nothing = operation.starts_with("lea") || text.contains("nop");
    (operation.contains("gather") || operation.contains("scatter") || (has_index && !reads_nothing))
        .then_some(Kind::Index)
}

fn locate(program: &Path, functions: &BTreeMap<u64, Function>, reached: &Reached) -> Result<Found> {
    let mut places: Vec<(u64, u64, Kind)> = Vec::new();
    for at in &reached.functions {
        let kinds =
            functions[at].instructions.iter().filter_map(|(address, text)| Some((*address, *at, kind_of(text)?)));
        places.extend(kinds);
    }
    let addresses: Vec<u64> = places.iter().map(|(address, ..)| *address).collect();
    let lines = disassembly::source_lines(program, &addresses)?;
    let mut found = Found::new();
    for ((address, function, kind), line) in places.into_iter().zip(lines) {
        let what = line.as_ref().map_or("no line", |line| line.text.as_str()).to_owned();
        let place = Place { function: short(&functions[&function].name), kind, what };
        found.entry(place).or_default().push((address, line));
    }
    for (address, function, callee) in &reached.calls {
        let place = Place { function: short(&functions[function].name), kind: Kind::Call, what: short(callee) };
        found.entry(place).or_default().push((*address, None));
    }
    Ok(found)
}

/// A function's name without what every one of them begins and ends with.
fn short(name: &str) -> String {
    name.trim_start_matches(OURS).trim_start_matches("eight_lanes::").trim_end_matches("::with_vectors").to_owned()
}

/// What is found and not allowed; of a place that has more than it may, everything, since nobody knows which is new.
fn beyond(allowed: &[Allowed], found: &Found) -> Found {
    let may = |place: &Place| allowed.iter().filter(|it| it.place == *place).map(|it| it.count).sum::<usize>();
    found.iter().filter(|(place, at)| at.len() > may(place)).map(|(place, at)| (place.clone(), at.clone())).collect()
}

/// What is allowed and not there.
fn stale(allowed: &[Allowed], found: &Found) -> Vec<String> {
    let is_stale = |it: &&Allowed| found.get(&it.place).map_or(0, Vec::len) < it.count;
    let line =
        |it: &Allowed| format!("{} | {} | {} | {}", it.place.function, it.place.kind.name(), it.count, it.place.what);
    allowed.iter().filter(is_stale).map(line).collect()
}

/// As lines of the list, with addresses and source lines below them.
fn text_of(found: &Found) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (place, at) in found {
        let _ = writeln!(text, "{} | {} | {} | {} | REASON", place.function, place.kind.name(), at.len(), place.what);
        for (address, line) in at {
            let line = line.as_ref().map_or_else(String::new, |line| format!(" {}:{}", line.file, line.line));
            let _ = writeln!(text, "    {address:#x}{line}");
        }
    }
    text
}

fn parse_list(text: &str) -> Result<Vec<Allowed>> {
    let entry = |(at, line): (usize, &str)| -> Result<Allowed> {
        // A source line may hold the separator, a reason may not.
        let fields: Vec<&str> = line.splitn(4, " | ").collect();
        let (what, reason) = fields.get(3).and_then(|rest| rest.rsplit_once(" | ")).unwrap_or_default();
        let kind = fields.get(1).and_then(|name| Kind::ALL.iter().find(|(_, known)| known == name));
        let count = fields.get(2).and_then(|count| count.parse().ok());
        match (kind, count, reason.trim()) {
            (Some((kind, _)), Some(count), reason) if !reason.is_empty() && reason != "REASON" => Ok(Allowed {
                place: Place { function: fields[0].to_owned(), kind: *kind, what: what.to_owned() },
                count,
            }),
            _ => bail!("{LIST}, line {}: must be `function | kind | count | source line | reason`", at + 1),
        }
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_tell_is_told_apart() {
        let kinds = [
            ("jne    3dc10 <x+0x20>", Some(Kind::Branch)),
            ("jmp    *%rax", Some(Kind::Branch)),
            ("jmp    3dc10 <x+0x20>", None),
            ("jmp    *0x10(%rip)        # 3000 <x>", None),
            ("mov    (%rax,%rcx,8),%rdx", Some(Kind::Index)),
            ("mov    0x40(,%rcx,8),%rdx", Some(Kind::Index)),
            ("mov    0x40(%rax),%rdx", None),
            ("lea    (%rax,%rcx,8),%rdx", None),
            ("nopw   0x0(%rax,%rax,1)", None),
            ("cs nopw 0x0(%rax,%rax,1)", None),
            ("vpgatherqq (%rax,%zmm1,8),%zmm0{%k1}", Some(Kind::Index)),
            ("idiv   %rcx", Some(Kind::Division)),
            ("vpermi2q 0x80(%rdi),%zmm2,%zmm1", None),
            ("ret", None),
        ];
        for (text, kind) in kinds {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }

    #[test]
    fn calls_are_followed_through_slots() {
        let slots = BTreeMap::from([(0x3000, Slot::Address(0x2000)), (0x3008, Slot::Symbol("memcpy".to_owned()))]);
        let target = |text: &str| target_of(text, &slots);
        assert_eq!(target("call   *0x10(%rip)        # 3000 <x>"), Some(Slot::Address(0x2000)));
        assert_eq!(target("call   *0x10(%rip)        # 3008 <x>"), Some(Slot::Symbol("memcpy".to_owned())));
        assert_eq!(target("call   2000 <y>"), Some(Slot::Address(0x2000)));
        assert_eq!(target("call   *%rax"), Some(Slot::Symbol("register".to_owned())));
        assert_eq!((target("jmp    *%rax"), target("mov    %rax,%rbx")), (None, None));
        assert_eq!(taken_address("mov    0x10(%rip),%r12        # 3000 <x>", &slots), Some(Slot::Address(0x2000)));
        assert_eq!(taken_address("lea    0x10(%rip),%r12        # 3000 <x>", &slots), None);
    }

    fn place(what: &str) -> Place {
        Place { function: "sign::sign".to_owned(), kind: Kind::Branch, what: what.to_owned() }
    }

    #[test]
    fn a_new_branch_is_beyond_the_list() {
        let allowed = parse_list("# a comment\nsign::sign | branch | 1 | for a in b | the number is public\n").unwrap();
        assert_eq!(allowed, [Allowed { place: place("for a in b"), count: 1 }]);
        let one = Found::from([(place("for a in b"), vec![(1, None)])]);
        assert!(beyond(&allowed, &one).is_empty() && stale(&allowed, &one).is_empty());
        let two = Found::from([(place("for a in b"), vec![(1, None), (2, None)])]);
        assert_eq!(beyond(&allowed, &two).len(), 1);
        let another = Found::from([(place("if secret {"), vec![(1, None)])]);
        assert_eq!((beyond(&allowed, &another).len(), stale(&allowed, &another).len()), (1, 1));
    }

    #[test]
    fn a_line_without_reason_is_refused() {
        for line in ["sign::sign | branch | 1 | for a in b", "f | branch | 1 | a | REASON", "f | jump | 1 | a | why"] {
            assert!(parse_list(line).is_err(), "{line}");
        }
        let with_separator = parse_list("f | branch | 2 | a | b | why").unwrap();
        assert_eq!(with_separator[0].place.what, "a | b");
    }

    #[test]
    fn the_list_is_well_formed() {
        let list = std::fs::read_to_string(shell::root().join(LIST)).unwrap();
        assert!(!parse_list(&list).unwrap().is_empty());
    }
}
