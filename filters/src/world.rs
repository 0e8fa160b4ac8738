//! A small world for the tests: a domain, users, a pod with services, issuers with
//! real keys, and a clock that stands still.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::request::Parts;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::config::{Problem, Secrets, Section};
use model::{
    IssuerKey, Name, PodId, PodState, Policy, Rate, Route, RoutedPod, RoutedShare, RoutedTeam, SESSION_TYPE, ServiceId,
    TeamId, UnixMillis, User, UserId, Visibility,
};
use serde_json::{Value, json};

use crate::auth::Config;
use crate::client::Client;
use crate::limit::{Meters, Policies};
use crate::{Auth, Gate, Hosts, Limits, Now, Table, shape};

pub(crate) const DOMAIN: &str = "pinacle.dev";
/// The moment of most tests, in seconds since 1970.
pub(crate) const T0: i64 = 1_700_000_000;
pub(crate) const OUTSIDE: &str = "https://login.example.org";
pub(crate) const SECRET: &str = "an HS256 secret of over 32 bytes!";

/// One key pair as the tests need it: to sign with, and what config is given.
pub(crate) struct Pair {
    pub(crate) algorithm: Algorithm,
    pub(crate) signing: EncodingKey,
    pub(crate) public: Vec<u8>,
}

fn pem(kind: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

pub(crate) fn rsa_pair(size: rsa::KeySize) -> Pair {
    let pair = rsa::KeyPair::generate(size).expect("an RSA key");
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).expect("PKCS #8");
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("X.509");
    Pair {
        algorithm: Algorithm::RS256,
        signing: EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).expect("a PEM"),
        public: pem("PUBLIC KEY", public.as_ref()).into_bytes(),
    }
}

pub(crate) fn ec_pair() -> Pair {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key");
    let private = pair.to_pkcs8v1().expect("PKCS #8");
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("X.509");
    Pair {
        algorithm: Algorithm::ES256,
        signing: EncodingKey::from_ec_der(private.as_ref()),
        public: pem("PUBLIC KEY", public.as_ref()).into_bytes(),
    }
}

pub(crate) fn ed_pair() -> (Pair, [u8; 32]) {
    let pair = Ed25519KeyPair::generate().expect("an Ed25519 key");
    let private = pair.to_pkcs8v1().expect("PKCS #8");
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("X.509");
    let raw = pair.public_key().as_ref().try_into().expect("32 bytes");
    let pair = Pair {
        algorithm: Algorithm::EdDSA,
        signing: EncodingKey::from_ed_der(private.as_ref()),
        public: pem("PUBLIC KEY", public.as_ref()).into_bytes(),
    };
    (pair, raw)
}

/// The keys of the outside issuer, made once: RSA keys take their time.
pub(crate) static RSA: LazyLock<Pair> = LazyLock::new(|| rsa_pair(rsa::KeySize::Rsa2048));
pub(crate) static EC: LazyLock<Pair> = LazyLock::new(ec_pair);
pub(crate) static ED: LazyLock<Pair> = LazyLock::new(|| ed_pair().0);
pub(crate) static HMAC: LazyLock<Pair> = LazyLock::new(|| Pair {
    algorithm: Algorithm::HS256,
    signing: EncodingKey::from_secret(SECRET.as_bytes()),
    public: SECRET.as_bytes().to_vec(),
});
/// podgate's own.
pub(crate) static OWN: LazyLock<(Pair, [u8; 32])> = LazyLock::new(ed_pair);

/// The public half of a pair as its issuer publishes it.
pub(crate) fn jwk(pair: &Pair, kid: &str) -> Value {
    let jwk = Jwk::from_encoding_key(&pair.signing, pair.algorithm).expect("a public key");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    jwk["kid"] = kid.into();
    jwk
}

/// Secrets by file name: the public halves of the keys above.
pub(crate) struct Keys;

impl Secrets for Keys {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "rsa" => Ok(RSA.public.clone()),
            "ec" => Ok(EC.public.clone()),
            "ed" => Ok(ED.public.clone()),
            "secret" => Ok(HMAC.public.clone()),
            _ => Err(format!("{path}: no such file")),
        }
    }

    fn env(&self, name: &str) -> Result<String, String> {
        Err(format!("the variable {name} is not set"))
    }
}

/// Reads an `[auth]` section.
pub(crate) fn read_auth(text: &str) -> (Config, Vec<Problem>) {
    let mut section = Section::new("auth", text.parse().expect("TOML"), &Keys);
    let config = Config::read(&mut section, DOMAIN);
    (config, section.finish())
}

/// An `[auth]` section with one outside issuer that has a key of each kind.
pub(crate) fn auth_config() -> Config {
    let (config, problems) = read_auth(&format!(
        "[[issuers]]\nissuer = \"{OUTSIDE}\"\naudience = [\"pods\", \"other\"]\nkeys = [\n\
         {{ kid = \"h\", algorithm = \"HS256\", key = \"file:secret\" }},\n\
         {{ kid = \"r\", algorithm = \"RS256\", key = \"file:rsa\" }},\n\
         {{ kid = \"e\", algorithm = \"ES256\", key = \"file:ec\" }},\n\
         {{ kid = \"d\", algorithm = \"EdDSA\", key = \"file:ed\" }},\n]\n"
    ));
    assert_eq!(problems, []);
    config
}

pub(crate) fn own_keys() -> Vec<IssuerKey> {
    vec![IssuerKey {
        kid: "k1".to_owned(),
        public: OWN.1,
    }]
}

/// Claims that are good at [`T0`], for podgate's own issuer.
pub(crate) fn claims(sub: &str) -> Value {
    json!({ "iss": IssuerKey::issuer(DOMAIN), "aud": IssuerKey::audience(DOMAIN), "sub": sub, "exp": T0 + 60 })
}

/// The same for the outside issuer.
pub(crate) fn outside_claims(sub: &str) -> Value {
    json!({ "iss": OUTSIDE, "aud": "pods", "sub": sub, "exp": T0 + 60 })
}

pub(crate) fn sign(pair: &Pair, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(pair.algorithm);
    header.kid = kid.map(str::to_owned);
    sign_under(pair, &header, claims)
}

pub(crate) fn sign_under(pair: &Pair, header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &pair.signing).expect("signs")
}

/// A session of podgate's for a host, made and begun so many seconds after [`T0`].
pub(crate) fn session(user: &User, host: &str, (since, made, expires): (i64, i64, i64)) -> String {
    let claims = json!({
        "iss": IssuerKey::issuer(DOMAIN), "aud": host, "sub": user.id,
        "auth_time": T0 + since, "iat": T0 + made, "exp": T0 + expires,
    });
    sign_as(SESSION_TYPE, &claims)
}

/// The same in frames of another site.
pub(crate) fn embedded_session(user: &User, host: &str) -> String {
    let claims = json!({
        "iss": IssuerKey::issuer(DOMAIN), "aud": host, "sub": user.id,
        "auth_time": T0, "iat": T0, "exp": T0 + 60, "embed": true,
    });
    sign_as(SESSION_TYPE, &claims)
}

/// Claims of a ticket for john's `api`, good for 30 s from [`T0`].
pub(crate) fn ticket_claims(user: &User) -> Value {
    json!({
        "iss": IssuerKey::issuer(DOMAIN), "aud": format!("api-myproject-john.{DOMAIN}"), "sub": user.id,
        "iat": T0, "exp": T0 + 30, "jti": uuid::Uuid::now_v7(),
    })
}

/// Signs as podgate does, for a purpose.
pub(crate) fn sign_as(typ: &str, claims: &Value) -> String {
    let mut header = Header::new(OWN.0.algorithm);
    header.kid = Some("k1".to_owned());
    header.typ = Some(typ.to_owned());
    sign_under(&OWN.0, &header, claims)
}

/// A good token of podgate's for a user.
pub(crate) fn token(user: &User) -> String {
    sign(&OWN.0, Some("k1"), &claims(user.name.as_str()))
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A client that came by https.
pub(crate) fn client(address: &str) -> Client {
    Client {
        address: ip(address),
        peer: ip(address),
        https: true,
        trusted: false,
    }
}

fn user(text: &str) -> Arc<User> {
    Arc::new(User {
        id: UserId::new(),
        name: name(text),
        sessions_from: UnixMillis(0),
        limits: None,
    })
}

/// john owns `myproject`, ann is in its team, mary has a share until a minute after
/// [`T0`], eve has nothing.
pub(crate) struct World {
    pub(crate) john: Arc<User>,
    pub(crate) ann: Arc<User>,
    pub(crate) mary: Arc<User>,
    pub(crate) eve: Arc<User>,
    users: HashMap<UserId, Arc<User>>,
    routes: HashMap<String, Arc<Route>>,
    /// The labels that custom domains lead to, and since when.
    domains: HashMap<String, (String, UnixMillis)>,
    start: Instant,
}

impl World {
    /// Services `app` (public), `api` (private), `wiki` (for any user), and `off` (public,
    /// of a stopped pod); beside them one of eve's.
    pub(crate) fn new() -> Self {
        let [john, ann, mary, eve] = ["john", "ann", "mary", "eve"].map(user);
        let pod = |state| {
            Arc::new(RoutedPod {
                id: PodId::new(),
                name: name("myproject"),
                owner: Arc::clone(&john),
                team: Some(Arc::new(RoutedTeam {
                    id: TeamId::new(),
                    active: [ann.id].into(),
                })),
                shares: [RoutedShare {
                    user: mary.id,
                    expires_at: UnixMillis((T0 + 60) * 1000),
                    services: Box::default(),
                }]
                .into(),
                node: None,
                address: None,
                state,
            })
        };
        let running = pod(PodState::Ready);
        let stopped = pod(PodState::Stopped);
        let route = |service: &str, visibility, pod: &Arc<RoutedPod>| {
            let label = format!("{service}-myproject-john");
            let route = Route {
                host: label.parse().expect("a label"),
                service: ServiceId::new(),
                name: name(service),
                port: 3000,
                visibility,
                siblings: false,
                pod: Arc::clone(pod),
                targets: Box::default(),
                external_port: None,
                limits: None,
            };
            (label, Arc::new(route))
        };
        let strangers = Route {
            host: "app-evil-eve".parse().expect("a label"),
            service: ServiceId::new(),
            name: name("app"),
            port: 3000,
            visibility: Visibility::Private,
            siblings: false,
            pod: Arc::new(RoutedPod {
                id: PodId::new(),
                name: name("evil"),
                owner: Arc::clone(&eve),
                team: None,
                shares: Box::default(),
                node: None,
                address: None,
                state: PodState::Ready,
            }),
            targets: Box::default(),
            external_port: None,
            limits: None,
        };
        let strangers = ("app-evil-eve".to_owned(), Arc::new(strangers));
        Self {
            users: [&john, &ann, &mary, &eve]
                .map(|user| (user.id, Arc::clone(user)))
                .into(),
            routes: [
                route("app", Visibility::Public, &running),
                route("api", Visibility::Private, &running),
                route("wiki", Visibility::Authenticated, &running),
                route("off", Visibility::Public, &stopped),
            ]
            .into_iter()
            .chain([strangers])
            .collect(),
            domains: HashMap::new(),
            john,
            ann,
            mary,
            eve,
            start: Instant::now(),
        }
    }

    /// A moment so long after [`T0`].
    pub(crate) fn at(&self, after: Duration) -> Now {
        Now {
            instant: self.start + after,
            unix: UnixMillis(T0 * 1000).plus(after),
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.at(Duration::ZERO)
    }

    pub(crate) fn service(&self, service: &str) -> Arc<Route> {
        Arc::clone(&self.routes[&format!("{service}-myproject-john")])
    }

    /// Lets pages of the owner's other services act with visitors' sessions.
    pub(crate) fn open_to_siblings(&mut self, service: &str) {
        let label = format!("{service}-myproject-john");
        let route = Route {
            siblings: true,
            ..Route::clone(&self.routes[&label])
        };
        self.routes.insert(label, Arc::new(route));
    }

    /// Has a custom domain lead to a service since so many seconds after [`T0`].
    pub(crate) fn lend(&mut self, domain: &str, service: &str, after: i64) {
        let label = format!("{service}-myproject-john");
        let since = UnixMillis((T0 + after) * 1000);
        self.domains.insert(domain.to_owned(), (label, since));
    }

    /// Ends a user's sessions at so many seconds after [`T0`].
    pub(crate) fn end_sessions(&mut self, user: &User, after: i64) {
        let ended = User {
            sessions_from: UnixMillis((T0 + after) * 1000),
            ..user.clone()
        };
        self.users.insert(user.id, Arc::new(ended));
    }

    /// Changes a service's route, as a change of the feed would.
    pub(crate) fn change(&mut self, service: &str, change: impl FnOnce(&mut Route)) {
        let route = self.routes.get_mut(&format!("{service}-myproject-john"));
        change(Arc::make_mut(route.expect("a service of this world")));
    }

    pub(crate) fn remove(&mut self, service: &str) {
        self.routes.remove(&format!("{service}-myproject-john"));
    }

    pub(crate) fn forget(&mut self, user: &User) {
        self.users.remove(&user.id);
    }
}

impl Table for World {
    type Entry = Arc<Route>;

    fn route(&self, key: &str) -> Option<Arc<Route>> {
        let label = self.domains.get(key).map_or(key, |(label, _)| label);
        self.routes.get(label).cloned()
    }

    fn had_since(&self, domain: &str) -> Option<UnixMillis> {
        self.domains.get(domain).map(|(_, since)| *since)
    }

    fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.users.get(&id).cloned()
    }

    fn user_named(&self, name: &str) -> Option<Arc<User>> {
        self.users.values().find(|user| user.name.as_str() == name).cloned()
    }
}

/// Policies of so many a minute: public, user, default.
pub(crate) fn policies(counts: [u32; 3]) -> Policies {
    let [public, user, default] = counts.map(|count| {
        Policy::of(Rate {
            count: NonZeroU32::new(count).expect("over zero"),
            window: Duration::from_secs(60),
        })
    });
    Policies {
        public,
        user,
        default,
        exempt: vec!["10.0.0.0/8".parse().expect("a network")],
        ..Policies::default()
    }
}

pub(crate) fn gate(counts: [u32; 3]) -> Gate {
    Gate {
        hosts: Hosts::new(DOMAIN),
        shape: shape::Bounds::default(),
        auth: Auth::new(Arc::new(auth_config()), &own_keys()),
        limits: Limits::new(policies(counts), Arc::new(Meters::default())),
    }
}

/// A request for a service of john's pod.
pub(crate) fn request(service: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri("/");
    request = request.header("host", format!("{service}-myproject-john.{DOMAIN}"));
    for (name, value) in fields {
        request = request.header(*name, value.as_bytes());
    }
    request.body(()).expect("a request").into_parts().0
}
