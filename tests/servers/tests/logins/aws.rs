//! The aws method: a signed GetCallerIdentity, which moto checks. The signature comes from an implementation that is
//! independent of the product's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use handfast_testservers::{Moto, Vault};
use ring::{digest, hmac};
use serde_json::{Value, json};

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

#[test]
fn aws() {
    let Some(vault) = Vault::shared() else { return };
    let Some(moto) = Moto::start() else { return };
    vault.enable_aws("aws", &moto, &["default"]);
    let (id, secret) = moto.access_key();
    let log_in = |secret: &str, server: &str| vault.api_as("", "POST", "auth/aws/login", login(id, secret, server));
    let (status, answer) = log_in(secret, "vault.example.org");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["auth"]["metadata"]["account_id"], "123456789012", "{answer}");
    assert_eq!(log_in("wrong", "vault.example.org").0, 400);
    assert_eq!(log_in(secret, "vault.example.com").0, 400);
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>
fn login(id: &str, secret: &str, server: &str) -> Value {
    // No test compares it with a clock.
    let (date, time) = ("20240102", "20240102T030405Z");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sum = |text: &str| hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let mac = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let signed = "content-type;host;x-amz-date;x-vault-aws-iam-server-id";
    let request = format!(
        "POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:sts.amazonaws.com\nx-amz-date:{time}\n\
        x-vault-aws-iam-server-id:{server}\n\n{signed}\n{}",
        sum(BODY)
    );
    let scope = format!("{date}/us-east-1/sts/aws4_request");
    let key =
        scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part).as_ref().to_vec());
    let signature = mac(&key, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sum(&request)));
    let signature = hex(signature.as_ref());
    let headers = json!({
        "Authorization":
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}"),
        "Content-Type": CONTENT_TYPE, "Host": "sts.amazonaws.com", "X-Amz-Date": time,
        "X-Vault-AWS-IAM-Server-ID": server,
    });
    json!({
        "role": "web", "iam_http_request_method": "POST", "iam_request_url": STANDARD.encode("https://sts.amazonaws.com/"),
        "iam_request_body": STANDARD.encode(BODY), "iam_request_headers": STANDARD.encode(headers.to_string()),
    })
}
