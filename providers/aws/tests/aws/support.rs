//! Provider instances for moto.

use handfast_core::{Fetched, Locator, ProviderError};
use handfast_testkit::{Instance, Outside, Variables, parse, table, text};
use handfast_testservers::{AccessKey, Moto, REGION, random};
use serde_json::json;

/// An instance with the key of this user.
pub fn instance(moto: &Moto, key: &AccessKey) -> Instance {
    let variables = Variables::default()
        .with("AWS_CA_BUNDLE", &moto.ca_file())
        .with_credential("AWS_ACCESS_KEY_ID", &key.id)
        .with_credential("AWS_SECRET_ACCESS_KEY", &key.secret);
    let settings = table([("endpoint", text(moto.address())), ("region", text(REGION))]);
    Instance::from_settings(&handfast_aws::DEFINITION, settings, Outside { variables, ..Outside::default() })
}

/// A new user with these permissions.
pub fn user(moto: &Moto, actions: &[&str]) -> AccessKey {
    moto.new_user(&random("user-"), &json!([{ "Effect": "Allow", "Action": actions, "Resource": "*" }]))
}

/// New secrets. The value of each is its name.
pub fn secrets(moto: &Moto, count: usize) -> Vec<String> {
    let prefix = random("web-");
    let name = |at| format!("{prefix}/{at:03}");
    let names: Vec<String> = (0..count).map(name).collect();
    for name in &names {
        moto.must("secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": name }));
    }
    names
}

/// New parameters. The value of each is its name.
pub fn parameters(moto: &Moto, count: usize) -> Vec<String> {
    let prefix = random("web-");
    let names: Vec<String> = (0..count).map(|at| format!("{prefix}/{at:03}")).collect();
    for name in &names {
        let name = format!("/{name}");
        moto.must("AmazonSSM.PutParameter", json!({ "Name": name, "Value": name, "Type": "SecureString" }));
    }
    names
}

/// The locators of references.
pub fn locators(references: &[String]) -> Vec<Locator> {
    references.iter().map(|reference| parse(reference).locator).collect()
}

/// Fetches the locators in batches, and then the others one by one. Also returns how many arrived in batches.
pub async fn fetch_all(instance: &Instance, locators: &[Locator]) -> (usize, Vec<Result<Fetched, ProviderError>>) {
    let provider = instance.provider();
    let all: Vec<&Locator> = locators.iter().collect();
    let mut answers: Vec<Option<Result<Fetched, ProviderError>>> = all.iter().map(|_| None).collect();
    let mut batched = 0;
    for batch in provider.batches(&all) {
        for (locator, answer) in batch.iter().zip(provider.fetch_batch(&batch).await) {
            let at = all.iter().position(|known| known == locator).expect("it is one of them");
            batched += usize::from(answer.is_some());
            answers[at] = answer;
        }
    }
    for (locator, answer) in all.iter().zip(&mut answers) {
        if answer.is_none() {
            *answer = Some(provider.fetch(locator).await);
        }
    }
    (batched, answers.into_iter().flatten().collect())
}

/// The value of a successful fetch.
#[track_caller]
pub fn value(answer: Result<Fetched, ProviderError>) -> String {
    let fetched = answer.unwrap_or_else(|error| panic!("{:?}: {error}", error.kind));
    String::from_utf8(handfast_testkit::only(fetched).expose().to_vec()).expect("it was text")
}
