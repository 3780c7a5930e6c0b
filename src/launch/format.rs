//! The format of the command's file: a script with its interpreter, or an ELF program with its loader (execve(2), elf(5)).
//! Examined before the fetch, so that nothing is delivered if the kernel will refuse the file.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::handlers;

/// The part of a script's first line that the kernel reads (BINPRM_BUF_SIZE), in bytes.
const FIRST_LINE: usize = 256;

/// The part of a file that is examined: the program headers of every usual program are in its first page.
const HEAD: usize = 4096;

/// The kernel's way to execute a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Format {
    /// The kernel starts this program for the file: a script's interpreter, or an ELF program's loader.
    Needs(Needed, PathBuf),
    /// The kernel starts the file itself, as far as its first bytes tell.
    Plain,
    /// The kernel refuses the file: the reason, and a hint.
    Refused(String, &'static str),
}

/// Why another program is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// A script's first line names it.
    Interpreter,
    /// An ELF program is dynamically linked.
    Loader,
}

impl Needed {
    /// The name of the needed program, for a message.
    pub fn name(self) -> &'static str {
        match self {
            Needed::Interpreter => "interpreter",
            Needed::Loader => "ELF loader",
        }
    }
}

/// Examines a file. If this process may not read the file, the kernel decides at exec.
pub fn of(path: &std::path::Path) -> Format {
    let mut head = Vec::with_capacity(HEAD);
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    match opened.and_then(|file| file.take(HEAD as u64).read_to_end(&mut head)) {
        Ok(_) => of_head(&head),
        Err(_) => Format::Plain,
    }
}

fn of_head(head: &[u8]) -> Format {
    const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if let Some(line) = head.strip_prefix(b"#!") {
        return script(line);
    }
    if head.starts_with(b"\x7fELF") {
        return elf(head);
    }
    if head.is_empty() {
        return Format::Refused("it is empty".into(), "look at how it came into the image");
    }
    let is_marked = BYTE_ORDER_MARKS.iter().any(|mark| head.starts_with(mark));
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    let is_refused = is_marked || head.iter().take(FIRST_LINE).all(is_text);
    if !is_refused || handlers::take(head) || handlers::go_by_names() {
        return Format::Plain;
    }
    if is_marked {
        return Format::Refused(
            "it begins with a byte order mark".into(),
            "save the script as UTF-8 without a byte order mark",
        );
    }
    let hint = "begin a script with `#!` and the path of its interpreter; handfast never starts a shell";
    Format::Refused("it is a text without a `#!` line".into(), hint)
}

fn script(rest: &[u8]) -> Format {
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(FIRST_LINE - 2)];
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let interpreter = line[start..].split(is_blank).next().unwrap_or_default();
    if interpreter.is_empty() {
        let hint = "name one after `#!`";
        return Format::Refused("its first line names no interpreter".into(), hint);
    }
    // Of other interpreters, some take an argument that ends in a carriage return.
    if line.ends_with(b"\r") && (interpreter.ends_with(b"\r") || interpreter.ends_with(b"/env")) {
        let hint = "save the script with the line breaks of Unix (`sed -i 's/\\r$//'`)";
        return Format::Refused("its first line ends in a carriage return, as on Windows".into(), hint);
    }
    Format::Needs(Needed::Interpreter, OsStr::from_bytes(interpreter).into())
}

/// The machines that a kernel of ours runs, by `e_machine`: its own, and the one with 32 bits that it may run.
#[cfg(target_arch = "x86_64")]
const MACHINES: [u16; 2] = [libc::EM_X86_64, libc::EM_386];
#[cfg(target_arch = "aarch64")]
const MACHINES: [u16; 2] = [libc::EM_AARCH64, libc::EM_ARM];

fn elf(head: &[u8]) -> Format {
    const TYPE: usize = 16;
    /// The size of the header with 64 bits.
    const HEADER: usize = 64;
    let cut_off = || Format::Refused("it is a program that is cut off".into(), "look at how it came into the image");
    let (Some(machine), Some(class)) = (number16(head, TYPE + 2), head.get(4)) else { return cut_off() };
    if !MACHINES.contains(&machine) {
        if handlers::take(head) {
            return Format::Plain;
        }
        let why =
            format!("it is a program for another machine ({}, this is {})", name(machine), std::env::consts::ARCH);
        return Format::Refused(why, "build or pull the image for this machine's architecture (`--platform`)");
    }
    if !number16(head, TYPE).is_some_and(|kind| [libc::ET_EXEC, libc::ET_DYN].contains(&kind)) {
        return Format::Refused("it is an ELF file, and no program".into(), "look at how it came into the image");
    }
    if *class != libc::ELFCLASS64 {
        return Format::Plain;
    }
    if head.len() < HEADER {
        return cut_off();
    }
    match loader(head) {
        Some(path) => Format::Needs(Needed::Loader, path),
        None => Format::Plain,
    }
}

/// The loader that a 64-bit ELF program names, if its headers are within `head`.
fn loader(head: &[u8]) -> Option<PathBuf> {
    const TABLE: usize = 32;
    const ENTRY_SIZE: usize = 54;
    const COUNT: usize = 56;
    let start = number64(head, TABLE)?;
    let (size, count) = (usize::from(number16(head, ENTRY_SIZE)?), usize::from(number16(head, COUNT)?));
    for at in (0..count).map(|entry| start.checked_add(entry * size)) {
        let entry = head.get(at?..)?;
        if entry.get(..4)? == libc::PT_INTERP.to_le_bytes() {
            let (from, length) = (number64(entry, 8)?, number64(entry, 32)?);
            let path = head.get(from..from.checked_add(length)?)?.split(|byte| *byte == 0).next()?;
            return Some(OsStr::from_bytes(path).into());
        }
    }
    None
}

fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn number64(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 8] = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(bytes)).ok()
}

fn name(machine: u16) -> String {
    match machine {
        libc::EM_X86_64 => "x86_64".into(),
        libc::EM_AARCH64 => "aarch64".into(),
        libc::EM_386 => "x86".into(),
        libc::EM_ARM => "arm".into(),
        other => format!("ELF machine {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &[u8]) -> String {
        match of_head(head) {
            Format::Refused(why, _) => why,
            other => panic!("{other:?}"),
        }
    }

    fn interpreter(head: &[u8]) -> PathBuf {
        match of_head(head) {
            Format::Needs(Needed::Interpreter, path) => path,
            other => panic!("{other:?}"),
        }
    }

    /// An ELF header, one program header, and a loader's path.
    fn program(machine: u16, loader: &str) -> Vec<u8> {
        let mut head = vec![0; 64 + 56];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[16..18].copy_from_slice(&libc::ET_DYN.to_le_bytes());
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[32..40].copy_from_slice(&64_u64.to_le_bytes());
        head[54..58].copy_from_slice(&[56, 0, 1, 0]);
        head[64..68].copy_from_slice(&libc::PT_INTERP.to_le_bytes());
        head[72..80].copy_from_slice(&120_u64.to_le_bytes());
        head[96..104].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
        head.extend([loader.as_bytes(), b"\0"].concat());
        head
    }

    #[test]
    fn a_script_names_its_interpreter() {
        for (head, path) in [
            (&b"#!/bin/sh\nexit"[..], "/bin/sh"),
            (b"#! \t/usr/bin/env python3 -u\n", "/usr/bin/env"),
            (b"#!/bin/sh", "/bin/sh"),
            (b"#!bin/sh -e\r -x\n", "bin/sh"),
        ] {
            assert_eq!(interpreter(head), PathBuf::from(path), "{head:?}");
        }
    }

    #[test]
    fn a_wrong_first_line_is_named() {
        for (head, why) in [
            (&b"#!/bin/sh\r\nexit"[..], "carriage return"),
            (b"#!/usr/bin/env bash\r\n", "carriage return"),
            (b"#!\n", "names no interpreter"),
            (b"#!  \t\n/bin/sh", "names no interpreter"),
            (b"\xef\xbb\xbf#!/bin/sh\n", "byte order mark"),
            (b"\xff\xfe#\0!\0", "byte order mark"),
            (b"echo hello\n", "text without a `#!` line"),
            (b" #!/bin/sh\n", "text without a `#!` line"),
        ] {
            assert!(refused(head).contains(why), "{head:?}");
        }
        assert!(refused(b"").contains("empty"));
        for head in [&b"#!/usr/bin/perl -w\r\n"[..], b"#!bin/sh -e\r -x\n"] {
            interpreter(head);
        }
        for head in [&b"\x7fEL"[..], b"\0asm", b"MZ\x90\0", b"\xca\xfe\xba\xbe"] {
            assert_eq!(of_head(head), Format::Plain, "{head:?}");
        }
    }

    #[test]
    fn a_program_names_its_loader() {
        let own = MACHINES[0];
        let loader = "/lib64/ld-linux-x86-64.so.2";
        assert_eq!(of_head(&program(own, loader)), Format::Needs(Needed::Loader, loader.into()));
        for cut in [4, 5, 17, 60] {
            assert!(refused(&program(own, loader)[..cut]).contains("cut off"), "{cut}");
        }
        for cut in [100, 125] {
            assert_eq!(of_head(&program(own, loader)[..cut]), Format::Plain, "{cut}");
        }
        for kind in [libc::ET_NONE, libc::ET_REL, libc::ET_CORE] {
            let mut head = program(own, loader);
            head[16..18].copy_from_slice(&kind.to_le_bytes());
            assert!(refused(&head).contains("no program"), "{kind}");
        }
        // Offsets and sizes that lead out of the file, or overflow.
        for (at, byte) in [(39, 0xff), (54, 0xff), (79, 0xff), (103, 0xff), (56, 0xff)] {
            let mut head = program(own, loader);
            head[at] = byte;
            of_head(&head);
        }
    }

    #[test]
    fn a_program_for_another_machine_is_named() {
        const SPARC: u16 = 43;
        assert!(refused(&program(SPARC, "/lib/ld.so")).contains("another machine (ELF machine 43"));
    }
}
