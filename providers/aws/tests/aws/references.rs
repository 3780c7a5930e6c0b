//! References with more than a name: kinds, ARNs, lists.

use handfast_core::{Content, Entry, Found};
use handfast_testkit::run;
use handfast_testservers::{AccessKey, Moto, random};
use serde_json::{Value, json};

use crate::cloud::{Aws, secret};
use crate::support::instance;

fn everything(moto: &Moto) -> AccessKey {
    let (id, secret) = moto.access_key();
    AccessKey { id: id.into(), secret: secret.into() }
}

#[test]
fn every_kind_of_parameter_arrives_as_it_was_stored() {
    let Some(moto) = Moto::shared() else { return };
    let name = random("web-");
    for (kind, value) in [("String", " a b\n"), ("StringList", "a,b,c d"), ("SecureString", "s\u{e9}cret")] {
        let path = format!("/{name}/{kind}");
        moto.must("AmazonSSM.PutParameter", json!({ "Name": path, "Value": value, "Type": kind }));
        let value = value.as_bytes();
        run(async {
            assert_eq!(instance(moto, &everything(moto)).value(&format!("aws:ssm/{name}/{kind}")).await, value);
        });
    }
    // Fetched alone, without a slash, and with the slash that AWS removes.
    moto.must("AmazonSSM.PutParameter", json!({ "Name": name, "Value": "alone", "Type": "String" }));
    run(async {
        let instance = instance(moto, &everything(moto));
        assert_eq!(instance.value(&format!("aws:ssm/{name}")).await, b"alone");
        assert_eq!(instance.value(&format!("aws:ssm//{name}/String")).await, b" a b\n");
    });
}

#[test]
fn a_secret_can_be_fetched_through_parameter_store() {
    let Some(moto) = Moto::shared() else { return };
    let name = random("web-");
    let value = json!({ "password": "first" }).to_string();
    let made = moto.must("secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": value }));
    let version = made["VersionId"].as_str().expect("text");
    moto.must("secretsmanager.PutSecretValue", json!({ "SecretId": name, "SecretString": "second" }));
    let reference = format!("aws:ssm/aws/reference/secretsmanager/{name}");
    run(async {
        let instance = instance(moto, &everything(moto));
        assert_eq!(instance.value(&reference).await, b"second");
        assert_eq!(instance.value(&format!("{reference}?label=AWSPREVIOUS")).await, value.as_bytes());
        assert_eq!(instance.value(&format!("{reference}?version={version}")).await, value.as_bytes());
    });
}

#[test]
fn another_accounts_secret_or_parameter_is_fetched_by_its_whole_arn() {
    for (store, arn, requested) in [
        ("sm", "arn:aws:secretsmanager:us-east-1:210987654321:secret:web/db-AbCdEf", "SecretId"),
        ("sm", "arn:aws:secretsmanager:us-east-1:210987654321:secret:web/db", "SecretId"),
        ("ssm", "arn:aws:ssm:us-east-1:210987654321:parameter/prod/db", "Names"),
    ] {
        let parameter = json!({ "Parameters": [{ "Name": "/prod/db", "ARN": arn, "Value": "there" }] });
        let answer = if store == "sm" { secret("there") } else { (200, Vec::new(), parameter) };
        let aws = Aws::with_store(vec![answer]);
        let value = run(async { aws.instance().value(&format!("aws:{store}/{arn}")).await });
        assert_eq!(value, b"there");
        let body = aws.store_requests()[0].json();
        let one = |value: &Value| value.as_str().map(str::to_owned);
        assert_eq!(one(&body[requested]).or_else(|| one(&body[requested][0])).as_deref(), Some(arn), "{body}");
    }
}

#[test]
fn a_list_has_all_pages_and_all_levels() {
    let Some(moto) = Moto::shared() else { return };
    let name = random("web-");
    for at in 0..23 {
        let path = format!("/{name}/{}/{at}", if at % 2 == 0 { "even" } else { "odd" });
        moto.must("AmazonSSM.PutParameter", json!({ "Name": path, "Value": at.to_string(), "Type": "SecureString" }));
    }
    run(async {
        let instance = instance(moto, &everything(moto));
        let fetched = instance.fetch(&format!("aws:ssm/{name}/*")).await.expect("it is there");
        let handfast_core::Content::List(entries) = fetched.content else { panic!("no list") };
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        assert_eq!((names.len(), names[0].as_str(), instance.summary().requests), (23, "even.0", 3));
    });
}

#[test]
fn an_endless_list_or_one_with_a_name_twice_is_refused() {
    let page = |names: &[&str], next: Option<&str>| {
        let one = |name: &&str| json!({ "Name": name, "Value": "x" });
        (200, Vec::new(), json!({ "Parameters": names.iter().map(one).collect::<Vec<_>>(), "NextToken": next }))
    };
    let many: Vec<String> = (0..4097).map(|at| format!("/prod/{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (pages, why) in [
        (
            vec![page(&["/prod/a/b", "/prod/a.b"], None)],
            "Malformed: ~: two of its parameters would have the file `a.b`: `/` becomes `.` in their names | name each parameter by itself",
        ),
        (
            vec![page(&["/prod/a"], Some("x")), page(&["/prod/b"], Some("x"))],
            "Malformed: ~: AWS gives the same page again and again | no hint",
        ),
        (vec![page(&many, None)], "Malformed: ~: there are more than 4096 parameters below it | no hint"),
        (
            vec![page(&[], None)],
            "NotFound: ~: there is no parameter below it | it was looked for in the region `us-east-1`; names are matched to the letter",
        ),
    ] {
        let aws = Aws::with_store(pages);
        let (error, _) = aws.error("aws:ssm/prod/*");
        let reported = why.replace('~', "cannot list the parameters below `/prod`");
        assert_eq!(crate::cloud::error_text(&error), reported);
    }
    // A parameter without a value is no member of the list.
    let aws = Aws::with_store(vec![(200, Vec::new(), json!({ "Parameters": [{ "Name": "/prod/a" }] }))]);
    let fetched = run(async { aws.instance().fetch("aws:ssm/prod/*").await });
    let Content::List(entries) = fetched.expect("a list").content else { panic!("a list was requested") };
    assert!(matches!(entries[..], [Entry { found: Found::Nothing(_), .. }]));
}
