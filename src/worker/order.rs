//! What the privileged process tells a worker that lives on: a byte, and for some a number of fixed length after it.
#![forbid(unsafe_code)]

use super::frame::{KEPT, NOT_KEPT};

const AGAIN: u8 = 3;
const LEAVE: u8 = 4;
const POST: u8 = 5;

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last generation was delivered, or was not.
    Verdict(bool),
    /// Every secret is to be read again now.
    Again,
    /// The worker is to end.
    Leave,
    /// The change of this secret is to be posted to the endpoint that the plan has for it.
    Post(u32),
}

impl Order {
    /// Its bytes.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Order::Verdict(true) => vec![KEPT],
            Order::Verdict(false) => vec![NOT_KEPT],
            Order::Again => vec![AGAIN],
            Order::Leave => vec![LEAVE],
            Order::Post(secret) => [&[POST][..], &secret.to_be_bytes()].concat(),
        }
    }

    /// How many bytes follow this first one.
    pub fn rest(first: u8) -> usize {
        if first == POST { size_of::<u32>() } else { 0 }
    }

    /// Reads one that is complete; `None` for one that does not exist.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match *bytes {
            [KEPT] => Order::Verdict(true),
            [NOT_KEPT] => Order::Verdict(false),
            [AGAIN] => Order::Again,
            [LEAVE] => Order::Leave,
            [POST, ref secret @ ..] => Order::Post(u32::from_be_bytes(secret.try_into().ok()?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_back() {
        let orders = [Order::Verdict(true), Order::Verdict(false), Order::Again, Order::Leave, Order::Post(70_000)];
        for order in orders {
            let bytes = order.encode();
            assert_eq!((Order::decode(&bytes), Order::rest(bytes[0]) + 1), (Some(order), bytes.len()));
        }
        for bytes in [&[0][..], &[9], &[], &[POST], &[POST, 0, 0, 0], &[AGAIN, 0]] {
            assert_eq!(Order::decode(bytes), None, "{bytes:?}");
        }
    }
}
