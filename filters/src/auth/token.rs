//! JSON Web Tokens: whose they claim to be, and whether that is so.
//!
//! The token names an issuer and a key id; the keyring says what key and algorithm
//! that means. Nothing else in a token chooses how it is verified: `jku`, `jwk`,
//! `x5c` and the like are not even read.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use model::{UnixMillis, UserId};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Fault;
use super::keyring::{Keyring, Print};

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// Whether the token was made after its user's sessions were last ended. One that
    /// does not say when it was made may be older than that.
    pub(super) fn is_of_session(&self, from: UnixMillis) -> bool {
        from == UnixMillis::default() || self.issued.is_some_and(|issued| issued >= from)
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

/// Verifies a token but for its times.
pub(super) fn verify(keyring: &Keyring, token: &str) -> Result<Verified, Fault> {
    if token.len() > MAX_TOKEN {
        return Err(Fault::TooLong);
    }
    let (head, payload) = parts(token).ok_or(Fault::NotAToken)?;
    let strict = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::NotAToken);
    let (head, payload) = (strict(head)?, strict(payload)?);
    let head: Head<'_> = serde_json::from_slice(&head).map_err(|_| Fault::NotAToken)?;
    let origin: Origin<'_> = serde_json::from_slice(&payload).map_err(|_| Fault::NotAToken)?;
    if head.crit.is_some() || !head.typ.as_deref().is_none_or(is_token_type) {
        return Err(Fault::Unsupported);
    }
    let issuer = keyring.issuer(&origin.iss).ok_or(Fault::UnknownIssuer)?;
    let key = issuer.key(head.kid.as_deref()).ok_or(Fault::UnknownKey)?;
    if head.alg != key.algorithm.as_str() {
        return Err(Fault::WrongAlgorithm);
    }
    let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &key.validation)
        .map_err(|error| Fault::of(error.kind()))?
        .claims;
    let subject = match claims.sub.parse::<UserId>() {
        Ok(id) => Subject::Id(id),
        Err(_) => Subject::Name(claims.sub.into()),
    };
    Ok(Verified {
        subject,
        expires: claims.exp.0,
        not_before: claims.nbf.map(|date| date.0),
        issued: claims.iat.map(|date| date.0),
        print: key.print,
    })
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

/// `typ`: a JWT (RFC 7519, 5.1) or an access token (RFC 9068, 2.1). Others, such as
/// logout or ID-assertion tokens, are signed by the same keys for another purpose.
fn is_token_type(typ: &str) -> bool {
    let is = |word: &str| typ.eq_ignore_ascii_case(word);
    is("JWT") || is("at+jwt") || is("application/jwt") || is("application/at+jwt")
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
