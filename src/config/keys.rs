//! The keys of the configuration, as data. The checks, the messages and the JSON schema come from these tables.
#![forbid(unsafe_code)]

use handfast_core::keys::{Key, Kind};

/// `[app]`: what the app is and may do.
pub const APP: &[Key] = &[
    Key::new(
        "user",
        Kind::String,
        "The app's user: a name, a uid, or \"uid:gid\"; default: as handfast was started, and started as root 65532:65532.",
    ),
    Key::new("allow_root", Kind::Boolean, "Allows uid 0 as the app's user.").default("false"),
    Key::new(
        "groups",
        Kind::Strings,
        "Supplementary groups, names or gids; default: those of user in /etc/group when it is a name, else none.",
    ),
    Key::new(
        "keep_capabilities",
        Kind::Strings,
        "The capabilities that stay, in all five sets, such as [\"NET_BIND_SERVICE\"].",
    )
    .default("[]"),
    Key::new(
        "keep_fds",
        Kind::Integers(3, 1_048_575),
        "Inherited descriptors that the app gets as handfast found them, such as a readiness pipe; secrets avoid them.",
    )
    .default("[]"),
    Key::new("core_dumps", Kind::Boolean, "Leaves RLIMIT_CORE as found instead of 0.").default("false"),
    Key::new("strict", Kind::Boolean, "What is best effort must succeed too, else exit 125.").default("false"),
    Key::new("env_keep", Kind::Strings, "Variables with bootstrap credentials that the app needs itself.")
        .default("[]"),
    Key::new("env_remove", Kind::Strings, "Variables that the app does not get; `*` stands for any text.")
        .default("[]"),
];

/// `[files]`: where files go.
pub const FILES: &[Key] = &[
    Key::new(
        "dir",
        Kind::String,
        "The files directory, on a tmpfs or ramfs; default: none, and each secret is a descriptor.",
    ),
    Key::new("mode", Kind::Mode, "The mode of each file.").default("\"0400\""),
    Key::new("size", Kind::Size, "The size of a mount of handfast's own.").default("\"1MiB\""),
    Key::new("swap", Kind::Choice(&["warn", "refuse"]), "What happens where a target can be swapped out.")
        .default("\"warn\""),
];

/// `[fetch]`: how secrets are fetched.
pub const FETCH: &[Key] = &[
    Key::new("deadline", Kind::Duration, "The deadline of the whole start.").default("\"60s\""),
    Key::new("concurrency", Kind::Integer(1, 1024), "Requests in flight, per provider.").default("32"),
    CA_FILE,
    ROOTS,
    Key::new(
        "proxy",
        Kind::String,
        "\"none\", \"environment\" (HTTPS_PROXY, NO_PROXY) or a URL; never for loopback, link-local and unix sockets.",
    )
    .default("\"none\""),
];

/// `[watch]`: how secrets are kept fresh.
pub const WATCH: &[Key] = &[
    Key::new("refresh", Kind::Duration, "How often a secret is read again.").default("\"5m\""),
    Key::new("on_change", Kind::String, ON_CHANGE).default("\"none\""),
    Key::new("quiet", Kind::Duration, "Changes this close together are one generation.").default("\"2s\""),
    Key::new("splay", Kind::Duration, "A restart waits a random part of this.").default("\"30s\""),
    Key::new("stop_signal", Kind::String, "The signal with which a restart ends the app.").default("\"TERM\""),
    Key::new("stop_timeout", Kind::Duration, "How long a restart waits for the app's end before it sends KILL.")
        .default("\"30s\""),
    Key::new("max_stale", Kind::String, "\"off\", or how long no read of a secret may succeed once one was due.")
        .default("\"off\""),
    Key::new(
        "on_stale",
        Kind::Choice(&["unready", "exit"]),
        "Whether a stale secret only fails `ready`, or also ends `watch`, or `run --supervise` with its app (69).",
    )
    .default("\"unready\""),
    Key::new(
        "metrics",
        Kind::String,
        "\"off\", or where OpenMetrics are served at /metrics, such as \"127.0.0.1:9102\".",
    )
    .default("\"off\""),
];

/// The keys that every `[providers.NAME]` takes in addition to its provider's own keys.
pub const PROVIDER: &[Key] =
    &[Key::new("type", Kind::String, "The kind of provider; default: the table's name."), CA_FILE, ROOTS];

/// `[secrets.NAME]`: one secret.
pub const SECRET: &[Key] = &[
    Key::new("from", Kind::String, "The reference: `<provider>:<locator>[?key=value][#field]`."),
    Key::new(
        "file",
        Kind::String,
        "The file's name in the files directory, for several values a pattern such as \"db-*\"; default: the secret's name, and `*`.",
    ),
    Key::new(
        "fd",
        Kind::Descriptor,
        "The descriptor's number, or \"auto\": the lowest free from 3, in order of name; default: \"auto\" without a files directory.",
    ),
    Key::new("path_env", Kind::String, "The app's variable that gets the path."),
    Key::new("fd_env", Kind::String, "The app's variable that gets the descriptor's number."),
    Key::new("mode", Kind::Mode, "The file's mode; default: [files] mode."),
    Key::new("owner", Kind::String, "The file's owner, \"uid:gid\"; default: [app] user."),
    Key::later("deliver"),
    Key::new("optional", Kind::Boolean, "A secret that is not found is no failure.").default("false"),
    Key::new("refresh", Kind::Duration, "How often it is read again; default: [watch] refresh."),
    Key::new("on_change", Kind::String, ON_CHANGE),
    Key::new(
        "params",
        Kind::Json,
        "Makes the reference a write with these parameters, such as a certificate's common name.",
    ),
];

/// The tables at the top.
pub const TABLES: &[&str] = &["app", "files", "fetch", "watch", "providers", "secrets"];

/// Tables that are planned and not in this version.
pub const LATER_TABLES: &[&str] = &["templates"];

const ON_CHANGE: &str = "What a change does besides the new files: \"none\", \"restart\", \"signal:NAME\" or \"post:http://127.0.0.1:PORT/PATH\".";

const CA_FILE: Key =
    Key::new("ca_file", Kind::String, "A PEM file of certificate authorities, besides the built-in roots.");
const ROOTS: Key =
    Key::new("roots", Kind::Choice(&["builtin", "none"]), "\"none\": only those of `ca_file`.").default("\"builtin\"");
