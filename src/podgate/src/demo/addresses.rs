//! Where the demo listens. Found out before anything is made, so that a port that is
//! taken is told in a sentence and nothing is left behind.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Every address of the demo; a port of 0 was asked for and is a real one by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Plain HTTP, which redirects.
    pub(super) http: SocketAddr,
    /// HTTPS, which serves.
    pub(super) https: SocketAddr,
    /// Metrics and health.
    pub(super) admin: SocketAddr,
    /// The control API.
    pub(super) control: SocketAddr,
}

impl Addresses {
    /// The two that people ask for, or why they cannot be had; the other two are the
    /// usual ones, or any free ones when those are taken.
    pub(super) fn free(http: SocketAddr, https: SocketAddr) -> anyhow::Result<Self> {
        // Whoever wants any free port may start several at once, and between here and
        // the edge's own listening two demos could both find a usual port free.
        let usual = |port| if http.port() == 0 || https.port() == 0 { 0 } else { port };
        // All are held until all are known: two of them must not be given one port.
        let admin = listen_near(usual(9090))?;
        let control = listen_near(usual(9091))?;
        let http = listen(http, "--http")?;
        let https = listen(https, "--https")?;
        Ok(Self {
            http: http.local_addr()?,
            https: https.local_addr()?,
            admin: admin.local_addr()?,
            control: control.local_addr()?,
        })
    }
}

fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is taken: end what listens there, or choose another address with `{flag} {}:PORT`",
            address.ip()
        ),
        _ => anyhow::anyhow!("cannot listen on {address} ({error}): choose another address with `{flag} ADDR`"),
    })
}

fn listen_near(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .map_err(|error| anyhow::anyhow!("find a free loopback port: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_the_flag_that_helps() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let other = TcpListener::bind(any).expect("a port");
        let taken = other.local_addr().expect("bound");
        let check = |http, https, flag: &str| {
            let error = Addresses::free(http, https).expect_err("taken").to_string();
            assert!(error.contains(&taken.to_string()) && error.contains(flag), "{error}");
        };
        check(taken, any, "--http 127.0.0.1:PORT");
        check(any, taken, "--https 127.0.0.1:PORT");
        let found = Addresses::free(any, any).expect("free");
        let ports = [found.http, found.https, found.admin, found.control].map(|address| address.port());
        let distinct: std::collections::HashSet<u16> = ports.into_iter().collect();
        assert!(distinct.len() == 4 && !distinct.contains(&0), "{ports:?}");
    }
}
