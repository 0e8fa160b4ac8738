//! An authority that says when certificates are to be renewed (RFC 9773).

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use integration::process::pebble::go_between::{Fault, Kind};
use integration::wait::until;
use serde_json::{Value, json};

use crate::misbehaves::Certified;

/// Short, so that it is asked every five seconds.
const LIFE: u32 = 300;

fn moment(text: &Value) -> SystemTime {
    humantime::parse_rfc3339(text.as_str().expect("a moment")).expect("a moment")
}

/// A window, in seconds from now.
fn window(from: i64, to: i64) -> String {
    let at = |seconds: i64| {
        let away = Duration::from_secs(seconds.unsigned_abs());
        let now = SystemTime::now();
        let at = if seconds < 0 { now - away } else { now + away };
        humantime::format_rfc3339_seconds(at).to_string()
    };
    json!({"suggestedWindow": {"start": at(from), "end": at(to)}}).to_string()
}

#[tokio::test]
async fn it_is_renewed_when_the_authority_wants() {
    let site = Certified::prepared(LIFE, "", |between| {
        between.offer_renewal_info(window(100, 200), Some("1"));
    })
    .await;
    let first = site.leaf().await;
    // A window in the future: asked more than once, nothing is done.
    until("to be asked twice", async || {
        (site.between.times(Kind::RenewalInfo) >= 2).then_some(())
    })
    .await;
    assert_eq!(site.leaf().await, first);
    assert_eq!(site.pebble.orders(), 1);
    assert!(
        site.between.orders()[0].get("replaces").is_none(),
        "it replaces nothing"
    );

    // One in the past: at once.
    site.between.offer_renewal_info(window(-200, -100), Some("1"));
    site.another(&first).await;
    site.between.offer_renewal_info(window(100, 200), Some("1"));
    let orders = site.between.orders();
    let replaces = orders[1]["replaces"].as_str().expect("it tells what it replaces");
    assert_eq!(replaces, identifier(&first));
    assert_eq!(site.status().await["problem"], json!(null));
}

/// What a certificate is called there: the key identifier of its issuer and its serial number
/// (RFC 9773, 4.1), found without a parser by what stands before them (RFC 5280, 4.1 and 4.2.1.1).
fn identifier(leaf: &[u8]) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let after = |mark: &[u8]| {
        let at = leaf
            .windows(mark.len())
            .position(|part| part == mark)
            .expect("it is there");
        &leaf[at + mark.len()..]
    };
    let issuer = after(&[0x06, 0x03, 0x55, 0x1d, 0x23]);
    // An octet string, a sequence, and in it the key identifier, tagged 0.
    let issuer = &issuer[4..];
    assert_eq!(issuer[0], 0x80);
    let issuer = &issuer[2..2 + usize::from(issuer[1])];
    let serial = after(&[0xa0, 0x03, 0x02, 0x01, 0x02, 0x02]);
    let serial = &serial[1..=usize::from(serial[0])];
    format!("{}.{}", base64.encode(issuer), base64.encode(serial))
}

/// Without a word of the authority that makes sense it is renewed by age: this says when.
async fn goes_by_age(site: &Certified) {
    until("to be asked", async || {
        (site.between.times(Kind::RenewalInfo) > 0).then_some(())
    })
    .await;
    let it = until("a moment to renew", async || {
        let it = site.status().await;
        let (from, until) = (moment(&it["not_before"]), moment(&it["not_after"]));
        let (life, due) = (
            until.duration_since(from).ok()?,
            moment(&it["due_at"]).duration_since(from).ok()?,
        );
        let part = due.as_secs_f64() / life.as_secs_f64();
        (0.61..=0.67).contains(&part).then_some(it)
    })
    .await;
    assert_eq!((&it["problem"], &it["step"]), (&json!(null), &json!("waiting")), "{it}");
    assert_eq!(site.pebble.orders(), 1);
}

#[tokio::test]
async fn an_authority_that_does_not_want_to_hear_what_an_order_replaces_is_not_told() {
    let site = Certified::prepared(LIFE, "", |between| {
        between.offer_renewal_info(window(100, 200), Some("21600"));
    })
    .await;
    let already = Fault::Problem {
        status: 409,
        kind: "alreadyReplaced",
        detail: "there is another one already",
        retry_after: None,
    };
    // It refuses, or makes an order and says nothing of that.
    for fault in [already, Fault::Forgets] {
        let before = site.leaf().await;
        site.between.misbehave_once(Kind::NewOrder, fault);
        site.renew().await;
        site.another(&before).await;
        let orders = site.between.orders();
        let told: Vec<bool> = orders.iter().map(|order| order.get("replaces").is_some()).collect();
        assert_eq!(told[told.len() - 2..], [true, false], "{fault:?}: {orders:?}");
    }
    let printed = site.podgate.process.printed();
    assert!(!printed.contains("no certificate was had"), "{printed}");
}

#[tokio::test]
async fn an_absurd_window_is_none() {
    // It begins when the certificate is over; it ends then; it ends before it begins.
    let looks = [(301, 400), (100, 400), (20, 10)].map(|(from, to)| async move {
        let site = Certified::prepared(LIFE, "", |between| {
            between.offer_renewal_info(window(from, to), Some("21600"));
        })
        .await;
        goes_by_age(&site).await;
    });
    join_all(looks).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_no_window() {
    let looks = [
        (window(-20, -10), None),
        (window(-20, -10), Some("tomorrow")),
        ("never".to_owned(), Some("1")),
        (json!({"suggestedWindow": {"start": "now"}}).to_string(), Some("1")),
    ]
    .map(|(body, retry_after)| async move {
        let site = Certified::prepared(LIFE, "", |between| {
            between.offer_renewal_info(body, retry_after);
        })
        .await;
        goes_by_age(&site).await;
    });
    join_all(looks).await;
}

#[tokio::test]
async fn without_an_answer_it_goes_by_age() {
    let busy = Fault::Problem {
        status: 503,
        kind: "serverInternal",
        detail: "come again next week",
        retry_after: Some(604_800),
    };
    let looks = [Fault::Closes, Fault::IsSilent, Fault::Page(500), busy].map(|fault| async move {
        let site = Certified::prepared(LIFE, "timeout = \"1s\"", |between| {
            between.offer_renewal_info(window(-20, -10), Some("1"));
            between.misbehave(Kind::RenewalInfo, fault);
        })
        .await;
        goes_by_age(&site).await;
        // And what it says of that hinders no order.
        let before = site.leaf().await;
        site.renew().await;
        site.another(&before).await;
    });
    join_all(looks).await;
}

#[tokio::test]
async fn without_any_it_is_renewed_by_itself_before_it_ends() {
    let site = Certified::start(24, "").await;
    let first = site.leaf().await;
    let ends = moment(&site.status().await["not_after"]);
    // Every handshake on the way finds one that holds, or fails the test.
    site.another(&first).await;
    assert!(SystemTime::now() < ends, "in time");
    assert_eq!(site.pebble.orders(), 2);
}
