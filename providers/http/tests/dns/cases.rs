//! The cases: the name server's responses, and the output that the program must have.

use std::time::Duration;

use crate::name_server::{Reply, Type, Zone};

pub struct Case {
    pub name: &'static str,
    pub host: &'static str,
    pub zone: Zone,
    /// The start of the program's output.
    pub expected: &'static str,
    /// The longest it may take.
    pub within: Duration,
    /// A name that the name server must not have received.
    pub never_queried: Option<&'static str>,
}

const QUICK: Duration = Duration::from_secs(1);

pub const CASES: &[Case] = &[
    Case {
        name: "an_outside_name_resolves_though_the_search_list_does_not_know_it",
        host: "store.example",
        zone: |name, kind| match (name, kind) {
            ("store.example", Type::A) => Reply::Addresses(&["127.0.0.2"]),
            ("store.example", _) => Reply::Nothing,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.2",
        within: QUICK,
        never_queried: None,
    },
    Case {
        name: "a_name_in_the_cluster_is_found_by_the_search_list_and_never_queried_outside",
        host: "vault.dev",
        zone: |name, kind| match (name, kind) {
            ("vault.dev.svc.cluster.local", Type::A) => Reply::Addresses(&["127.0.0.3"]),
            ("vault.dev.svc.cluster.local", _) => Reply::Nothing,
            ("vault.dev", _) => Reply::Addresses(&["127.6.6.6"]),
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.3",
        within: QUICK,
        never_queried: Some("vault.dev"),
    },
    Case {
        name: "a_trailing_dot_leaves_the_search_list_out",
        host: "store.example.",
        zone: |name, kind| match (name, kind) {
            ("store.example", Type::A) => Reply::Addresses(&["127.0.0.2"]),
            _ => Reply::Nothing,
        },
        expected: "ok 200 127.0.0.2",
        within: QUICK,
        never_queried: Some("store.example.a.b"),
    },
    Case {
        name: "a_name_with_ipv6_addresses_only",
        host: "six.example",
        zone: |name, kind| match (name, kind) {
            ("six.example", Type::Aaaa) => Reply::Addresses(&["::1"]),
            ("six.example", _) => Reply::Nothing,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 ::1",
        within: QUICK,
        never_queried: None,
    },
    Case {
        name: "a_name_with_an_ipv6_address_that_refuses_falls_back_to_ipv4",
        host: "both.example",
        zone: |name, kind| match (name, kind) {
            // An address that no host has: there is no route to it.
            ("both.example", Type::Aaaa) => Reply::Addresses(&["2001:db8::1"]),
            ("both.example", _) => Reply::Addresses(&["127.0.0.4"]),
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.4",
        within: QUICK,
        never_queried: None,
    },
    Case {
        name: "a_suffix_that_knows_the_name_without_an_address_does_not_hide_it",
        host: "store.example",
        zone: |name, kind| match (name, kind) {
            ("store.example", Type::A) => Reply::Addresses(&["127.0.0.2"]),
            ("store.example" | "store.example.a.b", _) => Reply::Nothing,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.2",
        within: QUICK,
        never_queried: None,
    },
    Case {
        name: "a_suffix_whose_server_fails_does_not_hide_an_outside_name",
        host: "store.example",
        zone: |name, kind| match (name, kind) {
            ("store.example", Type::A) => Reply::Addresses(&["127.0.0.2"]),
            ("store.example", _) => Reply::Nothing,
            ("store.example.a.b", _) => Reply::Failure,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.2",
        // musl waits for a response that is not a failure.
        within: Duration::from_secs(6),
        never_queried: None,
    },
    Case {
        name: "more_addresses_than_a_datagram_holds_come_by_tcp",
        host: "many.example",
        zone: |name, kind| match (name, kind) {
            ("many.example", Type::A) => Reply::Many,
            ("many.example", _) => Reply::Nothing,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.1.",
        within: QUICK,
        never_queried: None,
    },
    Case {
        name: "no_such_name_is_unavailable_at_once",
        host: "store.example",
        zone: |_, _| Reply::NoSuchName,
        expected: "Unavailable cannot ask http://store.example:8080: the name cannot be resolved: name does not resolve",
        within: QUICK,
        never_queried: None,
    },
    Case {
        name: "a_server_that_fails_is_unavailable_within_bounds",
        host: "store.example",
        zone: |_, _| Reply::Failure,
        expected: "Unavailable cannot ask http://store.example:8080: the name cannot be resolved: no name server gave",
        within: Duration::from_secs(7),
        never_queried: None,
    },
    Case {
        name: "a_server_that_says_nothing_is_unavailable_within_bounds",
        host: "store.example",
        zone: |_, _| Reply::Silence,
        expected: "Unavailable cannot ask http://store.example:8080: the name cannot be resolved: no name server gave",
        within: Duration::from_secs(7),
        never_queried: None,
    },
    Case {
        name: "localhost_is_this_machine_whatever_the_server_says",
        host: "localhost",
        zone: |_, _| Reply::Addresses(&["127.6.6.6"]),
        expected: "ok 200 127.0.0.1",
        within: QUICK,
        never_queried: Some("localhost"),
    },
];
