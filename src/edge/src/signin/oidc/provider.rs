//! An OpenID Connect provider, as the crate `openidconnect` speaks to it: where it signs
//! people in, and what its codes are worth.
//!
//! What it says of itself is fetched when it is first needed, and again now and then.
//! Its word counts only in a token that it signed for us, for this very sign-in.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use filters::oidc::{Config, Flow};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType,
    CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AsyncHttpClient, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret,
    CsrfToken, DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, IdTokenFields, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, StandardErrorResponse, StandardTokenResponse,
    TokenResponse, UserInfoClaims, UserInfoError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::fetch::{Client, FetchError};

/// How long what a provider says of itself is believed.
const KEPT: Duration = Duration::from_secs(10 * 60);

/// With which its tokens may be signed. It cannot talk us into others: not into `none`,
/// and not into our secret for a key.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 3] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Claims beyond those that OpenID Connect names.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Extra(Map<String, Value>);

impl AdditionalClaims for Extra {}

type Tokens = StandardTokenResponse<
    IdTokenFields<
        Extra,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

type Party = openidconnect::Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why a sign-in comes to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The provider cannot be reached.
    Down,
    /// It does not answer in time.
    Slow,
    /// What it says is not what a provider may say.
    Lying,
    /// Whoever was to sign in did not want to, or may not.
    Declined,
    /// The code was used, or is too old.
    Spent,
}

impl Trouble {
    fn of(error: &FetchError) -> Self {
        match error {
            FetchError::Timeout => Self::Slow,
            FetchError::Connect(_) | FetchError::Tls(_) | FetchError::Authorities(_) => Self::Down,
            FetchError::Broken(_) | FetchError::TooLong | FetchError::Status(_) | FetchError::BadUrl => Self::Lying,
        }
    }
}

/// A sign-in to be sent to the provider.
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
}

/// What a provider says of itself, and when it said so.
struct Known {
    party: Party,
    since: Instant,
}

/// Our client, as the crate asks for one.
struct Http {
    client: Client,
    /// Plain http is for a provider on this machine, and for nobody whom another names.
    plain: bool,
}

impl Http {
    fn may_ask(&self, scheme: &str) -> bool {
        scheme == "https" || scheme == "http" && self.plain
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            if !self.may_ask(request.uri().scheme_str().unwrap_or_default()) {
                return Err(FetchError::BadUrl);
            }
            let answer = self.client.send(request.map(Bytes::from)).await?;
            Ok(answer.map(|body| body.to_vec()))
        })
    }
}

/// See the module.
pub(super) struct Provider {
    config: Config,
    http: Http,
    known: ArcSwapOption<Known>,
    /// The last attempt to know it: who waited for that makes none of their own.
    last: Mutex<Option<Attempt>>,
}

/// What came of asking a provider what it says of itself.
struct Attempt {
    over: Instant,
    outcome: Result<Arc<Known>, Trouble>,
}

impl Provider {
    pub(super) fn new(config: Config, client: Client) -> Self {
        let plain = config.issuer.starts_with("http://");
        Self {
            config,
            http: Http { client, plain },
            known: ArcSwapOption::empty(),
            last: Mutex::new(None),
        }
    }

    /// Begins a sign-in that is to come back to `redirect`.
    pub(super) async fn ask(&self, redirect: String) -> Result<Asked, Trouble> {
        let known = self.known(Instant::now().checked_sub(KEPT)).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let scopes = self.config.scopes.iter().filter(|scope| *scope != "openid");
        let (url, state, nonce) = known
            .party
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(scopes.cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .set_redirect_uri(Cow::Owned(self.redirect(redirect)?))
            .url();
        Ok(Asked {
            url: url.into(),
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
        })
    }

    /// What the provider says of whoever brought a code.
    pub(super) async fn redeem(
        &self,
        redirect: String,
        code: String,
        flow: &Flow,
    ) -> Result<Map<String, Value>, Trouble> {
        let begun = Instant::now();
        let known = self.known(begun.checked_sub(KEPT)).await?;
        let tokens = known
            .party
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| self.lying(&error))?
            .set_pkce_verifier(PkceCodeVerifier::new(flow.verifier.clone()))
            .set_redirect_uri(Cow::Owned(self.redirect(redirect)?))
            .request_async(&self.http)
            .await
            .map_err(|error| match &error {
                RequestTokenError::Request(fetch) => self.trouble(Trouble::of(fetch), &error),
                RequestTokenError::ServerResponse(told) => self.trouble(
                    match told.error() {
                        CoreErrorResponseType::InvalidGrant | CoreErrorResponseType::InvalidRequest => Trouble::Spent,
                        _ => Trouble::Lying,
                    },
                    told.error(),
                ),
                _ => self.lying(&error),
            })?;
        let token = tokens.id_token().ok_or_else(|| self.lying(&"no ID token came"))?;
        let nonce = Nonce::new(flow.nonce.clone());
        let verify = |known: &Known| {
            let verifier = known.party.id_token_verifier().set_allowed_algs(ALGORITHMS);
            token.claims(&verifier, &nonce).cloned()
        };
        let claims = match verify(&known) {
            // Its keys may be others by now.
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) => {
                let known = self.known(Some(begun)).await?;
                verify(&known)
            }
            claims => claims,
        };
        let claims = claims.map_err(|error| self.lying(&error))?;
        let subject = claims.subject().clone();
        let claims = self.object(&claims)?;
        if self.config.claim.is_in(&claims) {
            return Ok(claims);
        }
        // OpenID Connect Core 1.0, 5.4: with an access token come few claims in the ID
        // token, and the others by that.
        match known.party.user_info(tokens.access_token().clone(), Some(subject)) {
            Err(_) => Ok(claims),
            Ok(request) => self.user_info(request.request_async(&self.http).await),
        }
    }

    fn user_info(
        &self,
        told: Result<UserInfoClaims<Extra, CoreGenderClaim>, UserInfoError<FetchError>>,
    ) -> Result<Map<String, Value>, Trouble> {
        let told = told.map_err(|error| match &error {
            UserInfoError::Request(fetch) => self.trouble(Trouble::of(fetch), &error),
            _ => self.lying(&error),
        })?;
        self.object(&told)
    }

    /// Claims by their names.
    fn object(&self, claims: &impl Serialize) -> Result<Map<String, Value>, Trouble> {
        match serde_json::to_value(claims) {
            Ok(Value::Object(claims)) => Ok(claims),
            _ => Err(self.lying(&"claims that are no object")),
        }
    }

    /// What the provider says of itself, not before a moment.
    async fn known(&self, since: Option<Instant>) -> Result<Arc<Known>, Trouble> {
        let asked = Instant::now();
        let fresh = |known: &Known| since.is_none_or(|since| known.since >= since);
        if let Some(known) = self.known.load_full().filter(|known| fresh(known)) {
            return Ok(known);
        }
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.over >= asked) {
            return last.outcome.clone();
        }
        let outcome = self.discover(asked).await.map(Arc::new);
        if let Ok(known) = &outcome {
            self.known.store(Some(Arc::clone(known)));
        }
        *last = Some(Attempt {
            over: Instant::now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    async fn discover(&self, since: Instant) -> Result<Known, Trouble> {
        let issuer = IssuerUrl::new(self.config.issuer.clone()).map_err(|error| self.lying(&error))?;
        let metadata = CoreProviderMetadata::discover_async(issuer, &self.http).await;
        let metadata = metadata.map_err(|error| match &error {
            DiscoveryError::Request(fetch) => self.trouble(Trouble::of(fetch), fetch),
            _ => self.lying(&error),
        })?;
        if !self.http.may_ask(metadata.authorization_endpoint().url().scheme()) {
            return Err(self.lying(&"its authorization endpoint is not https"));
        }
        let basic = metadata.token_endpoint_auth_methods_supported().is_none_or(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                || !methods.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        let secret = self.config.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.reveal().to_owned()));
        let id = ClientId::new(self.config.client_id.clone());
        let auth = if basic {
            AuthType::BasicAuth
        } else {
            AuthType::RequestBody
        };
        let party = Party::from_provider_metadata(metadata, id, secret).set_auth_type(auth);
        Ok(Known { party, since })
    }

    fn redirect(&self, url: String) -> Result<RedirectUrl, Trouble> {
        RedirectUrl::new(url).map_err(|error| self.lying(&error))
    }

    fn lying(&self, error: &dyn std::fmt::Display) -> Trouble {
        self.trouble(Trouble::Lying, error)
    }

    /// Tells the operator what the visitor is not told.
    fn trouble(&self, trouble: Trouble, error: &(impl std::fmt::Display + ?Sized)) -> Trouble {
        tracing::warn!(auth.oidc.issuer = self.config.issuer, %error, ?trouble, "sign in at the provider");
        trouble
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_elsewhere_names_nobody_on_this_machine() {
        let http = |plain| Http {
            client: Client::default(),
            plain,
        };
        for (plain, scheme, expected) in [
            (false, "https", true),
            (false, "http", false),
            (true, "http", true),
            (true, "https", true),
            (true, "javascript", false),
            (false, "", false),
        ] {
            assert_eq!(http(plain).may_ask(scheme), expected, "{plain} {scheme}");
        }
    }
}
