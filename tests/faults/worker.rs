//! A worker that no signal ends: it waits in the kernel, for a file system whose server does not answer.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::support::{Directory, Run, needs_root, require};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

/// A FUSE file system that takes every request and answers none but the first, which makes it one.
struct Silent {
    at: Directory,
    _device: File,
}

impl Silent {
    /// None where this machine has no FUSE.
    fn mount() -> Option<Self> {
        let at = Directory::new();
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        mount(Some("silent"), at.path(), Some("fuse"), MsFlags::MS_NOSUID, Some(options.as_str())).ok()?;
        let mut server = device.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            let mut request = vec![0; 1 << 20];
            let asked = server.read(&mut request).expect("the kernel asks for the version first");
            assert!(asked > 16, "a header of a request");
            // struct fuse_out_header and fuse_init_out of <linux/fuse.h>: 7.31, and no features.
            let mut answer = [80u32, 0].map(u32::to_ne_bytes).concat();
            answer.extend(&request[8..16]);
            answer.extend([7u32, 31].map(u32::to_ne_bytes).concat());
            answer.resize(80, 0);
            server.write_all(&answer).expect("an answer that the kernel understands");
            while server.read(&mut request).is_ok() {}
        });
        Some(Self { at, _device: device })
    }

    fn secret(&self) -> Run {
        Run::new().arg("--secret").arg(format!("db=file:{}/db", self.at.text()))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // The kernel then lets go of whoever waits.
        umount2(self.at.path(), MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

#[test]
fn a_worker_that_cannot_be_ended_is_left_to_the_kernel() {
    needs_root!();
    let Some(silent) = Silent::mount() else {
        require(false, "FUSE");
        return;
    };
    let outcome = silent.secret().args(["--deadline", "1s"]).start();
    assert_eq!((outcome.code, outcome.app_ran()), (69, false), "{outcome:?}");
    outcome
        .says("the worker cannot be ended: it waits in the kernel for a file system or a device that does not answer");
    outcome.says("hint: look at the files that it reads: a network or FUSE mount whose server is gone does this");
    assert!(outcome.elapsed < Duration::from_secs(5), "{outcome:?}");

    let mut run = silent.secret().args(["--deadline", "60s"]).spawn();
    run.wait_for("handfast");
    std::thread::sleep(Duration::from_millis(500));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.app_ran()), (143, false), "{outcome:?}");
    outcome.says("the worker cannot be ended");
    assert!(outcome.elapsed < Duration::from_secs(5), "{outcome:?}");
}
