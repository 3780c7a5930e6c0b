//! The effect of each fault on an answer.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::{Fault, Upstream, pass, passed};
use crate::http::{Request, Then, write_answer, write_head};

const GIB: u64 = 1 << 30;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(120);

const JSON: (&str, &str) = ("content-type", "application/json");
const HTML: (&str, &str) = ("content-type", "text/html");

/// Answers a request, with this fault or without a fault.
pub(super) fn answer(
    upstream: &Upstream,
    fault: Option<Fault>,
    request: &Request,
    stream: &mut dyn Write,
) -> io::Result<Then> {
    let real = || upstream.ask(request);
    let page = || format!("<html><body>sorry {}</body></html>", upstream.canary).into_bytes();
    match fault {
        None => pass(stream, &real()?),
        Some(Fault::Latency(time)) => {
            let answer = real()?;
            sleep(time);
            pass(stream, &answer)
        }
        Some(Fault::Silence) => {
            sleep(LONG);
            Ok(Then::Cut)
        }
        Some(Fault::StallAfterHeaders) => {
            let answer = real()?;
            write_head(stream, answer.status, &passed(&answer), Some(answer.body.len() as u64))?;
            stream.flush()?;
            sleep(LONG);
            Ok(Then::Cut)
        }
        Some(Fault::ByteByByte(pause)) => {
            let answer = real()?;
            write_head(stream, answer.status, &passed(&answer), Some(answer.body.len() as u64))?;
            for byte in &answer.body {
                stream.flush()?;
                sleep(pause);
                stream.write_all(&[*byte])?;
            }
            Ok(Then::Keep)
        }
        Some(Fault::Reset) => Ok(Then::Reset),
        Some(Fault::ResetInBody) => half(upstream, request, stream, Then::Reset),
        Some(Fault::Truncated) => half(upstream, request, stream, Then::Close),
        Some(Fault::Cut) => half(upstream, request, stream, Then::Cut),
        Some(Fault::Close) => {
            let answer = real()?;
            let headers: Vec<_> = passed(&answer).into_iter().chain([("connection", "close")]).collect();
            write_answer(stream, answer.status, &headers, &answer.body)?;
            Ok(Then::Close)
        }
        Some(Fault::Huge) => huge(upstream, stream, Some(GIB)),
        Some(Fault::HugeInChunks) => huge(upstream, stream, None),
        Some(Fault::GzipBomb) => {
            write_answer(stream, 200, &[JSON, ("content-encoding", "gzip")], bomb())?;
            Ok(Then::Keep)
        }
        Some(Fault::Status(status)) => write_answer(stream, status, &[HTML], &page()),
        Some(Fault::RetryAfter(status, when)) => write_answer(stream, status, &[HTML, ("retry-after", &when)], &page()),
        Some(Fault::ContentType) => {
            let answer = real()?;
            let rest = passed(&answer).into_iter().filter(|(name, _)| *name != HTML.0);
            let headers: Vec<_> = std::iter::once(HTML).chain(rest).collect();
            write_answer(stream, answer.status, &headers, &answer.body)
        }
        Some(Fault::Html) => write_answer(stream, 200, &[HTML], &page()),
        Some(Fault::DuplicateKey(key)) => {
            let answer = real()?;
            let body = with_duplicate(&answer.json(), key, &upstream.canary);
            write_answer(stream, answer.status, &passed(&answer), body.as_bytes())
        }
        Some(Fault::Deep(depth)) => {
            let nested = format!("{}\"{}\"{}", "[".repeat(depth), upstream.canary, "]".repeat(depth));
            let body = format!(r#"{{"data":{nested},"lease_id":"","auth":{nested}}}"#);
            write_answer(stream, 200, &[JSON], body.as_bytes())
        }
        Some(Fault::Redirect(to)) => {
            write_answer(stream, 307, &[("location", &format!("{to}{}", request.path))], &page())
        }
    }
}

fn half(upstream: &Upstream, request: &Request, stream: &mut dyn Write, then: Then) -> io::Result<Then> {
    let answer = upstream.ask(request)?;
    write_head(stream, answer.status, &passed(&answer), Some(answer.body.len() as u64))?;
    stream.write_all(&answer.body[..answer.body.len() / 2])?;
    Ok(then)
}

/// A JSON string without an end, so that a reader that parses the stream cannot stop early.
fn huge(upstream: &Upstream, stream: &mut dyn Write, length: Option<u64>) -> io::Result<Then> {
    const PART: usize = 1 << 16;
    let part = upstream.canary.repeat(PART / upstream.canary.len() + 1);
    let (start, part) = (br#"{"data":{"data":{"password":""#, &part.as_bytes()[..PART]);
    match length {
        Some(_) => write_head(stream, 200, &[JSON], length)?,
        None => stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?,
    }
    let mut send = |bytes: &[u8]| match length {
        Some(_) => stream.write_all(bytes),
        None => stream.write_all(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()),
    };
    send(start)?;
    let mut left = GIB - start.len() as u64;
    while left > 0 {
        let count = left.min(PART as u64);
        send(&part[..count as usize])?;
        left -= count;
    }
    Ok(Then::Close)
}

/// 1 GiB of spaces, compressed by gzip itself, as four equal members. Made once.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let mut gzip = Command::new("gzip")
            .args(["-1", "--no-name"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gzip starts");
        let mut input = gzip.stdin.take().expect("piped");
        let writer = std::thread::spawn(move || {
            let part = [b' '; 1 << 16];
            for _ in 0..GIB >> 18 {
                input.write_all(&part).expect("gzip reads");
            }
        });
        let output = gzip.wait_with_output().expect("gzip ends");
        writer.join().expect("it does not panic");
        output.stdout.repeat(4)
    })
}

/// The value as text. Wherever this key occurs, it occurs twice, first with the decoy.
fn with_duplicate(value: &Value, key: &str, decoy: &str) -> String {
    match value {
        Value::Object(members) => {
            let mut text = Vec::new();
            for (name, member) in members {
                if name == key {
                    text.push(format!("\"{name}\":\"{decoy}\""));
                }
                text.push(format!("{}:{}", Value::from(name.as_str()), with_duplicate(member, key, decoy)));
            }
            format!("{{{}}}", text.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| with_duplicate(item, key, decoy)).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}
