//! Batches: the number of requests, the error of each item, and the fallback if batches are not allowed.

use handfast_core::ErrorKind;
use handfast_testkit::run;
use handfast_testservers::{AccessKey, Moto};
use serde_json::json;

use crate::support::{fetch_all, instance, locators, parameters, secrets, user, value};

fn everything(moto: &Moto) -> AccessKey {
    let (id, secret) = moto.access_key();
    AccessKey { id: id.into(), secret: secret.into() }
}

fn references(store: &str, names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("aws:{store}/{name}")).collect()
}

#[test]
fn twenty_secrets_or_ten_parameters_need_one_request() {
    let Some(moto) = Moto::shared() else { return };
    for (count, requests) in [(2, 1), (20, 1), (21, 2), (45, 3)] {
        let names = secrets(moto, count);
        let locators = locators(&references("sm", &names));
        run(async {
            let instance = instance(moto, &everything(moto));
            let (_, answers) = fetch_all(&instance, &locators).await;
            assert_eq!(answers.into_iter().map(value).collect::<Vec<_>>(), names);
            assert_eq!(instance.summary().requests, requests, "{count} secrets");
        });
    }
    for (count, requests) in [(10, 1), (25, 3)] {
        let names = parameters(moto, count);
        let locators = locators(&references("ssm", &names));
        run(async {
            let instance = instance(moto, &everything(moto));
            let (batched, answers) = fetch_all(&instance, &locators).await;
            let expected: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
            assert_eq!(answers.into_iter().map(value).collect::<Vec<_>>(), expected);
            assert_eq!((batched, instance.summary().requests), (count, requests), "{count} parameters");
        });
    }
}

#[test]
fn each_missing_item_of_a_batch_has_its_own_error() {
    let Some(moto) = Moto::shared() else { return };
    let names = secrets(moto, 3);
    let deleted = secrets(moto, 1).remove(0);
    moto.must("secretsmanager.DeleteSecret", json!({ "SecretId": deleted, "RecoveryWindowInDays": 7 }));
    let mut requested = references("sm", &names);
    requested.push(format!("aws:sm/{deleted}"));
    requested.push(format!("aws:sm/{}/none", names[0]));
    requested.push(format!("aws:ssm/{}", parameters(moto, 1)[0]));
    requested.push(format!("aws:ssm/{}/none", names[0]));
    let locators = locators(&requested);
    run(async {
        let instance = instance(moto, &everything(moto));
        let (batched, answers) = fetch_all(&instance, &locators).await;
        assert_eq!((batched, instance.summary().requests), (7, 2));
        for (at, answer) in answers.into_iter().enumerate() {
            let Err(error) = answer else { continue };
            assert_eq!(error.kind, ErrorKind::NotFound, "{at}: {error}");
            let reported = format!("{error} {}", error.hint.as_deref().unwrap_or_default());
            let expected = match at {
                3 => "it is scheduled for deletion `aws secretsmanager restore-secret --secret-id",
                4 => "there is no such secret it was looked for in the region `us-east-1`",
                6 => "there is no such parameter",
                _ => panic!("{at}: {reported}"),
            };
            assert!(reported.contains(expected), "{at}: {reported}");
        }
    });
}

#[test]
fn without_the_right_to_batches_each_is_fetched_by_itself_and_no_batch_is_tried_again() {
    let Some(moto) = Moto::shared() else { return };
    let names = secrets(moto, 4);
    let key = user(moto, &["secretsmanager:GetSecretValue"]);
    run(async {
        let instance = instance(moto, &key);
        let locators = locators(&references("sm", &names));
        for requests in [1 + 4, 1 + 4 + 4] {
            let (batched, answers) = fetch_all(&instance, &locators).await;
            assert_eq!(answers.into_iter().map(value).collect::<Vec<_>>(), names);
            assert_eq!((batched, instance.summary().requests), (0, requests));
        }
    });
    let names = parameters(moto, 3);
    let key = user(moto, &["ssm:GetParameter"]);
    run(async {
        let instance = instance(moto, &key);
        let locators = locators(&references("ssm", &names));
        // Of several, of the first by itself, and then of each as it may.
        for requests in [1 + 2 + 2, 1 + 2 + 2 + 3] {
            let (batched, answers) = fetch_all(&instance, &locators).await;
            assert_eq!(answers.into_iter().map(value).count(), 3);
            assert_eq!((batched, instance.summary().requests), (0, requests));
        }
    });
}

#[test]
fn without_any_right_the_hint_says_what_to_allow() {
    let Some(moto) = Moto::shared() else { return };
    let key = user(moto, &["s3:GetObject"]);
    let requested = ["aws:sm/web/a", "aws:sm/web/b", "aws:ssm/prod/a", "aws:ssm/prod/b"].map(str::to_owned);
    run(async {
        let instance = instance(moto, &key);
        let (_, answers) = fetch_all(&instance, &locators(&requested)).await;
        let hints: Vec<String> = answers
            .into_iter()
            .map(|answer| {
                let error = answer.err().expect("nothing is allowed");
                assert_eq!(error.kind, ErrorKind::Denied, "{error}");
                error.hint.expect("it says what to do")
            })
            .collect();
        let expected = [
            "allow `secretsmanager:GetSecretValue` on `arn:aws:secretsmanager:us-east-1:*:secret:web/a-??????`",
            "allow `secretsmanager:GetSecretValue` on `arn:aws:secretsmanager:us-east-1:*:secret:web/b-??????`",
            "allow `ssm:GetParameters` on `arn:aws:ssm:us-east-1:*:parameter/prod/a`",
            "allow `ssm:GetParameters` on `arn:aws:ssm:us-east-1:*:parameter/prod/b`",
        ];
        assert_eq!(hints, expected);
    });
}

#[test]
fn versions_and_regions_have_their_own_batches() {
    let Some(moto) = Moto::shared() else { return };
    let name = parameters(moto, 1).remove(0);
    let again = json!({ "Name": format!("/{name}"), "Value": "second", "Type": "String", "Overwrite": true });
    moto.must("AmazonSSM.PutParameter", again);
    let label = json!({ "Name": format!("/{name}"), "ParameterVersion": 1, "Labels": ["old"] });
    moto.must("AmazonSSM.LabelParameterVersion", label);
    let far = moto.must_in(
        "eu-west-1",
        "secretsmanager.CreateSecret",
        json!({ "Name": name.replace('/', "-"), "SecretString": "far" }),
    );
    let near = secrets(moto, 1).remove(0);
    let requested = [
        format!("aws:ssm/{name}"),
        format!("aws:ssm/{name}?version=1"),
        format!("aws:ssm/{name}?label=old"),
        format!("aws:sm/{}", far["ARN"].as_str().expect("text")),
        format!("aws:sm/{near}"),
    ];
    run(async {
        let instance = instance(moto, &everything(moto));
        let (_, answers) = fetch_all(&instance, &locators(&requested)).await;
        let values: Vec<String> = answers.into_iter().map(value).collect();
        assert_eq!(values, ["second", &format!("/{name}"), &format!("/{name}"), "far", &near]);
    });
}
