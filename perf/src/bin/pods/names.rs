//! What it adds to a pod's question about a name that podgate decides, and opens the way in
//! the kernel before it answers: beside the same question put to the world's name server.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::site::{DOMAIN, NAME_SERVER, RESTRICTED, Site};

/// Where pods ask podgate.
const GATEWAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), 53);

/// How long questions took, each kind sorted.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Put to the name server itself, through the node.
    pub direct: Vec<Duration>,
    /// Put to podgate, which had to ask.
    pub unknown: Vec<Duration>,
    /// Put to podgate, which knew.
    pub known: Vec<Duration>,
}

/// Has pods ask, each kind of question in turn.
pub(crate) fn ask(site: &Site, times: usize) -> Result<Asked> {
    let pods = (0..RESTRICTED.min(site.pods.len())).map(|at| {
        let address = site.pods.get(at).and_then(|pod| pod.address).context("an address")?;
        site.machine(at)?.run(|| {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok::<_, anyhow::Error>(socket)
        })
    });
    let pods: Vec<UdpSocket> = pods.collect::<Result<_>>()?;
    let mut asked = Asked::default();
    // Once around uncounted: knot, podgate and the kernel see each pod first.
    for n in 0..times + pods.len() {
        let pod = pods.get(n % pods.len()).context("pods")?;
        let name = format!("n{n}-{}.{DOMAIN}", std::process::id());
        let direct = time(pod, NAME_SERVER, n, &name)?;
        let unknown = time(pod, GATEWAY, n, &name)?;
        let known = time(pod, GATEWAY, n, &name)?;
        if n >= pods.len() {
            asked.direct.push(direct);
            asked.unknown.push(unknown);
            asked.known.push(known);
        }
    }
    for kind in [&mut asked.direct, &mut asked.unknown, &mut asked.known] {
        kind.sort_unstable();
    }
    Ok(asked)
}

fn time(pod: &UdpSocket, server: SocketAddr, id: usize, name: &str) -> Result<Duration> {
    let id = u16::try_from(id % 65_536)?;
    let question = question(id, name);
    let mut answer = [0; 512];
    let since = Instant::now();
    pod.send_to(&question, server)?;
    let (size, from) = pod.recv_from(&mut answer).with_context(|| format!("ask {server}"))?;
    let took = since.elapsed();
    // The response code is the last four bits of the fourth octet, the count of answers
    // the seventh and eighth (RFC 1035, 4.1.1).
    ensure!(
        from == server && size > 12 && answer[..2] == id.to_be_bytes() && answer[3] & 15 == 0 && answer[7] == 1,
        "{server} answered {:?}",
        &answer[..size]
    );
    Ok(took)
}

/// A question for IPv4 addresses (RFC 1035, 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}
