//! The frames that the worker sends to the privileged process: a header of fixed length, then the payload, whose length is in the
//! header.
//!
//! A set of secrets is a generation: values, missing secrets and failures in any order, then a commit. A start has generation 1.
//! The privileged process answers with single bytes: [`BEGIN`] or [`BEGIN_ONCE`], and later [`DELIVERED`] or [`NOT_DELIVERED`].
//!
//! A worker that lives on sends a generation for each change, which holds only the secrets that have changed, and between them
//! reports: when a secret was read, and when it is read again. It takes an [`Order`](super::order::Order) at any time.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io::{self, IoSlice, Write};

use handfast_core::{ErrorKind, MAX_SECRET};

/// Bytes of a header.
pub const HEADER: usize = 16;

/// The worker may begin. It sends no request to a store before it has this byte.
pub const BEGIN: u8 = 0;

/// The worker may begin, and requests each secret once, because the set of an earlier keeper can stay.
pub const BEGIN_ONCE: u8 = 3;

/// The generation was delivered.
pub const DELIVERED: u8 = 1;

/// The generation was not delivered: the worker revokes the credentials that the stores issued for it.
pub const NOT_DELIVERED: u8 = 2;

/// The generation of a start.
pub const FIRST_GENERATION: u32 = 1;

/// The longest name of a field: as long as a file's name may be (NAME_MAX).
pub const MAX_NAME: usize = 255;

/// No more values than this in one generation.
pub const MAX_VALUES: usize = 4096;

/// No more bytes of values than this in one generation.
pub const MAX_BYTES: usize = 64 << 20;

/// The longest text of a failure.
pub const MAX_TEXT: usize = 4096;

/// The longest policy: enough for thousands of paths.
pub const MAX_POLICY: usize = 4 << 20;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The worker is sandboxed: the payload is a [`Cage`](crate::cage::Cage) as one byte.
    Ready = 1,
    /// A value: the length of the field's name as two bytes, the name (empty without `#*`), then the value.
    Value = 2,
    /// An optional secret was not found.
    Missing = 3,
    /// A secret could not be fetched: kind, attempts, message, hint.
    Failed = 4,
    /// The generation is complete.
    Commit = 5,
    /// The number of fields of a `#*`, as four bytes. As many values follow.
    Fields = 6,
    /// The text of a policy, if the worker's task is a policy and not the secrets.
    Policy = 7,
    /// A field of a `#*`, or a secret of a list, that is as in the generation before: its name.
    Same = 8,
    /// A [`Report`] about one secret. It belongs to no generation.
    Report = 9,
    /// How a provider instance logged in, if the secrets are only tried: the header has the number of the instance.
    Identity = 10,
    /// In place of `Ready`: the worker cannot listen at the address for metrics. The payload is the error's number, as four bytes.
    NoListener = 11,
}

/// The result of a read or a renewal, and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it succeeded.
    pub is_success: bool,
    /// Whether the secret is due to be issued anew, which only a restart does.
    pub needs_restart: bool,
    /// In how many milliseconds the next read or renewal is due; `None` for never.
    pub next: Option<u64>,
    /// In how many milliseconds the secret ends; `None` for never.
    pub end: Option<u64>,
}

impl Report {
    const LENGTH: usize = 17;
    const NEVER: u64 = u64::MAX;

    /// Its payload.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.is_success) | u8::from(self.needs_restart) << 1];
        bytes.extend([self.next, self.end].map(|time| time.unwrap_or(Self::NEVER).to_be_bytes()).concat());
        bytes
    }

    /// Reads a payload; `None` if it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (became, times) = bytes.split_first()?;
        let (is_success, needs_restart) = match became {
            0 => (false, false),
            1 => (true, false),
            2 => (false, true),
            _ => return None,
        };
        let (next, end) = times.split_at_checked(8)?;
        let (next, end) = (time(next)?, time(end)?);
        Some(Self { is_success, needs_restart, next, end })
    }
}

/// A time of a report. More than a year makes no sense, and could not be added to another.
fn time(bytes: &[u8]) -> Option<Option<u64>> {
    let time = u64::from_be_bytes(bytes.try_into().ok()?);
    (time == Report::NEVER || time <= LONGEST_PAUSE).then(|| Some(time).filter(|time| *time != Report::NEVER))
}

/// The longest time until the next read, in milliseconds: a year, and the tenth by which it may be later.
const LONGEST_PAUSE: u64 = 403 * 24 * 3600 * 1000;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the frame.
    pub kind: Kind,
    /// The generation that the frame belongs to.
    pub generation: u32,
    /// The index of the secret in the plan, or of the instance; 0 where the frame is about neither.
    pub secret: u32,
    /// The length of the payload in bytes.
    pub length: u32,
}

impl Header {
    /// The header's bytes.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.generation.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.secret.to_be_bytes());
        bytes[12..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads a header; `None` if it is malformed.
    pub fn decode(bytes: [u8; HEADER]) -> Option<Self> {
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let kind = match bytes[..4] {
            [1, 0, 0, 0] => Kind::Ready,
            [2, 0, 0, 0] => Kind::Value,
            [3, 0, 0, 0] => Kind::Missing,
            [4, 0, 0, 0] => Kind::Failed,
            [5, 0, 0, 0] => Kind::Commit,
            [6, 0, 0, 0] => Kind::Fields,
            [7, 0, 0, 0] => Kind::Policy,
            [8, 0, 0, 0] => Kind::Same,
            [9, 0, 0, 0] => Kind::Report,
            [10, 0, 0, 0] => Kind::Identity,
            [11, 0, 0, 0] => Kind::NoListener,
            _ => return None,
        };
        let header = Self { kind, generation: number(4), secret: number(8), length: number(12) };
        let (least, most) = match kind {
            Kind::Ready => (1, 1),
            Kind::Value => (2, 2 + MAX_NAME + MAX_SECRET),
            Kind::Missing | Kind::Commit => (0, 0),
            Kind::Fields | Kind::NoListener => (4, 4),
            Kind::Failed => (9, 9 + 2 * MAX_TEXT),
            Kind::Policy => (1, MAX_POLICY),
            Kind::Same => (0, MAX_NAME),
            Kind::Report => (Report::LENGTH, Report::LENGTH),
            Kind::Identity => (1, MAX_TEXT),
        };
        (least..=most).contains(&(header.length as usize)).then_some(header)
    }
}

/// Frames that are sent together, so that the reader wakes up once. Only the kernel copies a value.
#[derive(Default)]
pub struct Batch<'v> {
    pieces: Vec<Cow<'v, [u8]>>,
}

impl<'v> Batch<'v> {
    /// Adds a frame whose payload consists of several slices.
    pub fn add(
        &mut self,
        kind: Kind,
        generation: u32,
        secret: usize,
        payload: impl IntoIterator<Item = Cow<'v, [u8]>>,
    ) -> io::Result<()> {
        let at = self.pieces.len();
        self.pieces.push(Cow::Borrowed(&[]));
        self.pieces.extend(payload);
        let length = self.pieces[at..].iter().map(|piece| piece.len()).sum::<usize>();
        let (Ok(secret), Ok(length)) = (u32::try_from(secret), u32::try_from(length)) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        self.pieces[at] = Cow::Owned(Header { kind, generation, secret, length }.encode().into());
        Ok(())
    }

    /// Sends all frames, with as many calls as the kernel needs.
    pub fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            self.pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            match to.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A failure's payload.
pub fn encode_failure(kind: ErrorKind, attempts: u32, message: &str, hint: Option<&str>) -> Vec<u8> {
    let (message, hint) = (cut(message), cut(hint.unwrap_or_default()));
    let mut bytes = vec![kind_number(kind)];
    bytes.extend(attempts.to_be_bytes());
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message.as_bytes());
    bytes.extend(hint.as_bytes());
    bytes
}

/// Reads a failure's payload: kind, attempts, message, hint. `None` if it is malformed.
pub fn decode_failure(bytes: &[u8]) -> Option<(ErrorKind, u32, String, Option<String>)> {
    let (head, texts) = bytes.split_at_checked(9)?;
    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (message, hint) = texts.split_at_checked(number(5) as usize)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().filter(|text| text.len() <= MAX_TEXT);
    let hint = text(hint)?;
    Some((number_kind(head[0])?, number(1), text(message)?, (!hint.is_empty()).then_some(hint)))
}

const KINDS: [ErrorKind; 6] = [
    ErrorKind::Unavailable,
    ErrorKind::Denied,
    ErrorKind::NotFound,
    ErrorKind::Untrusted,
    ErrorKind::Malformed,
    ErrorKind::Os,
];

fn kind_number(kind: ErrorKind) -> u8 {
    // A kind that exists in the core and is missing here arrives as "malformed", never as success.
    KINDS.iter().position(|known| *known == kind).map_or(4, |at| at as u8)
}

fn number_kind(number: u8) -> Option<ErrorKind> {
    KINDS.get(usize::from(number)).copied()
}

/// A text, at most as long as a frame takes it.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_back() {
        let mut sent = Vec::new();
        let mut batch = Batch::default();
        batch.add(Kind::Value, 1, 7, [&[0, 1][..], b"f", b"value"].map(Cow::Borrowed)).unwrap();
        batch.add(Kind::Commit, 1, 0, []).unwrap();
        batch.send(&mut sent).unwrap();
        let header = Header::decode(sent[..HEADER].try_into().unwrap()).unwrap();
        assert_eq!(header, Header { kind: Kind::Value, generation: 1, secret: 7, length: 8 });
        let (payload, next) = sent[HEADER..].split_at(8);
        assert_eq!(payload, b"\0\x01fvalue");
        let header = Header::decode(next.try_into().unwrap()).unwrap();
        assert_eq!(header, Header { kind: Kind::Commit, generation: 1, secret: 0, length: 0 });
    }

    #[test]
    fn hostile_headers_are_refused_before_anything_is_allocated() {
        let header = |kind: u8, second: u8, length: u32| {
            let mut bytes = [0; HEADER];
            bytes[0] = kind;
            bytes[1] = second;
            bytes[12..].copy_from_slice(&length.to_be_bytes());
            Header::decode(bytes)
        };
        assert!(header(2, 0, 2).is_some());
        for (kind, second, length) in [
            (0, 0, 0),
            (8, 0, 256),
            (9, 0, 16),
            (9, 0, 18),
            (10, 0, 0),
            (11, 0, 0),
            (11, 0, 5),
            (12, 0, 0),
            (7, 0, 0),
            (7, 0, (4 << 20) + 1),
            (10, 0, 4097),
            (6, 0, 5),
            (2, 1, 2),
            (2, 0, 1),
            (2, 0, u32::MAX),
            (2, 0, 2 + 255 + (1 << 20) + 1),
            (5, 0, 1),
            (1, 0, 0),
            (4, 0, 8),
        ] {
            assert_eq!(header(kind, second, length), None, "{kind} {second} {length}");
        }
    }

    #[test]
    fn reports_are_read_back_and_hostile_ones_refused() {
        for report in [
            Report { is_success: true, needs_restart: false, next: Some(1000), end: None },
            Report { is_success: false, needs_restart: false, next: None, end: Some(7) },
            Report { is_success: false, needs_restart: true, next: None, end: None },
        ] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        let bytes = |first: u8, at: usize, value: u8| {
            let mut bytes = [0; 17];
            (bytes[0], bytes[at]) = (first, value);
            bytes
        };
        assert!(Report::decode(&bytes(1, 2, 0)).is_some());
        assert_eq!(Report::decode(&bytes(3, 2, 0)), None);
        for at in [1, 9] {
            assert_eq!(Report::decode(&bytes(1, at, 0x7f)), None, "no time so far away is ever reached");
        }
        assert_eq!(Report::decode(&[1]), None);
    }

    #[test]
    fn failures_are_read_back_and_hostile_ones_refused() {
        let bytes = encode_failure(ErrorKind::Denied, 3, "no", Some("ask"));
        assert_eq!(decode_failure(&bytes), Some((ErrorKind::Denied, 3, "no".into(), Some("ask".into()))));
        let long = encode_failure(ErrorKind::Denied, 3, &"é".repeat(MAX_TEXT), None);
        assert_eq!(decode_failure(&long).unwrap().2.len(), MAX_TEXT);
        assert_eq!(decode_failure(&[0; 8]), None);
        assert_eq!(decode_failure(&[9, 0, 0, 0, 1, 0, 0, 0, 0]), None);
        assert_eq!(decode_failure(&[0, 0, 0, 0, 1, 255, 255, 255, 255]), None);
        assert_eq!(decode_failure(&[0, 0, 0, 0, 1, 0, 0, 0, 1, 0xff]), None);
    }
}
