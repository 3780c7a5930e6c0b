//! Refusals of the stores that moto does not have.

use std::time::Duration;

use handfast_core::{ErrorKind, Table};
use handfast_testkit::{run, table, text};
use serde_json::json;

use crate::cloud::{Aws, StoreResponse, error, error_text, refusal, secret};

#[test]
fn a_wrong_clock_is_corrected_with_the_time_in_awss_response() {
    // The tests' clock starts in 2026.
    let later = "Thu, 01 Jan 2026 01:00:00 GMT".to_owned();
    let (status, _, body) = refusal("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier");
    let aws = Aws::with_store(vec![(status, vec![("date", later)], body), secret("there")]);
    assert_eq!(run(async { aws.instance().value("aws:sm/web/db").await }), b"there");
    let requests = aws.server.requests();
    let dates: Vec<&str> = requests.iter().filter_map(|request| request.header("x-amz-date")).collect();
    assert!(
        matches!(dates[..], [first, second] if first.starts_with("20260101T0000") && second.starts_with("20260101T01")),
        "{dates:?}"
    );
}

#[test]
fn a_wrong_clock_that_stays_wrong_is_reported() {
    let aws = Aws::with_store(vec![refusal("InvalidSignatureException", "Signature not yet current")]);
    let (error, requests) = aws.error("aws:sm/web/db");
    assert_eq!((error.kind, requests), (ErrorKind::Denied, 2), "{error}");
    assert!(error.message.ends_with("AWS rejected the request time: check this machine's clock"), "{error}");
    assert_eq!(error.hint.as_deref(), Some("AWS allows a difference of 5 minutes"));
}

#[test]
fn expired_keys_in_the_environment_are_reported_after_one_request() {
    let aws = Aws::with_store(vec![refusal(
        "ExpiredTokenException",
        "The security token included in the request is expired",
    )]);
    let (error, requests) = aws.error("aws:sm/web/db");
    assert_eq!((error.kind, requests), (ErrorKind::Denied, 1), "{error}");
    assert!(error.message.ends_with("AWS does not take the session token: it has expired"), "{error}");
}

#[test]
fn throttling_is_temporary_and_has_a_wait() {
    let (status, _, body) = refusal("ThrottlingException", "Rate exceeded");
    let aws = Aws::with_store(vec![(status, vec![("retry-after", "3".to_owned())], body), secret("there")]);
    let instance = aws.instance();
    run(async {
        let error = instance.error("aws:sm/web/db").await;
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Unavailable, Some(Duration::from_secs(3))), "{error}");
        assert_eq!(instance.value("aws:sm/web/db").await, b"there");
    });
}

const ALLOW: &str =
    "allow `secretsmanager:GetSecretValue` on `arn:aws:secretsmanager:us-east-1:*:secret:web/db-??????`";
const LOOKED_FOR: &str = "it was looked for in the region `us-east-1`; names are matched to the letter";
const KEY: &str = "allow `kms:Decrypt` on `arn:aws:kms:us-east-1:*:key/<its key>`, in the identity's policy and in the key's, where that \
                   is in another account";
const LOOK_AT_THE_KEY: &str = "look at the key: enabled, not about to be deleted, and open to this identity";
const OTHER_KEYS: &str = "look at AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN: deleted, of another partition, or of a region that the \
                          account has not enabled";

/// For one secret: AWS's code and message, and the reported text.
#[test]
fn each_refusal_has_a_text_of_handfast() {
    for (code, message, reported) in [
        (
            "AccessDeniedException",
            "Access to KMS is not allowed",
            &*format!("Denied: the identity may not decrypt it: KMS refuses | {KEY}"),
        ),
        (
            "AccessDeniedException",
            "User: x is not authorized to perform: kms:Decrypt on resource: arn",
            &format!("Denied: the identity may not decrypt it: KMS refuses | {KEY}"),
        ),
        (
            "AccessDeniedException",
            "The ciphertext refers to a customer master key that does not exist",
            &format!("Denied: the identity may not decrypt it: KMS refuses | {KEY}"),
        ),
        ("AccessDeniedException", "User: hunter2 is not authorized", &format!("Denied: access denied | {ALLOW}")),
        (
            "AccessDeniedException",
            "x with an explicit deny in a service control policy",
            &format!("Denied: a service control policy denies it | {ALLOW}"),
        ),
        (
            "AccessDeniedException",
            "x with an explicit deny in a resource control policy",
            &format!("Denied: a resource control policy denies it | {ALLOW}"),
        ),
        (
            "AccessDeniedException",
            "x because no permissions boundary allows it",
            &format!("Denied: the identity's permissions boundary does not allow it | {ALLOW}"),
        ),
        (
            "AccessDeniedException",
            "x because no session policy allows it",
            &format!("Denied: the session's policy does not allow it | {ALLOW}"),
        ),
        (
            "AccessDeniedException",
            "x with an explicit deny in a VPC endpoint policy",
            &format!("Denied: the VPC endpoint's policy does not allow it | {ALLOW}"),
        ),
        (
            "AccessDeniedException",
            "x with an explicit deny in a resource-based policy",
            &format!("Denied: a policy of the resource denies it | {ALLOW}"),
        ),
        (
            "AccessDeniedException",
            "x with an explicit deny in an identity-based policy",
            &format!("Denied: a policy of the identity denies it | {ALLOW}"),
        ),
        (
            "InvalidSignatureException",
            "The request signature we calculated does not match",
            "Denied: AWS does not take the signature: the secret access key is not that of the access key's id | copy AWS_SECRET_ACCESS_KEY again, whole and without spaces",
        ),
        (
            "OptInRequired",
            "",
            "Denied: the account has not signed up for this service | an administrator of the account does that",
        ),
        (
            "UnrecognizedClientException",
            "The security token included in the request is invalid",
            &format!("Denied: AWS does not know the access key, or does not take its session token | {OTHER_KEYS}"),
        ),
        (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
            "NotFound: the secret has no value yet | `aws secretsmanager put-secret-value` gives it one",
        ),
        (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for VersionId: x",
            &format!("NotFound: there is no such version | {LOOKED_FOR}"),
        ),
        (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret.",
            &format!("NotFound: there is no such secret | {LOOKED_FOR}"),
        ),
        (
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
            "NotFound: it is scheduled for deletion | `aws secretsmanager restore-secret --secret-id web/db` brings it back",
        ),
        ("DecryptionFailure", "", &format!("Denied: it cannot be decrypted with its KMS key | {LOOK_AT_THE_KEY}")),
        (
            "UnknownOperationException",
            "",
            "Malformed: https://127.0.0.1:PORT does not know the operation | look at `endpoint` and at the AWS_ENDPOINT_URL variables: is it AWS that answers there?",
        ),
        (
            "ValidationException",
            "hunter2",
            "Malformed: AWS does not take the request as it is (ValidationException) | look at the reference: AWS' commands with the same name show AWS' own words",
        ),
        (
            "Hunter2Exception",
            "hunter2",
            "Malformed: AWS does not take the request as it is | look at the reference: AWS' commands with the same name show AWS' own words",
        ),
        ("InternalServiceError", "", "Unavailable: https://127.0.0.1:PORT answered 400 Bad Request | no hint"),
        (
            "ThrottlingException",
            "Rate exceeded",
            "Unavailable: AWS answers no more requests for now (throttling) | no hint",
        ),
    ] {
        let aws = Aws::with_store(vec![refusal(code, message)]);
        let (error, _) = aws.error("aws:sm/web/db");
        let (kind, why) = reported.split_once(": ").expect("a kind");
        assert_eq!(error_text(&error), format!("{kind}: cannot read the secret `web/db`: {why}"), "{code}: {message}");
    }
}

#[test]
fn each_refusal_of_a_parameter_has_a_text_of_handfast() {
    const ALLOW: &str = "allow `ssm:GetParameters` on `arn:aws:ssm:us-east-1:*:parameter/prod/db`";
    for (answer, reference, reported) in [
        (
            refusal("ParameterNotFound", ""),
            "/prod/db",
            &*format!("NotFound: cannot read the parameter `/prod/db`: there is no such parameter | {LOOKED_FOR}"),
        ),
        (
            refusal("ParameterVersionNotFound", ""),
            "/prod/db?version=7",
            &format!("NotFound: cannot read the parameter `/prod/db:7`: there is no such version | {LOOKED_FOR}"),
        ),
        (
            refusal("InvalidKeyId", ""),
            "/prod/db",
            &format!(
                "Denied: cannot read the parameter `/prod/db`: it cannot be decrypted with its KMS key | {LOOK_AT_THE_KEY}"
            ),
        ),
        (
            refusal("AccessDeniedException", "not authorized to perform: kms:Decrypt"),
            "/prod/db",
            &format!(
                "Denied: cannot read the parameter `/prod/db`: the identity may not decrypt it: KMS refuses | {KEY}"
            ),
        ),
        (
            refusal("AccessDeniedException", "not authorized"),
            "/prod/db",
            &format!("Denied: cannot read the parameter `/prod/db`: access denied | {ALLOW}"),
        ),
        (
            refusal("AccessDeniedException", "not authorized"),
            "/aws/reference/secretsmanager/web/db",
            &format!(
                "Denied: cannot read the parameter `/aws/reference/secretsmanager/web/db`: access denied | {}",
                super::refusals::ALLOW
            ),
        ),
        (
            (200, Vec::new(), json!({ "InvalidParameters": ["/prod/db:7"] })),
            "/prod/db?version=7",
            &format!(
                "NotFound: cannot read the parameter `/prod/db:7`: there is no such parameter, or it has no such version | {LOOKED_FOR}"
            ),
        ),
        (
            (200, Vec::new(), json!({ "InvalidParameters": ["/prod/db"] })),
            "/prod/db",
            &format!("NotFound: cannot read the parameter `/prod/db`: there is no such parameter | {LOOKED_FOR}"),
        ),
        (
            (200, Vec::new(), json!({ "Parameters": [{ "Name": "/prod/db" }] })),
            "/prod/db",
            "Malformed: cannot read the parameter `/prod/db`: AWS' answer has no value | no hint",
        ),
    ] {
        let aws = Aws::with_store(vec![answer]);
        let (error, _) = aws.error(&format!("aws:ssm{reference}"));
        assert_eq!(error_text(&error), reported, "{reference}");
    }
    // The identity may use only GetParameter, and the parameter does not exist.
    let answers = vec![refusal("AccessDeniedException", "not authorized"), (200, Vec::new(), json!({}))];
    let (error, _) = Aws::with_store(answers).error("aws:ssm/prod/db");
    assert_eq!(
        error_text(&error),
        "Malformed: cannot read the parameter `/prod/db`: AWS' answer has no parameter | no hint"
    );
}

#[test]
fn a_response_that_is_not_from_aws_is_reported_as_such() {
    const AT: &str = "look at `endpoint` and at the AWS_ENDPOINT_URL variables: is it AWS that answers there?";
    for (status, kind) in [(403, "Denied"), (401, "Denied"), (404, "Malformed"), (200, "Malformed")] {
        let (error, _) = Aws::with_store(vec![(status, Vec::new(), json!("a portal"))]).error("aws:sm/web/db");
        let why = format!("https://127.0.0.1:PORT answered {status} with something else than AWS does");
        assert_eq!(error_text(&error), format!("{kind}: cannot read the secret `web/db`: {why} | {AT}"));
    }
    let (error, _) = Aws::with_store(vec![(503, Vec::new(), json!("busy"))]).error("aws:sm/web/db");
    let why = "https://127.0.0.1:PORT answered 503 Service Unavailable";
    assert_eq!(error_text(&error), format!("Unavailable: cannot read the secret `web/db`: {why} | no hint"));
    let (error, _) = Aws::with_store(vec![(200, Vec::new(), json!({}))]).error("aws:sm/web/db");
    assert_eq!(error_text(&error), "Malformed: cannot read the secret `web/db`: AWS' answer has no value | no hint");
}

#[test]
fn an_incomplete_or_invalid_key_is_reported() {
    let aws = Aws::with_store(vec![secret("there")]);
    let reported = |variables| error_text(&error(Table::default(), variables));
    let half = aws.variables().with_credential("AWS_ACCESS_KEY_ID", "AKIA");
    assert_eq!(
        reported(half),
        "Denied: cannot read the secret `web/db`: no AWS credentials: `AWS_ACCESS_KEY_ID` is set and `AWS_SECRET_ACCESS_KEY` is not \
         | set both, or neither for another way to credentials"
    );
    let role = aws.variables().with("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
    assert_eq!(
        reported(role),
        "Denied: cannot read the secret `web/db`: no AWS credentials: `AWS_WEB_IDENTITY_TOKEN_FILE` is set and `AWS_ROLE_ARN` is not | \
         set the role that the token is for: EKS sets both, from the service account's annotation"
    );
    let region = aws.with_keys().with("AWS_REGION", "eu west/x?");
    let role = table([("role_arn", text("arn:aws:iam::1:role/web"))]);
    let of_sts = error(
        role,
        region.with("AWS_ENDPOINT_URL", "").with("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://127.0.0.1:1"),
    );
    assert!(error_text(&of_sts).contains("cannot ask STS: \"eu west/x?\" is no region"), "{of_sts}");
}

#[test]
fn a_batch_of_several_pages_is_read_to_its_end_and_no_further() {
    let page = |name: &str, next: &str| -> StoreResponse {
        let entry = json!({ "ARN": name, "Name": name, "SecretString": name });
        (200, Vec::new(), json!({ "SecretValues": [entry], "NextToken": next }))
    };
    let aws = Aws::with_store(vec![page("a", "more"), page("b", "and more"), page("b", "and more")]);
    run(async {
        let instance = aws.instance();
        let locators = crate::support::locators(&["aws:sm/a".to_owned(), "aws:sm/b".to_owned()]);
        let (batched, answers) = crate::support::fetch_all(&instance, &locators).await;
        assert_eq!(answers.into_iter().map(crate::support::value).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((batched, instance.summary().requests), (2, 2));
    });
}

#[test]
fn a_signature_has_the_time_of_the_context() {
    let aws = Aws::with_store(vec![secret("there")]);
    run(async { aws.instance().value("aws:sm/web/db").await });
    let requests = aws.server.requests();
    assert!(requests[0].header("x-amz-date").is_some_and(|date| date.starts_with("20260101T00")));
    assert_eq!(requests[0].header("x-amz-security-token"), Some(aws.session_token.as_str()));
}
