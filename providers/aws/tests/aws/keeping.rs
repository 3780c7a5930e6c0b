//! Keys that expire while `watch` runs: they are requested again in the same way.

use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_core::{ErrorKind, Identity, Table};
use handfast_testkit::{Outside, TestClock, Variables, run, table, text};
use handfast_testservers::{Server, write_answer};

use crate::cloud::{Aws, StoreResponse, error_text, instance, keys, refusal, secret, sts_refusal};

fn expired() -> StoreResponse {
    refusal("ExpiredTokenException", "The security token included in the request is expired")
}

/// A container's agent. The id of its keys contains the number of the request; the keys expire at the time `end`.
fn agent(end: &'static str) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(None, move |_, stream| {
        let id = count.fetch_add(1, Ordering::SeqCst) + 1;
        let end = if id == 1 { "2026-01-01T01:00:00Z" } else { end };
        let keys = format!(r#"{{"AccessKeyId":"ASIA-{id}","SecretAccessKey":"x","Token":"t","Expiration":"{end}"}}"#);
        write_answer(stream, 200, &[], keys.as_bytes())
    })
}

/// The id of the key that has signed the last request.
fn last_signer(aws: &Aws) -> String {
    let last = aws.store_requests().pop().expect("there was a request");
    signer(last.header("authorization").expect("it is signed"))
}

fn signer(authorization: &str) -> String {
    let (_, credential) = authorization.split_once("Credential=").expect("it names its key");
    credential.split('/').next().unwrap_or_default().to_owned()
}

#[test]
fn a_busy_sts_at_the_expiry_of_keys_is_temporary() {
    let busy = sts_refusal(400, "Throttling", "Rate exceeded");
    let aws =
        Aws::with_sts(vec![secret("first"), expired(), secret("second")], vec![keys("ASIA1"), busy, keys("ASIA2")]);
    run(async {
        let settings = table([("role_arn", text("arn:aws:iam::123456789012:role/web"))]);
        let instance = instance(settings, aws.with_keys());
        assert_eq!(instance.value("aws:sm/web/db").await, b"first");
        let error = instance.error("aws:sm/web/db").await;
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("STS answers no more requests for now (throttling)"), "{error}");
        assert_eq!(instance.value("aws:sm/web/db").await, b"second");
    });
    assert_eq!(last_signer(&aws), "ASIA2");
}

#[test]
fn after_keys_from_the_machine_a_failure_of_its_service_is_temporary() {
    let is_silent = Arc::new(Mutex::new(false));
    let knows = is_silent.clone();
    let service = Server::start(None, move |request, stream| {
        if *knows.lock().expect("nobody panics with it") {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let body = match &*request.path {
            "/latest/api/token" => "token",
            "/latest/meta-data/iam/security-credentials/" => "web",
            _ => r#"{"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"x","Token":"t"}"#,
        };
        write_answer(stream, 200, &[], body.as_bytes())
    });
    let aws = Aws::with_store(vec![secret("first"), expired()]);
    let variables = aws.variables().with("AWS_EC2_METADATA_DISABLED", "");
    let variables = variables.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.address());
    run(async {
        let instance = instance(Table::default(), variables);
        assert_eq!(instance.value("aws:sm/web/db").await, b"first");
        *is_silent.lock().expect("nobody panics with it") = true;
        let error = instance.error("aws:sm/web/db").await;
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("cannot get this machine's AWS credentials"), "{error}");
    });
}

#[test]
fn the_machines_region_is_requested_once() {
    let (regions, is_silent) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(false)));
    let (counted, knows) = (regions.clone(), is_silent.clone());
    let service = Server::start(None, move |request, stream| {
        if *knows.lock().expect("nobody panics with it") {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let is_region = request.path == "/latest/meta-data/placement/region";
        counted.fetch_add(usize::from(is_region), Ordering::SeqCst);
        write_answer(stream, 200, &[], if is_region { b"us-east-1" } else { b"token" })
    });
    let aws = Aws::with_store(vec![secret("there")]);
    let variables = aws.with_keys().with("AWS_REGION", "").with("AWS_EC2_METADATA_DISABLED", "");
    let variables = variables.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.address());
    run(async {
        let instance = instance(Table::default(), variables);
        assert_eq!(instance.value("aws:sm/web/db").await, b"there");
        *is_silent.lock().expect("nobody panics with it") = true;
        assert_eq!(instance.value("aws:sm/web/db").await, b"there");
    });
    assert_eq!(regions.load(Ordering::SeqCst), 1);
}

#[test]
fn a_way_that_is_set_up_later_is_not_used() {
    let agent = agent("2026-01-01T02:00:00Z");
    let aws = Aws::with_store(vec![secret("first"), expired(), secret("second")]);
    let shared = aws.files.path().join("credentials");
    let variables = aws
        .variables()
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.address())
        .with("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().expect("text"));
    run(async {
        let instance = instance(Table::default(), variables);
        assert_eq!(instance.value("aws:sm/web/db").await, b"first");
        aws.files.write("credentials", "[default]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = x\n");
        assert_eq!(instance.value("aws:sm/web/db").await, b"second");
    });
    assert_eq!(last_signer(&aws), "ASIA-2");
}

#[test]
fn only_the_way_of_the_earlier_keys_is_reported() {
    let aws = Aws::with_store(vec![secret("first"), expired()]);
    let keys = "[default]\naws_access_key_id = ASIAFIRST\naws_secret_access_key = x\naws_session_token = t\n";
    let shared = aws.files.write("credentials", keys);
    let variables = aws.variables().with("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().expect("text"));
    let reported = run(async {
        let instance = instance(Table::default(), variables);
        assert_eq!(instance.value("aws:sm/web/db").await, b"first");
        aws.files.write("credentials", "");
        error_text(&instance.error("aws:sm/web/db").await).replace(shared.to_str().expect("text"), "FILE")
    });
    assert_eq!(
        reported,
        "Denied: cannot read the secret `web/db`: no AWS credentials any more: profile: no profile `default` in `FILE` | the keys so \
         far came from there, and another way would be another identity"
    );
}

/// As if an operator writes new keys into the file, and deletes the old keys in AWS.
#[test]
fn a_files_keys_are_read_again_if_aws_does_not_know_them_any_more() {
    for code in ["UnrecognizedClientException", "InvalidClientTokenId"] {
        let unknown = || refusal(code, "The security token included in the request is invalid.");
        let aws = Aws::with_store(vec![secret("first"), unknown(), unknown(), secret("second")]);
        let keys = |id: &str| format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = x\n");
        let shared = aws.files.write("credentials", keys("AKIAFIRST"));
        let variables = aws.variables().with("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().expect("text"));
        run(async {
            let instance = instance(Table::default(), variables);
            assert_eq!(instance.value("aws:sm/web/db").await, b"first");
            // The file has no new keys yet, so no request is repeated.
            let error = instance.error("aws:sm/web/db").await;
            assert!(error.message.contains("AWS does not know the access key"), "{error}");
            assert_eq!(aws.store_requests().len(), 2);
            aws.files.write("credentials", keys("AKIASECOND"));
            assert_eq!(instance.value("aws:sm/web/db").await, b"second");
        });
        assert_eq!(last_signer(&aws), "AKIASECOND", "{code}");
    }
}

/// If another store accepts this identity as a login, only that store sees AWS's refusal.
#[test]
fn another_store_gets_a_signature_of_unexpired_keys() {
    let signed = |identity: &Rc<dyn Identity>| {
        let identity = identity.clone();
        run(async move {
            let request = identity.sign_request(None, &[]).await.expect("there are keys");
            let (_, value) = request.headers.iter().find(|(name, _)| name == "authorization").expect("it is signed");
            signer(std::str::from_utf8(value.expose()).expect("text"))
        })
    };
    let identity = |variables: Variables, clock: &TestClock| {
        let outside = Outside { variables, clock: clock.clone(), ..Outside::default() };
        handfast_aws::DEFINITION.identity.expect("AWS has one")(outside.context())
    };
    let (agent, clock) = (agent("2026-01-01T02:00:00Z"), TestClock::default());
    let variables = Variables::default().with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.address());
    let container = identity(variables, &clock);
    assert_eq!((signed(&container), signed(&container)), ("ASIA-1".into(), "ASIA-1".into()));
    clock.advance(Duration::from_secs(3600));
    assert_eq!((signed(&container), signed(&container)), ("ASIA-2".into(), "ASIA-2".into()));
    // The expiry of keys in a file is not known.
    let aws = Aws::with_store(vec![secret("there")]);
    let keys = |id: &str| format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = x\n");
    let shared = aws.files.write("credentials", keys("AKIAFIRST"));
    let variables = Variables::default().with("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().expect("text"));
    let file = identity(variables, &clock);
    assert_eq!(signed(&file), "AKIAFIRST");
    aws.files.write("credentials", keys("AKIASECOND"));
    assert_eq!(signed(&file), "AKIASECOND");
}
