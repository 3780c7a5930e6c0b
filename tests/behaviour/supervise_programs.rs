//! Programs that nobody here wrote, with secrets that change under `run --supervise`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::supervised::{Supervised, children, until};
use crate::support::{Directory, Run, needs_program, needs_root};

const USER: u32 = 54321;

fn example(name: &str) -> String {
    fs::read_to_string(format!("{}/examples/nginx/{name}", env!("CARGO_MANIFEST_DIR"))).expect("it is there")
}

/// A new key and a certificate with this name, as the store has them.
fn issue(source: &Directory, name: &str) {
    let (key, certificate) = (source.path().join("new-key"), source.path().join("new-certificate"));
    let subject = format!("/CN={name}");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            &subject,
        ])
        .args([Path::new("-keyout"), &key, Path::new("-out"), &certificate])
        .output()
        .expect("openssl is there");
    assert!(made.status.success(), "{made:?}");
    for (from, to) in [(key, "key"), (certificate, "certificate")] {
        fs::rename(from, source.path().join(to)).expect("it is ours");
    }
}

/// Who answers at this port; nothing where nobody does.
fn answers(port: u16) -> String {
    let shown = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is there");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default().replace(' ', "")
}

#[test]
fn nginx_takes_a_new_certificate_without_a_restart() {
    needs_root!();
    needs_program!("nginx");
    needs_program!("openssl");
    let (source, files, prefix) = (Directory::in_memory(), Directory::in_memory(), Directory::new());
    chown(prefix.path(), Some(USER), Some(USER)).expect("root may");
    issue(&source, "old");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("there is one").port();
    let conf =
        example("nginx.conf").replace("/run/secrets", files.text()).replace("8443", &format!("127.0.0.1:{port}"));
    let conf = prefix.write("nginx.conf", conf);
    let config = example("handfast.toml");
    let config = config.split("[providers.vault]").next().expect("the rest has the store");
    let config = config
        .replace("\"10001:10001\"", &format!("\"{USER}:{USER}\""))
        .replace("\"/run/secrets\"", &format!("\"{}\"", files.text()))
        .replace("\"5m\"", "\"1s\"")
        .replace("vault:kv/web/tls#", &format!("file:{}/", source.text()));
    let command = ["nginx".as_ref(), "-p".as_ref(), prefix.path().as_os_str(), "-c".as_ref(), conf.as_os_str()];
    let supervised = Supervised::start(Run::new().config(&config).arg("--supervise").app(command), "nginx");
    until("nginx answers", || (answers(port) == "CN=old").then_some(()));
    issue(&source, "new");
    until("nginx has the new certificate", || (answers(port) == "CN=new").then_some(()));
    assert!(children(supervised.supervisor).contains(&supervised.app), "the master process is the same");
    supervised.signal(15);
    let outcome = supervised.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
