//! What passes between a pod and the world: connections, questions with their answers, and
//! as much as will go through one connection.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use integration::machine::Machine;

use crate::rival::OUTSIDE;

/// Answers a byte with a byte, and is done.
pub(crate) const ANSWERS: u16 = 7001;
/// Answers each byte with a byte.
const TALKS: u16 = 7002;
/// Takes whatever comes.
const TAKES: u16 = 7003;

/// How long one that cannot be reached is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Traffic {
    /// Connections, a byte there and one back on each.
    Connections,
    /// Bytes there and back on one connection.
    RoundTrips,
    /// One connection full of bytes.
    Throughput,
}

impl Traffic {
    /// All of it.
    pub(crate) const ALL: [Self; 3] = [Self::Connections, Self::RoundTrips, Self::Throughput];

    /// What the figures count.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Connections => "connections/s",
            Self::RoundTrips => "round trips/s",
            Self::Throughput => "Mbit/s",
        }
    }

    /// Measures it from a pod for so long.
    pub(crate) fn from(self, pod: &Machine, time: Duration) -> Result<f64> {
        pod.run(|| match self {
            Self::Connections => connections(time),
            Self::RoundTrips => round_trips(time),
            Self::Throughput => throughput(time),
        })
        .with_context(|| format!("{} from {pod:?}", self.unit()))
    }
}

/// Serves all of it on a machine, until this program ends.
pub(crate) fn serve(on: &Machine) {
    let [answers, talks, takes] = [ANSWERS, TALKS, TAKES]
        .map(|port| on.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("nobody else listens there")));
    thread::spawn(move || {
        for mut stream in answers.incoming().flatten() {
            // One that was cut off does not keep the next ones waiting.
            let _ = stream.set_read_timeout(Some(PATIENCE / 10));
            let _ = answer(&mut stream);
        }
    });
    thread::spawn(move || {
        for mut stream in talks.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            thread::spawn(move || while answer(&mut stream).is_ok() {});
        }
    });
    thread::spawn(move || {
        for mut stream in takes.incoming().flatten() {
            let mut buffer = vec![0; 256 * 1024];
            thread::spawn(move || while stream.read(&mut buffer).is_ok_and(|size| size > 0) {});
        }
    });
}

/// Whether somebody answers there, at the third try at the latest.
pub(crate) fn reaches(to: SocketAddr) -> io::Result<()> {
    let once = || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ask(&mut stream)
    };
    once().or_else(|_| once()).or_else(|_| once())
}

fn connections(time: Duration) -> io::Result<f64> {
    let since = Instant::now();
    let mut done = 0_u32;
    while since.elapsed() < time {
        let mut stream = open(ANSWERS)?;
        ask(&mut stream)?;
        // Its port is free again at once: there are fewer than a run takes.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        done += 1;
    }
    Ok(f64::from(done) / since.elapsed().as_secs_f64())
}

fn round_trips(time: Duration) -> io::Result<f64> {
    let mut stream = open(TALKS)?;
    let since = Instant::now();
    let mut done = 0_u32;
    while since.elapsed() < time {
        ask(&mut stream)?;
        done += 1;
    }
    Ok(f64::from(done) / since.elapsed().as_secs_f64())
}

fn throughput(time: Duration) -> io::Result<f64> {
    let mut stream = open(TAKES)?;
    let bytes = vec![0; 256 * 1024];
    let since = Instant::now();
    let mut done = 0.0;
    while since.elapsed() < time {
        done += stream.write(&bytes)? as f64;
    }
    Ok(done * 8.0 / 1e6 / since.elapsed().as_secs_f64())
}

fn open(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(OUTSIDE, port).into(), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])
}

fn answer(stream: &mut TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0])?;
    stream.write_all(b"!")
}
