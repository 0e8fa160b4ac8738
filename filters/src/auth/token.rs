//! JSON Web Tokens: whose they claim to be, and whether that is so.
//!
//! The token names an issuer and a key id; the keyring says what key and algorithm
//! that means. Nothing else in a token chooses how it is verified: `jku`, `jwk`,
//! `x5c` and the like are not even read.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use jsonwebtoken::Validation;
use model::{SESSION_TYPE, TICKET_TYPE, UnixMillis, UserId};
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use uuid::Uuid;

use super::Fault;
use super::jwks::KeySource;
use super::keyring::{Key, Keyring, Print};
use crate::route;

/// The longest token that is looked at.
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// For telling whose a token is, valid or not: reads what a careless verifier would.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A token whose signature, issuer and audience are good. Whether it is good *now* is
/// asked at every use.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    /// Who it speaks for.
    pub(super) subject: Subject,
    /// Good strictly before this moment.
    pub(super) expires: UnixMillis,
    /// Good from this moment.
    not_before: Option<UnixMillis>,
    /// When it was made, if it says so.
    pub(super) issued: Option<UnixMillis>,
    /// The key that signed it.
    pub(super) print: Print,
    /// What a browser's session says besides; `None` for a token.
    pub(super) session: Option<Arc<Session>>,
}

/// A browser's session with one host.
#[derive(Debug)]
pub struct Session {
    /// The host's key: it is good nowhere else.
    key: Box<str>,
    /// When the user signed in.
    since: UnixMillis,
    /// When it was made, or last renewed.
    made: UnixMillis,
    /// Whether it lives in frames of other sites.
    embedded: bool,
    /// When this process last renewed it.
    renewed: AtomicI64,
}

impl Session {
    /// When the user signed in.
    pub fn since(&self) -> UnixMillis {
        self.since
    }

    /// Whether it lives in frames of other sites.
    pub fn is_embedded(&self) -> bool {
        self.embedded
    }

    /// The key of the host that it is good for.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether it is time to renew a session of this length, and nobody here has just
    /// done so: a page's many requests need one new cookie and not one each.
    pub(super) fn is_due(&self, ttl: Duration, now: UnixMillis, may: impl FnOnce() -> bool) -> bool {
        let last = UnixMillis(self.renewed.load(Ordering::Relaxed));
        let due = now >= self.made.plus(ttl / 2) && now.since(last) >= RENEWAL_PAUSE.min(ttl / 8) && may();
        if due {
            self.renewed.store(now.0, Ordering::Relaxed);
        }
        due
    }
}

/// The longest that a session whose renewal did not reach its browser waits for
/// another.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);

/// A ticket, verified but for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// What it is redeemed by.
    pub(crate) id: Uuid,
    /// Who it signs in.
    pub(super) user: UserId,
    /// The host's key.
    pub(super) key: Box<str>,
    /// When it was made.
    pub(crate) issued: UnixMillis,
    /// Good strictly before this moment.
    pub(crate) expires: UnixMillis,
    /// The digest of the browser's nonce, when whoever asked for it gave one.
    pub(super) nonce: Option<String>,
}

impl Verified {
    /// Whether the token is good at `now`, give or take `leeway`.
    pub(super) fn at(&self, now: UnixMillis, leeway: Duration) -> Result<(), Fault> {
        if now >= self.expires.plus(leeway) {
            Err(Fault::Expired)
        } else if self.not_before.is_some_and(|from| now.plus(leeway) < from) {
            Err(Fault::NotYet)
        } else {
            Ok(())
        }
    }
}

/// Who a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// `sub` is a UUID: a user's id.
    Id(UserId),
    /// Anything else: a user's name. No name reads as a UUID ([`model::Name`]).
    Name(Arc<str>),
}

/// The header, as far as it decides anything. A repeated field is an error.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Origin<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
}

/// What podgate says of a session, in words of JWT (RFC 7519, 4.1) and OpenID Connect
/// (`auth_time`).
#[derive(Deserialize)]
struct SessionClaims {
    sub: UserId,
    /// The whole host.
    aud: String,
    exp: NumericDate,
    iat: NumericDate,
    auth_time: NumericDate,
    #[serde(default)]
    embed: bool,
}

#[derive(Deserialize)]
struct TicketClaims {
    sub: UserId,
    /// The whole host.
    aud: String,
    exp: NumericDate,
    iat: NumericDate,
    jti: Uuid,
    nonce: Option<String>,
}

/// Seconds since 1970, possibly with a fraction (RFC 7519, 2).
struct NumericDate(UnixMillis);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        // Beyond 2^53 ms a date is no date; 0 and less are long past.
        if (0.0..9.0e12).contains(&seconds) {
            Ok(Self(UnixMillis((seconds * 1000.0).round() as i64)))
        } else {
            Err(serde::de::Error::custom("not a date"))
        }
    }
}

/// Verifies a token or a session but for its times.
pub(super) fn verify(keyring: &Keyring, domain: &str, token: &str) -> Result<Verified, Fault> {
    let opened = open(keyring, token)?;
    match opened.kind {
        Kind::Token => {
            let claims: Claims = opened.claims(opened.key.validation())?;
            let subject = match claims.sub.parse::<UserId>() {
                Ok(id) => Subject::Id(id),
                Err(_) => Subject::Name(claims.sub.into()),
            };
            Ok(Verified {
                subject,
                expires: claims.exp.0,
                not_before: claims.nbf.map(|date| date.0),
                issued: claims.iat.map(|date| date.0),
                print: opened.key.print,
                session: None,
            })
        }
        Kind::Session => {
            let claims: SessionClaims = opened.claims(&opened.key.for_any_audience())?;
            let session = Session {
                key: key(&claims.aud, domain)?,
                since: claims.auth_time.0,
                made: claims.iat.0,
                embedded: claims.embed,
                renewed: AtomicI64::new(0),
            };
            Ok(Verified {
                subject: Subject::Id(claims.sub),
                expires: claims.exp.0,
                not_before: None,
                // However often it was renewed since: a renewal outlives nothing that
                // ends the session it renews.
                issued: Some(session.since),
                print: opened.key.print,
                session: Some(Arc::new(session)),
            })
        }
        Kind::Ticket => Err(Fault::Unsupported),
    }
}

/// Verifies a ticket but for its time.
pub(super) fn ticket(keyring: &Keyring, domain: &str, text: &str) -> Result<Ticket, Fault> {
    let opened = open(keyring, text)?;
    if opened.kind != Kind::Ticket {
        return Err(Fault::Unsupported);
    }
    let claims: TicketClaims = opened.claims(&opened.key.for_any_audience())?;
    Ok(Ticket {
        id: claims.jti,
        user: claims.sub,
        key: key(&claims.aud, domain)?,
        issued: claims.iat.0,
        expires: claims.exp.0,
        nonce: claims.nonce,
    })
}

/// A text of ours by its outside: kind, issuer, key and algorithm fit together.
struct Opened<'a> {
    text: &'a str,
    kind: Kind,
    key: &'a Key,
}

impl Opened<'_> {
    /// The claims, if the signature is good and `validation` is content.
    fn claims<C: DeserializeOwned>(&self, validation: &Validation) -> Result<C, Fault> {
        jsonwebtoken::decode::<C>(self.text, &self.key.decoding, validation)
            .map(|data| data.claims)
            .map_err(|error| Fault::of(error.kind()))
    }
}

fn open<'a>(keyring: &'a Keyring, text: &'a str) -> Result<Opened<'a>, Fault> {
    if text.len() > MAX_TOKEN {
        return Err(Fault::TooLong);
    }
    let (head, payload) = parts(text).ok_or(Fault::NotAToken)?;
    let strict = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::NotAToken);
    let (head, payload) = (strict(head)?, strict(payload)?);
    let head: Head<'_> = serde_json::from_slice(&head).map_err(|_| Fault::NotAToken)?;
    let origin: Origin<'_> = serde_json::from_slice(&payload).map_err(|_| Fault::NotAToken)?;
    if head.crit.is_some() {
        return Err(Fault::Unsupported);
    }
    let kind = Kind::of(head.typ.as_deref()).ok_or(Fault::Unsupported)?;
    let issuer = keyring.issuer(&origin.iss).ok_or(Fault::UnknownIssuer)?;
    // Sessions and tickets are podgate's own affair.
    if kind != Kind::Token && !keyring.is_own(issuer) {
        return Err(Fault::Unsupported);
    }
    let key = issuer.key(head.kid.as_deref()).ok_or(Fault::UnknownKey)?;
    if head.alg != key.algorithm.as_str() {
        return Err(Fault::WrongAlgorithm);
    }
    Ok(Opened { text, kind, key })
}

/// The key of a whole host.
fn key(host: &str, domain: &str) -> Result<Box<str>, Fault> {
    route::key(host, domain).map(Box::from).ok_or(Fault::WrongAudience)
}

/// Where the key of a token may be that [`verify`] does not know: its issuer publishes
/// its keys, and the token names one, or none is known at all.
pub(super) fn source(keyring: &Keyring, token: &str) -> Option<Arc<KeySource>> {
    let (head, payload) = parts(token)?;
    let (head, payload) = (
        URL_SAFE_NO_PAD.decode(head).ok()?,
        URL_SAFE_NO_PAD.decode(payload).ok()?,
    );
    let head: Head<'_> = serde_json::from_slice(&head).ok()?;
    let origin: Origin<'_> = serde_json::from_slice(&payload).ok()?;
    let issuer = keyring.issuer(&origin.iss)?;
    let source = issuer.source.clone()?;
    (head.kid.is_some() || issuer.keys.is_empty()).then_some(source)
}

/// Whether a text is a JWT that names one of our issuers, valid or not.
pub(super) fn names_issuer(keyring: &Keyring, token: &str) -> bool {
    let Some((_, payload)) = parts(token) else { return false };
    let Ok(payload) = LENIENT.decode(payload) else {
        return false;
    };
    let seen = Cell::new(false);
    let seed = IssuerSeed { keyring, seen: &seen };
    // What matters is what was seen, even before an error.
    let _ = seed.deserialize(&mut serde_json::Deserializer::from_slice(&payload));
    seen.get()
}

/// Header and payload of a compact JWS: three parts between two dots.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (head, rest) = token.split_once('.')?;
    let (payload, signature) = rest.split_once('.')?;
    (!signature.contains('.')).then_some((head, payload))
}

/// What a JWT is for, by its `typ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Token,
    Session,
    Ticket,
}

impl Kind {
    /// A token says that it is a JWT (RFC 7519, 5.1) or an access token (RFC 9068, 2.1),
    /// or nothing. Others than these three, such as logout or ID-assertion tokens, are
    /// signed by the same keys for another purpose.
    fn of(typ: Option<&str>) -> Option<Self> {
        let Some(typ) = typ else { return Some(Self::Token) };
        let is = |words: &[&str]| words.iter().any(|word| typ.eq_ignore_ascii_case(word));
        if is(&["JWT", "at+jwt", "application/jwt", "application/at+jwt"]) {
            Some(Self::Token)
        } else if is(&[SESSION_TYPE]) {
            Some(Self::Session)
        } else if is(&[TICKET_TYPE]) {
            Some(Self::Ticket)
        } else {
            None
        }
    }
}

/// Looks for an `iss` of ours in a JSON object, every copy of it.
struct IssuerSeed<'k> {
    keyring: &'k Keyring,
    seen: &'k Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for IssuerSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for IssuerSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(claim)) = map.next_key::<Text<'de>>()? {
            if claim == "iss" {
                let value: OneOrMany<'de> = map.next_value()?;
                if value.0.iter().any(|name| self.keyring.issuer(name).is_some()) {
                    self.seen.set(true);
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A string, borrowed where JSON lets it be.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(from).map(|text| Self(text.0))
    }
}

/// A string, or a list of which the strings count; anything else is none.
struct OneOrMany<'a>(Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for OneOrMany<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape<'a> {
            One(#[serde(borrow)] Cow<'a, str>),
            Many(Vec<String>),
            Other(IgnoredAny),
        }
        Ok(Self(match Shape::deserialize(from)? {
            Shape::One(one) => vec![one],
            Shape::Many(many) => many.into_iter().map(Cow::Owned).collect(),
            Shape::Other(_) => Vec::new(),
        }))
    }
}
