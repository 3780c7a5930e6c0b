//! Managed identities, and no identity at all.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use handfast_core::{Complaint, ErrorKind};
use handfast_testkit::{Outside, Variables, run, table, text};
use handfast_testservers::{Azure, TENANT};
use serde_json::json;

use crate::support::{assert_text, connect, refused, settings, with_auth};

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
fn a_machine_has_its_own_identity_or_assigned_ones() {
    let Some(azure) = Azure::start() else { return };
    identities(&azure);
    let variables = || Variables::default().with("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.metadata());
    run(async {
        // No setting names the service, so a first request without a header finds out whether it exists.
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
        assert_text(&error, ErrorKind::Denied, "`nobody` of this machine", "`object_id`");
    });
}

#[test]
fn app_service_and_container_apps_have_their_own_endpoint() {
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
        assert_text(&error, ErrorKind::Denied, "answered 401", "");
        assert!(!format!("{error:?}").contains("canary-header"));
    });
}

#[test]
fn without_any_credential_everything_that_was_tried_is_reported_soon() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    // A closed port, a server that refuses, and a server that never responds.
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
            assert_text(&error, ErrorKind::Denied, tried, "auth");
        }
    }
}

/// A method that is set up in part is an error. The next method could have another identity, such as the node's.
#[test]
fn a_method_that_is_set_up_in_part_is_refused() {
    let Some(azure) = Azure::start() else { return };
    identities(&azure);
    let node = || Variables::default().with("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.metadata());
    let (tenant, client) = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID");
    let ways = [
        ("client-secret", "AZURE_CLIENT_SECRET", "each is a key of `auth`"),
        ("client-certificate", "AZURE_CLIENT_CERTIFICATE_PATH", "each is a key of `auth`"),
        ("workload-identity", "AZURE_FEDERATED_TOKEN_FILE", "azure.workload.identity/client-id"),
    ];
    for (way, credential, hint) in ways {
        for (set, lacks) in [
            (&[tenant][..], "AZURE_CLIENT_ID is not set"),
            (&[client], "AZURE_TENANT_ID is not set"),
            (&[], "AZURE_TENANT_ID is not set, and AZURE_CLIENT_ID is not set"),
        ] {
            let variables = set.iter().fold(node(), |variables, name| variables.with(name, "web"));
            let variables = match credential {
                "AZURE_CLIENT_SECRET" => variables.with_credential(credential, "canary-secret"),
                _ => variables.with(credential, "/canary-secret"),
            };
            let error = refused(settings(&azure), variables);
            assert_text(
                &error,
                ErrorKind::Denied,
                &format!("cannot get a token by `{way}`: {credential} is set, and {lacks}"),
                hint,
            );
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }
    for (variables, why) in [
        (
            node().with_credential("AZURE_CLIENT_CERTIFICATE_PASSWORD", "x"),
            "AZURE_CLIENT_CERTIFICATE_PASSWORD is set, and AZURE_CLIENT_CERTIFICATE_PATH is not",
        ),
        (node().with_credential("IDENTITY_HEADER", "x"), "IDENTITY_HEADER is set, and IDENTITY_ENDPOINT is not"),
        (
            node().with("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token"),
            "IDENTITY_ENDPOINT is set, and IDENTITY_HEADER is not",
        ),
    ] {
        assert_text(&refused(settings(&azure), variables), ErrorKind::Denied, why, "");
    }
    // None of these alone is a method: AZURE_CLIENT_ID only selects the machine's identity.
    run(async {
        let variables = node().with(tenant, TENANT).with(client, "client");
        let instance = connect(settings(&azure), variables);
        assert_eq!(instance.value("azure:s").await, b"x");
        assert_eq!(instance.summary().identity.as_deref(), Some("managed-identity `client` of this machine"));
    });
}

/// Microsoft's tools use only the method that this variable names, whatever else is set up.
#[test]
fn the_variable_that_selects_a_credential_selects_the_method() {
    let Some(azure) = Azure::start() else { return };
    identities(&azure);
    let (client, secret) = azure.application();
    let variables = |selected: &str| {
        Variables::default()
            .with("AZURE_TOKEN_CREDENTIALS", selected)
            .with("AZURE_TENANT_ID", TENANT)
            .with("AZURE_CLIENT_ID", &client)
            .with_credential("AZURE_CLIENT_SECRET", &secret)
            .with("AZURE_FEDERATED_TOKEN_FILE", "/nowhere/token")
            .with("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.metadata())
    };
    run(async {
        for selected in ["prod", "EnvironmentCredential", "environmentcredential"] {
            assert_eq!(connect(settings(&azure), variables(selected)).value("azure:s").await, b"x", "{selected}");
        }
        let machine = variables("ManagedIdentityCredential").with("AZURE_CLIENT_ID", "client");
        azure.forget();
        let instance = connect(settings(&azure), machine);
        assert_eq!(instance.value("azure:s").await, b"x");
        assert_eq!(instance.summary().identity.as_deref(), Some("managed-identity `client` of this machine"));
        // No first request is needed: only the token, the challenge, the secret.
        assert_eq!(azure.requests().len(), 3);
        // The configuration takes precedence.
        let (method, auth) = (("method", "client-secret"), variables("ManagedIdentityCredential"));
        assert_eq!(connect(with_auth(&azure, [method]), auth).value("azure:s").await, b"x");
    });
    let error = refused(settings(&azure), variables("WorkloadIdentityCredential"));
    assert_text(&error, ErrorKind::Denied, "cannot read the federated token: ", "");
    let alone = Variables::default().with("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential");
    let error = refused(settings(&azure), alone.with("AZURE_FEDERATED_TOKEN_FILE", "/nowhere/token"));
    assert_text(
        &error,
        ErrorKind::Denied,
        "nothing to get a token of Entra ID with: client-secret: AZURE_CLIENT_SECRET is not set; client-certificate: \
         AZURE_CLIENT_CERTIFICATE_PATH is not set",
        "`AZURE_TOKEN_CREDENTIALS` is \"EnvironmentCredential\", and allows no other method",
    );
    const UNSET: &str = "unset it; or `auth` in [providers.azure] names another way, such as `token-file`";
    const NAMES: &str =
        "it is one of: prod, EnvironmentCredential, WorkloadIdentityCredential, ManagedIdentityCredential";
    for (selected, message, hint) in [
        ("dev", "`AZURE_TOKEN_CREDENTIALS` is \"dev\": handfast uses no developer's tool", UNSET),
        (
            "AzureCliCredential",
            "`AZURE_TOKEN_CREDENTIALS` is \"AzureCliCredential\": handfast uses no developer's tool",
            UNSET,
        ),
        ("ManagedIdentity", "`AZURE_TOKEN_CREDENTIALS` is \"ManagedIdentity\", which is no credential", NAMES),
    ] {
        let outside = Outside { variables: variables(selected), ..Outside::default() };
        let missing = handfast_testkit::configure(&handfast_azure::DEFINITION, settings(&azure), &outside).missing();
        assert_eq!(missing, [Complaint::new(message).hint(hint)]);
    }
}

#[test]
fn unsupported_identities_are_reported_before_any_request() {
    const ARC: &str = "http://localhost:40342/metadata/identity/oauth2/token";
    let missing = |settings: handfast_core::Table, variables| {
        let outside = Outside { variables, ..Outside::default() };
        handfast_testkit::configure(&handfast_azure::DEFINITION, settings, &outside).missing()
    };
    let pinned = || {
        let auth = table([("method", text("managed-identity"))]);
        table([("auth", handfast_core::Value::Table(auth))])
    };
    let header = ("IDENTITY_HEADER", "x");
    for (set, what) in [
        (&[("IDENTITY_ENDPOINT", ARC)][..], "Azure Arc"),
        (&[("IDENTITY_ENDPOINT", "http://127.0.0.1:1/"), ("IMDS_ENDPOINT", "http://localhost:40342")], "Azure Arc"),
        (&[("IMDS_ENDPOINT", "http://localhost:40342")], "Azure Arc"),
        (&[("MSI_ENDPOINT", "http://localhost:50342")], "Cloud Shell and Azure Machine Learning"),
        (
            &[("IDENTITY_SERVER_THUMBPRINT", "00"), ("IDENTITY_ENDPOINT", "https://localhost:2377"), header],
            "Service Fabric",
        ),
    ] {
        let variables = |more: &[(&str, &str)]| {
            set.iter().chain(more).fold(Variables::default(), |all, (name, value)| match *name {
                "IDENTITY_HEADER" | "AZURE_CLIENT_SECRET" => all.with_credential(name, value),
                _ => all.with(name, value),
            })
        };
        let expected = format!("`{}` is set: managed identities of {what} are not in this version", set[0].0);
        for settings in [handfast_core::Table::default(), pinned()] {
            let missing = missing(settings, variables(&[]));
            assert!(missing.iter().any(|complaint| complaint.message == expected), "{expected}: {missing:?}");
        }
        // If another method comes first, these do not matter.
        let secret = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "x")];
        assert_eq!(missing(handfast_core::Table::default(), variables(&secret)), []);
    }
}
