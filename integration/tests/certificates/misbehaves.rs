//! An authority that misbehaves: the certificate that there is serves on, the status says why
//! there is no other, and when the authority is good again, there is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::Method;
use integration::origin::{self, http1::Origin};
use integration::process::free_address;
use integration::process::pebble::go_between::{Fault, GoBetween, Kind};
use integration::process::pebble::wrong_chain::WrongChain;
use integration::process::pebble::{Pebble, Ways};
use integration::rustls::ClientConfig;
use integration::wait::until;
use serde_json::{Value, json};

use crate::site::Podgate;

const HOUR: u32 = 3600;

/// podgate, with what stands between it and its authority, and a service that has its certificate.
pub(crate) struct Certified {
    pub(crate) podgate: Podgate,
    pub(crate) pebble: Pebble,
    pub(crate) between: GoBetween,
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) host: String,
    origin: Origin,
}

impl Certified {
    pub(crate) async fn start(validity: u32, more: &str) -> Self {
        Self::prepared(validity, more, |_| ()).await
    }

    /// The same, with something told to what stands between before anything is asked.
    pub(crate) async fn prepared(validity: u32, more: &str, prepare: impl FnOnce(&GoBetween)) -> Self {
        let origin = origin::http1().route("/", "hello").run().await;
        let listen = [free_address(), free_address(), free_address()];
        let [http, https, _] = listen;
        let pebble = Pebble::steady(Ways { http, https, validity }).await;
        let between = GoBetween::before(&pebble).await;
        prepare(&between);
        let section = between.section(&format!("challenge = \"http-01\"\n{more}"));
        let edge = format!("https = \"{https}\"");
        let podgate = Podgate::start(listen, origin.addr(), &edge, &section).await;
        let client = pebble.client(&[b"http/1.1"]).await;
        let host = podgate.service("app", origin.addr()).await;
        until("a certificate", async || podgate.secure(&client, &host, "/").await).await;
        Self {
            podgate,
            pebble,
            between,
            client,
            host,
            origin,
        }
    }

    /// How it goes with the certificate.
    pub(crate) async fn status(&self) -> Value {
        let path = format!("certificates/{}", self.host);
        self.podgate.api.ok(Method::GET, &path, json!(null)).await
    }

    /// Asks for another one.
    pub(crate) async fn renew(&self) {
        let path = format!("certificates/{}/renew", self.host);
        self.podgate.api.ok(Method::POST, &path, json!(null)).await;
    }

    pub(crate) async fn leaf(&self) -> Vec<u8> {
        self.podgate.leaf(&self.client, &self.host).await
    }

    /// Waits until another one is served than this.
    pub(crate) async fn another(&self, than: &[u8]) {
        until("another certificate", async || {
            (self.leaf().await != than).then_some(())
        })
        .await;
    }

    /// Asks for another one, which is not to be had, and gives how it goes then.
    ///
    /// One time in a hundred pebble takes what was proved before for proved, whatever it is told
    /// (`rand.Intn(100) > 0` is how it does not), and nobody comes to what is in the way: then it
    /// is asked again.
    async fn fails(&self) -> Value {
        for _ in 0..3 {
            let (failures, leaf) = (self.status().await["failures"].as_u64(), self.leaf().await);
            self.renew().await;
            let failed = until("a failure", async || {
                let it = self.status().await;
                let failed = it["failures"].as_u64() > failures && !it["problem"].is_null();
                match failed {
                    true => Some(Some(it)),
                    false => (self.leaf().await != leaf).then_some(None),
                }
            })
            .await;
            if let Some(it) = failed {
                assert_eq!(self.leaf().await, leaf, "the old one serves");
                return it;
            }
        }
        panic!("nothing is in the way of a certificate");
    }

    /// Under a fault another certificate is asked for: the old one serves on, and the status says
    /// why. Then it is had.
    async fn endures(&self, kind: Kind, fault: Fault, why: &str) {
        self.between.misbehave(kind, fault);
        if kind == Kind::Directory {
            // It is asked for at the start, and after a failure.
            self.between.misbehave_once(Kind::NewOrder, Fault::Closes);
        }
        self.fails().await;
        let before = self.leaf().await;
        let what = format!("{kind:?} {fault:?}: {why}");
        let it = until(&what, async || {
            let it = self.status().await;
            it["problem"].as_str()?.contains(why).then_some(it)
        })
        .await;
        assert_eq!(it["issued"], true);
        let answer = self.podgate.secure(&self.client, &self.host, "/").await;
        assert_eq!(answer.expect("an answer").body(), "hello", "{kind:?} {fault:?}");
        assert_eq!(self.leaf().await, before, "{kind:?} {fault:?}");
        let said = self.podgate.command(&["cert", "show", &self.host]).await;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("issued, not renewed") && said.contains(why), "{said}");

        self.between.behave();
        self.another(&before).await;
        let it = until("an end", async || {
            let it = self.status().await;
            it["problem"].is_null().then_some(it)
        })
        .await;
        assert_eq!((&it["step"], &it["failures"]), (&json!("waiting"), &json!(0)), "{it}");
    }
}

const EACH: [Kind; 8] = [
    Kind::Directory,
    Kind::NewNonce,
    Kind::NewOrder,
    Kind::Order,
    Kind::Authorization,
    Kind::Challenge,
    Kind::Finalize,
    Kind::Certificate,
];

/// Each case at one of four sites, which take turns of their own.
async fn all_endured(more: &str, cases: &[(Kind, Fault, &str)]) {
    let endured = (0..4).map(|nth| async move {
        let site = Certified::start(HOUR, more).await;
        for (kind, fault, why) in cases.iter().skip(nth).step_by(4) {
            site.endures(*kind, *fault, why).await;
        }
    });
    join_all(endured).await;
}

/// An answer to `HEAD`, by which nonces are had, has no body to say why in.
fn told(kind: Kind, why: &'static str) -> &'static str {
    match kind {
        Kind::NewNonce => "the authority answers ",
        _ => why,
    }
}

fn problem(status: u16, kind: &'static str, detail: &'static str) -> Fault {
    Fault::Problem {
        status,
        kind,
        detail,
        retry_after: None,
    }
}

#[tokio::test]
async fn it_closes_connections() {
    let why = "the connection was closed before an answer came";
    all_endured("", &EACH.map(|kind| (kind, Fault::Closes, why))).await;
}

#[tokio::test]
async fn it_takes_no_connections() {
    let mut site = Certified::start(HOUR, "").await;
    let before = site.leaf().await;
    site.between.shut();
    let it = site.fails().await;
    let problem = it["problem"].as_str().expect("text");
    assert!(
        problem.contains("localhost:") && problem.contains("Connection refused"),
        "{it}"
    );
    assert_eq!(site.leaf().await, before);
    site.between.open().await;
    site.another(&before).await;
}

#[tokio::test]
async fn it_does_not_answer() {
    let cases = EACH.map(|kind| (kind, Fault::IsSilent, "no answer for 1s"));
    all_endured("timeout = \"1s\"", &cases).await;
}

#[tokio::test]
async fn it_fails() {
    let fault = problem(500, "serverInternal", "the database is on fire");
    let why = "the database is on fire";
    all_endured("", &EACH.map(|kind| (kind, fault, told(kind, why)))).await;
}

#[tokio::test]
async fn what_stands_before_it_fails() {
    let why = "the authority answers 502 Bad Gateway";
    all_endured("", &EACH.map(|kind| (kind, Fault::Page(502), why))).await;
}

#[tokio::test]
async fn it_refuses() {
    let fault = problem(400, "rejectedIdentifier", "the name is on a list of forbidden names");
    let why = "on a list of forbidden names";
    all_endured("", &EACH.map(|kind| (kind, fault, told(kind, why)))).await;
}

#[tokio::test]
async fn it_has_lost_the_account() {
    let site = Certified::start(HOUR, "").await;
    let lost = problem(400, "accountDoesNotExist", "no such account");
    let before = site.leaf().await;
    let accounts = site.between.times(Kind::NewAccount);
    site.between.misbehave_once(Kind::NewOrder, lost);
    site.renew().await;
    site.another(&before).await;
    assert_eq!(site.between.times(Kind::NewAccount), accounts + 1);
}

#[tokio::test]
async fn it_says_when_to_come_again() {
    let cases = [(429, Kind::NewOrder), (503, Kind::Finalize), (403, Kind::Certificate)];
    let waits = cases.map(|(status, kind)| async move {
        let site = Certified::start(HOUR, "").await;
        let before = site.leaf().await;
        let fault = Fault::Problem {
            status,
            kind: "rateLimited",
            detail: "too many certificates for these names",
            retry_after: Some(9),
        };
        site.between.misbehave(kind, fault);
        let asked = SystemTime::now();
        let it = site.fails().await;
        let problem = it["problem"].as_str().expect("text");
        assert!(problem.contains("too many certificates for these names"), "{problem}");
        let due = humantime::parse_rfc3339(it["due_at"].as_str().expect("a moment")).expect("a moment");
        let waits = due.duration_since(asked).expect("later");
        assert!(waits >= Duration::from_secs(9), "{waits:?}");

        if status == 503 {
            // It is that for everybody, and whoever asks does not make it ask the authority.
            let times = site.between.asked().len();
            site.renew().await;
            let it = until("an answer", async || {
                let it = site.status().await;
                (it["asked"] == false).then_some(it)
            })
            .await;
            let problem = it["problem"].as_str().expect("text");
            let why = "wants to be left alone for now: too many certificates";
            assert!(problem.contains(why), "{problem}");
            assert_eq!(site.between.asked().len(), times);
        }
        assert_eq!(site.leaf().await, before);
        site.between.behave();
        site.another(&before).await;
        assert!(
            SystemTime::now() >= asked + Duration::from_secs(9),
            "not before its time"
        );
    });
    join_all(waits).await;
}

#[tokio::test]
async fn what_it_says_of_one_name_holds_others_up_for_a_moment_only() {
    let site = Certified::start(HOUR, "").await;
    let fault = Fault::Problem {
        status: 429,
        kind: "rateLimited",
        detail: "too many certificates for this name",
        retry_after: Some(3600),
    };
    site.between.misbehave_once(Kind::NewOrder, fault);
    let it = site.fails().await;
    let due = humantime::parse_rfc3339(it["due_at"].as_str().expect("a moment")).expect("a moment");
    assert!(due > SystemTime::now() + Duration::from_secs(3500), "{it}");
    let other = site.podgate.service("api", site.origin.addr()).await;
    let answer = until("a certificate for another name", async || {
        site.podgate.secure(&site.client, &other, "/").await
    })
    .await;
    assert_eq!(answer.body(), "hello");
    let after = site.status().await;
    assert_eq!(
        (&after["due_at"], &after["failures"]),
        (&it["due_at"], &json!(1)),
        "{after}"
    );
}

#[tokio::test]
async fn it_sends_a_chain_that_is_no_good() {
    let cases = [
        (WrongChain::OtherName, "its first certificate is not for"),
        (WrongChain::OtherKey, "does not go with its key"),
        (WrongChain::Expired, "it has expired"),
        (
            WrongChain::OtherIssuer,
            "certificate 1 is not signed by the one after it",
        ),
        (WrongChain::Garbage, "not X.509"),
        (WrongChain::Empty, "0 certificates"),
    ];
    let cases = cases.map(|(chain, why)| (Kind::Certificate, Fault::Sends(chain), why));
    all_endured("", &cases).await;
}

const SIGNED: [Kind; 6] = [
    Kind::NewOrder,
    Kind::Order,
    Kind::Authorization,
    Kind::Challenge,
    Kind::Finalize,
    Kind::Certificate,
];

#[tokio::test]
async fn it_takes_no_nonce() {
    let fault = problem(400, "badNonce", "the nonce is unknown");
    all_endured("", &SIGNED.map(|kind| (kind, fault, "the nonce is unknown"))).await;
}

#[tokio::test]
async fn it_takes_another_nonce() {
    let site = Certified::start(HOUR, "").await;
    for kind in SIGNED {
        let before = site.leaf().await;
        site.between
            .misbehave_once(kind, problem(400, "badNonce", "the nonce is unknown"));
        site.renew().await;
        site.another(&before).await;
    }
    // A matter between the two, of which nobody hears.
    let printed = site.podgate.process.printed();
    assert!(!printed.contains("no certificate was had"), "{printed}");
    assert_eq!(site.pebble.orders(), 1 + SIGNED.len());
}

#[tokio::test]
async fn whoever_waits_is_told_what_goes_wrong_until_it_goes_well() {
    let site = Certified::start(HOUR, "").await;
    let before = site.leaf().await;
    let fault = problem(500, "serverInternal", "the database is on fire");
    site.between.misbehave_once(Kind::Finalize, fault);
    let said = site.podgate.command(&["cert", "renew", &site.host, "--wait"]).await;
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{told}");
    assert!(
        told.contains("have it made: the database is on fire; tried again at"),
        "{told}"
    );
    site.another(&before).await;
}
