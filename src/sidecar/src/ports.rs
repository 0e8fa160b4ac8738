//! Ports of the node that its own programs listen on: these are nobody's to have.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use model::{NodePort, PortRange, Protocol};

/// TCP_LISTEN of net/tcp_states.h, as it is written there.
const LISTENS: &str = "0A";
/// TCP_CLOSE, which a UDP socket is in that is connected to nobody.
const UNCONNECTED: &str = "07";

/// Those of a range that something listens on, on whatever address, in the namespace of this
/// thread.
///
/// # Errors
/// When the kernel's tables cannot be read.
pub fn listened(range: PortRange) -> io::Result<BTreeSet<NodePort>> {
    let mut all = BTreeSet::new();
    for (table, protocol) in [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
    ] {
        match fs::read_to_string(format!("/proc/thread-self/net/{table}")) {
            Ok(text) => all.extend(read(&text, protocol)),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => {}
            Err(error) => return Err(error),
        }
    }
    all.retain(|at| range.contains(at.port));
    Ok(all)
}

/// The ports in a table (proc_net_tcp.rst of the kernel's documentation): `sl
/// local_address rem_address st ...`, addresses and ports in hexadecimal.
fn read(table: &str, protocol: Protocol) -> impl Iterator<Item = NodePort> {
    let wanted = match protocol {
        Protocol::Tcp => LISTENS,
        Protocol::Udp => UNCONNECTED,
    };
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next()?, words.nth(1)?);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (state == wanted).then_some(NodePort { protocol, port })
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn what_listens_is_seen_and_what_only_calls_is_not() {
        let all = PortRange {
            first: 1,
            last: u16::MAX,
        };
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let tcp6 = TcpListener::bind("[::1]:0").expect("a port");
        let udp = UdpSocket::bind("0.0.0.0:0").expect("a port");
        let stream = TcpStream::connect(tcp.local_addr().expect("bound")).expect("it listens");
        let caller = UdpSocket::bind("127.0.0.1:0").expect("a port");
        caller
            .connect(udp.local_addr().expect("bound"))
            .expect("no route is needed");
        let seen = listened(all).expect("readable");
        let is = |protocol, address: std::io::Result<std::net::SocketAddr>| {
            let port = address.expect("bound").port();
            seen.contains(&NodePort { protocol, port })
        };
        assert!(is(Protocol::Tcp, tcp.local_addr()) && is(Protocol::Tcp, tcp6.local_addr()));
        assert!(is(Protocol::Udp, udp.local_addr()));
        assert!(
            !is(Protocol::Tcp, stream.local_addr()),
            "a call is not to be waited for"
        );
        assert!(!is(Protocol::Udp, caller.local_addr()));
        let port = tcp.local_addr().expect("bound").port();
        let other = PortRange {
            first: 1,
            last: port - 1,
        };
        assert!(!listened(other).expect("readable").iter().any(|at| at.port >= port));
    }
}
