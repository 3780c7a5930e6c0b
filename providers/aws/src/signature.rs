//! Signature Version 4 of a `POST` to `/` without a query, which is what AWS' query interface takes
//! (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use ring::{digest, hmac};
use zeroize::Zeroizing;

use crate::identity::header;

/// An access key.
pub struct Keys<'k> {
    pub id: &'k str,
    pub secret: &'k str,
    /// Of keys that end.
    pub session_token: Option<&'k str>,
}

impl<'k> Keys<'k> {
    /// Keys as text.
    pub fn of(keys: &'k crate::credentials::Keys) -> Result<Self, ProviderError> {
        let text = |value: &'k SecretValue, what: &str| {
            std::str::from_utf8(value.expose()).map_err(|_| {
                ProviderError::new(ErrorKind::Denied, format!("cannot sign a request: the {what} is not text"))
            })
        };
        let session_token = keys.session_token.as_ref().map(|token| text(token, "session token")).transpose()?;
        Ok(Self { id: &keys.id, secret: text(&keys.secret, "secret access key")?, session_token })
    }
}

/// A time of day, as AWS writes it: `20150830T123600Z`.
pub struct Moment(String);

/// A request.
pub struct Post<'p> {
    /// Its headers, names in lower case, `host` among them.
    pub headers: Vec<(String, String)>,
    pub body: &'p str,
    /// Whom it is for.
    pub region: &'p str,
    pub service: &'p str,
}

impl Post<'_> {
    /// All headers that it is sent with, in order of name.
    pub fn sign(self, keys: &Keys<'_>, moment: &Moment) -> Vec<(String, SecretValue)> {
        let Self { headers, body, region, service } = self;
        let day = &moment.0[..8];
        let mut all: Vec<(String, SecretValue)> =
            headers.iter().map(|(name, value)| header(name, one_spaced(value))).collect();
        all.push(header("x-amz-date", &*moment.0));
        all.extend(keys.session_token.map(|token| header("x-amz-security-token", token)));
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let names = all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");

        // Wiped, for the session token in it.
        let mut canonical = Zeroizing::new(b"POST\n/\n\n".to_vec());
        for (name, value) in &all {
            for part in [name.as_bytes(), b":", value.expose(), b"\n"] {
                canonical.extend_from_slice(part);
            }
        }
        canonical.extend_from_slice(format!("\n{names}\n{}", sha256(body.as_bytes())).as_bytes());

        let scope = format!("{day}/{region}/{service}/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", moment.0, sha256(&canonical));
        let secret = Zeroizing::new([b"AWS4", keys.secret.as_bytes()].concat());
        let key = [day, region, service, "aws4_request"].iter().fold(hmac_key(&secret), |key, part| {
            // ring keeps the key where it is freed, which handfast's allocator wipes.
            hmac_key(hmac::sign(&key, part.as_bytes()).as_ref())
        });
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        let id = keys.id;
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        all.insert(0, header("authorization", authorization));
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

impl Moment {
    pub fn of(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        Self(format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"))
    }
}

/// The date of a day after 1970-01-01: the civil calendar counted from a March, so that the leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = (if month < 10 { month + 3 } else { month - 9 }, era * 400 + year_of_era);
    (year + u64::from(month <= 2), month, day)
}

/// Without white space around it, and with one space wherever there was more.
fn one_spaced(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn hmac_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A `String` takes every write.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// AWS' published test suite: its keys, its moment, its host.
    fn authorization(headers: &[(&str, &str)], body: &str, session_token: Option<&str>) -> String {
        let keys = Keys { id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", session_token };
        let host = [("host", "example.amazonaws.com")];
        let headers = host.iter().chain(headers).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let post = Post { headers: headers.collect(), body, region: "us-east-1", service: "service" };
        // 2015-08-30T12:36:00Z
        let moment = Moment::of(UNIX_EPOCH + Duration::from_secs(1_440_938_160));
        let signed = post.sign(&keys, &moment);
        assert!(signed.is_sorted_by_key(|(name, _)| name.clone()));
        String::from_utf8(signed[0].1.expose().to_vec()).unwrap()
    }

    fn expected(names: &str, signature: &str) -> String {
        let credential = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}")
    }

    #[test]
    fn the_published_vectors() {
        const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeo\
            IYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q\
            6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/o\
            LxBA==";
        for (name, headers, body, token, names, signature) in [
            (
                "post-vanilla",
                &[][..],
                "",
                None,
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-header-value-case",
                &[("my-header1", "VALUE1")],
                "",
                None,
                "host;my-header1;x-amz-date",
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
            (
                "post-x-www-form-urlencoded",
                &[("content-type", "application/x-www-form-urlencoded")],
                "Param1=value1",
                None,
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "post-sts-header-before",
                &[],
                "",
                Some(TOKEN),
                "host;x-amz-date;x-amz-security-token",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ] {
            assert_eq!(authorization(headers, body, token), expected(names, signature), "{name}");
        }
        // White space in a value counts once.
        assert_eq!(authorization(&[("x", " a   b ")], "", None), authorization(&[("x", "a b")], "", None));
    }

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_827_696, "20000229T123456Z"),
            (1_440_938_160, "20150830T123600Z"),
            (1_709_164_800, "20240229T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(Moment::of(UNIX_EPOCH + Duration::from_secs(seconds)).0, text);
        }
    }
}
