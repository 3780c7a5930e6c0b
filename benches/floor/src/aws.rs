//! Secrets of Secrets Manager: twenty in each request, all requests at once, with a hand-written signature (Signature Version
//! 4).

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::Request;
use ring::{digest, hmac};
use serde_json::json;
use tokio::task::JoinSet;

use crate::connection::Server;
use crate::{Result, deliver};

const REGION: &str = "us-east-1";

pub async fn fetch(server: Server, key: &str, names: Vec<String>) -> Result<()> {
    let server = Rc::new(server);
    let mut running = JoinSet::new();
    for names in names.chunks(20) {
        let (server, key, names) = (server.clone(), key.to_owned(), names.to_vec());
        running.spawn_local(async move { batch(&server, &key, &names).await });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

async fn batch(server: &Server, key: &str, names: &[String]) -> Result<()> {
    let (target, body) = match names {
        [name] => ("secretsmanager.GetSecretValue", json!({ "SecretId": name })),
        _ => ("secretsmanager.BatchGetSecretValue", json!({ "SecretIdList": names })),
    };
    let mut connection = server.connect().await?;
    let answer = connection.ask(signed(&server.address, key, target, body.to_string())?).await?;
    match answer["SecretValues"].as_array() {
        Some(values) => values.iter().try_for_each(|value| deliver(value["SecretString"].as_str().ok_or("no value")?)),
        None => deliver(answer["SecretString"].as_str().ok_or("no value")?),
    }
}

fn signed(host: &str, key: &str, target: &str, body: String) -> Result<Request<Full<hyper::body::Bytes>>> {
    let (id, secret) = key.split_once(':').ok_or("no key")?;
    let time = moment(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let sum = |text: &[u8]| hex(digest::digest(&digest::SHA256, text).as_ref());
    let mac = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    const SIGNED: &str = "host;x-amz-date;x-amz-target";
    let request = format!(
        "POST\n/\n\nhost:{host}\nx-amz-date:{time}\nx-amz-target:{target}\n\n{SIGNED}\n{}",
        sum(body.as_bytes())
    );
    let scope = format!("{}/{REGION}/secretsmanager/aws4_request", &time[..8]);
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| mac(&key, part).as_ref().to_vec());
    let signature = hex(mac(&key, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sum(request.as_bytes()))).as_ref());
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={SIGNED}, Signature={signature}");
    Ok(Request::post("/")
        .header("host", host)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-date", time)
        .header("x-amz-target", target)
        .header("authorization", authorization)
        .body(Full::from(body))?)
}

/// The time as `20260102T030405Z` (Howard Hinnant's civil_from_days).
fn moment(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
