//! What is measured: one kind of traffic each.

use std::net::SocketAddr;

use anyhow::Result;

use crate::backend::{LARGE, SMALL};
use crate::load::{self, Aim, Counts, Wrk};
use crate::peers::Plan;

/// A kind of traffic, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// Small answers on 64 connections that stay open.
    Small64,
    /// The same on 256.
    Small256,
    /// 100 KB answers on 64 connections that stay open.
    Large,
    /// A connection for each request.
    Close,
    /// A full TLS handshake for each request.
    Handshakes,
    /// HTTP/2 over TLS.
    H2,
    /// WebSocket messages.
    Messages,
}

impl Scenario {
    /// Its name on the command line and in files.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Small64 => "small64",
            Self::Small256 => "small256",
            Self::Large => "large",
            Self::Close => "close",
            Self::Handshakes => "handshakes",
            Self::H2 => "h2",
            Self::Messages => "messages",
        }
    }

    /// Its name at the head of a column.
    pub(crate) const fn short(self) -> &'static str {
        match self {
            Self::Small64 => "128 B, c64",
            Self::Small256 => "128 B, c256",
            Self::Large => "100 KB, c64",
            Self::Close => "Connection per request",
            Self::Handshakes => "TLS handshakes",
            Self::H2 => "HTTP/2 over TLS",
            Self::Messages => "WebSocket messages",
        }
    }

    /// What exactly is done, for the report.
    pub(crate) const fn long(self) -> &'static str {
        match self {
            Self::Small64 => "wrk, 128-byte answers, 64 keep-alive connections",
            Self::Small256 => "wrk, 128-byte answers, 256 keep-alive connections",
            Self::Large => "wrk, 100 KB answers, 64 keep-alive connections",
            Self::Close => "wrk, 128-byte answers, `Connection: close`, 64 at a time",
            Self::Handshakes => {
                "full TLS 1.3 handshakes (P-256 certificate, X25519, AES-128-GCM, no resumption) with one 128-byte \
                 answer each, 32 at a time"
            }
            Self::H2 => "h2load, 128-byte answers over TLS 1.3, 16 connections of 10 streams",
            Self::Messages => "64-byte messages echoed over 64 WebSockets, one in flight on each",
        }
    }

    /// What is counted.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Messages => "message",
            Self::Handshakes => "handshake and request",
            _ => "request",
        }
    }

    /// Where a peer takes this traffic; `None` when it does not.
    pub(crate) fn address(self, plan: &Plan) -> Option<SocketAddr> {
        match self {
            Self::Handshakes | Self::H2 => plan.https,
            Self::Messages => Some(plan.ws),
            Self::Small64 | Self::Small256 | Self::Large | Self::Close => Some(plan.http),
        }
    }

    /// Drives the load.
    pub(crate) async fn run(self, aim: Aim<'_>) -> Result<Counts> {
        let small = |connections, close| Wrk {
            connections,
            path: SMALL,
            close,
        };
        match self {
            Self::Small64 => load::wrk(aim, small(64, false)).await,
            Self::Small256 => load::wrk(aim, small(256, false)).await,
            Self::Large => {
                load::wrk(
                    aim,
                    Wrk {
                        path: LARGE,
                        ..small(64, false)
                    },
                )
                .await
            }
            Self::Close => load::wrk(aim, small(64, true)).await,
            Self::Handshakes => load::handshakes(aim, 32, SMALL).await,
            Self::H2 => load::h2load(aim, 16, 10, SMALL).await,
            Self::Messages => load::messages(aim, 64).await,
        }
    }
}
