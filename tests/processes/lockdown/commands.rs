//! Commands of every kind, and what must come of each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::cases::{APP, Case, Expected, NOTHING, ONLY_SET_IDS, refused};

pub fn commands(directory: &Path) -> Vec<Case> {
    let file = |name: &str, text: &str, mode: u32| {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let no_interpreter = file("no-interpreter", "#!/nonexistent/interpreter\n", 0o755);
    let no_line = file("no-line", "echo no shell may run this\n", 0o755);
    let vanishing = file("vanishing", "#!/bin/true\n", 0o755);
    let command = |name: &str, plan: String, code, texts: &[&'static str]| {
        let mut case = refused(name, "", &plan, code, texts);
        case.needs_root = false;
        case
    };
    let capable = directory.join("capable");
    let hopeful = directory.join("hopeful");
    for path in [&capable, &hopeful] {
        fs::copy(directory.join("binary"), path).unwrap();
    }
    if nix::unistd::geteuid().is_root() {
        set_file_capabilities(&capable, 1);
        set_file_capabilities(&hopeful, 0);
    }
    let private = directory.join("private");
    fs::create_dir(&private).unwrap();
    fs::copy(directory.join("binary"), private.join("program")).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&private, Some(1000), None).unwrap();
    }
    let private = private.display();
    let (capable, hopeful) = (capable.display(), hopeful.display());
    let app_lines = ["Uid: 1000 1000 1000 1000".to_owned(), format!("CapPrm: {NOTHING}")];
    vec![
        command(
            "missing_interpreter",
            format!("command={no_interpreter}"),
            126,
            &["the file exists", "`#!` interpreter"],
        ),
        command(
            "no_shell_for_a_script_without_a_line",
            format!("command={no_line}"),
            126,
            &["exec format error", "never starts a shell"],
        ),
        command("vanished_before_exec", format!("command={vanishing} remove={vanishing}"), 127, &["no such file"]),
        command(
            "file_capabilities_outside_the_bounding_set",
            format!("{APP} command={capable}"),
            126,
            &["its file capabilities NET_RAW lie outside the capability bounding set", "keep_capabilities"],
        )
        .with_root(),
        Case {
            name: "private_directory_of_the_app_that_root_without_capabilities_cannot_see".into(),
            needs_root: true,
            before: ONLY_SET_IDS.into(),
            plan: format!("{APP} command={private}/program"),
            expected: Expected::App(app_lines.clone().into()),
        },
        Case {
            name: "file_capabilities_that_need_not_be_effective".into(),
            needs_root: true,
            before: String::new(),
            plan: format!("{APP} command={hopeful}"),
            expected: Expected::App(app_lines.into()),
        },
        command(
            "noexec_mount",
            format!("{APP} noexec={0} command={0}/program", directory.display()),
            126,
            &["its file system is mounted noexec"],
        )
        .with_root(),
        command("denied_exec", "deny=execve:1".to_owned(), 126, &["operation not permitted"]).with_root(),
        command("no_memory_for_exec", "deny=execve:12".to_owned(), 71, &["cannot execute"]).with_root(),
        command("too_many_processes", "deny=execve:11".to_owned(), 71, &["RLIMIT_NPROC"]).with_root(),
    ]
}

/// NET_RAW permitted, in the second revision; effective where `flags` is 1.
fn set_file_capabilities(path: &Path, flags: u32) {
    let value: Vec<u8> = [0x0200_0000 | flags, 1 << 13, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let name = c"security.capability";
    // SAFETY: both strings end in NUL, the kernel reads `value.len()` bytes, and all three live until the call returns.
    let result = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
