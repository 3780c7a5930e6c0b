//! `watch` of the provider `file`: a change is noticed at once, however the file is changed, and without inotify at `refresh`.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::support::{Directory, Run, Running, needs_root};
use crate::watch::{changed, content, ready, watch};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(15);

fn config(source: &Directory, name: &str) -> String {
    format!(
        "[watch]\nrefresh = \"300d\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}/{name}\"\noptional = true\n",
        source.text()
    )
}

fn end(keeper: Running) {
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.never_says("error:").never_says("cannot");
}

fn becomes(directory: &Directory, expected: &str) {
    let start = Instant::now();
    while fs::read_to_string(directory.path().join("db")).ok().as_deref() != Some(expected) {
        assert!(start.elapsed() < PATIENCE, "it does not become {expected}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_file_that_is_written_or_replaced_is_read_at_once() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    source.write("db", "first");
    let keeper = watch(&config(&source, "db"), &directory);
    source.write("db", "written");
    assert_eq!(changed(&directory, "db", "first", PATIENCE), "written");
    source.write("new", "replaced");
    fs::rename(source.path().join("new"), source.path().join("db")).expect("it is ours");
    becomes(&directory, "replaced");
    fs::remove_file(source.path().join("db")).expect("it is ours");
    source.write("db", "made anew");
    becomes(&directory, "made anew");
    source.write("other", "linked");
    symlink("other", source.path().join("link")).expect("it is new");
    fs::rename(source.path().join("link"), source.path().join("db")).expect("it is ours");
    becomes(&directory, "linked");
    // From now on the link's target is what counts.
    source.write("other", "written through the link");
    becomes(&directory, "written through the link");
    end(keeper);
}

#[test]
fn a_file_that_gets_another_name_is_read_at_once() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let other = source.write("other", "linked");
    let keeper = watch(&config(&source, "db"), &directory);
    fs::hard_link(other, source.path().join("db")).expect("it is ours");
    becomes(&directory, "linked");
    end(keeper);
}

#[test]
fn a_directory_on_the_way_that_is_replaced_is_noticed_at_once() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    source.shell(None, "mkdir -p a/b new/b; printf first > a/b/db; printf second > new/b/db");
    let keeper = watch(&config(&source, "a/b/db"), &directory);
    source.shell(None, "mv a old; mv new a");
    becomes(&directory, "second");
    source.write("a/b/db", "third");
    becomes(&directory, "third");
    end(keeper);
}

/// The kernel does not tell of a mount: the next read finds it.
#[test]
fn what_is_mounted_over_a_file_is_watched_once_it_was_read() {
    needs_root!();
    // In a mount namespace of its own.
    let (directory, source) = (Directory::tmpfs("mode=755"), Directory::in_memory());
    source.shell(None, "mkdir a; printf first > a/db");
    let keeper = watch(&config(&source, "a/db"), &directory);
    source.shell(None, "mount -t tmpfs none a; printf second > a/db");
    keeper.signal(Signal::SIGHUP);
    becomes(&directory, "second");
    source.write("a/db", "third");
    becomes(&directory, "third");
    source.shell(None, "umount a");
    becomes(&directory, "first");
    end(keeper);
}

#[test]
fn a_set_that_the_kubelet_swaps_is_read_at_once() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let volume = source.path().join("volume");
    fs::create_dir(&volume).expect("it is new");
    // As its atomic writer does.
    let swap = |number: u32, old: Option<u32>| {
        let made = volume.join(format!("..{number}"));
        fs::create_dir(&made).expect("it is new");
        fs::write(made.join("db"), format!("set {number}")).expect("it is ours");
        symlink(format!("..{number}"), volume.join("..data_tmp")).expect("it is new");
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("it is ours");
        old.into_iter().for_each(|old| fs::remove_dir_all(volume.join(format!("..{old}"))).expect("it is ours"));
    };
    swap(1, None);
    symlink("..data/db", volume.join("db")).expect("it is new");
    let keeper = watch(&config(&source, "volume/db"), &directory);
    for number in 2..12 {
        swap(number, Some(number - 1));
        becomes(&directory, &format!("set {number}"));
    }
    // The whole volume under the same name: another mount, for example.
    fs::rename(&volume, source.path().join("old")).expect("it is ours");
    fs::create_dir(&volume).expect("it is new");
    fs::write(volume.join("db"), "another volume").expect("it is ours");
    becomes(&directory, "another volume");
    end(keeper);
}

#[test]
fn a_file_that_comes_later_is_read_at_once() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let config = config(&source, "not/yet/db") + "[secrets.a]\nfrom = \"mock:a\"\n";
    let keeper = watch(&config, &directory);
    assert!(!directory.path().join("db").exists());
    fs::create_dir(source.path().join("not")).expect("it is new");
    fs::create_dir(source.path().join("not/yet")).expect("it is new");
    source.write("not/yet/db", "here");
    becomes(&directory, "here");
    end(keeper);
}

/// The reads of a file that another one's neighbours change all the time.
#[test]
fn what_happens_to_its_neighbours_reads_no_file() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    source.write("db", "first");
    let keeper = watch(&config(&source, "db"), &directory);
    let status = || content(&directory, "..handfast/status.json");
    // Its first read, right at the beginning, has come.
    let settled = || {
        let mut before = status();
        loop {
            std::thread::sleep(Duration::from_millis(1500));
            let now = status();
            if now == before {
                return now;
            }
            before = now;
        }
    };
    let before = settled();
    (0..1000).for_each(|number| drop(source.write(&format!("neighbour-{}", number % 3), number.to_string())));
    assert_eq!(settled(), before, "it was read");
    source.write("db", "second");
    becomes(&directory, "second");
    end(keeper);
}

#[test]
fn where_the_kernel_refuses_to_tell_a_file_is_read_at_its_time() {
    needs_root!();
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    source.write("db", "first");
    let config = format!("[app]\nuser = \"0:0\"\nallow_root = true\n{}", config(&source, "db").replace("300d", "1s"));
    let run = Run::command("watch").config(&config).args(["--dir", directory.text(), "--log-level", "info"]);
    // Of this user namespace alone.
    let script = "echo 0 >/proc/sys/user/max_inotify_instances; exec \"$@\"";
    let keeper = run.through(&["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]).spawn();
    ready(&directory, PATIENCE);
    source.write("db", "second");
    becomes(&directory, "second");
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says("info: changes of files are not noticed at once, but at `refresh`: too many open files");
}
