//! A program's machine code as data, by way of binutils: functions with their instructions (objdump), the targets of calls through the global offset table
//! (relocations), and the source line of an address (addr2line).

use crate::shell;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A function of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Demangled.
    pub name: String,
    /// Address and text of each instruction, in AT&T's notation.
    pub instructions: Vec<(u64, String)>,
}

/// What a slot of the global offset table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// An address in the program.
    Address(u64),
    /// A symbol of a shared library, such as `memcpy`.
    Symbol(String),
}

/// A line of our sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLine {
    /// Path below the root.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// Its text, trimmed.
    pub text: String,
}

/// All functions, by their address.
///
/// # Errors
/// If objdump fails.
pub fn functions(program: &Path) -> Result<BTreeMap<u64, Function>> {
    let mut objdump = Command::new("objdump");
    objdump.args(["--disassemble", "--demangle", "--no-show-raw-insn", "--wide"]).arg(program);
    Ok(parse_functions(&shell::output(&mut objdump)?))
}

/// The slots of the global offset table, by their address.
///
/// # Errors
/// If objdump fails.
pub fn slots(program: &Path) -> Result<BTreeMap<u64, Slot>> {
    let mut objdump = Command::new("objdump");
    objdump.args(["--dynamic-reloc", "--wide"]).arg(program);
    Ok(parse_slots(&shell::output(&mut objdump)?))
}

/// For each address the innermost line of crypto's own sources that it came from; inlined library code is charged to whom it was inlined into.
///
/// # Errors
/// If addr2line fails.
pub fn source_lines(program: &Path, addresses: &[u64]) -> Result<Vec<Option<SourceLine>>> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let mut addr2line = Command::new("addr2line");
    addr2line.args(["--addresses", "--inlines", "--exe"]).arg(program);
    addr2line.args(addresses.iter().map(|address| format!("{address:#x}")));
    let frames = parse_frames(&shell::output(&mut addr2line)?);
    let line = |frames: &Vec<(String, usize)>| -> Result<Option<SourceLine>> {
        // Line 0 is what the compiler could charge to no line.
        let known = frames.iter().filter(|(_, line)| *line > 0);
        let ours = known.into_iter().find_map(|(file, line)| Some((below_root(file)?, *line)));
        let Some((file, line)) = ours else { return Ok(None) };
        let text = std::fs::read_to_string(shell::root().join(&file)).with_context(|| format!("no source {file}"))?;
        let text = text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
        Ok(Some(SourceLine { file, line, text }))
    };
    frames.iter().map(line).collect()
}

/// The path below the root of a file of crypto.
fn below_root(file: &str) -> Option<String> {
    file.find("crypto/src/").map(|at| file[at..].to_owned())
}

fn parse_functions(disassembly: &str) -> BTreeMap<u64, Function> {
    let mut functions: BTreeMap<u64, Function> = BTreeMap::new();
    let mut current = None;
    for line in disassembly.lines() {
        if let Some((address, name)) = line.strip_suffix(">:").and_then(|head| head.split_once(" <")) {
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            functions.insert(address, Function { name: name.to_owned(), instructions: Vec::new() });
            current = Some(address);
        } else if let Some((address, text)) = line.trim_start().split_once(":\t") {
            let (Ok(address), Some(at)) = (u64::from_str_radix(address, 16), current) else { continue };
            if let Some(function) = functions.get_mut(&at) {
                function.instructions.push((address, text.trim().to_owned()));
            }
        }
    }
    functions
}

fn parse_slots(relocations: &str) -> BTreeMap<u64, Slot> {
    let slot = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let (kind, value) = (words.next()?, words.next()?);
        let slot = match value.strip_prefix("*ABS*+0x") {
            Some(target) => Slot::Address(u64::from_str_radix(target, 16).ok()?),
            None => Slot::Symbol(value.split('@').next()?.to_owned()),
        };
        kind.starts_with("R_X86_64").then_some((address, slot))
    };
    relocations.lines().filter_map(slot).collect()
}

/// For each address, which addr2line prints on a line of its own, the frames: file and line, innermost first.
fn parse_frames(text: &str) -> Vec<Vec<(String, usize)>> {
    let mut frames: Vec<Vec<(String, usize)>> = Vec::new();
    for line in text.lines() {
        if line.starts_with("0x") {
            frames.push(Vec::new());
        } else if let (Some(last), Some((file, rest))) = (frames.last_mut(), line.rsplit_once(':')) {
            let number = rest.split_whitespace().next().and_then(|number| number.parse().ok());
            last.push((file.to_owned(), number.unwrap_or(0)));
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_read() {
        let text = "\nDisassembly of section .text:\n\n0000000000001000 <a::b>:\n    1000:\tpush   %rbx\n    1001:\tret\n\n\
                    0000000000002000 <c>:\n    2000:\tcall   *0x10(%rip)        # 3000 <x>\n";
        let functions = parse_functions(text);
        assert_eq!((functions.len(), functions[&0x1000].name.as_str()), (2, "a::b"));
        assert_eq!(functions[&0x1000].instructions, [(0x1000, "push   %rbx".to_owned()), (0x1001, "ret".to_owned())]);
    }

    #[test]
    fn slots_are_read() {
        let text = "OFFSET           TYPE              VALUE\n0000000000092f10 R_X86_64_GLOB_DAT  memcpy@GLIBC_2.14\n\
                    0000000000093228 R_X86_64_RELATIVE  *ABS*+0x000000000003dbf0\n";
        let slots = parse_slots(text);
        assert_eq!(slots[&0x92f10], Slot::Symbol("memcpy".to_owned()));
        assert_eq!(slots[&0x93228], Slot::Address(0x3dbf0));
    }

    #[test]
    fn frames_are_read() {
        let text =
            "0x0000000000001000\n/rust/core/iter.rs:7 (discriminator 2)\n/home/x/crypto/src/a.rs:12\n0x2000\n??:?\n";
        let frames = parse_frames(text);
        assert_eq!(frames[0][1], ("/home/x/crypto/src/a.rs".to_owned(), 12));
        assert_eq!((frames[1].len(), frames[1][0].1), (1, 0));
        assert_eq!(below_root(&frames[0][1].0).as_deref(), Some("crypto/src/a.rs"));
    }
}
