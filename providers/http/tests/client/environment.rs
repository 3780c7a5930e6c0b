//! The process's own environment, which the client must not read.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Runs other tests of this program again, with all variables set that HTTP and TLS libraries read.
#[test]
fn no_variable_of_the_process_is_read() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    std::thread::spawn(move || {
        for _ in proxy.incoming() {
            ASKED.fetch_add(1, Ordering::SeqCst);
        }
    });
    let keys = std::env::temp_dir().join(format!("handfast-http-keys-{}", std::process::id()));
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["trust::", "proxies::", "faults::a_whole_answer"])
        .envs(
            ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
                .map(|name| (name, &url)),
        )
        .envs(["SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"].map(|name| (name, "/nonexistent")))
        .env("NO_PROXY", "*")
        .env("SSLKEYLOGFILE", &keys)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("test proxies::without_a_proxy_a_remote_host_is_requested_directly ... ok"), "{text}");
    assert!(text.contains("test trust::certificates ... ok"), "{text}");
    assert_eq!(ASKED.load(Ordering::SeqCst), 0, "the process's proxy was used");
    assert!(!keys.exists(), "TLS keys were written");
}
