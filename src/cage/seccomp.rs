//! System call filters (seccomp(2)), in classic BPF: a filter allows the system calls of a profile, and no others.
//!
//! A refused call fails with EPERM, so that a library that only tries it goes on. A call newer than every profile fails with
//! ENOSYS, as on a kernel without it. A call of a foreign architecture kills the process.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter};

/// What a caged process may do. A new one allows nothing.
#[derive(Debug, Default)]
pub struct Profile {
    /// The descriptors that it has besides 0, 1 and 2.
    pub keep_open: Vec<RawFd>,
    /// What becomes of each call that is not simply refused.
    calls: BTreeMap<c_long, Fate>,
}

/// What becomes of a call.
#[derive(Debug)]
enum Fate {
    Allowed,
    /// Allowed by one of several rules: their code.
    Tested(Vec<sock_filter>),
    Absent,
}

/// A call that is allowed if every test passes.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'r>(pub c_long, pub &'r [Test<'r>]);

/// A test of one 32-bit half of an argument.
#[derive(Clone, Copy, Debug)]
pub enum Test<'t> {
    /// Its bits under the mask must equal one of the values.
    OneOf(Half, u32, &'t [u32]),
    /// It must not be this value.
    Not(Half, u32),
}

/// The offset of an argument's lower or upper half in `struct seccomp_data` (little endian).
pub type Half = u32;

/// The lower half of an argument.
pub const fn low(argument: u32) -> Half {
    16 + 8 * argument
}

/// The upper half of an argument.
pub const fn high(argument: u32) -> Half {
    low(argument) + 4
}

/// The mask that keeps every bit of a half.
pub const ALL: u32 = u32::MAX;

impl Profile {
    /// Allows these calls with any arguments.
    pub fn allow(&mut self, calls: &[c_long]) {
        self.calls.extend(calls.iter().map(|call| (*call, Fate::Allowed)));
    }

    /// Allows calls by their arguments: several rules for one call are alternatives.
    pub fn allow_where(&mut self, rules: &[Rule<'_>]) {
        for Rule(call, tests) in rules {
            let code = rule(tests.iter().flat_map(test));
            match self.calls.entry(*call).or_insert(Fate::Tested(Vec::new())) {
                Fate::Tested(alternatives) => alternatives.extend(code),
                Fate::Allowed | Fate::Absent => {}
            }
        }
    }

    /// Makes a call fail as on a kernel that does not have it.
    pub fn be_absent(&mut self, call: c_long) {
        self.calls.insert(call, Fate::Absent);
    }
}

/// The newest call that this list knows of: `listns`, Linux 6.19. The same number on every architecture.
pub const NEWEST: u32 = 470;

/// The architecture whose calls the filter knows.
#[cfg(target_arch = "x86_64")]
pub const NATIVE: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
/// The architecture whose calls the filter knows.
#[cfg(target_arch = "aarch64")]
pub const NATIVE: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// The first number of x32, a second table of system calls on the same architecture.
#[cfg(target_arch = "x86_64")]
pub const X32: u32 = 0x4000_0000;

/// The offset of the number in `struct seccomp_data`.
pub const NUMBER: u32 = 0;
/// The offset of the architecture.
pub const ARCHITECTURE: u32 = 4;

/// The filter's answers.
pub const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
pub const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
pub const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// The filter's program. It finds a call by binary search over the numbers and is short, because the kernel translates the
/// program and runs it once for each number when it is installed. Comparing one call after the other would cost a tenth of a
/// start.
pub fn filter(profile: &Profile) -> Vec<sock_filter> {
    let (parts, codes) = parts(profile);
    let mut program = vec![load(ARCHITECTURE), jump(BPF_JEQ, NATIVE, 1, 0), answer(KILL), load(NUMBER)];
    #[cfg(target_arch = "x86_64")]
    program.extend([jump(BPF_JGE, X32, 0, 1), answer(KILL)]);
    // The search takes one branch between every two parts. The codes follow.
    let mut at = program.len() + parts.len() - 1;
    let mut starts = Vec::with_capacity(codes.len());
    for code in &codes {
        starts.push(at);
        at += code.len();
    }
    search(&parts, &starts, &mut program);
    program.extend(codes.concat());
    program
}

/// A range of call numbers: its first number (it ends before the next part's first number), and the index of the code that
/// decides about these calls.
type Part = (u32, usize);

/// The parts, in order of number, and the codes.
fn parts(profile: &Profile) -> (Vec<Part>, Vec<Vec<sock_filter>>) {
    const REFUSE: usize = 0;
    const TAKE: usize = 1;
    const BE_ABSENT: usize = 2;
    let mut codes = vec![vec![answer(EPERM)], vec![answer(ALLOW)], vec![answer(ENOSYS)]];
    let mut parts = vec![(0, REFUSE)];
    for (call, fate) in &profile.calls {
        let code = match fate {
            Fate::Allowed => TAKE,
            Fate::Absent => BE_ABSENT,
            Fate::Tested(alternatives) => {
                codes.push([&alternatives[..], &[answer(EPERM)]].concat());
                codes.len() - 1
            }
        };
        // This call follows the last one directly: there is no range of refused calls between them.
        parts.pop_if(|(first, _)| *first == *call as u32);
        if parts.last().is_none_or(|(_, before)| *before != code) {
            parts.push((*call as u32, code));
        }
        parts.push((*call as u32 + 1, REFUSE));
    }
    parts.push((NEWEST + 1, BE_ABSENT));
    (parts, codes)
}

/// Adds the branches that lead to the code of each part, and returns the index of the first branch. Every jump is shorter than
/// 256 instructions: the tests run every number.
fn search(parts: &[Part], starts: &[usize], program: &mut Vec<sock_filter>) -> usize {
    if let [(_, code)] = parts {
        return starts[*code];
    }
    let (below, from) = parts.split_at(parts.len() / 2);
    let at = program.len();
    program.push(jump(BPF_JGE, from[0].0, 0, 0));
    let ways = [search(from, starts, program), search(below, starts, program)];
    [program[at].jt, program[at].jf] = ways.map(|way| (way - at - 1) as u8);
    at
}

/// Marks a jump that leaves the rule because a test failed. [`rule`] replaces it once the rule's length is known.
const FAILS: u8 = u8::MAX;

/// Allows a call if all tests pass. If a test fails, execution goes on behind the rule.
fn rule(tests: impl IntoIterator<Item = sock_filter>) -> Vec<sock_filter> {
    let mut rule: Vec<sock_filter> = tests.into_iter().collect();
    rule.push(answer(ALLOW));
    let length = rule.len();
    for (at, instruction) in rule.iter_mut().enumerate() {
        // A rule has few instructions, so no jump out of it is as long as `FAILS`.
        let out = (length - at - 1) as u8;
        for way in [&mut instruction.jt, &mut instruction.jf].into_iter().filter(|way| **way == FAILS) {
            *way = out;
        }
    }
    rule
}

fn test(test: &Test<'_>) -> Vec<sock_filter> {
    let (half, mask, values) = match test {
        Test::Not(half, value) => return vec![load(*half), jump(BPF_JEQ, *value, FAILS, 0)],
        Test::OneOf(half, mask, values) => (half, mask, values),
    };
    let mut test = vec![load(*half)];
    if *mask != ALL {
        test.push(sock_filter { code: (BPF_ALU | BPF_AND | BPF_K) as u16, jt: 0, jf: 0, k: *mask });
    }
    for (at, value) in values.iter().enumerate() {
        let others = values.len() - at - 1;
        test.push(jump(BPF_JEQ, *value, others as u8, if others == 0 { FAILS } else { 0 }));
    }
    test
}

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

const fn jump(test: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt: yes, jf: no, k: value }
}

const fn answer(action: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: action }
}
