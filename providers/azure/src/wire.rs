//! The SDK's way to the network: handfast's one HTTP client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use azure_core::http::headers::{Headers, WWW_AUTHENTICATE};
use azure_core::http::{
    AsyncRawResponse, Body, ClientOptions, HttpClient, Method, RetryOptions, StatusCode, Transport,
};
use bytes::Bytes;
use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::{Client, HeaderMap, Request, Response, wiped};

/// A client that counts.
#[derive(Clone)]
pub struct Wire {
    client: Arc<Client>,
    requests: Arc<AtomicU64>,
}

impl Wire {
    /// Sends through `client`, and counts into `requests`.
    pub fn new(client: Client, requests: Arc<AtomicU64>) -> Self {
        Self { client: Arc::new(client), requests }
    }

    /// Sends a request of ours.
    pub async fn send(&self, request: Request) -> Result<Response, ProviderError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.client.send(request).await
    }

    /// Sends a request of the SDK's.
    pub async fn send_sdk(&self, request: &azure_core::http::Request) -> Result<Response, ProviderError> {
        self.send(adapted(request)?).await
    }
}

/// What every client of the SDK is told: to send through us, and not to try again, which the scheduler does.
pub fn options(http: Arc<dyn HttpClient>) -> ClientOptions {
    ClientOptions { transport: Some(Transport::new(http)), retry: RetryOptions::none(), ..ClientOptions::default() }
}

/// The SDK's request as the client takes it.
fn adapted(request: &azure_core::http::Request) -> Result<Request, ProviderError> {
    let unfit = || ProviderError::new(ErrorKind::Malformed, "the request cannot be written as HTTP");
    let method = match request.method() {
        Method::Get => handfast_http::Method::GET,
        Method::Post => handfast_http::Method::POST,
        _ => return Err(unfit()),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers().iter() {
        let name = handfast_http::reqwest::header::HeaderName::try_from(name.as_str()).map_err(|_| unfit())?;
        headers.insert(name, value.as_str().try_into().map_err(|_| unfit())?);
    }
    let Body::Bytes(body) = request.body() else { return Err(unfit()) };
    Ok(Request::from_parts(method, request.url().clone(), headers, SecretValue::from(body.to_vec())))
}

/// The client's answer as the SDK takes it, with none of its headers: it reads none of a success.
pub fn answered(response: Response) -> AsyncRawResponse {
    let status = StatusCode::from(response.status());
    AsyncRawResponse::from_bytes(status, Headers::new(), wiped(response.into_body()))
}

/// A vault's refusal of a request without a token, as the SDK takes it.
pub fn challenge(text: String) -> AsyncRawResponse {
    let mut headers = Headers::new();
    headers.insert(WWW_AUTHENTICATE, text);
    AsyncRawResponse::from_bytes(StatusCode::Unauthorized, headers, Bytes::new())
}

/// An error of ours on its way through the SDK.
pub fn wrapped<E: std::error::Error + Send + Sync + 'static>(error: E) -> azure_core::Error {
    azure_core::Error::new(azure_core::error::ErrorKind::Other, error)
}

/// The error of ours that the SDK passes on, if it is one. Its own texts are not shown: they quote answers.
pub fn unwrapped<E: std::error::Error + 'static>(error: &azure_core::Error) -> Option<&E> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source()).find_map(|error| error.downcast_ref())
}
