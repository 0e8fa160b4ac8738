//! An issuer of tokens that publishes its keys: oauth2-mock-server, run by
//! `issuer/issuer.mjs`.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use toml::{Table, Value as Toml};

use super::{Process, Program, free_address};
use crate::client::{Door, Request};
use crate::tls::Certificate;
use crate::token::AUDIENCE;

/// A running issuer.
#[derive(Debug)]
pub struct Issuer {
    /// Its program.
    pub process: Process,
    /// Where it serves, and its `iss`.
    url: String,
    address: SocketAddr,
    control: SocketAddr,
}

/// An issuer without keys.
///
/// # Panics
/// When it is missing or does not start.
pub async fn issuer() -> Issuer {
    Issuer::start(free_address(), None).await
}

impl Issuer {
    /// Starts one at an address, with TLS when it has a certificate, for `localhost`.
    ///
    /// # Panics
    /// When it is missing or does not start.
    pub async fn start(address: SocketAddr, tls: Option<&Certificate>) -> Self {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("issuer");
        assert!(
            home.join("node_modules/oauth2-mock-server").is_dir(),
            "this test needs oauth2-mock-server (npm): run `.ci/tools test`, or `npm ci` in {}",
            home.display()
        );
        let control = free_address();
        let mut program = Program::find("node", "nodejs (Debian)")
            .arg(home.join("issuer.mjs"))
            .args([address, control].map(|address| address.port().to_string()));
        if let Some(tls) = tls {
            program = program.arg(&tls.key).arg(&tls.cert);
        }
        let mut process = program.start();
        process.listening(control).await;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Self {
            process,
            url: format!("{scheme}://localhost:{}", address.port()),
            address,
            control,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a key and publishes it under an id.
    pub async fn publish(&self, kid: &str, algorithm: &str) {
        self.tell(&json!({ "publish": kid, "alg": algorithm })).await;
    }

    /// Takes a key out of what it publishes; it can still sign with it.
    pub async fn withdraw(&self, kid: &str) {
        self.tell(&json!({ "withdraw": kid })).await;
    }

    /// Who signs in from now on, and what it says of them; see `issuer.mjs`.
    pub async fn people(&self, people: Value) {
        self.tell(&json!({ "people": people })).await;
    }

    /// The requests for tokens that have come so far: `body` and `authorization`.
    pub async fn token_requests(&self) -> Vec<Value> {
        let seen = self.tell(&json!({ "seen": true })).await;
        seen.as_array().expect("a list").clone()
    }

    /// Its name in `iss`, and where it serves.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A good token for a user, an hour long, signed by one of its keys.
    pub async fn token(&self, kid: &str, user: &str) -> String {
        self.sign(kid, json!({ "sub": user, "aud": AUDIENCE })).await
    }

    /// Signs these claims, beside `iss`, `iat`, `nbf` and `exp`.
    pub async fn sign(&self, kid: &str, claims: Value) -> String {
        let told = self.tell(&json!({ "token": kid, "claims": claims })).await;
        told["token"].as_str().expect("a token").to_owned()
    }

    async fn tell(&self, order: &Value) -> Value {
        let request = Request::get(&Door::plain(self.control), "localhost", "/");
        let answer = request.post(order.to_string()).send().await;
        assert_eq!(answer.status(), 200, "{order}: {answer:?}");
        answer.json()
    }

    /// The entry of `auth.issuers` that trusts it.
    pub fn config(&self, algorithms: &[&str]) -> Toml {
        entry(&self.url, &format!("{}/jwks", self.url), algorithms)
    }
}

/// An entry of `auth.issuers` whose keys are fetched.
pub fn entry(issuer: &str, jwks: &str, algorithms: &[&str]) -> Toml {
    let algorithms: Vec<Toml> = algorithms.iter().map(|name| Toml::from(*name)).collect();
    Toml::from(Table::from_iter([
        ("issuer".to_owned(), issuer.into()),
        ("audience".to_owned(), AUDIENCE.into()),
        ("jwks".to_owned(), jwks.into()),
        ("algorithms".to_owned(), algorithms.into()),
    ]))
}
