//! Futures of one thread.

use std::future::Future;
use std::pin::Pin;

/// A future that needs no other thread: the worker has one.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
