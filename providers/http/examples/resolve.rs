//! Fetches one URL with handfast's client and prints the result: `ok 200 …` or `Unavailable …`.
//!
//! The DNS test runs `resolve URL [CA_FILE]` as a static musl program. It is also a short example of the use of this crate.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::{CaSource, Client, Options, Plaintext, Request, Url};
use handfast_testkit::Outside;

async fn fetch(url: &str, ca_file: Option<&String>) -> Result<String, ProviderError> {
    let context = Outside::default().context();
    let options = Options {
        ca: ca_file.map(|path| CaSource::File(path.into())).into_iter().collect(),
        plaintext: Plaintext::Anywhere,
        ..Options::default()
    };
    let url = Url::parse(url).map_err(|error| ProviderError::new(ErrorKind::Malformed, error.to_string()))?;
    let response = Client::new(options, &context)?.send(Request::get(url)).await?;
    Ok(format!("{} {}", response.status(), String::from_utf8_lossy(response.body().expose())))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(url) = arguments.first() else {
        eprintln!("usage: resolve URL [CA_FILE]");
        return ExitCode::from(64);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::from(71);
        }
    };
    match runtime.block_on(fetch(url, arguments.get(1))) {
        Ok(answer) => {
            println!("ok {answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{:?} {error}", error.kind);
            ExitCode::FAILURE
        }
    }
}
