//! Turns reqwest's errors into a kind and a message of handfast's own.

use std::error::Error;
use std::io;

use handfast_core::{Complaint, ErrorKind, ProviderError};
use rustls::AlertDescription;

use crate::certificate::{self, CLOCK, NAME};
use crate::options::Options;

/// The server of a request, as an error's text names it.
pub(crate) struct Peer<'a> {
    /// The origin or the Unix socket.
    pub(crate) name: String,
    /// The origin of the proxy in use.
    pub(crate) proxy: Option<String>,
    /// Whether the environment names a proxy for this server, but `proxy` is "none".
    pub(crate) has_unused_proxy: bool,
    pub(crate) options: &'a Options,
}

/// The part of the exchange in which a failure occurred.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the response's status and headers arrived.
    Head,
    /// After its status and headers arrived.
    Body,
}

impl Peer<'_> {
    /// A failure with a reason that this crate has found itself.
    pub(crate) fn failure(&self, kind: ErrorKind, why: &str) -> ProviderError {
        let proxy = self.proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
        ProviderError::new(kind, format!("cannot ask {}{proxy}: {why}", self.name))
    }

    /// The failure for an error of reqwest. Unknown errors count as network failures, which a retry may solve.
    pub(crate) fn explain(&self, error: &reqwest::Error, stage: Stage) -> ProviderError {
        let failure = self.cause(error, stage);
        let has_no_connection = error.is_connect() && failure.kind == ErrorKind::Unavailable && failure.hint.is_none();
        if has_no_connection && self.has_unused_proxy { failure.hint(UNUSED_PROXY) } else { failure }
    }

    /// Looks for a TLS failure first, because it must not be retried, and then for the more exact causes before the less exact
    /// ones.
    fn cause(&self, error: &reqwest::Error, stage: Stage) -> ProviderError {
        if let Some(tls) = find::<rustls::Error>(error) {
            let (kind, why) = self.tls_failure(tls);
            return ProviderError { hint: why.hint, ..self.failure(kind, &why.message) };
        }
        if let Some(failure) = system_error(error).and_then(|error| self.resource_failure(error)) {
            return failure;
        }
        if error.is_dns() {
            let why = system_error(error).map(|error| error.to_string().to_lowercase()).unwrap_or_default();
            let why = why.rsplit(": ").next().unwrap_or_default();
            return self.failure(ErrorKind::Unavailable, &format!("the name cannot be resolved: {why}"));
        }
        // The only time-out of hyper itself is that of an HTTP/2 ping.
        if find::<hyper::Error>(error).is_some_and(hyper::Error::is_timeout) {
            return self.failure(ErrorKind::Unavailable, "the connection no longer shows a sign of life");
        }
        if error.is_timeout() {
            return self.timeout(error.is_connect(), stage);
        }
        if let Some(failure) = self.proxy_failure(error) {
            return failure;
        }
        if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
            let failure = self.failure(ErrorKind::Malformed, "the answer is not HTTP/1.1");
            return if self.name.starts_with("http:") { failure.hint(SCHEME) } else { failure };
        }
        if let Some(failure) = find::<h2::Error>(error).and_then(|error| self.http2_failure(error)) {
            return failure;
        }
        if let Some(error) = system_error(error) {
            return self.connection_failure(error, stage);
        }
        if error.is_builder() {
            return self.failure(ErrorKind::Malformed, "the request cannot be written as HTTP/1.1");
        }
        let why = if stage == Stage::Body { ENDED_EARLY } else { "the connection ended before an answer" };
        self.failure(ErrorKind::Unavailable, why)
    }

    /// The failure of an exchange that took longer than its time limit.
    pub(crate) fn too_slow(&self) -> ProviderError {
        let limit = self.options.total_timeout;
        self.failure(ErrorKind::Unavailable, &format!("no complete answer within {limit:?}"))
    }

    fn timeout(&self, connecting: bool, stage: Stage) -> ProviderError {
        let Options { connect_timeout, idle_timeout, .. } = self.options;
        let why = match stage {
            Stage::Head if connecting => format!("no connection within {connect_timeout:?}"),
            Stage::Head => format!("no answer within {idle_timeout:?}"),
            Stage::Body => format!("the answer stopped: nothing more came within {idle_timeout:?}"),
        };
        self.failure(ErrorKind::Unavailable, &why)
    }

    /// The failure if descriptors, memory or threads ran out, which is not the store's fault.
    fn resource_failure(&self, error: &io::Error) -> Option<ProviderError> {
        const EMFILE: i32 = 24;
        const ENFILE: i32 = 23;
        let why = match (error.raw_os_error(), error.kind()) {
            (Some(EMFILE | ENFILE), _) => "too many open files",
            (_, io::ErrorKind::OutOfMemory) => "out of memory or threads",
            _ => return None,
        };
        Some(self.failure(ErrorKind::Os, why))
    }

    /// The failure for a proxy's response to CONNECT. hyper-util's error type is private, so this compares its text; a test
    /// ensures that the text is still the same.
    fn proxy_failure(&self, error: &reqwest::Error) -> Option<ProviderError> {
        let text = causes(error).map(|cause| cause.to_string()).find(|text| text.starts_with("tunnel error: "))?;
        Some(match text.as_str() {
            "tunnel error: proxy authorization required" => self
                .failure(ErrorKind::Denied, "the proxy asks for a user name and a password, or refuses those it got")
                .hint("write them in the proxy's URL: `http://user:password@host:port`"),
            "tunnel error: unsuccessful" => self.failure(ErrorKind::Unavailable, "the proxy did not connect to it"),
            _ => match system_error(error) {
                Some(error) => self.connection_failure(error, Stage::Head),
                None => self.failure(ErrorKind::Unavailable, "the proxy closed the connection"),
            },
        })
    }

    /// The failure of a request that the server ended by HTTP/2's means, or that the library ended because the response is not
    /// valid HTTP/2 or too large.
    fn http2_failure(&self, error: &h2::Error) -> Option<ProviderError> {
        Some(match error.reason()? {
            _ if error.is_library() => self.failure(ErrorKind::Malformed, "the answer is not HTTP/2"),
            h2::Reason::HTTP_1_1_REQUIRED => self.failure(ErrorKind::Malformed, "it wants HTTP/1.1 for this"),
            reason => self.failure(ErrorKind::Unavailable, &format!("it ended the request with {reason:?}")),
        })
    }

    fn connection_failure(&self, error: &io::Error, stage: Stage) -> ProviderError {
        use io::ErrorKind::*;
        let why = match (error.kind(), stage) {
            (ConnectionRefused, _) => "connection refused",
            (ConnectionReset | ConnectionAborted | BrokenPipe, _) => "connection reset",
            (HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable, _) => "no route to it",
            (InvalidInput | InvalidData, Stage::Body) => {
                return self.failure(ErrorKind::Malformed, "the answer's body is not HTTP/1.1");
            }
            (UnexpectedEof, Stage::Head) => "the connection ended before an answer",
            (_, Stage::Body) => ENDED_EARLY,
            (NotFound, _) => "there is no such socket",
            (PermissionDenied, _) if self.options.unix_socket.is_some() => {
                return self.failure(ErrorKind::Denied, "permission denied").hint(SOCKET);
            }
            (PermissionDenied, _) => "the system does not allow the connection",
            _ => "the connection failed",
        };
        self.failure(ErrorKind::Unavailable, why)
    }

    /// The reason for a TLS failure. None is retried: the server is not trusted, or does not trust this client.
    fn tls_failure(&self, error: &rustls::Error) -> (ErrorKind, Complaint) {
        use rustls::Error as Tls;
        let why = match error {
            Tls::InvalidCertificate(why) => certificate::refused(why, self.options),
            Tls::AlertReceived(alert) => return self.alert(*alert),
            Tls::InvalidMessage(_) => {
                Complaint::new("it answers the TLS handshake with something else than TLS").hint(PORT)
            }
            Tls::PeerIncompatible(_) => {
                Complaint::new("it takes no TLS version, cipher or key exchange that is safe").hint(COMMON)
            }
            Tls::UnsupportedNameType => Complaint::new("TLS cannot check a name like this").hint(NAME),
            _ => Complaint::new("TLS failed"),
        };
        (ErrorKind::Untrusted, why)
    }

    /// The reason for a TLS alert from the server. Alerts about a certificate are about the client certificate.
    fn alert(&self, alert: AlertDescription) -> (ErrorKind, Complaint) {
        use AlertDescription as Alert;
        let has_certificate = self.options.client_certificate.is_some();
        let (why, hint) = match alert {
            Alert::CertificateRequired => ("it asks for a client certificate", None),
            // TLS 1.2 has no alert of its own for a missing certificate.
            Alert::BadCertificate if !has_certificate => ("it asks for a client certificate", None),
            Alert::UnknownCA if has_certificate => ("it does not know the authority of our client certificate", None),
            Alert::CertificateExpired if has_certificate => {
                ("our client certificate has expired, by its clock", Some(CLOCK))
            }
            Alert::CertificateRevoked if has_certificate => ("our client certificate is revoked", None),
            Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown | Alert::AccessDenied
                if has_certificate =>
            {
                ("it refuses our client certificate", None)
            }
            _ => {
                let why = Complaint::new(format!("it ended TLS with the alert {alert:?}"));
                return (
                    ErrorKind::Untrusted,
                    match alert {
                        Alert::HandshakeFailure | Alert::InsufficientSecurity | Alert::ProtocolVersion => {
                            why.hint(COMMON)
                        }
                        Alert::UnrecognisedName => why.hint(NAME),
                        _ => why,
                    },
                );
            }
        };
        (ErrorKind::Denied, Complaint { message: why.to_owned(), hint: hint.map(str::to_owned) })
    }
}

const ENDED_EARLY: &str = "the answer ended early";
/// The most frequent cause is an ECDSA key on P-521.
const COMMON: &str = "the server needs TLS 1.2 or 1.3, and a certificate whose key is RSA of at least 2048 bits, ECDSA on P-256 or P-384, or Ed25519";
const PORT: &str = "look at the port: it does not speak TLS";
pub(crate) const SCHEME: &str = "if that port speaks TLS, the address starts with `https://`";
const UNUSED_PROXY: &str = "`HTTPS_PROXY` is set, and not used: `proxy = \"environment\"` in [fetch] uses it";
const SOCKET: &str =
    "make the socket writable for our user or one of its groups, and each directory on its way enterable";

pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The innermost I/O error, which is the cause: hyper-rustls wraps it in another I/O error.
fn system_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref()).last()
}

/// An error and all its sources. `source` of an `io::Error` skips the error that it wraps, such as an error of rustls.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
        None => error.source(),
    })
}
