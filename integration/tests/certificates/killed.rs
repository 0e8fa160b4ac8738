//! podgate is killed between any two steps of an order: it ends with one certificate, and the one
//! that there was serves until then.
//!
//! Each request to the authority is held in turn, before the authority hears of it and after it
//! has answered, and podgate dies there. What it writes down lies between two of them.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use http::Method;
use integration::origin;
use integration::process::free_address;
use integration::process::pebble::go_between::{GoBetween, Kind, Side};
use integration::process::pebble::{Pebble, Ways};
use integration::wait::until;
use serde_json::json;

use crate::misbehaves::Certified;
use crate::site::Podgate;

const HOUR: u32 = 3600;
/// Sites at a time.
const AT_ONCE: usize = 4;
/// More requests than an order takes.
const MOST: usize = 30;

/// Dies at the `nth` request: at which that was, and how many orders the authority has of it.
/// Nothing when an order takes fewer.
async fn dies_at(nth: usize, side: Side) -> Option<(Kind, usize)> {
    let origin = origin::http1().route("/", "hello").run().await;
    let listen = [free_address(), free_address(), free_address()];
    let [http, https, _] = listen;
    let validity = HOUR;
    let pebble = Pebble::steady(Ways { http, https, validity }).await;
    let client = pebble.client(&[b"http/1.1"]).await;
    let between = GoBetween::before(&pebble).await;
    let hold = between.hold(nth, side);
    let section = between.section("challenge = \"http-01\"");
    let edge = format!("https = \"{https}\"");
    let mut podgate = Podgate::start(listen, origin.addr(), &edge, &section).await;
    let host = podgate.service("app", origin.addr()).await;
    let kind = tokio::select! {
        kind = hold.reached() => kind,
        _ = until("a certificate", async || podgate.secure(&client, &host, "/").await) => return None,
    };
    podgate.die().await;
    drop(hold);

    let at = format!("killed at request {nth}, {kind:?}, {side:?} the authority");
    let answer = until(&format!("a certificate, {at}"), async || {
        podgate.secure(&client, &host, "/").await
    })
    .await;
    assert_eq!(answer.body(), "hello", "{at}");
    let all = until(&format!("an end, {at}"), async || {
        let all = podgate.api.ok(Method::GET, "certificates", json!(null)).await;
        (all["items"][0]["step"] == "waiting").then_some(all)
    })
    .await;
    let [one] = all["items"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        panic!("one and no more, {at}: {all}");
    };
    let good = json!({"name": host, "issued": true, "problem": null, "failures": 0, "asked": false});
    for (key, value) in good.as_object().expect("an object") {
        assert_eq!(&one[key], value, "{at}: {one}");
    }
    // What was to be shown to the authority is gone.
    let sql = "SELECT (SELECT count(*) FROM certificates) || ' ' || (SELECT count(*) FROM challenges)";
    assert_eq!(query(&podgate, sql).await, "1 0", "{at}");
    Some((kind, pebble.orders()))
}

/// What the database says to a question about one row of text.
async fn query(podgate: &Podgate, sql: &str) -> String {
    use sea_orm::ConnectionTrait as _;
    let path = podgate.home.path().join("podgate.db");
    let database = sea_orm::Database::connect(format!("sqlite:{}?mode=ro", path.display())).await;
    let database = database.expect("open the database");
    let asked = sea_orm::Statement::from_string(sea_orm::DatabaseBackend::Sqlite, sql);
    let row = database.query_one_raw(asked).await.expect("an answer").expect("a row");
    row.try_get_by_index(0).expect("text")
}

#[tokio::test]
async fn between_any_two_steps_it_ends_with_one_certificate() {
    let points = (1..=MOST).flat_map(|nth| [(nth, Side::Before), (nth, Side::After)]);
    let mut deaths = stream::iter(points)
        .map(|(nth, side)| async move { (side, dies_at(nth, side).await) })
        .buffered(AT_ONCE);
    let mut seen = BTreeSet::new();
    let mut left_over = Vec::new();
    while let Some((side, death)) = deaths.next().await {
        let Some((kind, orders)) = death else { break };
        seen.insert(format!("{kind:?}"));
        if orders != 1 {
            left_over.push((kind, side, orders));
        }
    }
    // The one moment at which an order exists that nobody can know of: nothing names it but the
    // answer that never came. And an authority that looks at once, when nobody is there to answer,
    // has decided on the order before podgate is back.
    left_over.retain(|death| *death != (Kind::Challenge, Side::After, 2));
    assert_eq!(left_over, [(Kind::NewOrder, Side::After, 2)]);
    let all = [
        "Authorization",
        "Certificate",
        "Challenge",
        "Directory",
        "Finalize",
        "NewAccount",
        "NewNonce",
        "NewOrder",
        "Order",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

/// Renews at the `nth` request of which podgate dies: whether there are so many.
async fn dies_renewing(site: &mut Certified, nth: usize, side: Side) -> bool {
    let (old, orders) = (site.leaf().await, site.pebble.orders());
    let hold = site.between.hold(nth, side);
    site.renew().await;
    let kind = tokio::select! {
        kind = hold.reached() => kind,
        () = site.another(&old) => return false,
    };
    // Away until it is seen what serves without it.
    site.between.shut();
    site.podgate.die().await;
    drop(hold);
    let at = format!("killed at request {nth} of a renewal, {kind:?}, {side:?} the authority");
    let answer = until(&format!("an answer, {at}"), async || {
        site.podgate.secure(&site.client, &site.host, "/").await
    })
    .await;
    assert_eq!(answer.body(), "hello", "{at}");
    assert_eq!(site.leaf().await, old, "{at}");
    site.between.open().await;
    site.another(&old).await;
    let it = until(&format!("an end, {at}"), async || {
        let it = site.status().await;
        (it["step"] == "waiting").then_some(it)
    })
    .await;
    assert_eq!((&it["problem"], &it["asked"]), (&json!(null), &json!(false)), "{at}");
    let sql = "SELECT (SELECT count(*) FROM certificates) || ' ' || (SELECT count(*) FROM challenges)";
    assert_eq!(query(&site.podgate, sql).await, "1 0", "{at}");
    let made = site.pebble.orders() - orders;
    match (kind, side) {
        (Kind::NewOrder, Side::After) => assert_eq!(made, 2, "{at}"),
        (Kind::Challenge, Side::After) => assert!((1..=2).contains(&made), "{at}: {made}"),
        _ => assert_eq!(made, 1, "{at}"),
    }
    true
}

#[tokio::test]
async fn between_any_two_steps_of_a_renewal_the_old_one_serves() {
    let sites = (1..=AT_ONCE).map(|first| async move {
        let mut site = Certified::start(HOUR, "").await;
        let mut deaths = 0;
        for nth in (first..=MOST).step_by(AT_ONCE) {
            for side in [Side::Before, Side::After] {
                // One time in a hundred pebble takes the name for proved, and an order is shorter.
                if !dies_renewing(&mut site, nth, side).await && !dies_renewing(&mut site, nth, side).await {
                    return deaths;
                }
                deaths += 1;
            }
        }
        deaths
    });
    let deaths: usize = join_all(sites).await.into_iter().sum();
    // A nonce, an order, a look at it, what is to be proved, the proof, looks, the certificate.
    assert!(deaths >= 2 * 9, "{deaths}");
}
