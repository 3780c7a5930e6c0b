//! What the stores never say in moto.

use std::time::Duration;

use handfast_core::ErrorKind;
use handfast_testkit::run;
use serde_json::json;

use crate::cloud::{Aws, Said, refusal, secret};

#[test]
fn a_wrong_clock_is_corrected_by_what_aws_says_of_the_time() {
    // The tests' clock begins in 2026.
    let later = "Thu, 01 Jan 2026 01:00:00 GMT".to_owned();
    let (status, _, body) = refusal("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier");
    let aws = Aws::saying(vec![(status, vec![("date", later)], body), secret("there")]);
    assert_eq!(run(async { aws.instance().value("aws:sm/web/db").await }), b"there");
    let requests = aws.server.requests();
    let dates: Vec<&str> = requests.iter().filter_map(|request| request.header("x-amz-date")).collect();
    assert!(
        matches!(dates[..], [first, second] if first.starts_with("20260101T0000") && second.starts_with("20260101T01")),
        "{dates:?}"
    );
}

#[test]
fn a_clock_that_nobody_corrects_is_told() {
    let aws = Aws::saying(vec![refusal("InvalidSignatureException", "Signature not yet current")]);
    let (error, requests) = aws.error("aws:sm/web/db");
    assert_eq!((error.kind, requests), (ErrorKind::Denied, 2), "{error}");
    assert!(error.message.ends_with("AWS takes the signature's time for wrong"), "{error}");
    assert_eq!(error.hint.as_deref(), Some("set this machine's clock: AWS allows 5 minutes"));
}

#[test]
fn keys_in_the_environment_that_are_over_are_told_after_one_request() {
    let aws =
        Aws::saying(vec![refusal("ExpiredTokenException", "The security token included in the request is expired")]);
    let (error, requests) = aws.error("aws:sm/web/db");
    assert_eq!((error.kind, requests), (ErrorKind::Denied, 1), "{error}");
    assert!(error.message.ends_with("AWS does not take the session token: it has expired"), "{error}");
}

#[test]
fn throttling_passes_and_its_wait_is_kept() {
    let (status, _, body) = refusal("ThrottlingException", "Rate exceeded");
    let aws = Aws::saying(vec![(status, vec![("retry-after", "3".to_owned())], body), secret("there")]);
    let instance = aws.instance();
    run(async {
        let error = instance.error("aws:sm/web/db").await;
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Unavailable, Some(Duration::from_secs(3))), "{error}");
        assert_eq!(instance.value("aws:sm/web/db").await, b"there");
    });
}

#[test]
fn kms_and_the_policies_that_deny_are_told_apart() {
    for (reference, code, message, kind, why, hint) in [
        (
            "aws:sm/web/db",
            "AccessDeniedException",
            "Access to KMS is not allowed",
            ErrorKind::Denied,
            "KMS refuses",
            "allow `kms:Decrypt` on `arn:aws:kms:us-east-1:*:key/<its key>`",
        ),
        (
            "aws:ssm/prod/db",
            "AccessDeniedException",
            "User: arn:aws:sts::1:assumed-role/web is not authorized to perform: kms:Decrypt on resource: arn",
            ErrorKind::Denied,
            "KMS refuses",
            "allow `kms:Decrypt`",
        ),
        (
            "aws:sm/web/db",
            "AccessDeniedException",
            "… is not authorized … with an explicit deny in a VPC endpoint policy",
            ErrorKind::Denied,
            "the VPC endpoint's policy does not allow it",
            "allow `secretsmanager:GetSecretValue` on `arn:aws:secretsmanager:us-east-1:*:secret:web/db-??????`",
        ),
        (
            "aws:sm/web/db",
            "DecryptionFailure",
            "",
            ErrorKind::Denied,
            "cannot be decrypted with its KMS key",
            "enabled",
        ),
        (
            "aws:ssm/prod/db?version=7",
            "ParameterVersionNotFound",
            "",
            ErrorKind::NotFound,
            "there is no such version",
            "`us-east-1`",
        ),
    ] {
        let aws = Aws::saying(vec![refusal(code, message)]);
        let (error, _) = aws.error(reference);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(why), "{error}");
        let told = error.hint.as_deref().unwrap_or_default();
        assert!(told.contains(hint), "{told}");
    }
}

#[test]
fn a_batch_of_more_pages_than_one_is_read_to_its_end_and_no_further() {
    let page = |name: &str, next: &str| -> Said {
        let entry = json!({ "ARN": name, "Name": name, "SecretString": name });
        (200, Vec::new(), json!({ "SecretValues": [entry], "NextToken": next }))
    };
    let aws = Aws::saying(vec![page("a", "more"), page("b", "and more"), page("b", "and more")]);
    run(async {
        let instance = aws.instance();
        let locators = crate::support::locators(&["aws:sm/a".to_owned(), "aws:sm/b".to_owned()]);
        let (batched, answers) = crate::support::fetch_all(&instance, &locators).await;
        assert_eq!(answers.into_iter().map(crate::support::value).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((batched, instance.summary().requests), (2, 2));
    });
}

#[test]
fn what_is_signed_is_of_the_contexts_time() {
    let aws = Aws::saying(vec![secret("there")]);
    run(async { aws.instance().value("aws:sm/web/db").await });
    let requests = aws.server.requests();
    assert!(requests[0].header("x-amz-date").is_some_and(|date| date.starts_with("20260101T00")));
    assert_eq!(requests[0].header("x-amz-security-token"), Some(aws.session_token.as_str()));
}
