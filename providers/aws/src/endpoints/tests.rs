//! The endpoints in variables, and the host names of STS.

use handfast_testkit::{Variables, table, text};

use super::*;

#[test]
fn the_names_of_sts_are_those_of_its_partition() {
    for (region, fips, dual_stack, url) in [
        ("eu-west-1", false, false, "https://sts.eu-west-1.amazonaws.com"),
        ("us-east-1", true, false, "https://sts-fips.us-east-1.amazonaws.com"),
        ("us-east-1", false, true, "https://sts.us-east-1.api.aws"),
        ("us-gov-west-1", true, false, "https://sts.us-gov-west-1.amazonaws.com"),
        ("us-gov-west-1", true, true, "https://sts-fips.us-gov-west-1.api.aws"),
        ("us-gov-west-1", false, true, "https://sts.us-gov-west-1.api.aws"),
        ("cn-north-1", false, false, "https://sts.cn-north-1.amazonaws.com.cn"),
        ("us-iso-east-1", false, false, "https://sts.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", false, false, "https://sts.us-isob-east-1.sc2s.sgov.gov"),
        ("eusc-de-east-1", false, false, "https://sts.eusc-de-east-1.amazonaws.eu"),
    ] {
        let endpoints = Endpoints { fips, dual_stack, ..Endpoints::default() };
        assert_eq!(endpoints.sts(region), url);
    }
}

fn read(settings: Table, variables: &Variables) -> (Endpoints, Vec<String>) {
    let (mut problems, mut missing) = (Problems::default(), Vec::new());
    let endpoints = Endpoints::read(&settings, variables, &mut problems, &mut missing);
    let problems = problems.into_sorted().into_iter().map(|problem| problem.message);
    (endpoints, problems.chain(missing.into_iter().map(|complaint| complaint.message)).collect())
}

#[test]
fn a_key_takes_precedence_over_a_services_variable_and_that_over_the_variable_for_all() {
    let variables = || {
        Variables::default()
            .with("AWS_ENDPOINT_URL", "https://all.internal/")
            .with("AWS_ENDPOINT_URL_SSM", "https://ssm.internal:8443")
    };
    let (endpoints, wrong) = read(Table::default(), &variables());
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(endpoints.configured(Service::SecretsManager), Some("https://all.internal"));
    assert_eq!(endpoints.configured(Service::Ssm), Some("https://ssm.internal:8443"));
    assert_eq!(endpoints.sts("eu-west-1"), "https://all.internal");
    let (endpoints, _) = read(table([("endpoint", text("https://key.internal"))]), &variables());
    assert_eq!(endpoints.configured(Service::Ssm), Some("https://key.internal"));
    let ignoring = variables().with("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True");
    let (endpoints, _) = read(Table::default(), &ignoring);
    assert_eq!(endpoints.configured(Service::Ssm), None);
    let fips = Variables::default().with("AWS_USE_FIPS_ENDPOINT", "true").with("AWS_USE_DUALSTACK_ENDPOINT", "false");
    let (endpoints, _) = read(Table::default(), &fips);
    assert_eq!((endpoints.fips, endpoints.dual_stack), (true, false));
}

#[test]
fn wrong_endpoints_are_reported_with_their_place() {
    for (url, why) in [
        ("http://aws.internal", "is not encrypted, and not on this machine"),
        ("aws.internal", "is not a URL"),
        ("https://user:pa55@aws.internal", "has a user name or a password in it"),
        ("unix:///run/aws.sock", "not behind a Unix socket"),
    ] {
        let (_, wrong) = read(table([("endpoint", text(url))]), &Variables::default());
        assert!(wrong.len() == 1 && wrong[0].starts_with("`endpoint`: ") && wrong[0].contains(why), "{wrong:?}");
        let (_, wrong) = read(Table::default(), &Variables::default().with("AWS_ENDPOINT_URL_STS", url));
        assert!(wrong.len() == 1 && wrong[0].starts_with("`AWS_ENDPOINT_URL_STS`: "), "{wrong:?}");
        assert!(!wrong[0].contains("pa55"), "{wrong:?}");
    }
    let (_, wrong) = read(Table::default(), &Variables::default().with("AWS_USE_FIPS_ENDPOINT", "yes"));
    assert_eq!(wrong, ["`AWS_USE_FIPS_ENDPOINT` is \"yes\", expected true or false"]);
    let (endpoints, wrong) = read(table([("endpoint", text("http://127.0.0.1:4566"))]), &Variables::default());
    assert_eq!((endpoints.configured(Service::Ssm), wrong), (Some("http://127.0.0.1:4566"), Vec::new()));
}
