//! The SDK's own log contains no secret at any level. handfast drops it too.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use handfast_testkit::run;
use handfast_testservers::{AccessKey, Moto, random};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{fetch_all, instance, locators, user, value};

/// Records all events of all libraries.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<(String, [usize; 5])>>);

struct Text<'t>(&'t mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Everything {
    fn write(&self, write: impl FnOnce(&mut Text<'_>), level: &Level) {
        let mut all = self.0.lock().expect("nobody panics with it");
        write(&mut Text(&mut all.0));
        all.0.push('\n');
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        all.1[levels.iter().position(|known| known == level).expect("one of five")] += 1;
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.write(|text| span.record(text), span.metadata().level());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.write(|text| values.record(text), &Level::TRACE);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.write(|text| event.record(text), event.metadata().level());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn the_sdks_log_contains_no_secret_at_any_level() {
    let Some(moto) = Moto::shared() else { return };
    let (name, canary, denied) = (random("web-"), random("canary-"), random("canary-denied-"));
    for at in 0..3 {
        let value = format!("{canary}{at}");
        moto.must("secretsmanager.CreateSecret", json!({ "Name": format!("{name}-{at}"), "SecretString": value }));
        let body = json!({ "Name": format!("/{name}/{at}"), "Value": value, "Type": "SecureString" });
        moto.must("AmazonSSM.PutParameter", body);
    }
    moto.must("secretsmanager.CreateSecret", json!({ "Name": format!("{name}-denied"), "SecretString": denied }));
    let requested: Vec<String> = (0..3)
        .flat_map(|at| [format!("aws:sm/{name}-{at}"), format!("aws:ssm/{name}/{at}")])
        .chain([format!("aws:sm/{name}-1?stage=AWSCURRENT"), format!("aws:ssm/{name}/1?version=1")])
        .collect();
    let (id, secret) = moto.access_key();
    let key = AccessKey { id: id.into(), secret: secret.into() };
    let log = Everything::default();
    tracing::subscriber::with_default(log.clone(), || {
        run(async {
            let (_, answers) = fetch_all(&instance(moto, &key), &locators(&requested)).await;
            for answer in answers {
                assert!(value(answer).starts_with(&canary));
            }
            let list = instance(moto, &key).fetch(&format!("aws:ssm/{name}/*")).await;
            assert!(list.is_ok());
            // Refusals, and wrong keys.
            let nobody = user(moto, &["s3:GetObject"]);
            assert!(instance(moto, &nobody).fetch(&format!("aws:sm/{name}-denied")).await.is_err());
            let wrong = AccessKey { secret: "wrong".into(), ..key.clone() };
            assert!(instance(moto, &wrong).fetch(&format!("aws:sm/{name}-denied")).await.is_err());
        });
    });
    let all = log.0.lock().expect("nobody panics with it");
    // Shows that events were recorded: at TRACE, the SDK logs its requests and responses.
    assert!(all.1[4] > 20 && all.0.contains("response"), "{:?}", all.1);
    for secret in [&canary, &denied, &key.secret] {
        let found = all.0.lines().find(|line| line.contains(secret.as_str()));
        assert!(found.is_none(), "{found:?}");
    }
}
