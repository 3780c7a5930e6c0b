//! `watch` when the name of its store cannot be resolved. The proxy closes each connection, so that each request looks the name up.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use crate::keeping::{Keeper, Kv, seconds};
use crate::support::plain::exchange;
use crate::support::{Directory, needs_program, needs_root};
use handfast_testservers::{Fault, NAME, free_port};
use nix::sys::signal::Signal;

/// Mounts its first two arguments over the files that tell a process names, and becomes the others.
const WITH_NAMES: &str =
    "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && shift 2 && exec \"$@\"";

/// A hosts file that may have the store's name, and a name server that has no name.
struct Names {
    files: Directory,
    asked: Arc<AtomicUsize>,
}

/// The name server's answer to every question.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    NoSuchName,
    Silence,
}

impl Names {
    fn start(answer: Answer) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        // An address for each name server: the port is always the same.
        let address = format!("127.{high}.{low}.{}", NEXT.fetch_add(1, SeqCst));
        let socket = UdpSocket::bind((address.as_str(), 53)).expect("root may, and nobody else has the address");
        let names = Self { files: Directory::new(), asked: Arc::default() };
        names.know();
        names.files.write("resolv.conf", format!("nameserver {address}\n"));
        let asked = names.asked.clone();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                asked.fetch_add(1, SeqCst);
                if answer == Answer::NoSuchName {
                    // RFC 1035, section 4.1.1: an answer of a server that recurses, with code 3.
                    query[2..4].copy_from_slice(&[0x81, 0x83]);
                    let _ = socket.send_to(&query[..length], from);
                }
            }
        });
        names
    }

    fn know(&self) {
        self.files.write("hosts", format!("127.0.0.1 localhost\n127.0.0.1 {NAME}\n"));
    }

    fn forget(&self) {
        self.files.write("hosts", "127.0.0.1 localhost\n");
    }

    /// A keeper that knows the store by its name.
    fn keep<'kv>(&self, kv: &'kv Kv, secrets: &str) -> Keeper<'kv> {
        let Kv { store, .. } = kv;
        let port = store.proxy.address().rsplit(':').next().expect("it has a port").to_owned();
        let provider = format!("address = \"https://{NAME}:{port}\"\n{}", store.by_approle(&kv.provider()));
        let [hosts, servers] = ["hosts", "resolv.conf"].map(|name| self.files.path().join(name).display().to_string());
        let through = ["unshare", "--mount", "sh", "-c", WITH_NAMES, "sh", &hosts, &servers];
        store.keep_with(&provider, secrets, |run| run.env("VAULT_SECRET_ID", &store.role.secret_id).through(&through))
    }
}

/// How many reads have failed for want of an answer.
fn failures(metrics: u16) -> u32 {
    let told = exchange(("127.0.0.1", metrics), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap_or_default();
    let name = "handfast_refresh_errors_total{provider=\"vault\",class=\"unavailable\"} ";
    told.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.parse().expect("a number"))
}

#[test]
fn a_name_that_is_gone_leaves_the_last_value_and_is_told_at_each_doubling() {
    needs_root!();
    needs_program!("unshare");
    let Some(kv) = Kv::new() else { return };
    let (names, metrics) = (Names::start(Answer::NoSuchName), free_port());
    kv.store.proxy.add(Fault::Close);
    let keeper = names.keep(&kv, &format!("{}[watch]\nmetrics = \"127.0.0.1:{metrics}\"\n", kv.secrets()));
    keeper.until("it is there", |keeper| keeper.content("db").as_deref() == Some("old"));
    names.forget();
    kv.put("new");
    keeper.signal(Signal::SIGHUP);
    keeper.until("three reads have failed", |_| failures(metrics) >= 3);
    assert_eq!(keeper.content("db").as_deref(), Some("old"));
    assert!(names.asked.load(SeqCst) >= 3, "the name server was asked");
    names.know();
    keeper.until("the new value is there", |keeper| keeper.content("db").as_deref() == Some("new"));
    let failures = failures(metrics);
    let said = keeper.end();
    let what = format!("warn: cannot read `db` again from `vault:{}/db#password`, ", kv.mount);
    let first = format!("{what}the last value stays: cannot ask https://{NAME}:");
    assert_eq!(said.matches(&first).count(), 1, "{said}");
    let told = [what.as_str(), "the name cannot be resolved: "].map(|text| said.matches(text).count());
    assert_eq!(told, [1 + failures.ilog2() as usize; 2], "{failures}: {said}");
    assert_eq!(said.matches("info: `db` can be read again, after ").count(), 1, "{said}");
}

/// A look-up is given up after six seconds.
#[test]
fn a_name_server_that_says_nothing_keeps_no_secret_of_another_store_waiting() {
    needs_root!();
    needs_program!("unshare");
    let Some(kv) = Kv::new() else { return };
    let Kv { store, mount, .. } = &kv;
    let names = Names::start(Answer::Silence);
    store.proxy.add(Fault::Close);
    let other = format!(
        "[secrets.other]\nfrom = \"other:{mount}/db#password\"\n[providers.other]\ntype = \"vault\"\naddress = \"{}\"\n{}\n",
        store.proxy.address(),
        store.by_approle(&kv.provider())
    );
    let keeper = names.keep(&kv, &format!("{}{other}", kv.secrets()));
    let is = |name: &str, value: &str| keeper.content(name).as_deref() == Some(value);
    keeper.until("both are there", |_| is("db", "old") && is("other", "old"));
    let threads = || {
        let children = format!("/proc/{of}/task/{of}/children", of = keeper.pid());
        let worker = fs::read_to_string(children).expect("it runs").trim().to_owned();
        fs::read_dir(format!("/proc/{worker}/task")).expect("it runs").count()
    };
    let usual = threads();
    names.forget();
    kv.put("new");
    keeper.signal(Signal::SIGHUP);
    keeper.until("the name server is asked", |_| names.asked.load(SeqCst) > 0);
    let asked = Instant::now();
    keeper.until("the other store's is new", |_| is("other", "new"));
    assert!(asked.elapsed() < seconds(5) && is("db", "old"), "{:?}", asked.elapsed());
    std::thread::sleep(seconds(7).saturating_sub(asked.elapsed()));
    names.know();
    keeper.until("both are new", |_| is("db", "new"));
    keeper.until("no look-up is left", |_| threads() == usual);
    let said = keeper.end();
    let silence = "the name cannot be resolved: no name server gave an answer within 6s\n";
    assert!(said.matches("the last value stays: ").count() == 1 && said.contains(silence), "{said}");
    assert_eq!(said.matches("can be read again, after ").count(), 1, "{said}");
}
