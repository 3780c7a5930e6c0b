//! The soak: two keepers, whose secrets change all the time, and whose logins end each minute.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;
use crate::course::Course;
use crate::freshness::{Freshness, Outage};
use crate::keeper::Keeper;
use crate::process::{Sample, children};
use crate::programs::Programs;
use crate::requests::Requests;
use crate::scratch::Scratch;
use crate::store::{DATABASE, FIELDS, KEY_VALUE, Store};

/// How often freshness is looked at.
const TICK: Duration = Duration::from_millis(200);

/// The burst of requests that a store gets; beyond it, two a second.
const BURST: usize = 8;

/// The time before a crossing of the bound whose requests are printed.
const CROSSING: Duration = Duration::from_secs(10);

/// How much memory may grow after the start, in KiB.
const GROWTH: u64 = 256;

/// How many descriptors of a worker may be connections that come and go, and of the other process the sets that it keeps: sixteen, or
/// those of a minute.
const CONNECTIONS: u64 = 4;
const SETS: u64 = 2;

/// The longest that credentials may be of no use, or a secret be called stale: a request that is never answered costs 10 s, and a
/// lease has 5 s.
const LONGEST_OUTAGE: Duration = Duration::from_secs(20);

/// How long after the end of its login a keeper's credentials are looked at in each tick.
const AFTER_END: Duration = Duration::from_secs(5);

/// An app that HUP does not end.
const APP: &str = "trap : HUP; while :; do sleep 1; done";

/// Runs it. What is wrong.
pub fn run(programs: &Programs, store: &Store, time: Duration) -> Result<Vec<String>> {
    let source = Scratch::new(Path::new("/dev/shm"))?;
    let local = source.path().join("local");
    let write_local = |number: u64| -> Result<()> {
        let new = source.path().join("new");
        fs::write(&new, number.to_string())?;
        Ok(fs::rename(new, &local)?)
    };
    write_local(0)?;
    let start = |name, words: &[&str], on_change| -> Result<Watched> {
        let proxy = store.faulty_proxy();
        Watched::new(Keeper::start(name, programs, store, proxy, words, &configuration(&local, on_change))?)
    };
    let mut all = [
        start("watch", &["watch"], "none")?,
        start("run --supervise", &["run", "--supervise", "--", "/bin/sh", "-c", APP], "signal:HUP")?,
    ];
    let begun = Instant::now();
    let mut clock = Clock::default();
    println!("{:.1} minutes, from now on", time.as_secs_f64() / 60.0);
    while begun.elapsed() < time {
        if clock.local.is_due(Duration::from_secs(1)) {
            write_local(clock.local.count)?;
        }
        if clock.store.is_due(Duration::from_secs(10)) {
            store.write(clock.store.count);
        }
        if clock.logins.is_due(Duration::from_secs(60)) && clock.logins.count > 1 {
            store.end_logins();
            all.iter_mut().for_each(|keeper| keeper.doubted_until = Instant::now() + AFTER_END);
        }
        let is_sampled = clock.samples.is_due(Duration::from_secs(10));
        for keeper in &mut all {
            keeper.look(store, is_sampled)?;
        }
        std::thread::sleep(TICK);
    }
    println!("\n{:<44}{:>10}{:>10}{:>10}{:>10}", "", "after 10 %", "most", "at the end", "may grow by");
    let mut complaints = Vec::new();
    for keeper in &mut all {
        complaints.extend(keeper.report(begun.elapsed())?);
    }
    Ok(complaints)
}

/// A process that waits: while it works, its code is in memory too, which it unmaps before it waits.
fn at_rest(pid: i32) -> Result<Sample> {
    let mut least = Sample::of(pid)?;
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(30));
        let sample = Sample::of(pid)?;
        least = if sample.resident < least.resident { sample } else { least };
    }
    Ok(least)
}

fn configuration(local: &Path, on_change: &str) -> String {
    let mut text = format!(
        "mounts = {{ {KEY_VALUE} = \"kv-v2\", {DATABASE} = \"other\" }}\n\
         [providers.mock]\nrotate_every = \"1s\"\n\
         [fetch]\nconcurrency = {BURST}\n\
         [watch]\nrefresh = \"10s\"\nquiet = \"200ms\"\non_change = \"{on_change}\"\n\
         [secrets.mock]\nfrom = \"mock:db\"\nrefresh = \"1s\"\n\
         [secrets.local]\nfrom = \"file:{}\"\nrefresh = \"1s\"\n\
         [secrets.database]\nfrom = \"vault:{DATABASE}/creds/web\"\n",
        local.display()
    );
    for field in 0..FIELDS {
        text += &format!("[secrets.field-{field}]\nfrom = \"vault:{KEY_VALUE}/{field}#value\"\n");
    }
    text
}

/// What is done how often.
#[derive(Default)]
struct Clock {
    local: Turn,
    store: Turn,
    logins: Turn,
    samples: Turn,
}

#[derive(Default)]
struct Turn {
    last: Option<Instant>,
    count: u64,
}

impl Turn {
    fn is_due(&mut self, every: Duration) -> bool {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= every);
        if is_due {
            (self.last, self.count) = (Some(Instant::now()), self.count + 1);
        }
        is_due
    }
}

/// A keeper, and what was seen of it.
struct Watched {
    keeper: Keeper,
    worker: i32,
    courses: Vec<Course>,
    files: Vec<Freshness>,
    stale: Outage,
    unusable: Outage,
    doubted_until: Instant,
}

impl Watched {
    fn new(mut keeper: Keeper) -> Result<Self> {
        keeper.wait_for("database")?;
        let worker = keeper.worker()?.ok_or("there is no worker")?;
        let course = |what: &str, bound| Course::new(format!("{}: {what}", keeper.name), bound);
        let courses = vec![
            course("privileged process, RssAnon, KiB", GROWTH),
            course("privileged process, VmRSS, KiB", GROWTH),
            course("privileged process, descriptors", SETS),
            course("worker, RssAnon, KiB", GROWTH),
            course("worker, VmRSS, KiB", GROWTH),
            course("worker, descriptors", CONNECTIONS),
            course("children", 0),
        ];
        let file = |(name, bound): (&str, u64)| Freshness::new(name, Duration::from_secs(bound));
        // `mock` and `file` have no faults. The others change at the store each 10 s and each 20 s, and are read 11 s later at the
        // latest; a request that is never answered costs 10 s, and two faults in a row are no wonder in an hour.
        let mut files: Vec<Freshness> = [("mock", 6), ("local", 6), ("database", 45)].map(file).into();
        files.extend((0..FIELDS).map(|field| file((&format!("field-{field}"), 45))));
        let (stale, unusable, doubted_until) = (Outage::default(), Outage::default(), Instant::now());
        Ok(Self { keeper, worker, courses, files, stale, unusable, doubted_until })
    }

    fn look(&mut self, store: &Store, is_sampled: bool) -> Result<()> {
        let keeper = &mut self.keeper;
        if keeper.has_ended()? {
            return Err(format!("{} has ended: {}", keeper.name, keeper.log()).into());
        }
        self.files.iter_mut().for_each(|file| file.see(keeper.content(&file.file)));
        let status: Value = serde_json::from_slice(&keeper.content("..handfast/status.json").unwrap_or_default())?;
        let secrets = status["secrets"].as_array().ok_or("no status")?;
        self.stale.see(secrets.iter().all(|secret| secret["stale"] == false));
        if is_sampled || self.unusable.lasts() || Instant::now() < self.doubted_until {
            self.unusable.see(store.opens(&keeper.content("database").unwrap_or_default()));
        }
        if is_sampled {
            let name = keeper.name;
            let gone = |error| format!("{name}: a process is gone: {error}: {}", keeper.log());
            let both = [keeper.pid(), self.worker].map(at_rest);
            let [privileged, worker] = both.map(|sample| sample.map_err(gone));
            let (privileged, worker, children) = (privileged?, worker?, children(keeper.pid())?.len() as u64);
            let of = |sample: Sample| [sample.anonymous, sample.resident, sample.descriptors];
            let samples = of(privileged).into_iter().chain(of(worker)).chain([children]);
            self.courses.iter_mut().zip(samples).for_each(|(course, sample)| course.add(sample));
        }
        Ok(())
    }

    /// Prints what was seen. What is wrong.
    fn report(&mut self, time: Duration) -> Result<Vec<String>> {
        let Self { keeper, courses, files, stale, unusable, .. } = self;
        let made: Vec<_> = keeper.proxy.requests().into_iter().filter(|request| request.at > keeper.ready).collect();
        let requests = Requests::new(made.iter().map(|request| request.at).collect());
        let most = requests.most_within(Duration::from_secs(1));
        let over = requests.over(BURST as f64, 2.0);
        courses.iter().for_each(|course| println!("{}", course.line()));
        println!(
            "{}: {} requests, {:.2} a second, at most {most} in any second, {} faults",
            keeper.name,
            requests.count(),
            requests.count() as f64 / time.as_secs_f64(),
            keeper.proxy.faults(),
        );
        for Freshness { file, changes, longest, .. } in &*files {
            println!(
                "{}: `{file}` has changed {changes} times, and was the same for {longest:.1?} at most",
                keeper.name
            );
        }
        println!("{}: credentials of no use: {} times, {:.1?} at most", keeper.name, unusable.count, unusable.longest);
        println!("{}: secrets called stale: {} times, {:.1?} at most", keeper.name, stale.count, stale.longest);
        let mut complaints: Vec<String> = courses.iter().filter_map(Course::complaint).collect();
        complaints.extend(files.iter().filter_map(|file| file.complaint(keeper.name)));
        let longest = [("credentials of no use", &*unusable), ("a stale secret", &*stale)];
        complaints.extend(longest.iter().filter(|(_, outage)| outage.longest > LONGEST_OUTAGE).map(
            |(what, outage)| {
                format!("{}: {what} for {:.1?}, at most {LONGEST_OUTAGE:?} are right", keeper.name, outage.longest)
            },
        ));
        if let Some((over, when)) = over {
            complaints.push(format!("{}: {over:.3} requests more than {BURST} and two a second", keeper.name));
            for request in made.iter().filter(|request| request.at <= when && request.at + CROSSING > when) {
                println!("{:>7.3} s before: {} {}", (when - request.at).as_secs_f64(), request.method, request.path);
            }
        }
        let expected = if keeper.name == "watch" { 0 } else { 143 };
        match keeper.end()? {
            Some(code) if code == expected => {}
            other => complaints.push(format!("{}: ends with {other:?}: {}", keeper.name, keeper.log())),
        }
        if !complaints.is_empty() {
            println!("{}", keeper.log());
        }
        Ok(complaints)
    }
}
