//! Which configuration a privileged handfast believes: the file, the way to it, and the mounts that it is on.

use crate::support::{Run, Scene, needs_program, needs_root};

const PLAIN: &str = "[app]\nuser = \"1000:1000\"\n";

/// Refused as untrusted, with this in what is said, whatever the command.
fn refused(scene: &Scene, path: &str, said: &str, hint: &str) {
    for run in [scene.run(path), scene.run(path).args(["--secret", "a=mock:a"])] {
        let outcome = run.start();
        assert_eq!(outcome.code, 78, "{said}: {outcome:?}");
        assert!(outcome.stderr.contains(&scene.says(said)), "{said}: {outcome:?}");
        assert!(outcome.stderr.contains(&scene.says(hint)), "{hint}: {outcome:?}");
    }
    let check = Run::command("check").confine(&scene.setup).arg("--config").arg(scene.says(path)).start();
    assert_eq!(check.code, 78, "a check finds the same: {check:?}");
    assert!(check.stderr.contains(&scene.says(said)), "{check:?}");
}

fn believed(scene: &Scene, path: &str, why: &str) {
    let outcome = scene.start(path);
    assert_eq!(outcome.code, 0, "{why}: {outcome:?}");
    assert!(!outcome.stderr.contains("can be changed"), "{why}: {outcome:?}");
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    needs_root!();
    let root = "[app]\nuser = \"0:0\"\nallow_root = true\nkeep_capabilities = [\"SYS_ADMIN\"]\n";
    let in_group = "[app]\nuser = \"1000:1000\"\ngroups = [\"0\"]\n";
    for (config, owner, mode, said, hint) in [
        // What it says of the app plays no part.
        (
            root,
            "1000:1000",
            "0644",
            "uid 1000: `@/handfast.toml` has owner 1000:1000 and mode 0644",
            "HANDFAST_CONFIG_OWNER=1000",
        ),
        (
            PLAIN,
            "1000:0",
            "0644",
            "uid 1000: `@/handfast.toml` has owner 1000:0 and mode 0644",
            "`chown root @/handfast.toml`",
        ),
        // Its owner can make it writable again.
        (PLAIN, "5:5", "0444", "uid 5: `@/handfast.toml` has owner 5:5 and mode 0444", "mount it read-only"),
        (
            PLAIN,
            "0:0",
            "0646",
            "everybody: `@/handfast.toml` has owner 0:0 and mode 0646",
            "`chmod o-w @/handfast.toml`",
        ),
        (root, "0:0", "0666", "everybody: `@/handfast.toml` has owner 0:0 and mode 0666", "mount it read-only"),
        (
            PLAIN,
            "0:77",
            "0664",
            "group 77: `@/handfast.toml` has owner 0:77 and mode 0664",
            "`chmod g-w @/handfast.toml`",
        ),
        // As OpenShift has it: an arbitrary uid, gid 0.
        (
            "[app]\nuser = \"1000:0\"\n",
            "0:0",
            "0664",
            "group 0: `@/handfast.toml` has owner 0:0",
            "the app gets group 0: give it another one, `chmod g-w @/handfast.toml`, or mount it read-only",
        ),
        (in_group, "0:0", "0664", "group 0: `@/handfast.toml` has owner 0:0", "mount it read-only"),
    ] {
        let scene = Scene::new(config, &format!("chown {owner} handfast.toml; chmod {mode} handfast.toml"));
        refused(
            &scene,
            "@/handfast.toml",
            &format!("handfast.toml:1:1: the configuration can be changed by {said}"),
            hint,
        );
    }
}

#[test]
fn an_ordinary_image_is_believed() {
    needs_root!();
    for (config, owner, mode) in [
        (PLAIN, "0:0", "0644"),
        // Made under umask 002.
        (PLAIN, "0:0", "0664"),
        (PLAIN, "0:1000", "0640"),
        ("[app]\nuser = \"0\"\nallow_root = true\n", "0:0", "0664"),
        ("", "0:0", "0664"),
    ] {
        let scene = Scene::new(config, &format!("chown {owner} handfast.toml; chmod {mode} handfast.toml"));
        believed(&scene, "@/handfast.toml", &format!("{owner} {mode}"));
    }
    let scene = Scene::new(PLAIN, "mkdir -m 0775 d; mv handfast.toml d; ln -s d e; ln -s ../e/./handfast.toml d/l");
    for path in ["@/d/handfast.toml", "@/e/handfast.toml", "@//d/../e/l", "@/d/l"] {
        believed(&scene, path, "directories and links of root's");
    }
    let run = |path: &str| Run::new().confine(&["--cwd", scene.directory.text()]).arg("--config").arg(path).start();
    for path in ["d/handfast.toml", "./e/../d/l"] {
        assert_eq!(run(path).code, 0, "{path}");
    }
    assert!(run("d/handfast.toml/").stderr.contains("cannot read the configuration: not a directory"));
    assert!(run("").stderr.contains("cannot read the configuration: no such file or directory"));
}

#[test]
fn a_way_that_others_can_turn_is_refused() {
    needs_root!();
    let app_owns = "mkdir app; mv handfast.toml app; chown 1000:1000 app";
    let hint = "`chown root @/app`, mount it read-only, or name who may decide what a privileged process does: HANDFAST_CONFIG_OWNER=1000";
    let said = "uid 1000: `@/app` has owner 1000:1000 and mode 0755";
    refused(&Scene::new(PLAIN, app_owns), "@/app/handfast.toml", said, hint);
    refused(&Scene::new(PLAIN, &format!("{app_owns}; ln -s app/handfast.toml l")), "@/l", said, hint);
    refused(
        &Scene::new(PLAIN, &format!("{app_owns}; mkdir app/d; mv app/handfast.toml app/d")),
        "@/app/d/../d/handfast.toml",
        said,
        hint,
    );
    let outside = Scene::new(PLAIN, "mkdir app; chown 1000:1000 app; ln -s ../handfast.toml app/l");
    refused(&outside, "@/app/l", said, hint);
    let relative = Scene::new(PLAIN, app_owns);
    let place = relative.says("@/app");
    let outcome = Run::new().confine(&["--cwd", &place]).args(["--config", "handfast.toml"]).start();
    assert!(outcome.code == 78 && outcome.stderr.contains(&relative.says(said)), "{outcome:?}");
    for (mode, owner, said) in [
        ("0777", "0:0", "everybody: `@/d` has owner 0:0 and mode 0777"),
        ("0775", "0:77", "group 77: `@/d` has owner 0:77 and mode 0775"),
        // Its owner may rename root's entries, sticky or not.
        ("1777", "1000:0", "uid 1000: `@/d` has owner 1000:0 and mode 1777"),
    ] {
        let scene = Scene::new(PLAIN, &format!("mkdir d; mv handfast.toml d; chown {owner} d; chmod {mode} d"));
        refused(&scene, "@/d/handfast.toml", said, "@/d`");
    }
}

#[test]
fn nothing_is_told_of_a_file_behind_such_a_way() {
    needs_root!();
    let scene = Scene::new(
        "root:$6$hash::\n",
        "mkdir app; chown 1000 app; chmod 600 handfast.toml; ln -s ../handfast.toml app/l",
    );
    let outcome = scene.start("@/app/l");
    assert!(outcome.code == 78 && !outcome.stderr.contains("hash") && !outcome.stderr.contains("TOML"), "{outcome:?}");
}

#[test]
fn in_a_sticky_directory_only_the_owner_of_an_entry_counts() {
    needs_root!();
    let sticky = "mkdir -m 1777 t; mv handfast.toml t; mkdir t/d; cp t/handfast.toml t/d; ln -s handfast.toml t/l";
    let scene = Scene::new(PLAIN, &format!("{sticky}; ln -s handfast.toml t/theirs; chown -h 1000 t/theirs"));
    for path in ["@/t/handfast.toml", "@/t/d/handfast.toml", "@/t/l"] {
        believed(&scene, path, "root's entries");
    }
    let said = "uid 1000: the link `@/t/theirs` has owner 1000:0 and mode 0777, and others can write its directory";
    refused(&scene, "@/t/theirs", said, "`chown -h root @/t/theirs`, or name the file that it leads to");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    needs_root!();
    let scene =
        Scene::new(PLAIN, "mkfifo fifo; ln -s /proc/self/cmdline c; ln -s /sys/kernel/fscaps s; ln -s /dev/zero z");
    for (path, said) in [
        ("@/fifo", "the configuration cannot be trusted: `@/fifo` is no regular file"),
        ("@/z", "the configuration cannot be trusted: `/dev/zero` is no regular file"),
        ("@/c", "the configuration cannot be trusted: `/proc` is on procfs"),
        ("/proc/1/cmdline", "the configuration cannot be trusted: `/proc` is on procfs"),
        ("@/s", "the configuration cannot be trusted: `/sys` is on sysfs"),
        ("/dev/stdin", "the configuration cannot be trusted: `/proc` is on procfs"),
    ] {
        refused(
            &scene,
            path,
            said,
            "with root's rights or a capability, handfast takes only regular files that nobody else can write",
        );
    }
    let bound = Scene::new(PLAIN, "touch b").mounts("mount --bind /proc/self/cmdline @/b");
    refused(
        &bound,
        "@/b",
        "cannot be trusted: `@/b` is on procfs, whose files say what processes choose",
        "only regular files",
    );
}

#[test]
fn access_lists_count_as_modes_do() {
    needs_root!();
    needs_program!("setfacl");
    for (script, path, said, hint) in [
        (
            "setfacl -m u:1000:rw handfast.toml",
            "@/handfast.toml",
            "uid 1000: `@/handfast.toml` has owner 0:0 and mode 0664, and an access list",
            "`setfacl -x u:1000 @/handfast.toml`",
        ),
        (
            "setfacl -m g:77:w handfast.toml",
            "@/handfast.toml",
            "group 77: `@/handfast.toml` has",
            "`setfacl -x g:77 @/handfast.toml`",
        ),
        (
            "mkdir d; mv handfast.toml d; setfacl -m u:1000:rwx d",
            "@/d/handfast.toml",
            "uid 1000: `@/d` has owner 0:0 and mode 0775, and an access list",
            "`setfacl -x u:1000 @/d`",
        ),
        (
            "chgrp 77 handfast.toml; setfacl -m g::rw,u:5:r handfast.toml",
            "@/handfast.toml",
            "group 77: `@/handfast.toml` has",
            "`chmod g-w",
        ),
    ] {
        refused(&Scene::new(PLAIN, script), path, said, hint);
    }
    for (script, path) in [
        ("setfacl -m u:1000:r handfast.toml", "@/handfast.toml"),
        ("setfacl -m u:1000:rw,m::r handfast.toml", "@/handfast.toml"),
        ("setfacl -m u:0:rw,g:0:rw,u:1000:r handfast.toml", "@/handfast.toml"),
        // What new files get, and nobody may make one.
        ("mkdir d; mv handfast.toml d; setfacl -d -m u:1000:rwx d", "@/d/handfast.toml"),
        ("mkdir -m 1777 d; mv handfast.toml d; setfacl -m u:1000:rwx d", "@/d/handfast.toml"),
    ] {
        believed(&Scene::new(PLAIN, script), path, script);
    }
}

/// As the kubelet lays out a ConfigMap.
const CONFIG_MAP: &str = "mount -t tmpfs -o mode=0777 t @/m; mkdir @/m/..1; cp @/handfast.toml @/m/..1; \
    ln -s ..1 @/m/..data; ln -s ..data/handfast.toml @/m/handfast.toml; chmod 0777 @/m";

#[test]
fn a_read_only_mount_excuses_modes_lists_and_owners() {
    needs_root!();
    let volume = Scene::new(PLAIN, "mkdir m").mounts(&format!("{CONFIG_MAP}; mount -o remount,ro @/m"));
    believed(&volume, "@/m/handfast.toml", "a ConfigMap");
    let writable = Scene::new(PLAIN, "mkdir m").mounts(CONFIG_MAP);
    refused(&writable, "@/m/handfast.toml", "everybody: `@/m` has owner 0:0 and mode 0777", "mount it read-only");
    // A file of a developer's, from a directory of theirs: that one is not in the container.
    let theirs = "mkdir home; chown 4242:4242 home; chmod 0775 home; mv handfast.toml home; chown 4242:4242 home/handfast.toml; \
        chmod 0666 home/handfast.toml; touch etc";
    let bind = "mount --bind @/home/handfast.toml @/etc; mount -o remount,bind,ro @/etc";
    believed(&Scene::new(PLAIN, theirs).mounts(bind), "@/etc", "a developer's file");
    believed(&Scene::new("", theirs).mounts(bind), "@/etc", "whoever the app is");
    let whole = "mount --bind @ @; mount -o remount,bind,ro @";
    believed(&Scene::new(PLAIN, theirs).mounts(whole), "@/home/handfast.toml", "an image that is read-only as a whole");
    let bind = "mount --bind @/home/handfast.toml @/etc";
    refused(
        &Scene::new(PLAIN, theirs).mounts(bind),
        "@/etc",
        "uid 4242: `@/etc` has owner 4242:4242",
        "mount it read-only",
    );
}

#[test]
fn a_read_only_mount_does_not_excuse_an_owner_who_is_the_app() {
    needs_root!();
    let mine = "chown 1000:1000 handfast.toml; touch etc";
    let bind = "mount --bind @/handfast.toml @/etc; mount -o remount,bind,ro @/etc";
    let said = "the app's uid 1000: `@/etc` has owner 1000:1000 and mode 0644";
    refused(
        &Scene::new(PLAIN, mine).mounts(bind),
        "@/etc",
        said,
        "a read-only mount helps against others than the app: `chown root @/etc`",
    );
    // By the command line, against which the file has no say.
    let elsewhere = Scene::new("[app]\nuser = \"5:5\"\n", mine).mounts(bind);
    assert_eq!(elsewhere.start("@/etc").code, 0, "5 is not 1000");
    for run in [elsewhere.run("@/etc").args(["-u", "1000:5"]), elsewhere.run("@/etc").env("HANDFAST_USER", "1000")] {
        let outcome = run.start();
        assert!(outcome.code == 78 && outcome.stderr.contains(&elsewhere.says(said)), "{outcome:?}");
    }
    let nonroot = "chown 65532 handfast.toml; touch etc";
    let hides = Scene::new(PLAIN, nonroot).mounts(bind);
    refused(&hides, "@/etc", "the app's uid 65532", "chown root");
}

#[test]
fn the_file_cannot_hide_the_apps_group() {
    needs_root!();
    let scene = Scene::new("[app]\ngroups = []\n", "chmod 0664 handfast.toml");
    assert_eq!(scene.run("@/handfast.toml").args(["-u", "1000:1000"]).start().code, 0);
    let outcome = scene.run("@/handfast.toml").args(["-u", "1000:0"]).start();
    assert!(outcome.code == 78 && outcome.stderr.contains("the app gets group 0"), "{outcome:?}");
}

#[test]
fn another_owner_is_named_by_the_environment_alone() {
    needs_root!();
    let theirs = "mkdir home; mv handfast.toml home; chown -R 4242:4242 home";
    let scene = Scene::new(PLAIN, theirs);
    let start = |owner: &str| scene.run("@/home/handfast.toml").env("HANDFAST_CONFIG_OWNER", owner).start();
    for right in ["4242", " 4242\n"] {
        assert_eq!(start(right).code, 0, "{:?}", start(right));
    }
    for other in ["", "0", "4243"] {
        assert!(start(other).stderr.contains("can be changed by uid 4242"), "{other}: {:?}", start(other));
    }
    for wrong in ["dev", "-1", "4294967295", "4242:4242", "42 42"] {
        let outcome = start(wrong);
        assert!(
            outcome.code == 78 && outcome.stderr.contains("environment: `HANDFAST_CONFIG_OWNER` is no uid"),
            "{outcome:?}"
        );
    }
    assert!(
        start("dev").stderr.contains("hint: the uid, besides root's, whose configuration a privileged process takes")
    );
    let writable = Scene::new(PLAIN, &format!("{theirs}; chmod 0664 home/handfast.toml"));
    let outcome = writable.run("@/home/handfast.toml").env("HANDFAST_CONFIG_OWNER", "4242").start();
    assert!(outcome.stderr.contains("can be changed by group 4242"), "{outcome:?}");
}

#[test]
fn any_capability_asks_for_the_same() {
    needs_root!();
    let unprivileged = ["--uid", "1000", "--gid", "1000", "--groups", "none"];
    let mine = "[app]\nuser = \"0:0\"\nallow_root = true\n";
    let scene = Scene::new(mine, "chown 1000:1000 handfast.toml");
    for capabilities in ["setuid,setgid", "net_bind_service"] {
        let ambient = ["--ambient", capabilities];
        let outcome = scene.run("@/handfast.toml").confine(&unprivileged).confine(&ambient).start();
        assert!(outcome.code == 78 && outcome.stderr.contains("can be changed by uid 1000"), "{outcome:?}");
        let roots = Scene::new("", "true");
        let outcome = roots.run("@/handfast.toml").confine(&unprivileged).confine(&ambient).start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    // Root without any is root all the same.
    let outcome = scene.run("@/handfast.toml").confine(&["--caps", "none"]).start();
    assert!(outcome.stderr.contains("can be changed by uid 1000"), "{outcome:?}");
}
