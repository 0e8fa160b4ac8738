//! The platform that every bench serves: users, each with one pod and two
//! services, and tokens that open them.
//!
//! All of it follows from its size, so that the edge's store, the auth server that
//! stands in for it elsewhere, and the load generators agree without talking.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};

/// The domain of every host.
pub const DOMAIN: &str = "bench.test";
/// Who signs the tokens.
pub const ISSUER: &str = "https://login.bench.test";
/// Whom the tokens are for.
pub const AUDIENCE: &str = "podgate";
/// The key's id, which every token names.
pub const KEY_ID: &str = "bench";
/// The HS256 key. It opens nothing but a bench on loopback.
pub const SECRET: &str = "the-secret-of-a-bench-on-loopback";

/// The pod that each user has.
pub const POD: &str = "myproject";

/// The services of each pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Answers HTTP.
    Api,
    /// Echoes WebSocket messages.
    Echo,
}

impl Service {
    /// Both, in the order in which they are made.
    pub const ALL: [Self; 2] = [Self::Api, Self::Echo];

    /// Its name in the pod, the first part of its host.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Echo => "echo",
        }
    }

    /// Where it listens inside the pod, if nothing overrides it.
    pub const fn port(self) -> u16 {
        match self {
            Self::Api => 8000,
            Self::Echo => 9000,
        }
    }
}

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// Whose it is: a user's name.
    pub sub: String,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
}

/// A user's name.
pub fn user(index: usize) -> String {
    format!("u{index:06}")
}

/// The label of a user's service, in the edge's default template.
pub fn label(service: Service, index: usize) -> String {
    format!("{}-{POD}-{}", service.as_str(), user(index))
}

/// The host of a user's service.
pub fn host(service: Service, index: usize) -> String {
    format!("{}.{DOMAIN}", label(service, index))
}

/// A token of a user's, good until `exp` (seconds since 1970).
///
/// # Errors
/// When signing fails, which it does not with a key of this length.
pub fn token(index: usize, exp: u64) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(KEY_ID.to_owned());
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: user(index),
        exp,
    };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(SECRET.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_the_default_template_makes() {
        let template = model::HostTemplate::default();
        for service in Service::ALL {
            let name = |text: &str| text.parse().expect("a good name");
            let rendered = template
                .render(&name(service.as_str()), &name(POD), &name(&user(7)))
                .expect("fits");
            assert_eq!(rendered.as_str(), label(service, 7));
        }
    }
}
