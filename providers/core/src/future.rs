//! Futures of one thread.

use std::future::Future;
use std::pin::Pin;

/// A future that cannot move to another thread: the worker has only one thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
