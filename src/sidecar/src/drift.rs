//! News from the kernel that something of ours may not be as it was left.

use std::io;
use std::sync::Arc;
use std::thread;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use tokio::sync::Notify;

/// Links, neighbours, traffic control, and routes of both families (RTNLGRP_* of
/// linux/rtnetlink.h).
const ROUTE_GROUPS: [u32; 5] = [1, 3, 4, 7, 11];
/// NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h.
const NFTABLES_GROUP: u32 = 7;
/// Room for one piece of news.
const BUFFER: usize = 64 * 1024;
/// What of the kernel's news is of something that is gone or down: RTM_DELLINK,
/// RTM_DELROUTE, RTM_DELNEIGH, RTM_NEWLINK, which a link that goes down is told as; and of
/// traffic control all that comes and goes but actions (RTM_NEWQDISC to RTM_DELTFILTER).
const OF_INTEREST: [u16; 10] = [17, 25, 29, 16, 36, 37, 40, 41, 44, 45];

/// Notifies whenever something has changed that was not changed through `ours`, the ports
/// of our own sockets.
///
/// # Errors
/// When the kernel refuses to tell.
pub(crate) fn watch(ours: Vec<u32>, news: &Arc<Notify>) -> io::Result<()> {
    listen(NETLINK_ROUTE, &ROUTE_GROUPS, "links", Arc::clone(news), {
        let ours = ours.clone();
        move |kind, port| OF_INTEREST.contains(&kind) && !ours.contains(&port)
    })?;
    listen(
        NETLINK_NETFILTER,
        &[NFTABLES_GROUP],
        "rules",
        Arc::clone(news),
        move |_, port| !ours.contains(&port),
    )
}

fn listen(
    protocol: isize,
    groups: &[u32],
    name: &str,
    news: Arc<Notify>,
    of_interest: impl Fn(u16, u32) -> bool + Send + 'static,
) -> io::Result<()> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut buffer = vec![0; BUFFER];
        loop {
            match socket.recv(&mut &mut buffer[..], 0) {
                Ok(size) => {
                    let told = buffer.get(..size).unwrap_or_default();
                    if headers(told).any(|(kind, port)| of_interest(kind, port)) {
                        news.notify_one();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // More news than room for it: whatever it was, it is time to look.
                Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32) => news.notify_one(),
                Err(error) => {
                    tracing::error!(%error, "hear of changes from the kernel; looking every minute only");
                    return;
                }
            }
        }
    })?;
    Ok(())
}

/// The type and the sender's port of each message (struct nlmsghdr of linux/netlink.h).
fn headers(mut rest: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let (length, port) = (word(0)? as usize, word(12)?);
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
        Some((kind, port))
    })
}
