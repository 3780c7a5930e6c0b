//! Valid and invalid references, and the items that they name.

use handfast_core::SecretRef;

use super::*;

fn item(reference: &str) -> Result<Item, Complaint> {
    parse(&SecretRef::parse(reference).unwrap().locator)
}

fn parameter(reference: &str) -> String {
    match item(reference) {
        Ok(Item::Parameter(parameter)) => parameter.request_name(),
        other => panic!("{other:?}"),
    }
}

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:web/db-AbCdEf";

#[test]
fn a_parameters_name_with_a_slash_gets_one_at_the_beginning() {
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
        assert_eq!(item(reference), Ok(Item::Below(path.to_owned())), "{reference}");
    }
}

#[test]
fn a_secret_matches_by_its_name_and_by_its_arn_with_or_without_suffix() {
    for id in ["web/db", ARN, &ARN[..ARN.len() - 7]] {
        let Ok(Item::Secret(secret)) = item(&format!("aws:sm/{id}")) else { panic!("{id}") };
        assert!(secret.is(Some("web/db"), Some(ARN)), "{id}");
        assert!(!secret.is(Some("web"), Some(&ARN.replace("web/db", "web"))), "{id}");
        assert_eq!(secret.region.as_deref(), id.starts_with("arn:").then_some("eu-west-1"));
    }
}

#[test]
fn items_that_could_match_each_other_clash() {
    let identifiers = |reference: &str| match item(reference) {
        Ok(Item::Secret(secret)) => secret.identifiers(),
        Ok(Item::Parameter(parameter)) => parameter.identifiers(),
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
        assert_eq!(identifiers(one).clash(&identifiers(other)), clash, "{one} {other}");
        assert_eq!(identifiers(other).clash(&identifiers(one)), clash, "{one} {other}");
    }
}

#[test]
fn invalid_references_are_refused() {
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
        let Complaint { message, .. } = item(reference).expect_err(reference);
        assert!(message.contains(why), "{reference}: {message}");
    }
}

#[test]
fn the_hint_translates_ecss_form() {
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
            let Complaint { message, hint } = item(&format!("aws:sm/{name}{behind}")).expect_err(behind);
            assert_eq!(message, "this is how ECS writes a secret's field and version");
            assert_eq!(hint, Some(format!("write `sm/{name}{ours}`")));
        }
    }
}

#[test]
fn a_stage_has_a_largest_length() {
    let reference = format!("aws:sm/web?stage={}", "s".repeat(257));
    let Complaint { message, hint } = item(&reference).expect_err("it is too long");
    assert_eq!(message, "`stage` has more than 256 characters");
    assert_eq!(hint.as_deref(), Some("such as `?stage=AWSPREVIOUS`"));
}
