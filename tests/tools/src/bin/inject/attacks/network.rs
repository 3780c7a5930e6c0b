//! Attacks with sockets: sockets that no fetch needs, and effects of sockets on other processes.

use super::{Call, FIRST, Must, Table, Targets};

const STREAM: i64 = libc::SOCK_STREAM as i64;
const DATAGRAM: i64 = libc::SOCK_DGRAM as i64;
const RAW: i64 = libc::SOCK_RAW as i64;
const INET: i64 = libc::AF_INET as i64;
const UNIX: i64 = libc::AF_UNIX as i64;
/// Bits that the kernel ignores in an argument of type `int`.
const HIGH: i64 = 1 << 32;

/// Not every C library has this number.
const F_SETOWN_EX: i64 = 15;
const F_SETSIG: i64 = 10;
const FIOSETOWN: i64 = 0x8901;
const SIOCSPGRP: i64 = 0x8902;
const FIOASYNC: i64 = 0x5452;
const SIOCSIFFLAGS: i64 = 0x8914;
const FAMILIES: [(&str, i64, i64); 11] = [
    ("af_netlink", 16, RAW),
    ("af_packet", 17, RAW),
    ("af_key", 15, RAW),
    ("af_rds", 21, 5),
    ("af_can", 29, RAW),
    ("af_tipc", 30, STREAM),
    ("af_bluetooth", 31, STREAM),
    ("af_alg", 38, 5),
    ("af_vsock", 40, STREAM),
    ("af_qipcrtr", 42, DATAGRAM),
    ("af_xdp", 44, RAW),
];

pub fn add(table: &mut Table, on: &Targets) {
    let socket = |family: i64, kind: i64| Call(libc::SYS_socket, vec![family, kind, 0]);
    // If the plan allows Unix sockets, the worker can connect to any Unix socket.
    let unix = if on.has_unix { Must::Anything } else { Must::Fail };
    table.add(unix, "a_unix_socket", vec![socket(UNIX, STREAM)]);
    table.add(unix, "a_unix_socket_with_a_high_half", vec![socket(UNIX | HIGH, STREAM)]);
    for (name, address) in [("roots_unix_socket", on.unix), ("roots_abstract_socket", on.in_abstract)] {
        let connect = Call(libc::SYS_connect, vec![FIRST, address.0, address.1]);
        table.add(unix, name, vec![socket(UNIX, STREAM), connect]);
    }
    table.add(Must::Fail, "a_unix_datagram", vec![socket(UNIX, DATAGRAM)]);
    table.add(Must::Fail, "a_unix_packet", vec![socket(UNIX, 5)]);
    let own = Call(libc::SYS_bind, vec![FIRST, on.own_unix.0, on.own_unix.1]);
    table.add(Must::Fail, "a_socket_in_a_directory", vec![socket(UNIX, STREAM), own]);
    for (name, family, kind) in FAMILIES {
        table.add(Must::Fail, name, vec![socket(family, kind)]);
    }
    table.add(Must::Fail, "af_netlink_with_a_high_half", vec![socket(16 | HIGH, RAW)]);
    // Only AF_UNIX has socket pairs. Other families give an error that differs from the sandbox's.
    table.refuse(&[("a_pair_of_netlink_sockets", libc::SYS_socketpair, &[16, RAW, 0, on.scratch])]);
    for (name, kind, protocol) in
        [("a_raw_socket", RAW, libc::IPPROTO_ICMP), ("a_raw_socket_of_tcp", RAW, libc::IPPROTO_TCP)]
    {
        table.add(Must::Fail, name, vec![Call(libc::SYS_socket, vec![INET, kind, protocol.into()])]);
    }
    for (name, kind, protocol) in [
        ("a_ping_socket", DATAGRAM, libc::IPPROTO_ICMP),
        ("a_socket_of_sctp", STREAM, libc::IPPROTO_SCTP),
        ("a_socket_of_mptcp", STREAM, libc::IPPROTO_MPTCP),
    ] {
        table.add(Must::Fail, name, vec![Call(libc::SYS_socket, vec![INET, kind, protocol.into()])]);
    }
    table.refuse(&[("a_pair_of_sockets", libc::SYS_socketpair, &[UNIX, STREAM, 0, on.scratch])]);
    let stream: (i64, &[i64]) = (libc::SYS_socket, &[INET, STREAM, 0]);
    table.refuse_after(
        &[stream],
        &[
            ("accepting", libc::SYS_accept4, &[FIRST, 0, 0, 0]),
            ("siocgifconf", libc::SYS_ioctl, &[FIRST, libc::SIOCGIFCONF as i64, on.scratch]),
        ],
    );
    table.refuse_after(&[stream], &[("listening", libc::SYS_listen, &[FIRST, 1])]);
    let bound: (i64, &[i64]) = (libc::SYS_bind, &[FIRST, on.anywhere.0, on.anywhere.1]);
    table.refuse_after(&[stream, bound], &[("listening_on_all_addresses", libc::SYS_listen, &[FIRST, 1])]);
    options(table, on);
    its_own(table, on);
    signals(table, on);
}

/// The calls that use the network in the ordinary way.
fn options(table: &mut Table, on: &Targets) {
    let one = table.put(&1_i32.to_le_bytes());
    let stream: (i64, &[i64]) = (libc::SYS_socket, &[INET, STREAM, 0]);
    for (name, level, option) in [
        ("so_broadcast", libc::SOL_SOCKET, libc::SO_BROADCAST),
        ("so_attach_filter", libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
        ("so_bindtodevice", libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
        ("so_priority", libc::SOL_SOCKET, libc::SO_PRIORITY),
        ("ip_add_membership", libc::SOL_IP, libc::IP_ADD_MEMBERSHIP),
        ("ip_transparent", libc::SOL_IP, libc::IP_TRANSPARENT),
        ("ipt_so_set_replace", libc::SOL_IP, 64),
        ("tcp_ulp", libc::SOL_TCP, libc::TCP_ULP),
        ("tcp_repair", libc::SOL_TCP, libc::TCP_REPAIR),
    ] {
        let call = [FIRST, level.into(), option.into(), one, 4];
        table.refuse_after(&[stream], &[(name, libc::SYS_setsockopt, &call)]);
    }
    table.refuse(&[(
        "setsockopt_of_its_socket",
        libc::SYS_setsockopt,
        &[on.socket, 1, libc::SO_PASSCRED.into(), one, 4],
    )]);
}

/// Attacks on the worker's end of the socket pair: it cannot be named, which would create a file, and it cannot be duplicated.
fn its_own(table: &mut Table, on: &Targets) {
    let unused = 900;
    table.refuse(&[
        ("a_name_for_its_socket", libc::SYS_bind, &[on.socket, on.own_unix.0, on.own_unix.1]),
        ("an_abstract_name_for_its_socket", libc::SYS_bind, &[on.socket, on.scratch, 2]),
        ("a_copy_of_its_socket", libc::SYS_fcntl, &[on.socket, libc::F_DUPFD_CLOEXEC.into(), 3]),
        ("an_open_copy_of_its_socket", libc::SYS_fcntl, &[on.socket, libc::F_DUPFD.into(), 3]),
        ("dup_of_its_socket", libc::SYS_dup, &[on.socket]),
        ("dup3_of_its_socket", libc::SYS_dup3, &[on.socket, unused, 0]),
        ("listening_on_its_socket", libc::SYS_listen, &[on.socket, 1]),
    ]);
}

/// A socket with new data signals its owner, with the rights of the process that set this owner. Before Linux 6.12, Landlock
/// does not check this.
fn signals(table: &mut Table, on: &Targets) {
    let stream: (i64, &[i64]) = (libc::SYS_socket, &[INET, STREAM, 0]);
    let owner = table.put(&[&1_i32.to_le_bytes()[..], &(on.victim as i32).to_le_bytes()[..]].concat());
    let victim = table.put(&(on.victim as i32).to_le_bytes());
    let yes = table.put(&1_i32.to_le_bytes());
    let (kill, asynchronous) = (i64::from(libc::SIGKILL), i64::from(libc::O_ASYNC));
    let set_flags = libc::F_SETFL.into();
    let set_owner = libc::F_SETOWN.into();
    table.refuse_after(
        &[stream],
        &[
            ("f_setown", libc::SYS_fcntl, &[FIRST, set_owner, on.victim]),
            ("f_setown_with_a_high_half", libc::SYS_fcntl, &[FIRST, libc::F_SETOWN as i64 | HIGH, on.victim]),
            ("f_setown_ex", libc::SYS_fcntl, &[FIRST, F_SETOWN_EX, owner]),
            ("f_setsig", libc::SYS_fcntl, &[FIRST, F_SETSIG, kill]),
            ("o_async", libc::SYS_fcntl, &[FIRST, set_flags, asynchronous]),
            ("o_async_with_a_high_half", libc::SYS_fcntl, &[FIRST, libc::F_SETFL as i64 | HIGH, asynchronous]),
            ("fiosetown", libc::SYS_ioctl, &[FIRST, FIOSETOWN, victim]),
            ("fiosetown_with_a_high_half", libc::SYS_ioctl, &[FIRST, FIOSETOWN | HIGH, victim]),
            ("siocspgrp", libc::SYS_ioctl, &[FIRST, SIOCSPGRP, victim]),
            ("fioasync", libc::SYS_ioctl, &[FIRST, FIOASYNC, yes]),
            ("siocsifflags", libc::SYS_ioctl, &[FIRST, SIOCSIFFLAGS, on.scratch]),
        ],
    );
    let connect: (i64, &[i64]) = (libc::SYS_connect, &[FIRST, on.server.0, on.server.1]);
    let owned: (i64, &[i64]) = (libc::SYS_fcntl, &[FIRST, set_owner, on.victim]);
    let with_kill: (i64, &[i64]) = (libc::SYS_fcntl, &[FIRST, F_SETSIG, kill]);
    let flagged: (i64, &[i64]) = (libc::SYS_fcntl, &[FIRST, set_flags, asynchronous]);
    // In this order, the attack succeeds if none of the four calls is refused.
    table.add(
        Must::Fail,
        "killing_by_a_socket",
        [stream, owned, with_kill, flagged, connect].map(|(number, given)| Call(number, given.to_vec())).into(),
    );
}
