//! Stops the build with an error message on systems where handfast cannot run.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a build script instructs cargo through its output")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system != "linux") {
        println!(
            "cargo::error=handfast runs on Linux only: it is made of memfd, tmpfs, Landlock, seccomp and capabilities"
        );
    }
}
