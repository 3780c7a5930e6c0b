//! The start states, the plans, and what must come of them.

use std::path::Path;

use super::commands::commands;

pub struct Case {
    pub name: String,
    pub needs_root: bool,
    /// The wrapper that makes the start state.
    pub before: String,
    /// What the subject is told.
    pub plan: String,
    pub expected: Expected,
}

pub enum Expected {
    /// The app runs and reports these lines.
    App(Vec<String>),
    /// No app: this exit code, and an error with these texts.
    Refused(i32, Vec<&'static str>),
}

pub(super) const NOTHING: &str = "0000000000000000";
const DOCKER: &str = "setpriv --inh-caps=-all --bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,\
+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";
pub(super) const ONLY_SET_IDS: &str = "setpriv --inh-caps=-all --bounding-set=-all,+setuid,+setgid";
const NO_CAPABILITIES: &str = "setpriv --inh-caps=-all --bounding-set=-all";
const INHERITABLE: &str = "setpriv --inh-caps=+chown,+dac_override,+kill,+setgid,+setuid,+setpcap,+net_bind_service";
const AMBIENT: &str = "setpriv --inh-caps=+chown,+dac_override,+kill,+setgid,+setuid,+setpcap,+net_bind_service \
--ambient-caps=+chown,+dac_override,+kill,+setgid,+setuid,+setpcap,+net_bind_service";
const OPENSHIFT: &str = "setpriv --reuid=1000620000 --regid=0 --groups=1000620000";
const FS_GROUP: &str = "setpriv --reuid=1000 --regid=1000 --groups=2000,3000";
const OWN_GROUP: &str = "setpriv --reuid=1000 --regid=1000 --groups=1000";
const MORE_THAN_OWN: &str = "setpriv --reuid=1000 --regid=1000 --groups=1000,2000";
pub(super) const APP: &str = "uid=1000 gid=1001 groups=4,27";

pub fn all(directory: &Path) -> Vec<Case> {
    [start_states(), kept_capabilities(), impossible(), lying_kernel(), process_state(), commands(directory)]
        .into_iter()
        .flatten()
        .collect()
}

/// The app must get exactly the plan's ids, and `set` in all five capability sets; then further lines.
fn app(name: &str, before: &str, plan: &str, ids: (u32, u32, &str), set: &str, lines: &[&str]) -> Case {
    let (uid, gid, groups) = ids;
    let mut expected = vec![
        format!("Uid: {uid} {uid} {uid} {uid}"),
        format!("Gid: {gid} {gid} {gid} {gid}"),
        format!("Groups: {groups}").trim_end().to_owned(),
        "NoNewPrivs: 1".to_owned(),
    ];
    expected.extend(["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|name| format!("{name}: {set}")));
    if !lines.iter().any(|line| line.starts_with("CapBnd")) {
        expected.push(format!("CapBnd: {set}"));
    }
    if !lines.iter().any(|line| line.starts_with("descriptors")) {
        expected.push("descriptors 0,1,2".to_owned());
    }
    if !lines.iter().any(|line| line.starts_with("core")) {
        expected.push("core 0:0".to_owned());
    }
    expected.extend(lines.iter().map(|line| (*line).to_owned()));
    expected.retain(|line| line != "CapBnd as found");
    Case {
        name: name.into(),
        needs_root: true,
        before: before.into(),
        plan: plan.into(),
        expected: Expected::App(expected),
    }
}

pub(super) fn refused(name: &str, before: &str, plan: &str, code: i32, texts: &[&'static str]) -> Case {
    let expected = Expected::Refused(code, texts.into());
    Case { name: name.into(), needs_root: true, before: before.into(), plan: plan.into(), expected }
}

fn start_states() -> Vec<Case> {
    let ids = (1000, 1001, "4 27");
    let exactly = app;
    let app = |name: &str, before: &str, lines: &[&str]| exactly(name, before, APP, ids, NOTHING, lines);
    let locked_bits = format!("{AMBIENT} --securebits=+noroot,+noroot_locked,+no_setuid_fixup,+no_setuid_fixup_locked");
    vec![
        app("root", "", &["stdout opens: true"]),
        app("root_with_supplementary_groups", "setpriv --groups=0,4,10,27", &[]),
        app("root_with_inheritable_capabilities", INHERITABLE, &[]),
        app("root_with_ambient_capabilities", AMBIENT, &[]),
        app("securebit_noroot", &format!("{AMBIENT} --securebits=+noroot"), &[]),
        app("securebit_no_setuid_fixup", &format!("{AMBIENT} --securebits=+no_setuid_fixup"), &[]),
        app("securebits_locked", &locked_bits, &[]),
        app("securebit_keep_caps_locked", "setpriv --securebits=+keep_caps_locked", &[]),
        app("securebit_no_ambient_raise", "", &[]).with("securebits=64"),
        app("no_new_privileges_already", "setpriv --nnp", &[]),
        app("docker_default_capabilities", DOCKER, &["stdout opens: true"]),
        app("only_setuid_and_setgid", ONLY_SET_IDS, &["CapBnd: 00000000000000c0", "stdout opens: false"]),
        app("file_system_ids_left_elsewhere", "", &[]).with("file_system_ids"),
        app("other_uid_with_ambient_capabilities", &format!("{AMBIENT} --reuid=7 --regid=7 --clear-groups"), &[]),
        exactly("openshift", OPENSHIFT, "", (1_000_620_000, 0, "1000620000"), NOTHING, &["CapBnd as found"]),
        exactly("non_root_with_fs_group", FS_GROUP, "", (1000, 1000, "2000 3000"), NOTHING, &["CapBnd as found"]),
        // As engines start it; taking the group off needs SETGID, and would change nothing.
        exactly(
            "non_root_with_its_gid_among_its_groups",
            OWN_GROUP,
            "groups=",
            (1000, 1000, "1000"),
            NOTHING,
            &["CapBnd as found"],
        ),
        exactly("root_kept_without_capabilities", NO_CAPABILITIES, "groups=", (0, 0, ""), NOTHING, &[]),
        exactly("root_kept", "", "groups=", (0, 0, ""), NOTHING, &[]),
        exactly("user_namespace_root", "unshare --user --map-root-user", "", (0, 0, ""), NOTHING, &[]),
    ]
}

fn kept_capabilities() -> Vec<Case> {
    let bind = "0000000000000400";
    let set_ids = "00000000000000c0";
    let other = "setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=+net_bind_service --ambient-caps=+net_bind_service";
    let kept = |plan: &str, set: &str| format!("{plan} keep={set}");
    let app_ids = (1000, 1001, "4 27");
    vec![
        app("kept_capability", "", &kept(APP, bind), app_ids, bind, &[]),
        app("kept_capability_by_docker", DOCKER, &kept(APP, bind), app_ids, bind, &[]),
        app("kept_capability_with_all_ambient", AMBIENT, &kept(APP, bind), app_ids, bind, &[]),
        app("kept_capability_of_root", "", &kept("groups=", bind), (0, 0, ""), bind, &[]),
        app("kept_setuid_and_setgid", "", &kept(APP, set_ids), app_ids, set_ids, &[]),
        app("kept_capability_of_another_uid", other, &kept("", bind), (1000, 1000, ""), bind, &["CapBnd as found"]),
        app(
            "kept_capability_without_setuid_fixup",
            &format!("{AMBIENT} --securebits=+no_setuid_fixup,+keep_caps_locked"),
            &kept(APP, bind),
            app_ids,
            bind,
            &[],
        ),
        refused(
            "kept_capability_missing",
            ONLY_SET_IDS,
            &kept(APP, bind),
            125,
            &["cannot keep the capabilities NET_BIND_SERVICE: this process does not have them", "cap_add"],
        ),
        refused(
            "kept_capability_not_bounded",
            "setpriv --bounding-set=-net_bind_service",
            &kept(APP, bind),
            125,
            &["NET_BIND_SERVICE"],
        ),
        refused("kept_capability_without_ambient_raise", "", &kept(APP, bind), 125, &["NO_CAP_AMBIENT_RAISE"])
            .with("securebits=64"),
        refused(
            "kept_capability_without_ambient_raise_unchecked",
            "",
            &kept(APP, bind),
            125,
            &["cannot keep the capability NET_BIND_SERVICE over exec: operation not permitted"],
        )
        .with("securebits=64 unchecked"),
        refused(
            "kept_capability_with_keep_caps_locked",
            "setpriv --securebits=+keep_caps_locked",
            &kept(APP, bind),
            125,
            &["the securebit KEEP_CAPS is locked"],
        ),
    ]
}

fn impossible() -> Vec<Case> {
    let namespace = "unshare --user --map-root-user";
    vec![
        refused(
            "root_without_capabilities_to_another_user",
            NO_CAPABILITIES,
            APP,
            125,
            &["cannot set the uid to 1000: the capability SETUID is missing", "add the capabilities SETUID and SETGID"],
        ),
        refused("non_root_to_another_user", FS_GROUP, "uid=1001", 125, &["cannot set the uid to 1001", "SETUID"]),
        refused("non_root_to_another_group", FS_GROUP, "gid=0", 125, &["cannot set the gid to 0", "SETGID"]),
        refused(
            "non_root_gives_up_more_than_its_gid",
            MORE_THAN_OWN,
            "groups=",
            125,
            &["cannot give up the groups [1000, 2000]"],
        ),
        refused("non_root_gives_up_groups", FS_GROUP, "groups=", 125, &["cannot give up the groups [2000, 3000]"]),
        refused(
            "unmapped_uid",
            namespace,
            "uid=1000",
            125,
            &["cannot set the uid to 1000: this user namespace does not map 1000"],
        ),
        refused("unmapped_gid", namespace, "gid=5", 125, &["this user namespace does not map 5"]),
        refused("setgroups_denied", namespace, "groups=0", 125, &["this user namespace denies setgroups"]),
        refused(
            "unmapped_uid_unchecked",
            namespace,
            "uid=1000 unchecked",
            125,
            &["cannot set the uid to 1000: invalid"],
        ),
        refused("non_root_unchecked", FS_GROUP, "uid=1001 unchecked", 125, &["operation not permitted"]),
        refused(
            "strict_without_setpcap",
            ONLY_SET_IDS,
            &format!("{APP} strict"),
            125,
            &["the capability bounding set stays as found", "[app] strict = true"],
        ),
        refused(
            "strict_without_setpcap_unchecked",
            ONLY_SET_IDS,
            &format!("{APP} strict unchecked"),
            125,
            &["[app] strict"],
        ),
        refused(
            "strict_without_chown",
            "setpriv --inh-caps=-all --bounding-set=-all,+setuid,+setgid,+setpcap",
            &format!("{APP} strict"),
            125,
            &["stdin, stdout or stderr stays with its owner"],
        ),
        app("strict_with_everything", "", &format!("{APP} strict"), (1000, 1001, "4 27"), NOTHING, &[]),
        refused("more_than_one_thread", "", &format!("{APP} thread"), 125, &["this process has 2 threads"]),
    ]
}

/// Calls that are denied, and calls that say they succeeded and did nothing: only the read-back sees those.
fn lying_kernel() -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, denied, lied) in [
        ("setgroups", "cannot set the groups to [4, 27]: operation not permitted", "groups [], planned [4, 27]"),
        ("setresgid", "cannot set the gid to 1001: operation not permitted", "gids [0, 0, 0, 0], planned 1001"),
        ("setresuid", "cannot set the uid to 1000: operation not permitted", "uids [0, 0, 0, 0], planned 1000"),
        ("prctl=38", "cannot set no_new_privs: operation not permitted", "no_new_privs false, planned true"),
    ] {
        cases.push(refused(&format!("denied_{call}"), "", &format!("{APP} deny={call}:1"), 125, &[denied, "seccomp"]));
        cases.push(refused(&format!("lying_{call}"), "", &format!("{APP} deny={call}:0"), 125, &[lied]));
    }
    let inheritable = INHERITABLE;
    let call =
        |name: &str, before: &str, deny: &str, text| refused(name, before, &format!("{APP} deny={deny}"), 125, &[text]);
    cases.extend([
        call("denied_capset", inheritable, "capset:1", "cannot set the capabilities to none: operation not permitted"),
        call("lying_capset", inheritable, "capset:0", "inheritable capabilities"),
        call("lying_bounding_drop", "", "prctl=24:0", "bounding capabilities"),
        call(
            "lying_ambient_clear",
            &format!("{AMBIENT} --securebits=+no_setuid_fixup"),
            "prctl=47:0,capset:0",
            "ambient",
        ),
        call("denied_core_limit", "", "prlimit64:1", "RLIMIT_CORE"),
        call("lying_close_range", "", "close_range:0", "the open descriptors are [0, 1, 2, 9").with("leak=9"),
        app(
            "denied_bounding_drop_is_best_effort",
            "",
            &format!("{APP} deny=prctl=24:1"),
            (1000, 1001, "4 27"),
            NOTHING,
            &["CapBnd as found"],
        ),
        call("denied_bounding_drop_strict", "", "prctl=24:1", "from the bounding set").with("strict"),
        app(
            "denied_fchown_is_best_effort",
            "",
            &format!("{APP} deny=fchown:1"),
            (1000, 1001, "4 27"),
            NOTHING,
            &["stdout opens: false"],
        ),
        call("denied_fchown_strict", "", "fchown:1", "cannot give stdout to uid 1000").with("strict"),
    ]);
    cases
}

fn process_state() -> Vec<Case> {
    let own = |name: &str, before: &str, plan: &str, lines: &[&str]| Case {
        name: name.into(),
        needs_root: false,
        before: before.into(),
        plan: plan.into(),
        expected: Expected::App(lines.iter().map(|line| (*line).to_owned()).collect()),
    };
    let leaks = "leak=3,4,6,8,10,40,61,999 open=5,9";
    let open = ["descriptors 0,1,2,5,9"];
    let mut cases = vec![
        own("as_found", "", "", &["NoNewPrivs: 1", "descriptors 0,1,2", "core 0:0"]),
        own("environment_and_arguments_are_the_given", "", "", &[r#"environment [("A", "1"), ("B", "x=y")]"#]),
        own("descriptors", "", leaks, &open),
        own("core_dumps", "prlimit --core=4096:8192", "core_dumps", &["core 4096:8192"]),
        own("core_dumps_forbidden", "prlimit --core=4096:8192", "", &["core 0:0"]),
        // PIPE 13, CHLD 17, HUP 1 ignored; USR1 10, RTMIN 34 blocked.
        own(
            "signals_as_found",
            "env --default-signal --ignore-signal=PIPE,CHLD,HUP --block-signal=USR1",
            "watch",
            &["ignored 11001 blocked 200"],
        ),
        own("signals_at_default", "env --default-signal", "watch", &["ignored 0 blocked 0"]),
        own(
            "signals_ignored_or_blocked_stay",
            "env --default-signal --ignore-signal=TERM --block-signal=TERM",
            "watch",
            &["ignored 4000 blocked 4000"],
        ),
    ];
    for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
        let plan = format!("{leaks} uid=1000 gid=1001 groups=4,27 deny=close_range:{errno}");
        let name = format!("descriptors_with_close_range_denied_{errno}");
        cases.push(app(&name, "", &plan, (1000, 1001, "4 27"), NOTHING, &open));
    }
    cases.push(own(
        "a_signal_that_was_blocked_when_found_stays_pending",
        "env --default-signal --block-signal=TERM",
        "watch terminated",
        &["ignored 0 blocked 4000", "pending 4000"],
    ));
    let mut late =
        refused("a_late_signal_ends_the_start", "env --default-signal", "watch terminated", 143, &["SIGTERM"]);
    late.needs_root = false;
    cases.push(late);
    cases
}

impl Case {
    pub fn with(mut self, word: &str) -> Self {
        self.plan = format!("{} {word}", self.plan);
        self
    }

    /// A filter needs no_new_privs or root.
    pub(super) fn with_root(mut self) -> Self {
        self.needs_root = true;
        self
    }
}
