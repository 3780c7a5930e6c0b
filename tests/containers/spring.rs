//! `examples/spring`: a real Spring Boot takes a new secret when it is posted to. It needs no engine, but Maven's artifacts.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::machine;
use crate::support::plain::exchange;
use crate::support::{Directory, Run, canary};
use handfast_testservers::free_port;
use nix::sys::signal::Signal;

fn example(name: &str) -> String {
    fs::read_to_string(format!("{}/examples/spring/{name}", env!("CARGO_MANIFEST_DIR"))).expect("it is there")
}

/// What the app answers to whoever has this token.
fn answer(port: u16, token: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: app\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    exchange(("127.0.0.1", port), &request).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn until(port: u16, token: &str, status: &str) {
    let began = Instant::now();
    while !answer(port, token).contains(status) {
        assert!(began.elapsed() < Duration::from_secs(120), "not {status}: {}", answer(port, token));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn spring_boot_takes_a_new_secret_when_it_is_posted_to() {
    if !machine::is_complete(&["mvn", "javac"]) {
        return;
    }
    let (app, source, files) = (Directory::on_disk(), Directory::in_memory(), Directory::in_memory());
    let (port, management) = (free_port(), free_port());
    app.write("pom.xml", example("pom.xml"));
    app.write("App.java", example("App.java"));
    let properties = example("application.properties").replace("/run/secrets/", &format!("{}/", files.text()));
    let properties = properties.replace("port=8081", &format!("port={management}"));
    app.write("application.properties", format!("{properties}server.port={port}\n"));
    for command in [
        &["mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies", "-DoutputDirectory=lib"][..],
        &["javac", "-parameters", "-cp", "lib/*", "App.java"],
    ] {
        let made = Command::new(command[0]).args(&command[1..]).current_dir(app.path()).output().expect("it is here");
        assert!(made.status.success(), "{made:?}");
    }
    let (old, new) = (canary(), canary());
    let secret = source.write("token", &old);
    let config = example("handfast.toml");
    let config = config.split("[providers.vault]").next().expect("the rest has the store");
    let config = config
        .replace("\"/run/secrets\"", &format!("\"{}\"", files.text()))
        .replace("vault:kv/web/app#token", &format!("file:{}", secret.display()))
        .replace("127.0.0.1:8081", &format!("127.0.0.1:{management}"));
    let class_path = format!("{0}:{0}/lib/*", app.text());
    let run = Run::new().config(&config).args(["--supervise", "--log-level", "info"]);
    let run = run.app(["java", "-cp", &class_path, "App"]).timeout(Duration::from_secs(300)).spawn();
    until(port, &old, " 200");
    source.write("token", &new);
    until(port, &new, " 200");
    assert!(answer(port, &old).contains(" 401"));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!(outcome.code, 143, "{outcome:?}");
    outcome.says(&format!("info: posted the change to `http://127.0.0.1:{management}/actuator/refresh`: 200 OK\n"));
}
