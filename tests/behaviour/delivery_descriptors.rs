//! Secrets in descriptors: what they are, which numbers they have, and that nothing else is open in the app.

use crate::support::{Directory, Outcome, Run, hex, needs_program, needs_root};
use serde_json::{Value, json};

/// Grow, shrink, write, seal and exec.
const ALL_SEALS: u64 = 0x2f;

fn secrets(numbers: &[&str]) -> String {
    let one = |number: &&str| format!("[secrets.s{number}]\nfrom = \"mock:{number}\"\nfd = {number}\n");
    numbers.iter().map(one).collect()
}

fn numbers(app: &Value) -> Vec<i64> {
    let all = app["descriptors"].as_array().expect("a list");
    all.iter().map(|one| one["fd"].as_i64().expect("a number")).collect()
}

/// The descriptor is as the contract has it: of this owner and group, for its owner alone where that is the app, for reading only,
/// by itself and through /dev/fd.
#[track_caller]
fn assert_handed_over(app: &Value, number: i64, content: &[u8], owner: (u32, u32), app_is_owner: bool) {
    let all = app["descriptors"].as_array().expect("a list");
    let one = all.iter().find(|one| one["fd"] == number).unwrap_or_else(|| panic!("{number} is not open"));
    assert_eq!(one["content"], hex(content), "{number}");
    assert_eq!(one["size"], content.len(), "{number}");
    assert_eq!((&one["seals"], &one["filesystem"]), (&json!(ALL_SEALS), &json!("1021994")), "{number}");
    let mode = if app_is_owner { "100400" } else { "100440" };
    assert_eq!((&one["mode"], &one["uid"], &one["gid"]), (&json!(mode), &json!(owner.0), &json!(owner.1)), "{number}");
    assert_eq!((&one["access"], &one["offset"], &one["cloexec"]), (&json!("r"), &json!(0), &json!(false)), "{number}");
    assert_eq!((&one["open_read"], &one["write"]), (&json!("ok"), &json!("EBADF")), "{number}");
    // The owner may always ask; the seals then refuse to be written to. As root nothing is asked at all.
    if !app_is_owner {
        assert_eq!(one["open_write"], "EACCES", "{number}");
    }
    assert_eq!(one["link"], "/memfd:secret (deleted)");
}

#[test]
fn each_number_is_the_planned_one() {
    needs_root!();
    let outcome = Run::new().config(&secrets(&["7", "100", "1023"])).config("[app]\nuser = \"1000:1001\"\n").start();
    let app = outcome.ran();
    assert_eq!(numbers(&app), [0, 1, 2, 7, 100, 1023]);
    for number in [7, 100, 1023] {
        assert_handed_over(&app, number, format!("mock-{number}").as_bytes(), (0, 1001), false);
    }
    assert_eq!(app["HANDFAST_FDS"], "s100:100,s1023:1023,s7:7");
    assert_eq!(app["attempts"]["setresuid"], "EPERM");
}

#[test]
fn numbers_that_are_not_planned_are_the_lowest_free_ones_in_order_of_name() {
    let toml = secrets(&["4"]) + "[secrets.b]\nfrom = \"mock:b\"\nfd = \"auto\"\n[secrets.a]\nfrom = \"mock:a\"\n";
    let app = Run::new().config(&toml).env("Z_FD", "handfast:mock:z").env("Y_FILE", "handfast:mock:y").start().ran();
    assert_eq!(app["HANDFAST_FDS"], "a:3,b:5,s4:4,y:6,z:7");
    assert_eq!((&app["environ"]["Z_FD"], &app["environ"]["Y_FILE"]), (&json!("7"), &json!("/dev/fd/6")));
    assert_eq!(numbers(&app), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn an_ordinary_user_hands_over_to_itself() {
    needs_root!();
    let state = ["--uid", "1234", "--gid", "1235", "--groups", "7"];
    let app = Run::new().config(&secrets(&["3"])).confine(&state).start().ran();
    assert_handed_over(&app, 3, b"mock-3", (1234, 1235), true);
    assert_eq!((&app["status"]["uids"], &app["status"]["groups"]), (&json!([1234, 1234, 1234, 1234]), &json!([7])));
}

#[test]
fn the_apps_group_needs_setgid_and_no_chown() {
    needs_root!();
    let toml = secrets(&["3"]) + "[app]\nuser = \"1000:1001\"\n";
    for caps in ["SETUID,SETGID", "SETUID,SETGID,CHOWN", "SETUID,SETGID,SETPCAP"] {
        let app = Run::new().config(&toml).confine(&["--caps", caps]).start().ran();
        assert_handed_over(&app, 3, b"mock-3", (0, 1001), false);
    }
    for error in ["EPERM", "ENOSYS"] {
        let run = Run::new().config(&toml).confine(&["--caps", "SETUID,SETGID"]);
        let outcome = run.confine(&["--deny", &format!("setfsgid={error}")]).start();
        outcome.refused(73, "cannot make files with group 1001: setfsgid was denied");
    }
}

#[test]
fn closed_standard_descriptors_do_not_become_secrets() {
    for closed in 0..8_u32 {
        let list: Vec<String> = (0..3).filter(|bit| closed >> bit & 1 == 1).map(|bit| bit.to_string()).collect();
        let report = Directory::new();
        // The app of another uid has to write its report.
        let out = report.write("report", "");
        std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("it is ours");
        let mut run = Run::new().config(&secrets(&["3", "5"])).app_arg("--out").app_arg(&out);
        if !list.is_empty() {
            run = run.confine(&["--close", &list.join(",")]);
        }
        let outcome: Outcome = run.start();
        assert_eq!((outcome.code, outcome.stdout.len()), (0, 0), "{list:?}: {outcome:?}");
        let text = std::fs::read(&out).expect("it is there");
        let app: Value = serde_json::from_slice(&text).expect("the probe has written its report");
        assert_eq!(numbers(&app), [0, 1, 2, 3, 5], "{list:?}");
        for (number, one) in app["descriptors"].as_array().expect("a list").iter().take(3).enumerate() {
            let is_null = one["link"] == "/dev/null";
            assert_eq!(is_null, list.contains(&number.to_string()), "{list:?}: {one}");
            assert_eq!(one["seals"], Value::Null);
        }
    }
}

#[test]
fn a_closed_standard_descriptor_that_cannot_be_replaced_ends_the_start() {
    needs_root!();
    needs_program!("strace");
    for closed in ["0", "1"] {
        // `confine` closes it; the first that opens /dev/null then is handfast, with either call, as the C library likes.
        let inject = "inject=?open,openat:error=ENOENT";
        let strace = ["strace", "--quiet=all", "-o", "/dev/null", "-P", "/dev/null", "-e", inject];
        let outcome = Run::new().config(&secrets(&["3"])).confine(&["--close", closed]).through(&strace).start();
        outcome.refused(71, "cannot prepare the standard descriptors: no such file or directory");
    }
}

#[test]
fn inherited_descriptors_are_closed_wherever_they_are() {
    for (limit, junk) in [("NOFILE=64", "50"), ("NOFILE=4096", "50"), ("NOFILE=1024", "7")] {
        for denied in [None, Some("close_range=ENOSYS"), Some("close_range=EPERM"), Some("close_range=EINVAL")] {
            let mut run = Run::new().config(&secrets(&["7", "20"])).confine(&["--rlimit", limit, "--open-junk", junk]);
            if let Some(denied) = denied {
                run = run.confine(&["--deny", denied]);
            }
            let app = run.start().ran();
            assert_eq!(numbers(&app), [0, 1, 2, 7, 20], "{limit} {junk} {denied:?}");
        }
    }
}

#[test]
fn every_opening_of_the_path_starts_at_the_beginning() {
    let read = "cat <&3; cat <&3; cat /dev/fd/3 \"$DB_FILE\"; exec 9</proc/self/fd/3; cat <&9";
    let outcome = Run::new().env("DB_FILE", "handfast:mock:db").app(["/bin/sh", "-c", read]).start();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, b"mock-db".repeat(4).as_slice()), "{outcome:?}");
}

#[test]
fn a_path_that_would_lead_nowhere_is_refused_before_the_fetch() {
    needs_root!();
    const NULL: &str = "mknod -m 666 /dev/null c 1 3";
    let start = |command: &'static str, mode: &str, link: &str, variable: &str| {
        let setup = format!("mount -t tmpfs -o mode={mode} x /dev; {NULL}; {link}");
        let run = if command == "run" { Run::new() } else { Run::command(command) };
        run.confine(&["--mountns", "--setup", &setup])
            // A fetch would end with another code.
            .config("[app]\nuser = \"1000:1000\"\n[providers.mock]\nfail = \"denied\"\n")
            .env(variable, "handfast:mock:a")
            .start()
    };
    for (mode, link, why) in [
        ("755", ":", "`/dev/fd`: no such file or directory"),
        ("755", "ln -s /nowhere /dev/fd", "`/dev/fd` is a link to `/nowhere`, where its descriptors are not"),
        ("755", "ln -s /proc/1/fd /dev/fd", "`/dev/fd` is a link to `/proc/1/fd`, where its descriptors are not"),
        ("755", "mkdir /dev/fd", "its descriptors are not in `/dev/fd`"),
        ("700", "ln -s /proc/self/fd /dev/fd", "uid 1000 cannot enter `/dev`"),
    ] {
        let outcome = start("run", mode, link, "A_FILE");
        outcome.refused(73, &format!("cannot hand over descriptor 3: the app could not open `/dev/fd/3`: {why}"));
        assert_eq!(start("check", mode, link, "A_FILE").code, 73, "{link}");
        // By number there is nothing to open.
        assert_eq!((start("run", mode, link, "A_FD").code, start("check", mode, link, "A_FD").code), (77, 0), "{link}");
    }
    for link in ["ln -s /proc/self/fd /dev/fd", "ln -s /proc/thread-self/fd /dev/fd", "ln -s ../proc/self/fd /dev/fd"] {
        assert_eq!((start("run", "755", link, "A_FILE").code, start("check", "755", link, "A_FILE").code), (77, 0));
    }
}
