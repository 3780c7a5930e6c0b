//! The orders of the privileged process to a worker that lives on: one byte each, which a payload of fixed length may follow.
#![forbid(unsafe_code)]

use super::frame::{DELIVERED, NOT_DELIVERED};

const AGAIN: u8 = 3;
const STOP: u8 = 4;
const POST: u8 = 5;
const ACTED: u8 = 6;

/// An order to a worker that lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last generation was delivered, or was not.
    Verdict(bool),
    /// Every secret is to be read again now.
    Again,
    /// The worker is to end.
    Stop,
    /// The change of this secret is to be posted to the endpoint that the plan has for it.
    Post(u32),
    /// For the metrics: an action of a change was done (`true`) or failed: this signal to the app, or a restart (`None`).
    Acted(Option<u8>, bool),
}

impl Order {
    /// Its bytes.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Order::Verdict(true) => vec![DELIVERED],
            Order::Verdict(false) => vec![NOT_DELIVERED],
            Order::Again => vec![AGAIN],
            Order::Stop => vec![STOP],
            Order::Post(secret) => [&[POST][..], &secret.to_be_bytes()].concat(),
            Order::Acted(signal, is_done) => vec![ACTED, signal.unwrap_or_default(), u8::from(is_done)],
        }
    }

    /// How many bytes follow an order's first byte.
    pub fn following_bytes(first: u8) -> usize {
        match first {
            POST => size_of::<u32>(),
            ACTED => 2,
            _ => 0,
        }
    }

    /// Reads a complete order; `None` for bytes that are no order.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match *bytes {
            [DELIVERED] => Order::Verdict(true),
            [NOT_DELIVERED] => Order::Verdict(false),
            [AGAIN] => Order::Again,
            [STOP] => Order::Stop,
            [POST, ref secret @ ..] => Order::Post(u32::from_be_bytes(secret.try_into().ok()?)),
            [ACTED, signal, is_done @ (0 | 1)] => {
                Order::Acted(Some(signal).filter(|signal| *signal != 0), is_done == 1)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_back() {
        let simple = [Order::Verdict(true), Order::Verdict(false), Order::Again, Order::Stop];
        let others = [Order::Post(70_000), Order::Acted(None, true), Order::Acted(Some(64), false)];
        for order in simple.into_iter().chain(others) {
            let bytes = order.encode();
            assert_eq!((Order::decode(&bytes), Order::following_bytes(bytes[0]) + 1), (Some(order), bytes.len()));
        }
        for bytes in [&[0][..], &[9], &[], &[POST], &[POST, 0, 0, 0], &[AGAIN, 0], &[ACTED, 1, 2]] {
            assert_eq!(Order::decode(bytes), None, "{bytes:?}");
        }
    }
}
