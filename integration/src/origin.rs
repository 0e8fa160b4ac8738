//! Real servers on free loopback ports, for the edge to stand before.
//!
//! Each records what reached it, so that a test can say not only what the client
//! saw but also what the pod did, and did not, receive.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::wait::until;

pub mod grpc;
pub mod h2c;
pub mod http1;
pub mod raw;

pub use http1::{Http1, Seen};
pub use raw::Raw;

/// An HTTP/1.1 server; see [`mod@http1`] for the paths that it always has.
pub fn http1() -> Http1 {
    Http1::default()
}

/// A server that keeps every byte it receives, and answers each request head with
/// the same small `200`.
pub async fn raw() -> Raw {
    Raw::run().await
}

/// An address on which nothing listens: connecting to it is refused.
pub async fn refusing() -> SocketAddr {
    let listener = listen().await;
    listener.local_addr().expect("a bound socket has an address")
}

/// Listens on a free loopback port.
pub(crate) async fn listen() -> TcpListener {
    listen_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
}

/// Listens on a given address, which an origin that was just dropped may hold for
/// a moment yet.
pub(crate) async fn listen_on(address: SocketAddr) -> TcpListener {
    until(&format!("{address} to be free"), async || {
        TcpListener::bind(address).await.ok()
    })
    .await
}

/// Accepts connections until dropped; dropping it also cuts every open one, so
/// that a stopped origin is as dead as a killed process.
#[derive(Debug)]
pub(crate) struct Accepting {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Counts as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn by(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Accepting {
    pub(crate) fn start<F, S>(listener: TcpListener, mut serve: S) -> Self
    where
        S: FnMut(TcpStream, usize) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().expect("a bound socket has an address");
        let open = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&open);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                // A failed accept (out of files) is the test's business elsewhere.
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                stream.set_nodelay(true).ok();
                let (served, counted) = (serve(stream, number), Counted::by(&counter));
                connections.spawn(async move {
                    served.await;
                    drop(counted);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, open, task }
    }

    /// How many connections are being served: one that was closed is over when its
    /// server has noticed.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A list that a server's tasks write and a test reads.
#[derive(Debug)]
pub(crate) struct Record<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Record<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Record<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Record<T> {
    pub(crate) fn with<R>(&self, see: impl FnOnce(&mut Vec<T>) -> R) -> R {
        see(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.with(|list| list.clone())
    }
}
