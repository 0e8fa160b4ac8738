//! The edge's gate and route table over a fleet, without the edge around them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use edge::Table;
use filters::client::Client;
use filters::limit::{Meters, Policies};
use filters::shape::Bounds;
use filters::{Auth, Gate, Hosts, Limits, auth};
use http::Request;
use http::request::Parts;
use integration::token::Signer;
use model::config::{Secrets, Section};
use model::{Policy, Revision, Update};

use crate::fleet::{self, Service};

/// The address that requests come from.
pub const CLIENT: Client = Client {
    address: ADDRESS,
    peer: ADDRESS,
    https: true,
    trusted: false,
};
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// Users per piece of the snapshot; the store sends pieces of about this size.
const PIECE: usize = 5_000;

/// A table with so many routes, filled as an edge's is: by a snapshot in pieces.
///
/// # Errors
/// When the fleet's names are no good.
pub fn table(routes: usize) -> Result<Table> {
    let table = Table::new();
    let users = routes / Service::ALL.len();
    for first in (0..users).step_by(PIECE) {
        let last = users.min(first + PIECE);
        table.apply(Update {
            reset: first == 0,
            changes: fleet::rows(first..last, None).context("make rows")?.into_changes(),
            revision: (last == users).then_some(Revision(1)),
        });
    }
    anyhow::ensure!(
        table.len() == users * Service::ALL.len(),
        "the table has {} routes",
        table.len()
    );
    Ok(table)
}

/// A gate that accepts the fleet's tokens, and those that the fleet's issuer signs with
/// `more` keys, and counts every request without refusing any.
///
/// # Errors
/// When its config is no good.
pub fn gate(more: &[&Signer]) -> Result<Gate> {
    let mut text = format!(
        "[[issuers]]\nissuer = \"{}\"\naudience = \"{}\"\n",
        fleet::ISSUER,
        fleet::AUDIENCE,
    );
    let own = (fleet::KEY_ID, "HS256", fleet::SECRET);
    let more = more.iter().map(|key| (key.kid, key.algorithm, key.verifying.as_str()));
    for (kid, algorithm, key) in std::iter::once(own).chain(more) {
        text += &format!("[[issuers.keys]]\nkid = {kid:?}\nalgorithm = {algorithm:?}\nkey = {key:?}\n");
    }
    let mut section = Section::new("auth", text.parse().context("parse the auth section")?, &Inline);
    let config = auth::Config::read(&mut section, fleet::DOMAIN);
    let problems = section.finish();
    if let Some(problem) = problems.first() {
        bail!("{problem}");
    }
    let ample = Policy::of("1000000000/1s".parse().context("a rate")?);
    let policies = Policies {
        public: ample,
        user: ample,
        default: ample,
        ..Policies::default()
    };
    Ok(Gate {
        hosts: Hosts::new(fleet::DOMAIN),
        shape: Bounds::default(),
        auth: Auth::new(Arc::new(config), &[]),
        limits: Limits::new(policies, Arc::new(Meters::default())),
    })
}

/// A request of a user's for its own API, with the headers a browser's script sends.
///
/// # Errors
/// When the token cannot be signed.
pub fn request(user: usize, exp: u64) -> Result<Parts> {
    let token = fleet::token(user, exp).context("sign a token")?;
    request_with(user, &token)
}

/// The same with a token of the issuer's other key.
///
/// # Errors
/// When the token is no header value.
pub fn request_signed(signer: &Signer, user: usize, exp: u64) -> Result<Parts> {
    let claims = fleet::claims(user, exp);
    let claims = serde_json::to_value(claims).context("write claims")?;
    request_with(user, &signer.sign(&signer.header(), &claims))
}

fn request_with(user: usize, token: &str) -> Result<Parts> {
    let request = Request::get("/api/v1/items?page=2")
        .header("host", fleet::host(Service::Api, user))
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        )
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate, br")
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .context("build a request")?;
    Ok(request.into_parts().0)
}

/// The config holds its secret itself.
struct Inline;

impl Secrets for Inline {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("{path} is not asked for"))
    }

    fn env(&self, name: &str) -> Result<String, String> {
        Err(format!("{name} is not asked for"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use filters::{Now, Refusal};
    use model::Access;

    use super::*;

    #[test]
    fn the_gate_admits_owners_and_nobody_else() {
        let (table, gate) = (table(8).expect("fills"), gate(&[]).expect("opens"));
        let now = Now {
            instant: Instant::now(),
            unix: SystemTime::now().into(),
        };
        let exp = now.unix.seconds().unsigned_abs() + 60;
        let own = request(3, exp).expect("signs");
        let admitted = gate.admit(&table.snapshot(), &own, &CLIENT, now).expect("is the owner");
        assert_eq!(admitted.access(), Access::Owner);

        let mut foreign = request(2, exp).expect("signs");
        foreign
            .headers
            .insert("host", fleet::host(Service::Api, 3).parse().expect("a host"));
        let denied = gate
            .admit(&table.snapshot(), &foreign, &CLIENT, now)
            .expect_err("is not the owner");
        assert_eq!(denied.refusal, Refusal::NoAccess);
    }
}
