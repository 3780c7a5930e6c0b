//! Faults of the services that provide keys to containers and machines, with a test server whose responses a test chooses.

use std::net::TcpListener;

use handfast_core::{ErrorKind, Table};
use handfast_testkit::{Instance, Outside, TestClock, Variables, run, table, text};
use handfast_testservers::{Server, write_answer};

use crate::cloud::{Aws, error, error_text, instance, keys, refusal, secret, sts_refusal};

const READ: &str = "cannot read the secret `web/db`";

/// Paths, each with its response: a status and a body.
type Answers = &'static [(&'static str, u16, &'static str)];

/// A service with these paths, and 404 for all others.
fn service(answers: Answers) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    Server::serve(listener, None, move |request, stream| {
        let found = answers.iter().find(|(path, ..)| *path == request.path);
        let (status, body) = found.map_or((404, ""), |(_, status, body)| (*status, *body));
        write_answer(stream, status, &[], body.as_bytes())
    })
}

/// Settings with one way only, so that the error is about this way alone.
fn only(method: &str) -> Table {
    let auth = table([("method", text(method))]);
    table([("auth", handfast_core::Value::Table(auth))])
}

#[test]
fn wrong_responses_of_a_containers_agent_are_reported() {
    const HINT: &str = "the task needs a role (ECS), the service account an association (EKS Pod Identity)";
    const KEYS: &str = r#"{"AccessKeyId":"ASIA1","SecretAccessKey":"x","Token":"t"}"#;
    let agent = service(&[
        ("/none", 200, "{}"),
        ("/half", 200, r#"{"AccessKeyId":"ASIA1","SecretAcc"#),
        ("/failed", 200, r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"hunter2"}"#),
        ("/keys", 200, KEYS),
        ("/busy", 503, "hunter2"),
        ("/refused", 400, "hunter2"),
    ]);
    let aws = Aws::with_store(vec![secret("there")]);
    let at =
        |path: &str| aws.variables().with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}{path}", agent.address()));
    for (path, reported) in [
        ("/none", "Malformed: ~: the answer of http://127.0.0.1:PORT holds no keys | no hint".to_owned()),
        ("/half", "Malformed: ~: the answer of http://127.0.0.1:PORT holds no keys | no hint".to_owned()),
        ("/failed", "Denied: ~: http://127.0.0.1:PORT gets no keys for the role | the role must be there still, and its trust policy must name the service that runs this".to_owned()),
        // A role would not help here, so there is no hint.
        ("/busy", "Unavailable: ~: http://127.0.0.1:PORT answered 503 Service Unavailable | no hint".to_owned()),
        ("/refused", format!("Denied: ~: http://127.0.0.1:PORT answered 400 Bad Request | {HINT}")),
        ("/gone", format!("Denied: ~: http://127.0.0.1:PORT answered 404 Not Found | {HINT}")),
    ] {
        let reported = reported.replace('~', &format!("{READ}: cannot get the container's AWS credentials"));
        assert_eq!(error_text(&error(only("container"), at(path))), reported);
    }
    run(async { assert_eq!(instance(only("container"), at("/keys")).value("aws:sm/web/db").await, b"there") });
    let token = at("/keys").with_credential("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hunter\n2");
    let reported = error_text(&error(only("container"), token));
    let why = "`AWS_CONTAINER_AUTHORIZATION_TOKEN` has a line break in it";
    assert_eq!(reported, format!("Denied: {READ}: cannot get the container's AWS credentials: {why} | no hint"));
    // A missing token file must not count as a missing secret.
    let file = at("/keys").with("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere/token");
    let reported = error_text(&error(only("container"), file));
    assert!(
        reported.starts_with(&format!(
            "Denied: {READ}: cannot get the container's AWS credentials: cannot read the token: "
        )),
        "{reported}"
    );
}

#[test]
fn a_containers_token_is_not_sent_unencrypted_to_another_machine() {
    let aws = Aws::with_store(vec![secret("there")]);
    for (url, why) in [
        ("http://192.0.2.1/v1", "is in clear text and leaves this machine"),
        ("http://169.254.170.3/v1", "is in clear text and leaves this machine"),
        ("http://localhost.example.org/v1", "is in clear text and leaves this machine"),
        ("http://[fd00:ec2::24]/v1", "is in clear text and leaves this machine"),
        ("ftp://127.0.0.1/v1", "is no https:// URL"),
        ("127.0.0.1/v1", "is no URL"),
    ] {
        let variables = aws.variables().with("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
        let hint = "ECS and EKS set it: an https:// address, loopback, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]";
        let reported = format!(
            "Denied: {READ}: cannot get the container's AWS credentials: `AWS_CONTAINER_CREDENTIALS_FULL_URI` {why} | {hint}"
        );
        assert_eq!(error_text(&error(only("container"), variables)), reported);
    }
}

#[test]
fn a_containers_token_file_is_read_again_for_new_keys() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let agent = Server::serve(listener, None, |request, stream| {
        let id = request.header("authorization").unwrap_or("none").to_owned();
        let keys = format!(r#"{{"AccessKeyId":"ASIA-{id}","SecretAccessKey":"x","Token":"t"}}"#);
        write_answer(stream, 200, &[], keys.as_bytes())
    });
    let over = refusal("ExpiredTokenException", "The security token included in the request is expired");
    let aws = Aws::with_store(vec![secret("first"), over, secret("second")]);
    let token = aws.files.write("token", "one\n");
    let variables = aws
        .variables()
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.address())
        .with("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().expect("text"));
    run(async {
        let instance = instance(Table::default(), variables);
        assert_eq!(instance.value("aws:sm/web/db").await, b"first");
        aws.files.write("token", "two\n");
        assert_eq!(instance.value("aws:sm/web/db").await, b"second");
    });
    let tokens: Vec<String> =
        agent.requests().iter().filter_map(|request| request.header("authorization").map(str::to_owned)).collect();
    assert_eq!(tokens, ["one", "two"]);
    let last = aws.store_requests().pop().expect("it was asked");
    assert!(last.header("authorization").is_some_and(|text| text.contains("Credential=ASIA-two/")));
}

#[test]
fn wrong_responses_of_a_metadata_service_are_reported() {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    const TOKEN: (&str, u16, &str) = ("/latest/api/token", 200, "token");
    const KEYS: &str = "cannot get this machine's AWS credentials";
    let denied = |why: &str| {
        format!(
            "Denied: {READ}: no AWS credentials: machine: {why} | this one way is pinned: set it up, or take `auth` and \
             `profile` out of [providers.aws]"
        )
    };
    let aws = Aws::with_store(vec![secret("there")]);
    let cases: [(Answers, String); 7] = [
        (&[], denied("http://127.0.0.1:PORT is no metadata service of version 2: it answered 404")),
        (
            &[("/latest/api/token", 403, "hunter2")],
            denied("the metadata service of http://127.0.0.1:PORT is switched off"),
        ),
        (&[TOKEN], denied("http://127.0.0.1:PORT has no role for this machine")),
        (
            &[TOKEN, (ROLES, 200, "<html> hunter2")],
            format!("Malformed: {READ}: {KEYS}: the answer of http://127.0.0.1:PORT is no name | no hint"),
        ),
        (
            &[TOKEN, (ROLES, 401, "hunter2")],
            format!("Denied: {READ}: {KEYS}: http://127.0.0.1:PORT answered 401 Unauthorized | no hint"),
        ),
        (
            &[TOKEN, (ROLES, 200, "web"), ("/latest/meta-data/iam/security-credentials/web", 500, "hunter2")],
            format!("Unavailable: {READ}: {KEYS}: http://127.0.0.1:PORT answered 500 Internal Server Error | no hint"),
        ),
        (
            &[
                TOKEN,
                (ROLES, 200, "web"),
                ("/latest/meta-data/iam/security-credentials/web", 200, r#"{"Code":"Failed"}"#),
            ],
            format!(
                "Denied: {READ}: {KEYS}: http://127.0.0.1:PORT gets no keys for the role | the role must be there still, and its \
                 trust policy must name the service that runs this"
            ),
        ),
    ];
    for (answers, reported) in cases {
        let service = service(answers);
        let variables = machine(&aws).with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.address());
        assert_eq!(error_text(&error(only("imds"), variables)), reported);
    }
}

/// STS of another region may not be reachable, and STS of another partition does not know the machine.
#[test]
fn a_role_after_a_machines_role_is_requested_in_the_machines_region() {
    const KEYS: &str = r#"{"Code":"Success","AccessKeyId":"ASIAMACHINE","SecretAccessKey":"x","Token":"t"}"#;
    let service = service(&[
        ("/latest/api/token", 200, "token"),
        ("/latest/meta-data/iam/security-credentials/", 200, "web"),
        ("/latest/meta-data/iam/security-credentials/web", 200, KEYS),
        ("/latest/meta-data/placement/region", 200, "cn-north-1"),
    ]);
    let aws = Aws::with_sts(vec![secret("there")], vec![keys("ASIAROLE")]);
    let variables = machine(&aws).with("AWS_REGION", "");
    let variables = variables.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.address());
    let role = table([("role_arn", text("arn:aws-cn:iam::123456789012:role/web"))]);
    run(async { assert_eq!(instance(role, variables).value("aws:sm/web/db").await, b"there") });
    let (request, _) = aws.sts_requests().remove(0);
    let signed = request.header("authorization").expect("it is signed");
    assert!(signed.contains("Credential=ASIAMACHINE/20260101/cn-north-1/sts/aws4_request"), "{signed}");
}

#[test]
fn a_service_that_does_not_respond_may_be_one_hop_too_far() {
    const WHY: &str = "cannot ask http://127.0.0.1:PORT: connection refused (a container on EC2 is answered where the machine's \
                       hop limit is 2 or more)";
    let aws = Aws::with_store(vec![secret("there")]);
    let nobody = || machine(&aws).with("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    // With this as the only way, the failure is temporary.
    let reported = error_text(&error(only("imds"), nobody()));
    assert_eq!(reported, format!("Unavailable: {READ}: cannot get this machine's AWS credentials: {WHY} | no hint"));
    let reported = error_text(&error(Table::default(), nobody()));
    assert!(reported.starts_with(&format!("Denied: {READ}: no AWS credentials: ")), "{reported}");
    assert!(reported.contains(&format!("; machine: {WHY} | ")), "{reported}");
}

#[test]
fn an_unavailable_region_of_the_machine_is_reported() {
    let aws = Aws::with_store(vec![secret("there")]);
    let bad = service(&[("/latest/api/token", 200, "token"), ("/latest/meta-data/placement/region", 500, "hunter2")]);
    let without = || aws.with_keys().with("AWS_REGION", "").with("HOME", "/nowhere");
    let there =
        without().with("AWS_EC2_METADATA_DISABLED", "").with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &bad.address());
    let reported = "Unavailable: cannot ask for this machine's region: http://127.0.0.1:PORT answered 500 Internal Server Error | no hint";
    assert_eq!(error_text(&error(Table::default(), there)), reported);
    let none = without();
    let reported = "Denied: no AWS region: neither `AWS_REGION` nor `AWS_DEFAULT_REGION` is set, the profile `default` has none, and \
                `AWS_EC2_METADATA_DISABLED` is true | set `region` in [providers.aws], or AWS_REGION";
    assert_eq!(error_text(&error(Table::default(), none)), reported);
}

#[test]
fn an_invalid_address_of_a_metadata_service_is_reported() {
    const KEYS: &str = "cannot get this machine's AWS credentials";
    let aws = Aws::with_store(vec![secret("there")]);
    let mode = machine(&aws).with("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5");
    let reported = format!(
        "Denied: {READ}: {KEYS}: `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` is \"ipv5\", expected \"IPv4\" or \"IPv6\" | no hint"
    );
    assert_eq!(error_text(&error(only("imds"), mode)), reported);
    let address = machine(&aws).with("AWS_EC2_METADATA_SERVICE_ENDPOINT", "169.254.169.254");
    let reported = format!("Denied: {READ}: {KEYS}: `AWS_EC2_METADATA_SERVICE_ENDPOINT` is no URL | no hint");
    assert_eq!(error_text(&error(only("imds"), address)), reported);
    // The variable is set, so its fault is reported and the service is not skipped.
    let far = || machine(&aws).with("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://192.0.2.1/");
    let refused = format!(
        "Denied: {READ}: {KEYS}: `AWS_EC2_METADATA_SERVICE_ENDPOINT`: http://192.0.2.1 is not encrypted, and not on this machine | \
         unset it, or set it to an address on this machine's link"
    );
    for settings in [only("imds"), Table::default()] {
        assert_eq!(error_text(&error(settings, far())), refused);
    }
}

/// An environment with a metadata service.
fn machine(aws: &Aws) -> Variables {
    aws.variables().with("AWS_EC2_METADATA_DISABLED", "")
}

#[test]
fn a_busy_service_of_the_machine_is_not_skipped_and_a_slow_one_gets_more_time() {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let aws = Aws::with_store(vec![secret("there")]);
    let at = |address: &str| machine(&aws).with("AWS_EC2_METADATA_SERVICE_ENDPOINT", address);
    let cases: [(Answers, &str); 2] = [
        (&[("/latest/api/token", 429, "hunter2")], "429 Too Many Requests"),
        (&[("/latest/api/token", 503, "hunter2")], "503 Service Unavailable"),
    ];
    for (answers, reason) in cases {
        let busy = service(answers);
        let reported = format!(
            "Unavailable: {READ}: cannot get this machine's AWS credentials: http://127.0.0.1:PORT answered {reason} | no hint"
        );
        assert_eq!(error_text(&error(only("imds"), at(&busy.address()))), reported);
        assert_eq!(error_text(&error(Table::default(), at(&busy.address()))), reported);
    }
    let slow =
        Server::serve(TcpListener::bind("127.0.0.1:0").expect("there is a free port"), None, |request, stream| {
            let body = match &*request.path {
                "/latest/api/token" => {
                    std::thread::sleep(std::time::Duration::from_millis(1300));
                    "token"
                }
                ROLES => "web",
                _ => r#"{"AccessKeyId":"ASIA-slow","SecretAccessKey":"x","Token":"t"}"#,
            };
            write_answer(stream, 200, &[], body.as_bytes())
        });
    run(async {
        assert_eq!(instance(Table::default(), at(&slow.address())).value("aws:sm/web/db").await, b"there");
    });
    let impatient = || {
        let variables = at(&slow.address()).with("AWS_METADATA_SERVICE_TIMEOUT", "1");
        variables.with("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "2")
    };
    slow.forget();
    let reported = error_text(&error(only("imds"), impatient()));
    assert!(
        reported.starts_with("Unavailable: ") && reported.contains("the machine's hop limit is 2 or more"),
        "{reported}"
    );
    assert_eq!(slow.requests().len(), 2);
    // With other ways allowed, the error is that there are no keys.
    let reported = error_text(&error(Table::default(), impatient()));
    assert!(
        reported.starts_with("Denied: ") && reported.contains("the machine's hop limit is 2 or more"),
        "{reported}"
    );
    let none = error_text(&error(only("imds"), at(&slow.address()).with("AWS_METADATA_SERVICE_TIMEOUT", "soon")));
    assert!(none.contains("`AWS_METADATA_SERVICE_TIMEOUT` is \"soon\", expected a number from 1 on"), "{none}");
}

#[test]
fn an_identity_providers_key_that_sts_cannot_get_is_temporary_for_ten_seconds() {
    let lacking = || {
        let message =
            "Couldn't retrieve verification key from your identity provider, please reference the documentation";
        sts_refusal(400, "InvalidIdentityToken", message)
    };
    let aws = Aws::with_sts(vec![secret("there")], vec![lacking(), keys("ASIAPOD")]);
    let token = aws.files.write("token", "eyJ.of-a-pod");
    let variables = |aws: &Aws| {
        let variables = aws.variables().with("AWS_ROLE_ARN", "arn:aws:iam::1:role/web");
        variables.with("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("text"))
    };
    run(async {
        let instance = instance(Table::default(), variables(&aws));
        assert_eq!(instance.error("aws:sm/web/db").await.kind, ErrorKind::Unavailable);
        assert_eq!(instance.value("aws:sm/web/db").await, b"there");
    });
    let aws = Aws::with_sts(vec![secret("there")], vec![lacking()]);
    let clock = TestClock::default();
    let outside = Outside { variables: variables(&aws), clock: clock.clone(), ..Outside::default() };
    run(async {
        let instance = Instance::from_settings(&handfast_aws::DEFINITION, Table::default(), outside);
        assert_eq!(instance.error("aws:sm/web/db").await.kind, ErrorKind::Unavailable);
        clock.advance(std::time::Duration::from_secs(10));
        let error = instance.error("aws:sm/web/db").await;
        assert_eq!((error.kind, error.message.contains("AWS does not take the token")), (ErrorKind::Denied, true));
    });
}

#[test]
fn a_throttled_batch_is_fetched_one_by_one() {
    let aws = Aws::with_store(vec![refusal("ThrottlingException", "Rate exceeded"), secret("there")]);
    run(async {
        let instance = aws.instance();
        let locators =
            ["aws:sm/web/db", "aws:sm/web/other"].map(|reference| handfast_testkit::parse(reference).locator);
        let locators: Vec<_> = locators.iter().collect();
        let answers = instance.provider().fetch_batch(&locators).await;
        assert!(answers.iter().all(Option::is_none), "each is asked for by itself");
    });
}
