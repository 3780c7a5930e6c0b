//! A seccomp filter that answers single system calls with an error, or with success although nothing was done.

use libc::{c_long, sock_filter, sock_fprog};

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// Installs it: `CALL:ERRNO[,CALL:ERRNO…]`, where errno 0 is the lie, and `prctl` may be `prctl=OPTION`.
pub fn deny(list: &str) {
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut program = Vec::new();
    for item in list.split(',') {
        let (call, errno) = item.split_once(':').unwrap();
        let (name, option) = call.split_once('=').map_or((call, None), |(name, option)| (name, Some(option)));
        let answer = step(RETURN, 0, 0, ERRNO | errno.parse::<u32>().unwrap());
        program.push(step(LOAD, 0, 0, 0));
        match option {
            None => program.push(step(JUMP_EQUAL, 0, 1, number(name))),
            Some(option) => {
                program.push(step(JUMP_EQUAL, 0, 3, number(name)));
                // The low half of the first argument.
                program.push(step(LOAD, 0, 0, 16));
                program.push(step(JUMP_EQUAL, 0, 1, option.parse().unwrap()));
            }
        }
        program.push(answer);
    }
    program.push(step(RETURN, 0, 0, ALLOW));
    let filter = sock_fprog { len: program.len().try_into().unwrap(), filter: program.as_mut_ptr() };
    // SAFETY: the program has as many steps as it says, ends in a return on each way, and lives until the call returns.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn number(name: &str) -> u32 {
    let number: c_long = match name {
        "capset" => libc::SYS_capset,
        "close_range" => libc::SYS_close_range,
        "execve" => libc::SYS_execve,
        "fchown" => libc::SYS_fchown,
        "prctl" => libc::SYS_prctl,
        "prlimit64" => libc::SYS_prlimit64,
        "setgroups" => libc::SYS_setgroups,
        "setresgid" => libc::SYS_setresgid,
        "setresuid" => libc::SYS_setresuid,
        other => panic!("no number for {other}"),
    };
    number.try_into().unwrap()
}
