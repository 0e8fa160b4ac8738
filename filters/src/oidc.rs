//! Signing in at an OpenID Connect provider: what is configured, what a browser keeps
//! while it is away there, and which user the provider's word means. Asking the provider
//! is the edge's part.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderValue, Uri};
use model::config::Section;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth::{required, safe_url};
use crate::cookie;
use crate::login;

/// The cookie of one sign-in is named by the first characters of its state: several tabs
/// may sign in at once.
const NAMED: usize = 16;
/// How long a sign-in may take, in seconds.
const AGE: u32 = 600;
/// Sign-ins of one browser at once; with more of them it forgets those before.
const MOST: usize = 8;

/// The `[auth.oidc]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `issuer`: the provider, by the exact name it gives itself.
    pub issuer: String,
    /// `client_id`: what the provider knows us by.
    pub client_id: String,
    /// `client_secret`: for clients that have one.
    pub client_secret: Option<Secret>,
    /// `scopes`: what we ask it for.
    pub scopes: Vec<String>,
    /// `claim`: where the user's name is.
    pub claim: Claim,
}

/// What only we and the provider know.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, to be sent to the provider and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Config {
    /// Reads the section; what is wrong is noted in it.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let issuer = required(section, "issuer");
        if let Some(issuer) = &issuer
            && let Err(why) = provider_url(issuer)
        {
            section.problem("issuer", format!("`{issuer}` {why}"));
        }
        let client_id = required(section, "client_id");
        let secret = section.secret("client_secret").map(String::from_utf8);
        let client_secret = match secret {
            Some(Ok(secret)) if !secret.is_empty() => Some(Secret(secret)),
            Some(_) => {
                section.problem("client_secret", "is empty, or no text");
                None
            }
            None => None,
        };
        let claim = Claim::read(section);
        let scopes = section.list::<String>("scopes").unwrap_or_else(|| {
            let claim = if matches!(claim, Claim::Email { .. }) {
                "email"
            } else {
                "profile"
            };
            ["openid", claim].map(str::to_owned).to_vec()
        });
        if !scopes.iter().any(|scope| scope == "openid") {
            section.problem("scopes", "must hold \"openid\"");
        }
        if scopes.iter().any(|scope| scope.is_empty() || scope.contains(' ')) {
            section.problem("scopes", "is a list of words");
        }
        Some(Self {
            issuer: issuer?,
            client_id: client_id?,
            client_secret,
            scopes,
            claim,
        })
    }
}

fn provider_url(issuer: &str) -> Result<Uri, &'static str> {
    let url = safe_url(issuer)?;
    // OpenID Connect Discovery 1.0, 2: neither query nor fragment.
    if url.query().is_some() || issuer.contains('#') {
        return Err("must hold no query and no fragment");
    }
    Ok(url)
}

/// Which of the provider's claims names the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// One that is the user's name as it stands.
    Name(String),
    /// `email`, of this domain; what is before the `@` is the name.
    Email {
        /// In lower case.
        domain: String,
    },
}

/// Why the provider's word means nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nobody {
    /// The claim is missing, or no text.
    NoClaim,
    /// The provider does not vouch for the address.
    Unverified,
    /// The address is of another domain.
    OtherDomain,
}

impl Nobody {
    /// A sentence for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoClaim => "the claim that `claim` names is missing",
            Self::Unverified => "the provider does not say that the email address is verified",
            Self::OtherDomain => "the email address is of another domain",
        }
    }
}

impl Claim {
    fn read(section: &mut Section<'_>) -> Self {
        let claim = section.parse::<String>("claim");
        let claim = claim.unwrap_or_else(|| "preferred_username".to_owned());
        let domain = section.parse::<String>("email_domain");
        if claim.is_empty() {
            section.problem("claim", "must not be empty");
        }
        if claim != "email" {
            if domain.is_some() {
                section.problem("email_domain", "is for claim = \"email\"");
            }
            return Self::Name(claim);
        }
        match domain {
            Some(domain) if !domain.is_empty() && !domain.contains('@') => Self::Email {
                domain: domain.to_ascii_lowercase(),
            },
            Some(domain) => {
                section.problem("email_domain", format!("`{domain}` is not a domain"));
                Self::Name(claim)
            }
            None => {
                let why = "is missing: with claim = \"email\" it says whose addresses are users' names";
                section.problem("email_domain", why);
                Self::Name(claim)
            }
        }
    }

    /// Whether it is among these.
    pub fn is_in(&self, claims: &Map<String, Value>) -> bool {
        claims.contains_key::<str>(match self {
            Self::Name(name) => name,
            Self::Email { .. } => "email",
        })
    }

    /// The name of the user whom these claims are about.
    ///
    /// # Errors
    /// See [`Nobody`].
    pub fn name(&self, claims: &Map<String, Value>) -> Result<String, Nobody> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(Nobody::NoClaim);
        match self {
            Self::Name(name) => text(name).map(str::to_owned),
            Self::Email { domain } => {
                // Addresses differ by more than case at no provider that verifies them.
                let address = text("email")?.to_ascii_lowercase();
                if claims.get("email_verified") != Some(&Value::Bool(true)) {
                    return Err(Nobody::Unverified);
                }
                let (name, of) = address.rsplit_once('@').ok_or(Nobody::NoClaim)?;
                if of == domain {
                    Ok(name.to_owned())
                } else {
                    Err(Nobody::OtherDomain)
                }
            }
        }
    }
}

/// A sign-in under way, as its browser keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// What the provider must hand back (RFC 6749, 4.1.1).
    pub state: String,
    /// What its token must hold (OpenID Connect Core 1.0, 3.1.2.1).
    pub nonce: String,
    /// What proves that it was us who asked (RFC 7636).
    pub verifier: String,
    /// The service to go on to, by the key of its host.
    pub key: String,
    /// The path there.
    pub path: String,
    /// The digest of the browser's nonce there.
    pub ticket_nonce: String,
    /// Whether all this is in a frame of another site.
    pub embedded: bool,
}

impl Flow {
    /// The cookies of a new sign-in: its own, and the ends of others when they grow many.
    pub fn begin(&self, request: &Parts) -> Vec<HeaderValue> {
        let mut cookies = Vec::new();
        let others: Vec<&str> = cookie::names(&request.headers)
            .filter(|name| name.starts_with(cookie::OIDC))
            .collect();
        if others.len() >= MOST {
            let ends = others
                .iter()
                .flat_map(|name| [false, true].map(|embedded| (name, embedded)));
            cookies.extend(ends.filter_map(|(name, embedded)| login::set(name, "", 0, embedded)));
        }
        let value = serde_json::to_vec(self).map(|json| URL_SAFE_NO_PAD.encode(json));
        let kept = value
            .ok()
            .and_then(|value| login::set(&name(&self.state), &value, AGE, self.embedded));
        cookies.extend(kept);
        cookies
    }

    /// The sign-in that a state names, if this browser began it.
    pub fn of(request: &Parts, state: &str) -> Option<Self> {
        let value = cookie::value(&request.headers, &name(state))?;
        let flow: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value).ok()?).ok()?;
        (flow.state == state).then_some(flow)
    }

    /// The cookie that ends it.
    pub fn end(&self) -> Option<HeaderValue> {
        login::set(&name(&self.state), "", 0, self.embedded)
    }
}

/// The name of a state's cookie; what a cookie's name cannot hold is no state of ours.
fn name(state: &str) -> String {
    let start: String = state.chars().filter(char::is_ascii_alphanumeric).take(NAMED).collect();
    format!("{}{start}", cookie::OIDC)
}

#[cfg(test)]
mod tests;
