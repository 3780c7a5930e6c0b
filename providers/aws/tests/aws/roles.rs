//! Roles: the requests to STS, and the handling of its responses.

use handfast_core::{ErrorKind, ProviderError, Table};
use handfast_testkit::{run, table, text};
use serde_json::json;

use crate::cloud::{Aws, error, error_text, instance, keys, refusal, secret, sts_refusal};

const ROLE: &str = "arn:aws:iam::123456789012:role/web";

fn has(fields: &[String], field: &str) -> bool {
    fields.iter().any(|own| own == field)
}

/// The key's id in a request's signature, and its scope after the date.
fn signer(request: &handfast_testservers::Request) -> (String, String) {
    let authorization = request.header("authorization").expect("it is signed");
    let (_, credential) = authorization.split_once("Credential=").expect("it names its key");
    let (id, scope) = credential.split(',').next().unwrap_or_default().split_once('/').expect("it has a scope");
    (id.to_owned(), scope.to_owned())
}

#[test]
fn a_role_is_requested_with_all_its_settings_and_its_keys_sign() {
    let aws = Aws::with_sts(vec![secret("there")], vec![keys("ASIAROLE")]);
    let settings = table([("role_arn", text(ROLE)), ("external_id", text("of/ours")), ("session_name", text("web-1"))]);
    let value = run(async { instance(settings, aws.with_keys()).value("aws:sm/web/db").await });
    assert_eq!(value, b"there");
    let sts = aws.sts_requests();
    let [(request, fields)] = &sts[..] else { panic!("{} requests", sts.len()) };
    for field in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fweb",
        "ExternalId=of%2Fours",
        "RoleSessionName=web-1",
    ] {
        assert!(has(fields, field), "{field}: {fields:?}");
    }
    assert_eq!(signer(request), ("ASIAEXAMPLE".into(), "20260101/us-east-1/sts/aws4_request".into()));
    assert_eq!(request.header("x-amz-security-token"), Some(&*aws.session_token));
    let store = aws.store_requests();
    assert_eq!(signer(&store[0]), ("ASIAROLE".into(), "20260101/us-east-1/secretsmanager/aws4_request".into()));
    assert_eq!(store[0].header("x-amz-security-token"), Some("token-of-ASIAROLE"));
}

#[test]
fn a_profiles_roles_are_assumed_from_the_last_to_the_first_and_then_the_configured_role() {
    let aws = Aws::with_sts(vec![secret("there")], vec![keys("ASIA1"), keys("ASIA2"), keys("ASIA3")]);
    let config = aws.files.write(
        "config",
        "[profile web]\nrole_arn = arn:aws:iam::1:role/second\nsource_profile = inner\nexternal_id = two\nrole_session_name = s2\n\
         [profile inner]\nrole_arn = arn:aws:iam::1:role/first\nsource_profile = base\nexternal_id = one\n\
         [profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = x\n",
    );
    let settings = table([("profile", text("web")), ("role_arn", text("arn:aws:iam::1:role/third"))]);
    let variables = aws.with_keys().with("AWS_CONFIG_FILE", config.to_str().expect("text"));
    run(async { instance(settings, variables).value("aws:sm/web/db").await });
    let requests: Vec<(String, String, Vec<String>)> = aws
        .sts_requests()
        .into_iter()
        .map(|(request, mut fields)| {
            fields.retain(|field| field.starts_with("ExternalId=") || field.starts_with("RoleSessionName="));
            let role = String::from_utf8_lossy(&request.body).split("role%2F").nth(1).unwrap_or_default().to_owned();
            (signer(&request).0, role.split('&').next().unwrap_or_default().to_owned(), fields)
        })
        .collect();
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        requests,
        [
            ("AKIABASE".into(), "first".into(), texts(&["RoleSessionName=handfast", "ExternalId=one"])),
            ("ASIA1".into(), "second".into(), texts(&["RoleSessionName=s2", "ExternalId=two"])),
            ("ASIA2".into(), "third".into(), texts(&["RoleSessionName=handfast"])),
        ]
    );
    assert_eq!(signer(&aws.store_requests()[0]).0, "ASIA3");
}

#[test]
fn a_tokens_file_is_read_again_for_new_keys() {
    let over = || refusal("ExpiredTokenException", "The security token included in the request is expired");
    for by_profile in [false, true] {
        let aws = Aws::with_sts(vec![secret("first"), over(), secret("second")], vec![keys("ASIA1"), keys("ASIA2")]);
        let token = aws.files.write("token", "eyJ.one\n");
        let token = token.to_str().expect("text");
        let variables = match by_profile {
            false => aws.variables().with("AWS_ROLE_ARN", ROLE).with("AWS_WEB_IDENTITY_TOKEN_FILE", token),
            true => {
                let profile = format!("[default]\nrole_arn = {ROLE}\nweb_identity_token_file = {token}\n");
                let config = aws.files.write("config", profile);
                aws.variables().with("AWS_CONFIG_FILE", config.to_str().expect("text"))
            }
        };
        run(async {
            let instance = instance(Table::default(), variables);
            assert_eq!(instance.value("aws:sm/web/db").await, b"first");
            aws.files.write("token", "eyJ.two\n");
            assert_eq!(instance.value("aws:sm/web/db").await, b"second");
        });
        let sts = aws.sts_requests();
        assert_eq!(sts.len(), 2);
        for ((request, fields), token) in sts.iter().zip(["eyJ.one", "eyJ.two"]) {
            assert!(has(fields, "Action=AssumeRoleWithWebIdentity"), "{fields:?}");
            assert!(has(fields, &format!("WebIdentityToken={token}")), "{fields:?}");
            // The token is the proof, so the request is not signed.
            assert_eq!(request.header("authorization"), None);
        }
    }
}

#[test]
fn a_token_that_is_no_text_is_not_sent() {
    let aws = Aws::with_sts(vec![secret("there")], vec![keys("ASIA1")]);
    let token = aws.files.write("token", [0xff, b'x']);
    let token = token.to_str().expect("text");
    let variables = aws.variables().with("AWS_ROLE_ARN", ROLE).with("AWS_WEB_IDENTITY_TOKEN_FILE", token);
    let reported = error_text(&error(Table::default(), variables));
    let why = format!("cannot assume the role `{ROLE}` with a web identity: the token in `{token}` is not text");
    assert_eq!(reported, format!("Denied: cannot read the secret `web/db`: {why} | no hint"));
    assert!(aws.server.requests().is_empty());
}

#[test]
fn keys_that_are_expired_on_arrival_are_requested_only_once_more() {
    let over = refusal("ExpiredTokenException", "The security token included in the request is expired");
    let late = |id| {
        let (status, body) = keys(id);
        (status, body.replace("2026-01-01", "2020-01-01"))
    };
    let aws = Aws::with_sts(vec![over], vec![late("ASIA1"), late("ASIA2"), late("ASIA3")]);
    let error = error(table([("role_arn", text(ROLE))]), aws.with_keys());
    assert_eq!(
        error_text(&error),
        "Denied: cannot read the secret `web/db`: AWS does not take the session token: it has expired | get new credentials; \
         those in the environment cannot be renewed from here"
    );
    assert_eq!((aws.sts_requests().len(), aws.store_requests().len()), (2, 2));
}

#[test]
fn a_response_that_is_not_from_sts_has_no_keys() {
    let (_, whole) = keys("ASIA1");
    let huge = format!("{whole}{}", " ".repeat(8 << 20));
    let none = "the answer of https://127.0.0.1:PORT is none of STS'";
    for (body, why) in [
        (String::new(), none),
        ("{}".into(), none),
        ("<html>log in</html>".into(), none),
        (whole[..whole.len() / 2].to_owned(), none),
        (whole.replace("<SessionToken>", "<Token>"), none),
        (whole.replace("token-of-ASIA1", ""), none),
        (whole.replace("token-of-ASIA1", "a&amp;b"), none),
        (whole.replace("token-of-ASIA1", "<SessionToken>"), none),
        (whole.replace("ASIA1</Acc", "A\nB</Acc"), none),
        (huge, "cannot ask https://127.0.0.1:PORT: the answer is larger than 8388608 bytes"),
    ] {
        let aws = Aws::with_sts(vec![secret("there")], vec![(200, body)]);
        let error = error(table([("role_arn", text(ROLE))]), aws.with_keys());
        assert_eq!(error.kind, ErrorKind::Malformed, "{error}");
        let reported = error_text(&error);
        assert!(reported.contains(&format!("cannot assume the role `{ROLE}`: {why}")), "{reported}");
        assert!(!reported.contains("log in") && !reported.contains("ASIA1"), "{reported}");
        assert!(aws.store_requests().is_empty());
    }
}

#[test]
fn each_refusal_of_sts_has_a_text_of_handfast() {
    const CLOCK: &str =
        "AWS rejected the request time: check this machine's clock | AWS allows a difference of 5 minutes";
    const FOREIGN: &str = "something else than AWS does | look at `endpoint` and at the AWS_ENDPOINT_URL variables: is it AWS that answers there?";
    for (status, code, message, reported) in [
        (
            403,
            "AccessDenied",
            "User: arn:aws:sts::1:x is not authorized",
            "Denied: AWS denies it | the role's trust policy must name this identity (and its external id), and this identity must be allowed sts:AssumeRole on it",
        ),
        (
            400,
            "ExpiredTokenException",
            "Token expired",
            "Denied: the token has expired | whatever writes the token must renew it before it ends",
        ),
        (
            400,
            "InvalidIdentityToken",
            "No OpenIDConnect provider found",
            "Denied: AWS does not take the token | the account needs an identity provider with the token's issuer, and the token the audience `sts.amazonaws.com`",
        ),
        (
            403,
            "IDPRejectedClaim",
            "",
            "Denied: the identity provider has rejected the token | its audience or its subject is not the one that the role trusts",
        ),
        (
            403,
            "InvalidClientTokenId",
            "",
            "Denied: AWS does not take the keys | they are wrong, deleted, or of another partition",
        ),
        (
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match",
            "Denied: AWS does not take the keys | they are wrong, deleted, or of another partition",
        ),
        (
            403,
            "SignatureDoesNotMatch",
            "Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z",
            &format!("Denied: {CLOCK}"),
        ),
        (400, "RequestExpired", "", &format!("Denied: {CLOCK}")),
        (
            403,
            "RegionDisabledException",
            "",
            "Denied: STS is switched off in this region | activate it in the account's settings, or set another `region`",
        ),
        (
            400,
            "ValidationError",
            "2 validation errors",
            "Denied: AWS takes the request for malformed | look at `role_arn`, `external_id` and `session_name`",
        ),
        (
            400,
            "Throttling",
            "Rate exceeded",
            "Unavailable: STS answers no more requests for now (throttling) | no hint",
        ),
        (429, "", "", "Unavailable: STS answers no more requests for now (throttling) | no hint"),
        (404, "", "", &format!("Malformed: https://127.0.0.1:PORT answered 404 with {FOREIGN}")),
        (403, "", "", &format!("Denied: https://127.0.0.1:PORT answered 403 with {FOREIGN}")),
        (502, "", "", "Unavailable: https://127.0.0.1:PORT answered 502 Bad Gateway | no hint"),
        (400, "IDPCommunicationError", "", "Unavailable: STS does not reach the identity provider for now | no hint"),
        (
            503,
            "ServiceUnavailable",
            "",
            "Unavailable: https://127.0.0.1:PORT answered 503 Service Unavailable | no hint",
        ),
        (400, "MalformedPolicyDocument", "", "Denied: https://127.0.0.1:PORT answered 400 Bad Request | no hint"),
    ] {
        let aws = Aws::with_sts(vec![secret("there")], vec![sts_refusal(status, code, message)]);
        let error = error(table([("role_arn", text(ROLE))]), aws.with_keys());
        let (kind, why) = reported.split_once(": ").expect("a kind");
        let before = "cannot read the secret `web/db`: cannot assume the role `arn:aws:iam::123456789012:role/web`";
        assert_eq!(error_text(&error), format!("{kind}: {before}: {why}"), "{code}");
    }
}

#[test]
fn after_a_busy_sts_the_next_caller_requests_keys_again() {
    let busy = sts_refusal(400, "Throttling", "Rate exceeded");
    let aws = Aws::with_sts(vec![secret("there")], vec![busy, keys("ASIA1")]);
    run(async {
        let instance = instance(table([("role_arn", text(ROLE))]), aws.with_keys());
        assert_eq!(instance.error("aws:sm/web/db").await.kind, ErrorKind::Unavailable);
        assert_eq!(instance.value("aws:sm/web/db").await, b"there");
    });
}

#[test]
fn the_account_comes_from_the_secret_or_from_sts() {
    let described = |arn: &str| (200, Vec::new(), json!({ "ARN": arn, "Name": "web/db" }));
    let denied = || refusal("AccessDeniedException", "not authorized to perform: secretsmanager:DescribeSecret");
    let account =
        |text: &str| (200, format!("<GetCallerIdentityResult><Account>{text}</Account></GetCallerIdentityResult>"));
    let policy = |aws: &Aws| {
        let locator = handfast_testkit::parse("aws:sm/web/db").locator;
        run(async {
            let instance = aws.instance();
            instance.provider().survey(&locator).await?;
            Ok::<_, ProviderError>(instance.provider().policy(&[&locator]).expect("AWS has policies"))
        })
    };
    let names = |policy: &str, suffix: &str| policy.contains(&format!(":123456789012:secret:web/db-{suffix}"));
    let aws = Aws::with_store(vec![described("arn:aws:secretsmanager:us-east-1:123456789012:secret:web/db-AbCdEf")]);
    assert!(policy(&aws).is_ok_and(|text| names(&text, "AbCdEf")));
    assert!(aws.sts_requests().is_empty());
    let aws = Aws::with_sts(vec![denied()], vec![account("123456789012")]);
    assert!(policy(&aws).is_ok_and(|text| names(&text, "??????")));
    assert!(has(&aws.sts_requests()[0].1, "Action=GetCallerIdentity"));
    for (answer, reported) in [
        (
            account("none"),
            "Malformed: cannot ask which account this is: the answer of https://127.0.0.1:PORT is none of STS' | no hint",
        ),
        (
            sts_refusal(403, "InvalidClientTokenId", ""),
            "Denied: cannot ask which account this is: AWS does not take the keys | they are wrong, deleted, or of another partition",
        ),
    ] {
        let aws = Aws::with_sts(vec![denied()], vec![answer]);
        assert_eq!(error_text(&policy(&aws).expect_err("nobody says whose it is")), reported);
    }
}
