//! How long after the API's answer a policy is in force: a pod keeps sending to the world
//! on one connection, which stops and starts to pass as the policy says.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use integration::machine::Machine;
use serde_json::json;

use crate::rival::OUTSIDE;
use crate::site::Site;

const PORT: u16 = 7004;
/// Between two packets of the stream: how exact the figures are.
const PACE: Duration = Duration::from_micros(200);
/// So long without a packet, and the way is shut.
const SILENCE: Duration = Duration::from_millis(50);
/// A change that is not seen by then is lost.
const LOST: Duration = Duration::from_secs(10);

/// A stream of packets from a pod to the world, each answered, so that it is a connection
/// to the node.
struct Stream {
    began: Instant,
    /// When the first one came since this was last 0, in nanoseconds since the beginning.
    first: Arc<AtomicU64>,
    /// When the last one came.
    last: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Stream {
    fn start(pod: &Machine) -> Result<Self> {
        let outside = Machine::named("outside");
        let world = outside.run(|| UdpSocket::bind((OUTSIDE, PORT)))?;
        let pod = pod.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((OUTSIDE, PORT))?;
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        })?;
        let stream = Self {
            began: Instant::now(),
            first: Arc::default(),
            last: Arc::default(),
            over: Arc::default(),
        };
        let [first, last] = [&stream.first, &stream.last].map(Arc::clone);
        let (began, over) = (stream.began, Arc::clone(&stream.over));
        world.set_read_timeout(Some(SILENCE))?;
        thread::spawn(move || {
            let mut buffer = [0; 16];
            while !over.load(Ordering::Relaxed) {
                if let Ok((_, from)) = world.recv_from(&mut buffer) {
                    let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    let _ = first.compare_exchange(0, nanos, Ordering::Relaxed, Ordering::Relaxed);
                    last.store(nanos, Ordering::Relaxed);
                    let _ = world.send_to(b"!", from);
                }
            }
        });
        let over = Arc::clone(&stream.over);
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let _ = pod.send(b"?");
                let _ = pod.recv(&mut [0; 16]);
                thread::sleep(PACE);
            }
        });
        Ok(stream)
    }

    fn at(&self, nanos: &AtomicU64) -> Instant {
        self.began + Duration::from_nanos(nanos.load(Ordering::Relaxed))
    }

    /// When the first packet came since the way was shut.
    async fn opened(&self) -> Result<Instant> {
        let since = Instant::now();
        while self.first.load(Ordering::Relaxed) == 0 {
            ensure!(since.elapsed() < LOST, "nothing passes");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(self.at(&self.first))
    }

    /// When the last packet came before there were no more.
    async fn shut(&self) -> Result<Instant> {
        let since = Instant::now();
        while self.at(&self.last).elapsed() < SILENCE {
            ensure!(since.elapsed() < LOST, "it still passes");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.first.store(0, Ordering::Relaxed);
        Ok(self.at(&self.last))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Has a pod's policy change so often, restricted and open in turn: how long each change
/// took to be in force after the API's answer; nothing where it was in force before.
pub(crate) async fn change(site: &Site, times: usize) -> Result<Vec<Duration>> {
    let at = site.pods.len() - 1;
    let path = format!("pods/{}/policy", site.pods[at].id);
    let stream = Stream::start(&site.machine(at)?)?;
    stream.opened().await.context("before any change")?;
    let mut took = Vec::new();
    for change in 0..times {
        let shut = change % 2 == 0;
        let mode = if shut { "restricted" } else { "open" };
        site.api.ok(Method::PUT, &path, json!({"egress": {"mode": mode}})).await;
        let answered = Instant::now();
        let seen = if shut {
            stream.shut().await
        } else {
            stream.opened().await
        };
        let seen = seen.with_context(|| format!("change {change}, to {mode}"))?;
        took.push(seen.saturating_duration_since(answered));
    }
    took.sort_unstable();
    Ok(took)
}
