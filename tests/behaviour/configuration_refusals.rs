//! What a refused configuration cannot do: say who the app is in place of another file, or be told or looked into any further.

use crate::support::{Outcome, Scene, needs_root};

const PLAIN: &str = "[app]\nuser = \"1000:1000\"\n";

#[test]
fn of_a_configuration_that_is_refused_nothing_else_is_told() {
    needs_root!();
    let config =
        "[app]\nuser = \"no-such-user\"\nstrict = 1\n[providers.vault]\nca_file = \"/no/such/file\"\n[db-password]\n";
    let nothing_else = |outcome: &Outcome, why: &str| {
        assert!(outcome.code == 78 && outcome.stderr.contains(why), "{outcome:?}");
        for other in ["no-such", "strict", "ca_file", "db-password", "problems"] {
            assert!(!outcome.stderr.contains(other), "{other}: {outcome:?}");
        }
    };
    let everybody = Scene::new(config, "chmod 0666 handfast.toml");
    nothing_else(&everybody.start("@/handfast.toml"), "can be changed by everybody");
    // A link of the app's, to what only root reads; and a trusted file beside it changes nothing.
    let script = "chmod 0600 handfast.toml; mkdir -m 0775 d; ln -s ../handfast.toml d/l; echo > other; mkfifo fifo";
    let link = Scene::new(config, script);
    nothing_else(&link.run("@/d/l").args(["-u", "1000:0"]).start(), "the app gets group 0");
    let other = link.says("@/other");
    nothing_else(&link.run("@/d/l").args(["-u", "1000:0", "-c", &other]).start(), "the app gets group 0");
    nothing_else(&link.run("@/handfast.toml").args(["-c", &link.says("@/fifo")]).start(), "is no regular file");
    // Without a refusal all of it is told.
    let outcome = link.start("@/handfast.toml");
    for told in ["no user `no-such-user`", "`strict` is 1", "`ca_file`", "db-password"] {
        assert!(outcome.code == 78 && outcome.stderr.contains(told), "{told}: {outcome:?}");
    }
}

#[test]
fn what_a_refused_configuration_names_is_not_opened() {
    needs_root!();
    let config = "[providers.vault]\naddress = \"https://vault\"\nca_file = \"@/ca.pem\"\n";
    let scene = Scene::new("", "touch ca.pem; mkdir -m 0775 d; touch -d @1000 -a ca.pem");
    scene.directory.write("d/handfast.toml", scene.says(config));
    // A lease is told of each open: its holder gets SIGIO, which ends it.
    let script = scene.says(
        "import fcntl, os, signal, subprocess, sys\n\
         opened = []\n\
         signal.signal(signal.SIGIO, lambda *_: opened.append(1))\n\
         file = os.open('@/ca.pem', os.O_RDWR)\n\
         fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
         code = subprocess.run(sys.argv[1:], close_fds=True).returncode\n\
         print(code, len(opened))",
    );
    let told = |user: &str| {
        let handfast = crate::support::program("handfast");
        let mut command = std::process::Command::new("python3");
        command.env_clear().env("PATH", crate::support::PATH).args(["-c", &script]).arg(handfast);
        command.args(["check", "-u", user, "-c", &scene.says("@/d/handfast.toml")]);
        let output = command.output().expect("there is a python3");
        String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(told("1000:0"), "78 0");
    assert!(
        told("1000:1000").ends_with(" 1"),
        "a configuration that is believed is looked into: {}",
        told("1000:1000")
    );
}

#[test]
fn a_later_file_cannot_hide_what_an_earlier_one_says_of_the_app() {
    needs_root!();
    let root = "[app]\nuser = \"0:0\"\nallow_root = true\nkeep_capabilities = [\"SYS_ADMIN\"]\ngroups = []\n";
    let start = |base: &str, later: &str, setup: &str, mount: &str| {
        let scene = Scene::new(base, &format!("cat > later <<'END'\n{later}END\n{setup}")).mounts(mount);
        scene.run("@/handfast.toml").arg("--config").arg(scene.says("@/later")).start()
    };
    let mount = "touch @/m; mount --bind @/later @/later; mount -o remount,bind,ro @/later";
    for later in [root, "[app]\nuser = \"5:5\"\n", "[app]\nuser = \"no-such-user\"\n", ""] {
        let outcome = start(PLAIN, later, "chown 1000:1000 later", mount);
        assert!(outcome.code == 78 && outcome.stderr.contains("the app's uid 1000"), "{later}: {outcome:?}");
    }
    for base in [
        "[app]\nuser = \"2000:0\"\n",
        "[app]\nuser = \"2000:2000\"\ngroups = [\"0\"]\n",
        "[app]\nuser = \"2000:2000\"\ngroups = [\"no-such-group\", \"root\"]\n",
        "[app]\ngroups = [\"0\"]\n",
    ] {
        for later in [root, "[app]\nuser = \"5:5\"\ngroups = []\n"] {
            let outcome = start(base, later, "chmod 0664 later", "true");
            assert!(
                outcome.code == 78 && outcome.stderr.contains("the app gets group 0"),
                "{base} {later}: {outcome:?}"
            );
        }
    }
    // Where nobody but root can write, a later file replaces what it likes.
    for base in [PLAIN, "[app]\nuser = \"2000:0\"\ngroups = [\"0\"]\n"] {
        let outcome = start(base, "[app]\nuser = \"5:5\"\ngroups = []\n", "true", "true");
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(outcome.probe()["uid"], start("[app]\nuser = \"5:5\"\n", "", "true", "true").probe()["uid"]);
    }
    let ordinary = start("[app]\nuser = \"5:5\"\n", "[app]\ngroups = [\"7\"]\n", "chmod 0664 later", "true");
    assert_eq!(ordinary.code, 0, "made under umask 002: {ordinary:?}");
    let root_alone =
        start("[app]\nuser = \"0\"\nallow_root = true\ngroups = [\"0\"]\n", "", "chmod 0664 later", "true");
    assert_eq!(root_alone.code, 0, "{root_alone:?}");
}

#[test]
fn against_the_command_line_no_file_says_who_the_app_is() {
    needs_root!();
    let scene = Scene::new("[app]\nuser = \"1000:0\"\n", "chmod 0664 handfast.toml");
    assert_eq!(scene.run("@/handfast.toml").args(["-u", "1000:1000"]).start().code, 0);
    assert_eq!(scene.start("@/handfast.toml").code, 78);
}
