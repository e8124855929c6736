//! Mends the object's BTF: LLVM leaves prototypes of functions unset.
//!
//! Where a function's debug information has no types, as at the profile's level, LLVM's BTF emitter (`visitSubroutineType` in
//! `llvm/lib/Target/BPF/BTFDebug.cpp`) returns before it sets the function's prototype, and what was on the stack goes into the object: other bytes in
//! each run, and types that the kernel refuses, so that the program would be loaded without BTF. What always holds after mending: every function
//! has a prototype that exists, and only the entry is global, since the verifier checks a global function alone, by its prototype.
//!
//! Format: Documentation/bpf/btf.rst of the kernel, and include/uapi/linux/btf.h.

use anyhow::{Context, Result, bail, ensure};

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
/// Where the header holds the length of the types, and the offset of the strings.
const TYPE_LEN_AT: usize = 12;
const STRING_OFFSET_AT: usize = 16;
const STRING_LEN_AT: usize = 20;
/// Every type begins with its name, kind with count, and size or type.
const TYPE_LEN: usize = 12;

const KIND_FUNCTION: u32 = 12;
const KIND_PROTOTYPE: u32 = 13;
const LINKAGE_STATIC: u32 = 0;
const LINKAGE_GLOBAL: u32 = 1;

/// The section with a prototype without arguments behind its types, for every function that has none. `entry` is the name of the program.
///
/// # Errors
/// If it is no BTF, or holds a kind that is not known here.
pub fn mend(section: &[u8], entry: &str) -> Result<Vec<u8>> {
    let magic = section.get(..2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    ensure!(magic == Some(MAGIC), "the section .BTF does not begin with BTF's magic number");
    ensure!(word(section, 4)? as usize == HEADER_LEN, "the header of the BTF is of another version");
    let types = HEADER_LEN + word(section, 8)? as usize;
    let types_end = types + word(section, TYPE_LEN_AT)? as usize;
    let strings = HEADER_LEN + word(section, STRING_OFFSET_AT)? as usize;
    let strings_end = strings + word(section, STRING_LEN_AT)? as usize;
    ensure!(
        types_end == strings && strings_end == section.len(),
        "types and strings of the BTF do not follow each other"
    );

    let (kinds, functions) = walk(section, types, types_end)?;
    let prototype = u32::try_from(kinds.len())? + 1;
    let mut mended = section.to_vec();
    for at in functions {
        let name = strings + word(section, at)? as usize;
        let is_entry = section
            .get(name..)
            .is_some_and(|rest| rest.strip_prefix(entry.as_bytes()).is_some_and(|rest| rest.first() == Some(&0)));
        let linkage = if is_entry { LINKAGE_GLOBAL } else { LINKAGE_STATIC };
        set_word(&mut mended, at + 4, KIND_FUNCTION << 24 | linkage);
        let has_prototype = (word(section, at + 8)? as usize)
            .checked_sub(1)
            .is_some_and(|index| kinds.get(index) == Some(&KIND_PROTOTYPE));
        if !has_prototype {
            set_word(&mut mended, at + 8, prototype);
        }
    }
    let mut added = [0; TYPE_LEN];
    set_word(&mut added, 4, KIND_PROTOTYPE << 24);
    mended.splice(types_end..types_end, added);
    for at in [TYPE_LEN_AT, STRING_OFFSET_AT] {
        let moved = word(section, at)? + TYPE_LEN as u32;
        set_word(&mut mended, at, moved);
    }
    Ok(mended)
}

/// The kind of each type, and where the functions are.
fn walk(section: &[u8], types: usize, types_end: usize) -> Result<(Vec<u32>, Vec<usize>)> {
    let (mut kinds, mut functions) = (Vec::new(), Vec::new());
    let mut at = types;
    while at < types_end {
        let info = word(section, at + 4)?;
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        kinds.push(kind);
        if kind == KIND_FUNCTION {
            functions.push(at);
        }
        at += TYPE_LEN
            + match kind {
                // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
                2 | 7..=12 | 16 | 18 => 0,
                // Integer, variable, declaration tag.
                1 | 14 | 17 => 4,
                // Array.
                3 => 12,
                // Structure, union, section, 64-bit enumeration.
                4 | 5 | 15 | 19 => 12 * count,
                // Enumeration, prototype.
                6 | 13 => 8 * count,
                other => bail!("the BTF holds a type of the unknown kind {other}"),
            };
    }
    ensure!(at == types_end, "the last type of the BTF does not end with the types");
    Ok((kinds, functions))
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).context("the BTF is cut off")?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

fn set_word(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRINGS: &[u8] = b"\0main\0memcpy\0";

    /// A section of types, each of three words and what follows.
    fn section(types: &[u32]) -> Vec<u8> {
        let type_len = (types.len() * 4) as u32;
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for value in [HEADER_LEN as u32, 0, type_len, type_len, STRINGS.len() as u32].iter().chain(types) {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(STRINGS);
        bytes
    }

    #[test]
    fn every_function_gets_a_prototype_and_only_the_entry_is_global() {
        let (integer, function) = (1 << 24, KIND_FUNCTION << 24);
        let unset = section(&[1, function | 1, 0x7ffd, 0, integer, 4, 32, 6, function | 1, 0]);
        let mended = section(&[1, function | 1, 4, 0, integer, 4, 32, 6, function, 4, 0, KIND_PROTOTYPE << 24, 0]);
        assert_eq!(mend(&unset, "main").unwrap(), mended);
        // What was on the stack makes no difference.
        let other = section(&[1, function | 1, 0x7ffe, 0, integer, 4, 32, 6, function | 1, 2]);
        assert_eq!(mend(&other, "main").unwrap(), mended);
    }

    #[test]
    fn a_prototype_that_is_there_stays() {
        let (function, prototype) = (KIND_FUNCTION << 24, KIND_PROTOTYPE << 24);
        let whole = section(&[0, prototype | 1, 0, 0, 0, 1, function | 1, 1]);
        let mended = mend(&whole, "main").unwrap();
        assert_eq!(word(&mended, HEADER_LEN + 20 + 8).unwrap(), 1);
    }

    #[test]
    fn damaged_sections_are_refused() {
        let whole = section(&[1, KIND_FUNCTION << 24, 0]);
        for length in 0..whole.len() {
            assert!(mend(&whole[..length], "main").is_err(), "{length} bytes");
        }
        assert!(mend(&section(&[0, 31 << 24, 0]), "main").is_err());
    }
}
