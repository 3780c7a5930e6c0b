//! The number of requests for secrets.

use handfast_core::ErrorKind;
use handfast_testkit::{Instance, Variables, run, table, text};
use handfast_testservers::{Azure, LINK_LOCAL, TENANT, in_own_network};
use serde_json::json;

use crate::support::{assert_text, connect, known};

async fn at_once(instance: &Instance, names: &[String]) {
    let set = tokio::task::LocalSet::new();
    let values = names.iter().map(|name| async move { assert_eq!(instance.value(name).await, b"x") });
    let mut values: Vec<_> = values.map(Box::pin).collect();
    set.run_until(std::future::poll_fn(|context| {
        values.retain_mut(|value| value.as_mut().poll(context).is_pending());
        if values.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }))
    .await;
}

#[test]
fn a_hundred_secrets_need_a_hundred_requests_one_challenge_and_one_token() {
    let Some(azure) = Azure::start() else { return };
    let names: Vec<String> = (0..100).map(|number| format!("azure:s-{number}")).collect();
    (0..100).for_each(|number| {
        azure.set(&format!("s-{number}"), "x");
    });
    azure.forget();
    run(async {
        let instance = known(&azure);
        at_once(&instance, &names).await;
        assert_eq!(instance.summary().requests, 102);
    });
    let requests = azure.requests();
    let count = |selects: &dyn Fn(&str, bool) -> bool| {
        let fits = |request: &&serde_json::Value| {
            selects(request["path"].as_str().expect("a path"), request["authorized"] == true)
        };
        requests.iter().filter(fits).count()
    };
    assert_eq!(count(&|path, authorized| path.starts_with("/secrets/") && authorized), 100);
    assert_eq!(count(&|path, authorized| path.starts_with("/secrets/") && !authorized), 1);
    assert_eq!(count(&|path, _| path.ends_with("/oauth2/v2.0/token")), 1);
    assert_eq!(requests.len(), 102);
}

/// At the real addresses: port 443, and the metadata service's address.
#[test]
fn several_vaults_of_a_cloud_share_one_token() {
    in_own_network(|| {
        let Some(azure) = Azure::in_this_network() else { return };
        for vault in ["main", "web"] {
            azure.set_at(&format!("{vault}.kv.localhost"), "s", "x");
            azure.set_up(&format!("vault?name={vault}"), json!({ "resource": "https://kv.localhost" }));
        }
        azure.set_up("identity", json!({ "tenant": TENANT }));
        azure.forget();
        let settings = table([
            ("cloud", text("kv.localhost")),
            ("authority", text("https://localhost")),
            ("ca_file", text(&azure.ca_file().display().to_string())),
        ]);
        run(async {
            let instance = connect(settings, Variables::default());
            at_once(&instance, &["azure:main/s".to_owned(), "azure:web/s".to_owned()]).await;
            // The requests: whether there is a metadata service, its token, and for each vault the challenge and the secret.
            assert_eq!(instance.summary().requests, 6);
        });
        let hosts: Vec<_> =
            azure.requests().iter().map(|request| request["host"].as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(hosts.iter().filter(|host| *host == LINK_LOCAL).count(), 2, "{hosts:?}");
    });
}

#[test]
fn all_that_wait_for_a_token_share_its_failure_and_the_next_requests_again() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    azure.set_up("vault?name=main", json!({ "throttled": 1, "retryAfter": 7 }));
    run(async {
        let instance = known(&azure);
        let throttled = instance.error("azure:s").await;
        assert_text(&throttled, ErrorKind::Unavailable, "the vault gets too many requests", "");
        assert_eq!(throttled.retry_after, Some(std::time::Duration::from_secs(7)));
        assert_eq!(instance.value("azure:s").await, b"x");
    });
}
