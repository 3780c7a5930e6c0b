//! What a reference may be, and what it then asks for.

use handfast_core::SecretRef;

use super::*;

fn wanted(reference: &str) -> Result<Wanted, Complaint> {
    parse(&SecretRef::parse(reference).unwrap().locator)
}

fn parameter(reference: &str) -> String {
    match wanted(reference) {
        Ok(Wanted::Parameter(parameter)) => parameter.asked(),
        other => panic!("{other:?}"),
    }
}

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:web/db-AbCdEf";

#[test]
fn a_parameters_name_gets_its_slash_where_it_has_another() {
    for (reference, name) in [
        ("aws:ssm/prod/web/db", "/prod/web/db"),
        ("aws:ssm/db", "db"),
        ("aws:ssm//db", "/db"),
        ("aws:ssm//prod/db", "/prod/db"),
        ("aws:ssm/prod/db?version=3", "/prod/db:3"),
        ("aws:ssm/prod/db?label=blue", "/prod/db:blue"),
        ("aws:ssm/aws/reference/secretsmanager/web/db+1", "/aws/reference/secretsmanager/web/db+1"),
        (
            "aws:ssm/arn:aws:ssm:us-east-1:123456789012:parameter/prod/db?version=3",
            "arn:aws:ssm:us-east-1:123456789012:parameter/prod/db:3",
        ),
    ] {
        assert_eq!(parameter(reference), name, "{reference}");
    }
}

#[test]
fn a_list_is_a_path() {
    for (reference, path) in [
        ("aws:ssm/prod/web/*", "/prod/web"),
        ("aws:ssm//prod/*", "/prod"),
        ("aws:ssm/prod/*", "/prod"),
        ("aws:ssm/*", "/"),
    ] {
        assert_eq!(wanted(reference), Ok(Wanted::Below(path.to_owned())), "{reference}");
    }
}

#[test]
fn a_secret_is_known_by_its_name_and_by_its_arn_whole_or_not() {
    for id in ["web/db", ARN, &ARN[..ARN.len() - 7]] {
        let Ok(Wanted::Secret(secret)) = wanted(&format!("aws:sm/{id}")) else { panic!("{id}") };
        assert!(secret.is(Some("web/db"), Some(ARN)), "{id}");
        assert!(!secret.is(Some("web"), Some(&ARN.replace("web/db", "web"))), "{id}");
        assert_eq!(secret.region.as_deref(), id.starts_with("arn:").then_some("eu-west-1"));
    }
}

#[test]
fn what_could_be_taken_for_each_other_clashes() {
    let marks = |reference: &str| match wanted(reference) {
        Ok(Wanted::Secret(secret)) => secret.marks(),
        Ok(Wanted::Parameter(parameter)) => parameter.marks(),
        other => panic!("{other:?}"),
    };
    const PARAMETER: &str = "aws:ssm/arn:aws:ssm:eu-west-1:123456789012:parameter/prod/db";
    let arn = format!("aws:sm/{ARN}");
    for (one, other, clash) in [
        ("aws:sm/web/db", "aws:sm/web/api", false),
        ("aws:sm/tenant-000001", "aws:sm/tenant-000002", false),
        ("aws:sm/web/db", &*arn, true),
        ("aws:sm/web/db-AbCdEf", &*arn, true),
        (&*arn.replace("web/db", "tenant-000001"), &*arn.replace("web/db", "tenant-000002"), false),
        ("aws:ssm/prod/db", "aws:ssm/prod/db?version=1", true),
        ("aws:ssm/prod/db?label=a", "aws:ssm/prod/db?version=1", true),
        ("aws:ssm/prod/db", PARAMETER, true),
        ("aws:ssm/prod/api", PARAMETER, false),
    ] {
        assert_eq!(marks(one).clash(&marks(other)), clash, "{one} {other}");
        assert_eq!(marks(other).clash(&marks(one)), clash, "{one} {other}");
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    for (reference, why) in [
        ("aws:web/db", "neither `sm/` nor `ssm/`"),
        ("aws:sm", "neither `sm/` nor `ssm/`"),
        ("aws:sm/", "0 characters"),
        ("aws:ssm/", "0 characters"),
        (&format!("aws:{ARN}"), "an ARN alone"),
        ("aws:sm/web db", "a ' ' in it"),
        ("aws:sm/web/*", "lists by path"),
        ("aws:sm/web?label=a", "`label` is of a parameter"),
        ("aws:sm/web?version=3", "not a version's id"),
        ("aws:sm/arn:aws:ssm:eu-west-1:123456789012:parameter/db", "of `ssm`, not of `secretsmanager`"),
        ("aws:sm/arn:aws:secretsmanager:eu-west-1:123456789012", "too few parts"),
        ("aws:sm/arn:aws:secretsmanager::123456789012:secret:db", "no region"),
        ("aws:sm/arn:aws:secretsmanager:evil.example/:123456789012:secret:db", "no region"),
        ("aws:sm/arn:aws:secretsmanager:eu-west-1:1234:secret:db", "12 digits"),
        ("aws:sm/arn:aws:secretsmanager:eu-west-1:123456789012:other:db", "something else"),
        ("aws:sm/arn:azure:secretsmanager:eu-west-1:123456789012:secret:db", "partition"),
        ("aws:ssm/prod/db:3", "has a `:` in it"),
        ("aws:ssm/prod//db", "empty part"),
        ("aws:ssm/prod/db/", "empty part"),
        ("aws:ssm/prod/*/db", "'*' in it"),
        ("aws:ssm/prod/db?stage=AWSCURRENT", "`stage` is of a secret"),
        ("aws:ssm/prod/db?version=0", "not a number"),
        ("aws:ssm/prod/db?version=+3", "not a number"),
        ("aws:ssm/prod/db?version=3&label=a", "both name a version"),
        ("aws:ssm/prod/*?version=3", "takes no query"),
        ("aws:ssm/arn:aws:ssm:eu-west-1:123456789012:parameter/a/*", "not of an ARN"),
    ] {
        let Complaint { message, .. } = wanted(reference).expect_err(reference);
        assert!(message.contains(why), "{reference}: {message}");
    }
}

#[test]
fn what_ecs_writes_behind_a_secret_is_told_in_our_words() {
    let version = "0".repeat(32);
    for (behind, ours) in [
        (":password::", "#password"),
        (":password", "#password"),
        (":password:AWSPREVIOUS:", "?stage=AWSPREVIOUS#password"),
        ("::AWSPREVIOUS:", "?stage=AWSPREVIOUS"),
        (&format!(":password::{version}"), &format!("?version={version}#password")),
        (":::", ""),
    ] {
        for name in [ARN, "web/db"] {
            let Complaint { message, hint } = wanted(&format!("aws:sm/{name}{behind}")).expect_err(behind);
            assert_eq!(message, "this is how ECS writes a secret's field and version");
            assert_eq!(hint, Some(format!("write `sm/{name}{ours}`")));
        }
    }
}

#[test]
fn a_stage_has_an_end() {
    let reference = format!("aws:sm/web?stage={}", "s".repeat(257));
    let Complaint { message, hint } = wanted(&reference).expect_err("it is too long");
    assert_eq!(message, "`stage` has more than 256 characters");
    assert_eq!(hint.as_deref(), Some("such as `?stage=AWSPREVIOUS`"));
}
