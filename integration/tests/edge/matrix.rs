//! The access matrix: every kind of caller at every visibility, by every kind of request.
//! Each cell says what is answered, whether the pod was reached, and for whom it took the
//! caller.

use std::time::Duration;

use integration::edge::{self, InProcess};
use integration::origin::grpc::Note;
use integration::origin::h2c::H2c;
use integration::origin::{self, h2c, http1::Origin};
use integration::token::{Signer, claims, claims_but, unix_now, unsigned};
use integration::world::{World, in_an_hour, moment};
use jsonwebtoken::{Algorithm, EncodingKey};
use model::{Key, MemberStatus, Visibility};
use serde_json::json;
use tonic::Code;

/// What a caller is to the pod, which is all that the outcome hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// In by right.
    Inside,
    /// Known, without any right.
    Outside,
    /// Nobody: no credential, or none that is good.
    Nobody,
}

/// The table that all of this is about: the status, and whether the pod is told who it is.
const fn expected(standing: Standing, visibility: Visibility) -> (u16, bool) {
    match (standing, visibility) {
        (Standing::Inside, _) => (200, true),
        (Standing::Outside, Visibility::Private) => (403, false),
        (Standing::Outside, Visibility::Authenticated | Visibility::Public) => (200, true),
        (Standing::Nobody, Visibility::Private | Visibility::Authenticated) => (401, false),
        (Standing::Nobody, Visibility::Public) => (200, false),
    }
}

/// Somebody who comes: what they are called here, who they are, and their credential.
struct Caller {
    name: &'static str,
    standing: Standing,
    user: &'static str,
    token: Option<String>,
}

/// john's pod, and everybody around it.
struct House {
    edge: InProcess,
    app: Origin,
    grpc: H2c,
}

const PEOPLE: [(&str, &str, Standing); 11] = [
    ("the owner", "john", Standing::Inside),
    ("an active member", "mary", Standing::Inside),
    ("one it is shared with", "sam", Standing::Inside),
    ("one these services are shared with", "nina", Standing::Inside),
    ("an invited member", "ivan", Standing::Outside),
    ("a suspended member", "sue", Standing::Outside),
    ("a removed member", "rita", Standing::Outside),
    ("a member of another team", "otto", Standing::Outside),
    ("one whose share is over", "olga", Standing::Outside),
    ("one another service is shared with", "nora", Standing::Outside),
    ("a stranger", "eve", Standing::Outside),
];

impl House {
    async fn new() -> Self {
        let (app, grpc) = (origin::http1().route("/", "inside").run().await, h2c::run().await);
        let mut world = World::new()
            .team("pod-john", "core")
            .member("core", "mary", MemberStatus::Active)
            .member("core", "rita", MemberStatus::Active)
            .member("core", "sue", MemberStatus::Suspended)
            .member("core", "ivan", MemberStatus::Invited)
            .member("other", "otto", MemberStatus::Active)
            .share("pod-john", "sam", &[], in_an_hour())
            .share("pod-john", "nina", &["private", "grpcprivate"], in_an_hour())
            .share("pod-john", "nora", &["code"], in_an_hour())
            .share("pod-john", "olga", &[], moment(true, Duration::from_secs(1)))
            .user("eve");
        for visibility in Visibility::ALL {
            let [plain, grpc_label] = [label(*visibility, false), label(*visibility, true)];
            world = world.service(&plain, *visibility, [app.addr()]);
            world = world.service(&grpc_label, *visibility, [grpc.addr()]);
        }
        let signers = [Signer::hs256("h"), Signer::rs256("r")];
        let edge = edge::with_world(world).signers(signers).run().await;
        let (core, rita) = (edge.world.team_id("core"), edge.world.user_id("rita"));
        edge.remove([Key::Member(core, rita)]);
        Self { edge, app, grpc }
    }

    fn callers(&self) -> Vec<Caller> {
        let known = PEOPLE.iter().map(|(name, user, standing)| Caller {
            name,
            standing: *standing,
            user,
            token: Some(self.edge.token(user)),
        });
        let nobody = Caller {
            name: "nobody",
            standing: Standing::Nobody,
            user: "",
            token: None,
        };
        // Of the owner, so that anything taken for good would open every door.
        let bad = self.bad_tokens().into_iter().map(|(name, token)| Caller {
            name,
            standing: Standing::Nobody,
            user: "john",
            token: Some(token),
        });
        known.chain([nobody]).chain(bad).collect()
    }

    fn bad_tokens(&self) -> Vec<(&'static str, String)> {
        let [hmac, rsa] = &self.edge.signers[..] else {
            panic!("two keys")
        };
        let but = |claim: &str, value| hmac.sign(&hmac.header(), &claims_but("john", claim, Some(value)));
        let eves = hmac.token("eve");
        let signature = eves.rsplit('.').next().expect("a signature");
        let forged = format!("{}.{signature}", unsigned(&hmac.header(), &claims("john")));
        let none = unsigned(&json!({ "alg": "none", "kid": "h", "typ": "JWT" }), &claims("john"));
        // The public key, as everybody knows it, for an HMAC secret.
        let confused = unsigned(&json!({ "alg": "HS256", "kid": "r", "typ": "JWT" }), &claims("john"));
        let public = EncodingKey::from_secret(rsa.verifying.as_bytes());
        let mac = jsonwebtoken::crypto::sign(confused.as_bytes(), &public, Algorithm::HS256).expect("HMAC");
        let elsewhere = json!({ "alg": "HS256", "kid": "elsewhere", "typ": "JWT" });
        vec![
            ("a forged token", forged),
            ("an expired token", but("exp", json!(unix_now() - 60))),
            ("a token for another audience", but("aud", json!("another-service"))),
            (
                "a token of another issuer",
                but("iss", json!("https://evil.example.test")),
            ),
            ("a token without signature", format!("{none}.")),
            ("a token that confuses keys", format!("{confused}.{mac}")),
            ("a token of an unknown key", hmac.sign(&elsewhere, &claims("john"))),
            ("a token for later", but("nbf", json!(unix_now() + 600))),
            ("a token of no user", hmac.token("nobody")),
        ]
    }

    /// How many requests have reached the pod.
    fn reached(&self) -> usize {
        self.app.seen().len() + self.grpc.seen().len()
    }

    /// As whom the last request came to the pod, and whether it holds this text.
    fn last(&self, manner: Manner, text: &str) -> (Option<String>, bool) {
        if manner == Manner::Grpc {
            let seen = self.grpc.seen().pop().expect("a call");
            let user = seen.headers.get("x-user-id").and_then(|id| id.to_str().ok());
            let holds = seen.headers.values().any(|value| value.as_bytes() == text.as_bytes());
            (user.map(str::to_owned), holds)
        } else {
            let seen = self.app.last();
            (seen.one("x-user-id"), seen.holds(text))
        }
    }

    /// What a request comes to: its status, or for gRPC the one that its own stands for.
    async fn ask(&self, manner: Manner, visibility: Visibility, token: Option<&str>) -> u16 {
        let label = label(visibility, manner == Manner::Grpc);
        let request = match manner {
            Manner::Get => self.edge.request(&label, "/"),
            Manner::Post => self.edge.request(&label, "/sink").post("a body"),
            Manner::Http2 => self.edge.request_h2(&label, "/"),
            Manner::WebSocket => {
                let headers: Vec<(&str, &str)> = token.iter().map(|token| ("x-podgate-token", *token)).collect();
                return match self.edge.websocket(&label, "/ws", &headers).await {
                    Ok(_) => 200,
                    Err(status) => status.as_u16(),
                };
            }
            Manner::Grpc => {
                let mut grpc = self.edge.grpc(&label).await;
                if let Some(token) = token {
                    grpc = grpc.token(token);
                }
                return match grpc.say(Note::new("hello", 1)).await.map_err(|status| status.code()) {
                    Ok(_) => 200,
                    Err(Code::Unauthenticated) => 401,
                    Err(Code::PermissionDenied) => 403,
                    Err(code) => panic!("{code:?}"),
                };
            }
        };
        let request = match token {
            Some(token) => request.token(token),
            None => request,
        };
        request.send().await.status()
    }
}

/// The label of the service of a visibility.
fn label(visibility: Visibility, grpc: bool) -> String {
    format!("{}{visibility}-pod-john", if grpc { "grpc" } else { "" })
}

/// How a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Get,
    Post,
    Http2,
    WebSocket,
    Grpc,
}

#[tokio::test]
async fn every_caller_at_every_visibility_in_every_manner() {
    let house = House::new().await;
    for caller in house.callers() {
        for visibility in Visibility::ALL {
            for manner in [
                Manner::Get,
                Manner::Post,
                Manner::Http2,
                Manner::WebSocket,
                Manner::Grpc,
            ] {
                let cell = format!("{} at a {visibility} service by {manner:?}", caller.name);
                let (status, known) = expected(caller.standing, *visibility);
                let before = house.reached();
                let token = caller.token.as_deref();
                assert_eq!(house.ask(manner, *visibility, token).await, status, "{cell}");
                let reached = house.reached() - before;
                assert_eq!(reached, usize::from(status == 200), "{cell}: requests at the pod");
                if reached > 0 {
                    let id = known.then(|| house.edge.world.user_id(caller.user).to_string());
                    let seen = house.last(manner, token.unwrap_or("no such text"));
                    assert_eq!(seen, (id, false), "{cell}: who the pod takes it for, and its token");
                }
            }
        }
    }
}
