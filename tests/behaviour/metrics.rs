//! `[watch] metrics`: what the worker tells whoever asks, and what nobody can do by asking.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::supervised::{Supervised, children, comm, descriptors, end, until};
use crate::support::plain::exchange;
use crate::support::{Directory, Run, canary, is_root, needs_program, needs_root};
use crate::watch::{changed, content, ready, unready, watch};
use handfast_testservers::{Server, free_port, openmetrics, write_answer};
use nix::sys::signal::Signal;
use serde_json::Value;

const SECOND: &str = "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\nsplay = \"0s\"\n";

/// A keeper's configuration begins so.
fn asked(port: u16) -> String {
    format!("{SECOND}metrics = \"127.0.0.1:{port}\"\n")
}

/// What a scraper gets, head and all.
pub fn get(port: u16) -> String {
    exchange(("127.0.0.1", port), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap_or_default()
}

/// The value of a sample as it is written, if there is one.
fn sample(answer: &str, name: &str) -> Option<f64> {
    let rest = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(rest.parse().expect("a number"))
}

/// Waits until a sample is at least this.
pub fn counted(port: u16, name: &str, least: f64) {
    until(name, || sample(&get(port), name).filter(|value| *value >= least));
}

#[test]
fn what_is_told_is_openmetrics_and_true() {
    let (source, directory, port) = (Directory::in_memory(), Directory::in_memory(), free_port());
    let value = canary();
    let file = source.write("mounted", &value);
    let config = format!(
        "{}[providers.fast]\ntype = \"mock\"\nrotate_every = \"1s\"\n[secrets.db]\nfrom = \"fast:{value}\"\n\
         [secrets.still]\nfrom = \"mock:still\"\n[secrets.mounted]\nfrom = \"file:{}\"\n",
        asked(port),
        file.display()
    );
    let keeper = watch(&config, &directory);
    counted(port, "handfast_secret_changes_total{secret=\"db\"}", 2.0);
    fs::remove_file(&file).expect("it is ours");
    counted(port, "handfast_refresh_errors_total{provider=\"file\",class=\"not-found\"}", 1.0);
    let answer = get(port);
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(kind) && text.ends_with("\n# EOF\n"), "{answer}");
    assert!(!answer.contains(&value) && !answer.contains(source.text()), "no value and no reference: {answer}");
    let read = |secret| sample(text, &format!("handfast_secret_last_success_timestamp_seconds{{secret=\"{secret}\"}}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs_f64();
    let age = |secret| now - read(secret).expect("it was read");
    assert!((-1.0..30.0).contains(&age("db")) && age("mounted") < 60.0, "{text}");
    assert_eq!(sample(text, "handfast_secret_changes_total{secret=\"still\"}"), Some(0.0));
    assert_eq!(sample(text, "handfast_requests_total{provider=\"fast\"}"), Some(0.0));
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
    let Some(parsed) = openmetrics(text) else { return };
    let parsed = parsed.unwrap_or_else(|why| panic!("{why}: {text}"));
    let family = |family: &Value| {
        let text = |key: &str| family[key].as_str().unwrap_or_default().to_owned();
        assert!(!text("help").is_empty(), "{family}");
        (text("name"), text("type"), text("unit"))
    };
    let found: Vec<_> = parsed.as_array().expect("a list").iter().map(family).collect();
    let expected = [
        ("handfast_secret_last_success_timestamp_seconds", "gauge", "seconds"),
        ("handfast_secret_expiry_timestamp_seconds", "gauge", "seconds"),
        ("handfast_secret_changes", "counter", ""),
        ("handfast_refresh_errors", "counter", ""),
        ("handfast_requests", "counter", ""),
        ("handfast_on_change", "counter", ""),
        ("handfast_app_restarts", "counter", ""),
    ];
    assert_eq!(found, expected.map(|(name, kind, unit)| (name.into(), kind.into(), unit.into())));
}

/// Whoever is alarmed by an old read, or by an end that comes near, is so too where the store is down at the start.
#[test]
fn what_the_keeper_before_has_read_is_told_as_long_as_its_files_stay() {
    let (directory, port) = (Directory::in_memory(), free_port());
    let config =
        |provider: &str| format!("{}[providers.mock]\n{provider}\n[secrets.db]\nfrom = \"mock:db\"\n", asked(port));
    let keeper = watch(&config(""), &directory);
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    let path = directory.path().join("..handfast/status.json");
    let mut status: Value = serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it is JSON");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
    status["secrets"][0]["last_success"] = (now - 600).into();
    status["secrets"][0]["end"] = (now + 6000).into();
    fs::write(&path, status.to_string()).expect("it is ours");
    let keeper = unready(&config("fail = \"unavailable\""), &directory).spawn();
    ready(&directory, Duration::from_secs(30));
    let tells = |family: &str, expected: u64| {
        let name = format!("handfast_secret_{family}_timestamp_seconds{{secret=\"db\"}}");
        let told = until(&name, || sample(&get(port), &name));
        assert!((told - expected as f64).abs() < 2.0, "{name}: {told}, expected {expected}");
    };
    counted(port, "handfast_refresh_errors_total{provider=\"mock\",class=\"unavailable\"}", 1.0);
    tells("last_success", now - 600);
    tells("expiry", now + 6000);
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn signals_restarts_and_posts_are_counted_and_the_app_has_no_socket() {
    needs_program!("python3");
    let (source, files, port) = (Directory::in_memory(), Directory::in_memory(), free_port());
    let endpoint = Server::start(None, |_, stream| write_answer(stream, 200, &[], b""));
    let mut config = format!("{}[files]\ndir = \"{}\"\n", asked(port), files.text());
    let post = format!("post:{}/path?key=word", endpoint.address());
    for (name, action) in [("hup", "signal:HUP"), ("post", &post), ("again", "restart")] {
        let file = source.write(name, "old");
        let table = format!("[secrets.{name}]\nfrom = \"file:{}\"\non_change = \"{action}\"\n", file.display());
        config.push_str(&table);
    }
    let app = "import signal\nsignal.signal(signal.SIGHUP, lambda *_: None)\nwhile True: signal.pause()\n";
    let run = Run::new().config(&config).arg("--supervise").app(["python3", "-c", app]);
    let supervised = Supervised::start(run.timeout(Duration::from_secs(90)), "python3");
    counted(port, "handfast_app_restarts_total", 0.0);
    for (secret, action) in [("hup", "signal:HUP"), ("post", "post")] {
        source.write(secret, "new");
        counted(port, &format!("handfast_on_change_total{{action=\"{action}\",result=\"done\"}}"), 1.0);
    }
    source.write("again", "new");
    counted(port, "handfast_app_restarts_total", 1.0);
    let answer = get(port);
    assert_eq!(sample(&answer, "handfast_on_change_total{action=\"restart\",result=\"done\"}"), Some(1.0), "{answer}");
    assert_eq!(sample(&answer, "handfast_secret_changes_total{secret=\"post\"}"), Some(1.0), "{answer}");
    assert!(!answer.contains("word") && !answer.contains("/path"), "{answer}");
    if is_root() {
        let app =
            until("the app runs", || children(supervised.supervisor).into_iter().find(|pid| comm(*pid) == "python3"));
        let sockets = |pid| {
            descriptors(pid).into_iter().filter(|(_, path)| path.to_string_lossy().starts_with("socket:")).count()
        };
        assert_eq!((sockets(app), sockets(supervised.supervisor)), (0, 1), "the worker listens, and nobody else");
    }
    end(supervised, 143);
}

#[test]
fn only_the_metrics_are_to_be_had() {
    let (directory, port) = (Directory::in_memory(), free_port());
    let keeper = watch(&format!("{}[secrets.db]\nfrom = \"mock:db\"\n", asked(port)), &directory);
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for (request, status) in [
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 "),
        ("GET /metrics?x=y HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 "),
        ("GET /metrics HTTP/1.0\r\n\r\n", "HTTP/1.0 200 "),
        ("GET http://elsewhere/metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 "),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("GET /../metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 "),
        ("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 "),
        ("CONNECT elsewhere:80 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("\u{16}\u{3}\u{1} hello\r\n\r\n", "HTTP/1.1 400 "),
        (&long, "HTTP/1.1 431 "),
    ] {
        let answer = exchange(("127.0.0.1", port), request).unwrap_or_default();
        // Who has sent more than was read may lose the answer to a reset.
        let is_lost = answer.is_empty() && request.len() > 10_000;
        assert!(answer.starts_with(status) || is_lost, "{request:.60}: {answer:.100}");
        assert_eq!(answer.contains("allow: GET\r\n"), status.contains("405"), "{answer}");
    }
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn clients_that_say_nothing_hold_up_nothing() {
    let (source, directory, port) = (Directory::in_memory(), Directory::in_memory(), free_port());
    let file = source.write("db", "old");
    let config = format!("{}[secrets.db]\nfrom = \"file:{}\"\n", asked(port), file.display());
    let keeper = watch(&config, &directory);
    let silent: Vec<TcpStream> = (0..100)
        .map(|at| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the kernel takes it");
            if at % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").expect("there is room");
            }
            stream
        })
        .collect();
    source.write("db", "new");
    assert_eq!(changed(&directory, "db", "old", Duration::from_secs(10)), "new", "secrets are kept fresh all the same");
    if is_root() {
        let worker = children(keeper.pid()).into_iter().next().expect("it has a worker");
        assert!(descriptors(worker).len() < 40, "{:?}", descriptors(worker));
    }
    drop(silent);
    counted(port, "handfast_secret_changes_total{secret=\"db\"}", 1.0);
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert!(outcome.code == 0 && outcome.elapsed < Duration::from_secs(120), "{outcome:?}");
}

#[test]
fn clients_that_stay_silent_are_sent_away() {
    let (directory, port) = (Directory::in_memory(), free_port());
    let keeper = watch(&format!("{}[secrets.db]\nfrom = \"mock:db\"\n", asked(port)), &directory);
    let _silent: Vec<_> = (0..16).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it is taken")).collect();
    assert!(get(port).starts_with("HTTP/1.1 200 "), "the next one is answered, once they were waited for");
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn an_address_that_cannot_be_listened_at_ends_the_start_before_the_fetch() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let in_use = taken.local_addr().expect("it is bound").to_string();
    for (address, why) in
        [(in_use.as_str(), "address already in use"), ("192.0.2.1:9102", "cannot assign requested address")]
    {
        let directory = Directory::in_memory();
        let config = format!(
            "{SECOND}metrics = \"{address}\"\n[files]\ndir = \"{}\"\n[secrets.db]\nfrom = \"mock:db\"\n[providers.mock]\nfail = \"denied\"\n",
            directory.text()
        );
        let hint = match why.starts_with("address") {
            true => "hint: `metrics` in [watch] names another port, or another address of this machine\n",
            false => "hint: `metrics` in [watch] names an address of this machine; all are 0.0.0.0, or [::]\n",
        };
        let told = format!("cannot listen at `{address}` for metrics: {why} (os, exit 71)");
        for run in [Run::command("watch"), Run::new().arg("--supervise")] {
            let outcome = run.config(&config).start();
            outcome.refused(71, &told);
            outcome.says(hint).never_says("mock denies it");
            assert!(!directory.path().join("..data").exists(), "{outcome:?}");
        }
        for purpose in ["watch", "supervise"] {
            let outcome = Run::command("check").config(&config).args(["--for", purpose]).start();
            assert_eq!(outcome.code, 71, "{outcome:?}");
            outcome.says(&told);
        }
        // Nobody else is asked for metrics.
        let config = config.replace("fail = \"denied\"\n", "");
        for run in [Run::command("init"), Run::new().app(["/bin/true"]), Run::command("check").args(["--for", "init"])]
        {
            let outcome = run.config(&config).start();
            assert_eq!(outcome.code, 0, "{outcome:?}");
        }
    }
}

#[test]
fn check_shows_where_metrics_are_told() {
    let (directory, port) = (Directory::in_memory(), free_port());
    let config = format!("{}[secrets.db]\nfrom = \"mock:db\"\n", asked(port));
    let check = || Run::command("check").config(&config).args(["--dir", directory.text()]);
    let outcome = check().args(["--for", "watch"]).start();
    let expected = format!("http://127.0.0.1:{port}/metrics");
    let shown = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.code == 0 && shown.contains(&format!("metrics       {expected}\n")), "{outcome:?}");
    let outcome = check().args(["--for", "supervise", "--format", "json"]).start();
    let report: Value = serde_json::from_slice(&outcome.stdout).expect("it is JSON");
    assert_eq!(report["metrics"], expected);
    let outcome = check().start();
    assert!(outcome.code == 0 && !String::from_utf8_lossy(&outcome.stdout).contains("/metrics"), "{outcome:?}");
}

#[test]
fn metrics_are_told_where_nothing_changes_too() {
    let port = free_port();
    let config = format!("{}[secrets.db]\nfrom = \"mock:db\"\n", asked(port));
    let run = Run::new().config(&config).arg("--supervise").app(["/bin/sleep", "100"]);
    let supervised = Supervised::start(run, "sleep");
    counted(port, "handfast_secret_changes_total{secret=\"db\"}", 0.0);
    end(supervised, 143);
}

#[test]
fn root_may_take_a_low_port() {
    needs_root!();
    let directory = Directory::in_memory();
    let config = format!("{SECOND}metrics = \"0.0.0.0:80\"\n[secrets.db]\nfrom = \"mock:db\"\n");
    // In a network of its own, where nobody else has it.
    let keeper = unready(&config, &directory).through(&["unshare", "--net"]).spawn();
    ready(&directory, Duration::from_secs(20));
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
    assert_eq!(content(&directory, "db"), "mock-db");
}
