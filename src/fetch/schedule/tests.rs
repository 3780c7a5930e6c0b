//! When secrets are read again: those of one keeper together, those of many keepers spread.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use handfast_core::{ErrorKind, Grant, ProviderError, SecretRef, SecretValue, Standing, Term, Upkeep};

use super::{Due, Schedule};
use crate::fetch::outcome::{Outcome, Part};
use crate::plan::{Deadline, Isolation, OnChange, Plan, Purpose, Secret, Swap, Watching};

const KEEPERS: usize = 50;

/// The most requests in any second.
const BOUND: usize = 8;

/// How many herds are tried, and for how long each.
const HERDS: u64 = 200;
const MINUTES: u32 = 5;

const MINUTE: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(1000);
const LATENCY: Duration = Duration::from_millis(3);

/// Fifty random moments of a minute have nine within some second once in twenty thousand times.
#[test]
fn fifty_keepers_that_start_together_read_their_secret_at_most_eight_times_in_a_second() {
    let plan = plan(1);
    let (mut crossed, mut most) = (0, 0);
    for seed in 0..HERDS {
        fastrand::seed(seed);
        let mut times: Vec<Duration> = (0..KEEPERS).flat_map(|_| reads(&plan)).collect();
        times.sort();
        let a_minute = times.len() as f64 / f64::from(MINUTES);
        assert!((45.0..=55.0).contains(&a_minute), "{a_minute} reads a minute");
        let in_a_second =
            |at: usize| times[at..].iter().take_while(|time| **time < times[at] + Duration::from_secs(1)).count();
        let worst = (0..times.len()).map(in_a_second).max().unwrap_or(0);
        crossed += u32::from(worst > BOUND);
        most = most.max(worst);
    }
    assert!(crossed <= 1 && most > 4, "{crossed} of {HERDS} herds have crossed the bound, with {most} at most");
}

/// Whoever changes two secrets at once, such as a name and its password, wants them delivered at once.
#[test]
fn a_keeper_reads_its_secrets_together_and_each_of_them_in_time() {
    const SECRETS: usize = 5;
    let plan = plan(SECRETS);
    for seed in 0..HERDS {
        fastrand::seed(seed);
        let mut schedule = begun(&plan);
        let mut before = None;
        while let Some(now) = schedule.next_due().filter(|next| *next < START + MINUTE * MINUTES) {
            let reads = schedule.take_due(now).0.into_iter().find_map(|due| match due {
                Due::Read(_, jobs) => Some(jobs),
                Due::Upkeep(instance, _) => {
                    schedule.upkeep_done(instance, Ok(None), now);
                    None
                }
                Due::Renew(_) => None,
            });
            let Some(jobs) = reads else { continue };
            assert_eq!(jobs.len(), SECRETS, "at {now:?} of {seed}");
            if let Some(before) = before.replace(now) {
                assert!(
                    ((MINUTE * 9 / 10)..=(MINUTE * 11 / 10 + LATENCY)).contains(&(now - before)),
                    "{before:?} {now:?}"
                );
            }
            for (at, job) in jobs.into_iter().enumerate() {
                schedule.read_done(job, vec![outcome(job)], now + LATENCY * at as u32);
            }
        }
        assert!(before.is_some(), "{seed}");
    }
}

fn outcome(secret: usize) -> Outcome {
    let value = SecretValue::from(b"the same".to_vec());
    Outcome { secret, result: Ok(vec![Part { name: None, value }]), term: Term::Open, age: Duration::ZERO }
}

/// Each secret is a request of its own.
fn begun(plan: &Plan) -> Schedule<'_> {
    let secrets: Vec<usize> = (0..plan.secrets.len()).collect();
    let outcomes: Vec<Outcome> = secrets.iter().copied().map(outcome).collect();
    Schedule::new(plan, secrets.chunks(1).map(|secrets| (0, secrets)), [true].into_iter(), &outcomes, START)
}

/// A store that never comes to rest holds up no change for ever.
#[test]
fn a_change_waits_for_others_as_long_as_they_come_within_quiet_and_five_times_that_at_most() {
    let plan = plan(1);
    let quiet = plan.watching.quiet;
    let mut schedule = begun(&plan);
    for step in 1..=10 {
        let now = START + quiet * step / 2;
        let value = SecretValue::from(step.to_string().into_bytes());
        let read = Outcome { result: Ok(vec![Part { name: None, value }]), ..outcome(0) };
        schedule.read_done(0, vec![read], now);
        assert_eq!(schedule.delivery(), Some((now + quiet).min(START + quiet / 2 + quiet * 5)), "{step}");
        assert!(schedule.take_changes(now).is_empty(), "{step}");
    }
    let last = START + quiet / 2 + quiet * 5;
    assert_eq!((schedule.take_changes(last).len(), schedule.delivery()), (1, None));
}

/// Its files are full, for example: the app still has the credential before, which ends earlier.
#[test]
fn a_credential_that_could_not_be_delivered_ends_when_the_one_before_does() {
    let (plan, life) = (plan(1), Duration::from_secs(100));
    let issued = |value: &str| {
        let value = SecretValue::from(value.as_bytes().to_vec());
        let term = Term::Leased { grant: Grant { life, renewable: false }, login: 1 };
        Outcome { secret: 0, result: Ok(vec![Part { name: None, value }]), term, age: Duration::ZERO }
    };
    let mut schedule = Schedule::new(&plan, [(0, &[0][..])].into_iter(), [false].into_iter(), &[issued("a")], START);
    let now = schedule.next_due().unwrap();
    assert!(matches!(&schedule.take_due(now).0[..], [Due::Read(0, _)]));
    schedule.read_done(0, vec![issued("b")], now);
    let later = now + MINUTE / 10;
    let seen =
        |notices: Vec<super::Notice>| notices.iter().map(|notice| (notice.is_success, notice.end)).collect::<Vec<_>>();
    let changes = schedule.take_changes(later);
    assert_eq!(seen(schedule.delivered(false, changes, later)), [(false, Some(START + life - later))]);
    let later = later + MINUTE;
    let changes = schedule.take_changes(later);
    assert_eq!(seen(schedule.delivered(true, changes, later)), [(true, Some(now + life - later))]);
}

/// Each of them logs in by itself.
#[test]
fn where_the_login_cannot_be_kept_up_a_read_counts_as_two_requests() {
    let plan = Plan { concurrency: 8, ..plan(20) };
    for (is_troubled, reads) in [(false, 6), (true, 3)] {
        // One in which the first read is not due before the login's.
        fastrand::seed(1);
        let mut schedule = begun(&plan);
        let now = schedule.next_due().unwrap();
        assert!(matches!(&schedule.take_due(now).0[..], [Due::Upkeep(0, _)]), "it takes two of the eight");
        let failed = || Err(ProviderError::new(ErrorKind::Unavailable, "no answer"));
        schedule.upkeep_done(0, if is_troubled { failed() } else { Ok(None) }, now);
        schedule.count_requests([1].into_iter(), now);
        schedule.read_all(now);
        let due = schedule.take_due(now).0;
        assert!(matches!(&due[..], [Due::Read(0, jobs)] if jobs.len() == reads), "{is_troubled}");
    }
}

/// Two requests a second are fewer than these secrets need.
#[test]
fn where_a_store_gets_fewer_requests_than_are_due_each_secret_is_late_and_none_left_out() {
    const SECRETS: usize = 40;
    let mut plan = Plan { concurrency: 4, ..plan(SECRETS) };
    plan.secrets.iter_mut().for_each(|secret| secret.refresh = Some(MINUTE / 6));
    let mut schedule = begun(&plan);
    let (mut reads, mut made) = ([0; SECRETS], 0);
    while let Some(now) = schedule.next_due().filter(|next| *next < START + MINUTE * MINUTES) {
        schedule.count_requests([made].into_iter(), now);
        for due in schedule.take_due(now).0 {
            match due {
                Due::Read(_, jobs) => {
                    for job in jobs {
                        (reads[job], made) = (reads[job] + 1, made + 1);
                        schedule.read_done(job, vec![outcome(job)], now);
                    }
                }
                Due::Upkeep(instance, _) => drop(schedule.upkeep_done(instance, Ok(None), now)),
                Due::Renew(_) => panic!("there is no lease"),
            }
        }
    }
    let (least, most) = (reads.iter().min().unwrap(), reads.iter().max().unwrap());
    assert!(*least >= 13 && most - least <= 2, "{reads:?}");
}

/// The machine was asleep, or its clock was set: all are due at once, and what has an end goes first.
#[test]
fn a_clock_that_jumps_makes_everything_due_and_the_store_gets_no_burst() {
    const SECRETS: usize = 40;
    let plan = Plan { concurrency: 4, ..plan(SECRETS) };
    let grant = Grant { life: MINUTE * 60, renewable: true };
    // Every second one has a lease.
    let term = |secret: usize| if secret.is_multiple_of(2) { Term::Leased { grant, login: 1 } } else { Term::Open };
    let outcomes: Vec<Outcome> = (0..SECRETS).map(|secret| Outcome { term: term(secret), ..outcome(secret) }).collect();
    let secrets: Vec<usize> = (0..SECRETS).collect();
    let jobs = secrets.chunks(1).map(|secrets| (0, secrets));
    let mut schedule = Schedule::new(&plan, jobs, [true].into_iter(), &outcomes, START);
    let woken = START + MINUTE * 60 * 24;
    let (mut now, mut made) = (woken, Vec::new());
    while made.len() < SECRETS {
        schedule.count_requests([made.len() as u64].into_iter(), now);
        for due in schedule.take_due(now).0 {
            match due {
                Due::Read(_, jobs) => {
                    for job in jobs {
                        made.push((job, now - woken));
                        schedule.read_done(job, vec![outcome(job)], now);
                    }
                }
                Due::Renew(job) => {
                    made.push((job, now - woken));
                    schedule.renewed(job, Ok(grant), now);
                }
                Due::Upkeep(instance, _) => drop(schedule.upkeep_done(instance, Ok(None), now)),
            }
        }
        now = schedule.next_due().expect("there is more").max(now);
    }
    assert!(made[..SECRETS / 2].iter().all(|(job, _)| job.is_multiple_of(2)), "{made:?}");
    for (count, (_, after)) in made.iter().enumerate() {
        assert!((count + 1) as f64 <= 4.0 + 2.0 * after.as_secs_f64() + 1e-6, "{made:?}");
    }
    assert!(made[SECRETS - 1].1 <= Duration::from_secs(21), "{made:?}");
}

/// They end with it only as long as its renewals fail.
#[test]
fn a_login_that_is_renewed_after_an_outage_gives_its_leases_their_time_back() {
    let (plan, hour) = (plan(1), MINUTE * 60);
    let term = Term::Leased { grant: Grant { life: hour, renewable: true }, login: 1 };
    let issued = Outcome { term, ..outcome(0) };
    let mut schedule = Schedule::new(&plan, [(0, &[0][..])].into_iter(), [true].into_iter(), &[issued], START);
    let grant = Grant { life: MINUTE, renewable: true };
    let stands = || Ok(Some(Standing { number: 1, whole: MINUTE, grant, is_replaceable: false }));
    let mut ends_after = |expected: Upkeep, result| {
        let now = schedule.next_due().unwrap();
        assert!(matches!(schedule.take_due(now).0[..], [Due::Upkeep(0, upkeep)] if upkeep == expected));
        let notices = schedule.upkeep_done(0, result, now);
        (now, notices.into_iter().map(|notice| now + notice.end.unwrap()).collect::<Vec<_>>())
    };
    let none: [Duration; 0] = [];
    let (looked, ends) = ends_after(Upkeep::Inspect, stands());
    assert_eq!(ends, none);
    let failed = || Err(ProviderError::new(ErrorKind::Unavailable, "no answer"));
    assert_eq!(ends_after(Upkeep::Renew, failed()).1, [looked + MINUTE]);
    assert_eq!(ends_after(Upkeep::Renew, failed()).1, none);
    assert_eq!(ends_after(Upkeep::Renew, stands()).1, [START + hour]);
}

/// When one keeper reads its secret after its start.
fn reads(plan: &Plan) -> Vec<Duration> {
    let mut schedule = begun(plan);
    let mut times = Vec::new();
    while let Some(now) = schedule.next_due().filter(|next| *next < START + MINUTE * MINUTES) {
        for due in schedule.take_due(now).0 {
            match due {
                Due::Read(_, jobs) => {
                    times.push(now);
                    for job in jobs {
                        schedule.read_done(job, vec![outcome(job)], now + LATENCY);
                    }
                }
                Due::Upkeep(instance, _) => drop(schedule.upkeep_done(instance, Ok(None), now)),
                Due::Renew(_) => panic!("there is no lease"),
            }
        }
    }
    times
}

fn plan(secrets: usize) -> Plan {
    let secret = |number: usize| Secret {
        name: format!("db-{number}"),
        reference: SecretRef::parse(&format!("mock:db-{number}")).unwrap(),
        instance: 0,
        optional: false,
        is_list: false,
        refresh: Some(MINUTE),
        may_issue: false,
        may_end: false,
        on_change: OnChange::None,
    };
    Plan {
        purpose: Purpose::Watch,
        isolation: Isolation {
            uid: 1,
            gid: 1,
            groups: Vec::new(),
            defaulted: false,
            capabilities: 0,
            core_dumps: false,
            strict: false,
        },
        secrets: (0..secrets).map(secret).collect(),
        deliveries: Vec::new(),
        inherited: Vec::new(),
        files: None,
        swap: Swap::Warn,
        concurrency: 32,
        deadline: Deadline { started: Instant::now(), limit: MINUTE },
        watching: Watching::default(),
        revokes_on_exit: false,
        has_stores: false,
        environment: Vec::new(),
        provider_warnings: Vec::new(),
        executable: None,
    }
}

/// The replicas of an app, all of which start at a roll-out, neither renew their leases nor have their certificates issued anew at once.
#[test]
fn what_fifty_keepers_got_together_is_due_at_times_of_their_own() {
    let (plan, life) = (plan(1), Duration::from_secs(100));
    let plan = Plan {
        secrets: plan.secrets.into_iter().map(|secret| Secret { refresh: Some(life), ..secret }).collect(),
        ..plan
    };
    let grant = Grant { life, renewable: true };
    for (term, is_renewed) in [(Term::Leased { grant, login: 1 }, true), (Term::Ends(life), false)] {
        for seed in 0..HERDS {
            fastrand::seed(seed);
            let mut times: Vec<Duration> = Vec::new();
            for _ in 0..KEEPERS {
                let issued = Outcome { term, ..outcome(0) };
                let mut schedule =
                    Schedule::new(&plan, [(0, &[0][..])].into_iter(), [false].into_iter(), &[issued], START);
                let now = schedule.next_due().expect("it ends");
                match &schedule.take_due(now).0[..] {
                    [Due::Renew(0)] => assert!(is_renewed, "a certificate is renewed"),
                    [Due::Read(0, jobs)] => assert!(!is_renewed && jobs[..] == [0], "a lease is issued anew"),
                    _ => panic!("nothing else is due"),
                }
                times.push(now - START);
            }
            times.sort();
            let (first, last) = (times[0], times[KEEPERS - 1]);
            assert!(first >= life.mul_f64(0.50) && last <= life.mul_f64(0.67), "{seed}: {first:?} {last:?}");
            assert!(last - first >= Duration::from_secs(10), "{seed}: {first:?} {last:?}");
        }
    }
}
