//! When a lease, a login or a certificate is renewed and replaced, and when it ends.
#![forbid(unsafe_code)]

use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const NOW: Duration = seconds(1000);

fn new(kind: Kind, renewable: bool, random: f64) -> Lifetime {
    Lifetime::new(kind, seconds(100), Duration::ZERO, renewable, NOW, random)
}

fn next(lifetime: &Lifetime) -> (Step, u64) {
    (lifetime.step(), (lifetime.due() - NOW).as_secs_f64().round() as u64)
}

#[test]
fn what_can_be_renewed_is_renewed_once_between_half_and_two_thirds_of_its_life() {
    for kind in [Kind::Lease, Kind::Login] {
        assert_eq!(next(&new(kind, true, 0.0)), (Step::Renew, 50));
        assert_eq!(next(&new(kind, true, 1.0)), (Step::Renew, 67));
    }
    let mut lease = new(Kind::Lease, true, 0.0);
    lease.renewed(Grant { life: seconds(100), renewable: true }, NOW + seconds(50), 1.0);
    assert_eq!((next(&lease), lease.end()), ((Step::Renew, 117), NOW + seconds(150)));
}

#[test]
fn what_cannot_be_renewed_is_had_anew_at_a_part_of_its_life_that_its_kind_says() {
    for (kind, least, most) in [(Kind::Lease, 67, 80), (Kind::Login, 67, 67), (Kind::Certificate, 50, 67)] {
        assert_eq!(next(&new(kind, false, 0.0)), (Step::Replace, least), "{kind:?}");
        assert_eq!(next(&new(kind, false, 1.0)), (Step::Replace, most), "{kind:?}");
    }
}

#[test]
fn an_age_counts_from_the_beginning() {
    let lease = Lifetime::new(Kind::Lease, seconds(100), seconds(20), true, NOW, 0.0);
    assert_eq!((next(&lease), lease.end()), ((Step::Renew, 30), NOW + seconds(80)));
    let late = Lifetime::new(Kind::Lease, seconds(100), seconds(90), true, NOW, 0.0);
    assert!(late.due() < NOW && late.end() == NOW + seconds(10));
}

#[test]
fn a_renewal_that_gives_less_than_nine_tenths_ends_the_renewals() {
    let at = NOW + seconds(50);
    for (life, renewable, expected) in [
        (90, true, (Step::Renew, 50 + 45)),
        (89, true, (Step::Replace, 50 + 60)),
        (100, false, (Step::Replace, 50 + 67)),
        (0, true, (Step::Replace, 50)),
    ] {
        let mut lease = new(Kind::Lease, true, 0.0);
        lease.renewed(Grant { life: seconds(life), renewable }, at, 0.0);
        assert_eq!((next(&lease), lease.end()), (expected, at + seconds(life)), "{life} {renewable}");
    }
}

#[test]
fn a_renewal_that_is_refused_for_good_leads_to_another_and_not_to_an_early_one() {
    let mut lease = new(Kind::Lease, true, 0.0);
    lease.renewal_refused(NOW + seconds(50), 0.5);
    assert_eq!(next(&lease), (Step::Replace, 74));
    lease.renewal_refused(NOW + seconds(90), 0.5);
    assert_eq!(next(&lease), (Step::Replace, 90));
}

#[test]
fn after_failures_the_pause_doubles_up_to_a_minute_and_near_the_end_nobody_counts_on_a_renewal() {
    let mut lease = Lifetime::new(Kind::Lease, seconds(100_000), Duration::ZERO, true, NOW, 0.0);
    for most in [1, 2, 4, 8, 16, 32, 60, 60] {
        lease.failed(None, NOW);
        let pause = lease.due() - NOW;
        assert!(pause >= seconds(most) / 2 && pause <= seconds(most), "{pause:?} of {most}");
        assert_eq!(lease.step(), Step::Renew);
    }
    lease.failed(Some(seconds(200)), NOW);
    assert_eq!(lease.due(), NOW + seconds(200), "as long as the store asks for");
    lease.failed(None, NOW + seconds(79_990));
    assert_eq!((lease.step(), lease.due()), (Step::Replace, NOW + seconds(80_000)));
}

#[test]
fn a_store_that_asks_for_a_long_rest_is_asked_once_more_before_the_end() {
    for kind in [Kind::Lease, Kind::Login, Kind::Certificate] {
        for (at, expected) in [(50, 75), (75, 87), (98, 100), (99, 101), (100, 400)] {
            let mut lifetime = new(kind, kind != Kind::Certificate, 0.0);
            lifetime.failed(Some(seconds(300)), NOW + seconds(at));
            assert_eq!((lifetime.due() - NOW).as_secs(), expected, "{kind:?} at {at}");
        }
    }
}

#[test]
fn what_no_other_follows_is_renewed_until_its_end_whatever_fails() {
    let mut lease = new(Kind::Lease, true, 0.0).never_replaced();
    let (mut now, mut tries) = (lease.due(), 0);
    while now < NOW + seconds(99) {
        lease.failed(None, now);
        assert!(lease.step() == Step::Renew && lease.due() > now, "at {now:?}");
        (now, tries) = (lease.due(), tries + 1);
    }
    assert!((6..=20).contains(&tries) && now < NOW + seconds(102), "{tries} until {now:?}");
    lease.renewal_refused(now, 0.0);
    assert_eq!(lease.step(), Step::Replace);
}

#[test]
fn a_store_that_fails_for_a_minute_gets_at_most_twelve_requests() {
    for _ in 0..1000 {
        let mut lease = Lifetime::new(Kind::Lease, seconds(3600), Duration::ZERO, true, NOW, 0.0);
        let (start, mut requests) = (lease.due(), 0);
        while lease.due() <= start + seconds(60) {
            requests += 1;
            lease.failed(None, lease.due());
        }
        assert!((6..=12).contains(&requests), "{requests}");
    }
}

#[test]
fn a_renewal_in_whose_place_there_is_nothing_is_tried_until_the_end_and_after_it() {
    for _ in 0..1000 {
        let mut lease = Lifetime::new(Kind::Lease, seconds(120), Duration::ZERO, true, NOW, 0.0).never_replaced();
        let (end, mut tries) = (lease.end(), Vec::new());
        while lease.due() <= end + seconds(60) {
            tries.push(lease.due());
            lease.failed(None, lease.due());
            assert_eq!(lease.step(), Step::Renew);
        }
        assert!(tries.iter().any(|at| *at < end && *at + seconds(3) >= end), "{tries:?}");
        assert!(tries.iter().any(|at| *at >= end) && tries.len() <= 16, "{tries:?}");
    }
}

/// A secret id that can be used once, or a token that its file still has: only a renewal keeps such a login.
#[test]
fn a_login_that_no_other_replaces_is_still_renewed_where_only_an_outage_was_in_the_way() {
    for life in [20, 60, 100, 200, 600].map(seconds).repeat(200) {
        let mut login = Lifetime::new(Kind::Login, life, Duration::ZERO, true, NOW, 0.0);
        let (mut now, mut steps, end) = (login.due(), Vec::new(), login.end());
        while now < end + seconds(30) {
            steps.push((login.step(), now));
            assert_eq!(login.is_last(), now >= NOW + life.mul_f64(LAST_RENEWAL), "{steps:?}");
            login.failed(None, now);
            now = login.due();
        }
        for late in [Step::Renew, Step::Replace] {
            assert!(steps.iter().any(|(step, at)| *step == late && *at + life / 5 >= end && *at < end), "{steps:?}");
        }
        for (at, (_, first)) in steps.iter().enumerate() {
            let in_a_minute = steps[at..].iter().take_while(|(_, time)| *time <= *first + seconds(60)).count();
            assert!(in_a_minute <= 12, "{steps:?}");
        }
        login.renewed(Grant { life, renewable: true }, now, 0.0);
        assert!(login.step() == Step::Renew && !login.is_last());
        login.renewal_refused(now, 0.0);
        login.failed(None, now);
        assert_eq!(login.step(), Step::Replace, "what was refused is not asked for again");
    }
}

#[test]
fn what_is_gone_is_had_anew_at_once_and_ends_now() {
    let mut lease = new(Kind::Lease, true, 0.0);
    lease.lost(NOW + seconds(50));
    assert_eq!((next(&lease), lease.end()), ((Step::Replace, 50), NOW + seconds(51)));
}

#[test]
fn what_hangs_on_something_does_not_outlive_it_and_is_renewed_meanwhile() {
    let mut lease = new(Kind::Lease, true, 0.0);
    lease.set_login_end(Some(NOW + seconds(80)));
    assert_eq!((next(&lease), lease.end()), ((Step::Renew, 50), NOW + seconds(80)));
    lease.renewed(Grant { life: seconds(100), renewable: true }, NOW + seconds(50), 0.0);
    assert_eq!((next(&lease), lease.end()), ((Step::Renew, 100), NOW + seconds(80)));
    lease.set_login_end(None);
    assert_eq!((next(&lease), lease.end()), ((Step::Renew, 100), NOW + seconds(150)), "its login is renewed again");
}

#[test]
fn two_issuances_are_a_tenth_of_the_life_apart_within_a_second_and_thirty() {
    for (life, apart) in [(1, 1), (50, 5), (300, 30), (86_400, 30)] {
        let lease = Lifetime::new(Kind::Lease, seconds(life), Duration::ZERO, false, NOW, 0.0);
        assert_eq!(lease.between_issuances(), seconds(apart), "{life}");
    }
}

#[test]
fn what_ends_with_something_else_is_had_anew_before() {
    let mut lease = new(Kind::Lease, true, 0.0);
    lease.replace_by(NOW + seconds(40), NOW + seconds(30));
    assert_eq!((next(&lease), lease.end()), ((Step::Replace, 30), NOW + seconds(40)));
    let mut lease = new(Kind::Lease, true, 0.0);
    lease.replace_by(NOW + seconds(400), NOW + seconds(300));
    assert_eq!((next(&lease), lease.end()), ((Step::Replace, 50), NOW + seconds(100)), "its own end comes first");
}
