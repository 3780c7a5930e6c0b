//! Managed identities, and nobody at all.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use handfast_core::ErrorKind;
use handfast_testkit::{Variables, run};
use handfast_testservers::{Azure, TENANT};
use serde_json::json;

use crate::support::{connect, says, settings, with_auth};

fn identities(azure: &Azure) {
    azure.set("s", "x");
    azure.set_up("identity", json!({ "tenant": TENANT }));
    azure.set_up(
        "identity",
        json!({ "tenant": TENANT, "clientId": "client", "objectId": "object", "resourceId": "/resource" }),
    );
}

const WHICH: [(&str, &str); 3] = [("client_id", "client"), ("object_id", "object"), ("resource_id", "/resource")];

#[test]
fn a_machine_has_an_identity_of_its_own_or_those_that_are_assigned_to_it() {
    let Some(azure) = Azure::start() else { return };
    identities(&azure);
    let variables = || Variables::default().with("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.metadata());
    run(async {
        // Nobody says so: whether there is one is asked first, and costs no token.
        azure.forget();
        assert_eq!(connect(settings(&azure), variables()).value("azure:s").await, b"x");
        assert_eq!(azure.requests().len(), 4, "{:#?}", azure.requests());
        let pinned = with_auth(&azure, [("method", "managed-identity")]);
        azure.forget();
        assert_eq!(connect(pinned, variables()).value("azure:s").await, b"x");
        assert_eq!(azure.requests().len(), 3);
        for which in WHICH {
            let one = with_auth(&azure, [("method", "managed-identity"), which]);
            assert_eq!(connect(one, variables()).value("azure:s").await, b"x");
        }
        let wrong = with_auth(&azure, [("method", "managed-identity"), ("client_id", "nobody")]);
        let error = connect(wrong, variables()).error("azure:s").await;
        says(&error, ErrorKind::Denied, "`nobody` of this machine", "`object_id`");
    });
}

#[test]
fn app_service_and_container_apps_have_an_endpoint_of_their_own() {
    let Some(azure) = Azure::start() else { return };
    identities(&azure);
    let [(endpoint, address), (header, value)] = azure.app_service();
    let variables = || Variables::default().with(endpoint, &address).with_credential(header, &value);
    run(async {
        assert_eq!(connect(settings(&azure), variables()).value("azure:s").await, b"x");
        for which in WHICH {
            let one = with_auth(&azure, [("method", "managed-identity"), which]);
            assert_eq!(connect(one, variables()).value("azure:s").await, b"x");
        }
        let wrong = Variables::default().with(endpoint, &address).with_credential(header, "canary-header");
        let error = connect(settings(&azure), wrong).error("azure:s").await;
        says(&error, ErrorKind::Denied, "answered 401", "");
        assert!(!format!("{error:?}").contains("canary-header"));
    });
}

#[test]
fn without_any_credential_all_that_was_tried_is_told_in_no_time() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    // One that nobody serves, one that refuses, and one that never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = format!("http://{}", silent.local_addr().expect("it listens"));
    for (host, why) in [("http://127.0.0.1:1", "connection refused"), (&*silent, "")] {
        let variables = Variables::default().with("AZURE_POD_IDENTITY_AUTHORITY_HOST", host);
        let began = Instant::now();
        let error = run(async { connect(settings(&azure), variables).error("azure:s").await });
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        for tried in [
            "client-secret: AZURE_CLIENT_SECRET is not set",
            "client-certificate: AZURE_CLIENT_CERTIFICATE_PATH is not set",
            "workload-identity: AZURE_FEDERATED_TOKEN_FILE is not set",
            "managed-identity: IDENTITY_ENDPOINT is not set",
            host,
            why,
        ] {
            says(&error, ErrorKind::Denied, tried, "auth");
        }
    }
}

#[test]
fn what_is_set_in_part_is_passed_over_with_what_it_lacks() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    let variables = Variables::default()
        .with_credential("AZURE_CLIENT_SECRET", "canary-secret")
        .with("AZURE_FEDERATED_TOKEN_FILE", "/token")
        .with("AZURE_TENANT_ID", TENANT)
        .with("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1");
    let error = run(async { connect(settings(&azure), variables).error("azure:s").await });
    says(&error, ErrorKind::Denied, "client-secret: AZURE_CLIENT_ID is not set", "");
    says(&error, ErrorKind::Denied, "workload-identity: AZURE_CLIENT_ID is not set", "");
    assert!(!format!("{error:?}").contains("canary-secret"));
}
