//! `on_change = "post:…"`: the app's endpoint is told of a change, and nothing that the endpoint does has consequences.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::metrics::counted;
use crate::supervised::{Supervised, children, comm, end, until};
use crate::support::{Directory, Run};
use crate::watch::{changed, content, watch};
use handfast_testservers::{Server, Then, free_port, write_answer};
use nix::sys::signal::Signal;

/// Where the secrets come from, and where they go.
struct Scene {
    source: Directory,
    files: Directory,
    config: String,
}

impl Scene {
    /// What is changed within `quiet` is one generation.
    fn new(quiet: &str) -> Self {
        let (source, files) = (Directory::in_memory(), Directory::in_memory());
        let config = format!(
            "[watch]\nrefresh = \"300d\"\nquiet = \"{quiet}\"\nsplay = \"0s\"\n[files]\ndir = \"{}\"\n",
            files.text()
        );
        Self { source, files, config }
    }

    /// One more secret, and what its change does.
    fn secret(mut self, name: &str, action: &str) -> Self {
        let file = self.source.write(name, "old");
        let table = format!("[secrets.{name}]\nfrom = \"file:{}\"\non_change = \"{action}\"\n", file.display());
        self.config.push_str(&table);
        self
    }

    fn supervise(&self) -> Supervised {
        let run = Run::new().config(&self.config).args(["--supervise", "--log-level", "info"]);
        Supervised::start(run.app(["/bin/sleep", "100"]).timeout(Duration::from_secs(90)), "sleep")
    }

    fn write(&self, name: &str, value: &str) {
        self.source.write(name, value);
    }

    /// Changes a secret, and waits until its file shows it.
    fn change(&self, name: &str, value: &str) {
        let before = content(&self.files, name);
        self.write(name, value);
        assert_eq!(changed(&self.files, name, &before, Duration::from_secs(15)), value);
    }
}

/// An endpoint that answers with this status.
fn endpoint(status: u16) -> Server {
    Server::start(None, move |_, stream| write_answer(stream, status, &[], b""))
}

fn requests(server: &Server, count: usize) {
    // Three tries take ten seconds.
    let began = Instant::now();
    while server.requests().len() < count {
        assert!(began.elapsed() < Duration::from_secs(40), "{} of {count}", server.requests().len());
        sleep(Duration::from_millis(5));
    }
    assert_eq!(server.requests().len(), count);
}

#[test]
fn ten_secrets_that_change_together_are_one_post_for_each_endpoint_after_the_swap() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut scene = Scene::new("1s");
    let (notes, files) = (seen.clone(), scene.files.path().to_owned());
    let reader = Server::start(None, move |_, stream| {
        let values = (0..9).map(|at| fs::read_to_string(files.join(format!("s{at}"))).expect("it is there"));
        notes.lock().expect("nobody panics").push(values.collect::<Vec<_>>());
        write_answer(stream, 204, &[], b"")
    });
    let other = endpoint(200);
    for at in 0..9 {
        scene = scene.secret(&format!("s{at}"), &format!("post:{}/reload/it?token=word", reader.address()));
    }
    let scene = scene.secret("s9", &format!("post:{}", other.address()));
    let supervised = scene.supervise();
    (0..10).for_each(|at| scene.write(&format!("s{at}"), "new"));
    requests(&reader, 1);
    requests(&other, 1);
    assert_eq!(*seen.lock().expect("nobody panics"), [vec!["new"; 9]], "the files were there before");
    let request = reader.requests().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/reload/it?token=word"));
    let mut names: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    names.sort_unstable();
    let (host, agent) = (format!("127.0.0.1:{}", reader.port()), concat!("handfast/", env!("CARGO_PKG_VERSION")));
    let expected = [("connection", "close"), ("content-length", "0"), ("host", &host[..]), ("user-agent", agent)];
    assert_eq!((names.as_slice(), request.body.as_slice()), (&expected[..], &b""[..]));
    assert_eq!(other.requests()[0].path, "/");
    // What came of the first change has come before what comes of the next.
    scene.write("s9", "newer");
    requests(&other, 2);
    assert_eq!(reader.requests().len(), 1, "one for one generation, and none for a change that is not its own");
    let outcome = end(supervised, 143);
    let told = format!("info: posted the change to `{}/reload/it`: 204 No Content\n", reader.address());
    assert_eq!(outcome.stderr.matches(&told).count(), 1, "{outcome:?}");
    outcome.says(&format!("info: posted the change to `{}/`: 200 OK\n", other.address())).never_says("word");
}

#[test]
fn watch_posts_too_and_localhost_is_this_machine() {
    // One that only the second address of `localhost` leads to, where there is IPv6.
    let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let server = Server::serve(listener, None, |_, stream| write_answer(stream, 200, &[], b"refreshed"));
    let scene = Scene::new("0s").secret("db", &format!("post:http://localhost:{}/refresh", server.port()));
    let keeper = watch(&scene.config, &scene.files);
    scene.change("db", "new");
    requests(&server, 1);
    assert_eq!(server.requests()[0].headers.iter().filter(|(name, _)| name == "host").count(), 1);
    scene.change("db", "newer");
    requests(&server, 2);
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says(&format!("info: posted the change to `http://localhost:{}/refresh`: 200 OK\n", server.port()));
}

#[test]
fn what_cannot_be_posted_is_tried_three_times_and_nothing_else_comes_of_it() {
    let (fails, elsewhere) = (endpoint(500), endpoint(200));
    let there = format!("{}/other", elsewhere.address());
    let redirects = Server::start(None, move |_, stream| write_answer(stream, 302, &[("location", &there)], b""));
    // It takes a request, and answers the third.
    let (times, notes) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let arrived = times.clone();
    let hangs = Server::start(None, move |_, stream| {
        let count = {
            let mut arrived = arrived.lock().expect("nobody panics");
            arrived.push(Instant::now());
            arrived.len()
        };
        if count < 3 {
            notes.lock().expect("nobody panics").push(count);
            sleep(Duration::from_secs(60));
        }
        write_answer(stream, 204, &[], b"")
    });
    let talks = Server::start(None, |_, stream| {
        stream.write_all(b"220 mail.example.org ESMTP\r\n")?;
        Ok(Then::Close)
    });
    let cuts = Server::start(None, |_, _| Ok(Then::Close));
    let resets = Server::start(None, |_, _| Ok(Then::Reset));
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let mut scene = Scene::new("0s").secret("last", &format!("post:{}/last", elsewhere.address()));
    let all = [
        ("fails", fails.address()),
        ("redirects", redirects.address()),
        ("hangs", hangs.address()),
        ("talks", talks.address()),
        ("cuts", cuts.address()),
        ("resets", resets.address()),
        ("nobody", nobody.clone()),
    ];
    for (name, address) in &all {
        scene = scene.secret(name, &format!("post:{address}/x"));
    }
    let port = free_port();
    scene.config = scene.config.replace("[files]", &format!("metrics = \"127.0.0.1:{port}\"\n[files]"));
    let supervised = scene.supervise();
    all.iter().for_each(|(name, _)| scene.write(name, "new"));
    requests(&hangs, 3);
    counted(port, "handfast_on_change_total{action=\"post\",result=\"failed\"}", 6.0);
    counted(port, "handfast_on_change_total{action=\"post\",result=\"done\"}", 1.0);
    scene.change("last", "new");
    requests(&elsewhere, 1);
    all.iter().for_each(|(name, _)| assert_eq!(content(&scene.files, name), "new"));
    assert_eq!(children(supervised.supervisor).into_iter().filter(|child| comm(*child) == "sleep").count(), 1);
    assert!(children(supervised.supervisor).contains(&supervised.app), "it is the same one");
    for server in [&fails, &redirects, &hangs] {
        assert_eq!(server.requests().len(), 3);
    }
    assert_eq!(elsewhere.requests()[0].path, "/last", "no redirect was followed");
    let times = times.lock().expect("nobody panics").clone();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(4900)), "{times:?}");
    let outcome = end(supervised, 143);
    for (address, why) in [
        (fails.address(), "answered 500 Internal Server Error"),
        (redirects.address(), "answered 302 Found, and no redirect is followed"),
        (talks.address(), "the answer is not HTTP"),
        (cuts.address(), "no answer before the end of the connection"),
        (resets.address(), "the connection broke"),
        (nobody, "connection refused"),
    ] {
        for attempt in 1..=2 {
            outcome.says(&format!("warn: cannot post the change to `{address}/x`, try {attempt} of 3: {why}"));
        }
        outcome.says(&format!("error: cannot post the change to `{address}/x`, 3 times: {why}"));
        assert_eq!(outcome.stderr.matches(&format!("`{address}/x`")).count(), 3, "{outcome:?}");
    }
    let hung = hangs.address();
    outcome
        .says(&format!("warn: cannot post the change to `{hung}/x`, try 2 of 3: no answer in time\n"))
        .says(&format!("info: posted the change to `{hung}/x`: 204 No Content\n"))
        .never_says("mail.example.org");
}

#[test]
fn a_change_during_a_post_is_posted_after_it() {
    let files = Directory::in_memory();
    let path = files.path().join("db");
    let answers_late = move |path: &Path| {
        let began = Instant::now();
        while fs::read_to_string(path).is_ok_and(|value| value == "new") && began.elapsed() < Duration::from_secs(4) {
            sleep(Duration::from_millis(2));
        }
    };
    let server = Server::start(None, move |_, stream| {
        answers_late(&path);
        write_answer(stream, 200, &[], b"")
    });
    let mut scene = Scene::new("0s").secret("db", &format!("post:{}/", server.address()));
    scene.config = scene.config.replace(scene.files.text(), files.text());
    scene.files = files;
    let keeper = watch(&scene.config, &scene.files);
    scene.change("db", "new");
    requests(&server, 1);
    scene.change("db", "newer");
    requests(&server, 2);
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn a_restart_beats_a_post() {
    let server = endpoint(200);
    let post = format!("post:{}/", server.address());
    let scene = Scene::new("1s").secret("a", &post).secret("b", "restart").secret("c", &post);
    let supervised = scene.supervise();
    ["a", "b"].iter().for_each(|name| scene.write(name, "new"));
    let is_other = |child: &i32| *child != supervised.app && comm(*child) == "sleep";
    until("another app runs", || children(supervised.supervisor).into_iter().find(is_other));
    scene.change("c", "new");
    requests(&server, 1);
    end(supervised, 143).says("info: `b` has changed: the app is started anew\n");
}

#[test]
fn check_shows_what_is_posted_where_without_the_query() {
    let config =
        "[secrets.db]\nfrom = \"mock:db\"\non_change = \"post:http://127.0.0.1:8080/actuator/refresh?key=word\"\n";
    let directory = Directory::in_memory();
    for purpose in ["supervise", "watch"] {
        let check = Run::command("check").config(config).args(["--for", purpose, "--dir", directory.text()]);
        let outcome = check.start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let expected = "a change: new files, then post:http://127.0.0.1:8080/actuator/refresh\n";
        let shown = String::from_utf8_lossy(&outcome.stdout);
        assert!(shown.contains(expected) && !shown.contains("word"), "{outcome:?}");
    }
}

#[test]
fn a_post_of_a_descriptor_or_to_another_machine_is_refused() {
    let secret = |action: &str| format!("[secrets.db]\nfrom = \"mock:db\"\non_change = \"{action}\"\n");
    let run = Run::new().config(&secret("post:http://127.0.0.1:8080/")).args(["--supervise"]);
    run.start().refused(78, "`on_change` of `db` is \"post:http://127.0.0.1:8080/\", and a descriptor is a snapshot");
    let with_key = Run::new().config(&secret("post:http://127.0.0.1:8080/?key=word")).args(["--supervise"]).start();
    with_key.never_says("word");
    // Without a keeper, it says nothing of this start.
    let outcome = Run::new().config(&secret("post:http://127.0.0.1:8080/")).app(["/bin/true"]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for action in
        ["post:http://user:word@127.0.0.1/", "post:http://10.0.0.1/word", "post:https://word", "http://a:word@b"]
    {
        let outcome = Run::new().config(&secret(action)).start();
        outcome.refused(78, ":3:13: `on_change` ");
        outcome.never_says("word@").never_says("/word");
    }
}
