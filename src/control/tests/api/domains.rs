//! Names outside of the platform's domain, claimed for services.

use http::Method;
use model::{CertOrder, CustomDomain, UnixMillis};
use serde_json::{Value, json};

use crate::Api;

const SHOP: &str = "shop.example.org";

/// john's services `app` and `api`, and mary's `app`.
async fn services(api: &Api) -> String {
    let pod = api.world().await;
    for name in ["app", "api"] {
        let service = json!({ "name": name, "port": 1, "visibility": "private" });
        api.post(&format!("{pod}/services"), service).await.made();
    }
    api.post("pods", json!({ "name": "hers", "owner": "mary" }))
        .await
        .made();
    let service = json!({ "name": "app", "port": 1, "visibility": "public" });
    api.post("pods/mary%2Fhers/services", service).await.made();
    pod
}

fn claim(name: &str, service: &str) -> Value {
    json!({ "name": name, "service": service })
}

/// Has a claim's record found.
async fn found(api: &Api, name: &str, service: &str) {
    let claims = api.store.claims(&[name.parse().expect("a name")]).await.expect("read");
    let claim = claims
        .into_iter()
        .find(|claim| claim.service == service)
        .expect("claimed");
    let batch = api.store.begin().await.expect("begin");
    assert!(batch.verify_claim(&claim.domain).await.expect("verify"));
    batch.commit().await.expect("commit");
}

#[tokio::test]
async fn a_claim_says_what_to_put_where() {
    let api = Api::new().await;
    let pod = services(&api).await;
    let answer = api
        .post("certificates", claim("Shop.Example.ORG.", "john/myproject/app"))
        .await;
    assert_eq!(answer.headers["location"], "/api/v1/certificates/shop.example.org");
    let tag = answer.headers["etag"].clone();
    let made = answer.made();
    assert_eq!(
        (&made["name"], &made["step"], &made["issued"]),
        (&json!(SHOP), &json!("verifying"), &json!(false))
    );
    let its = &made["claims"][0];
    assert_eq!(its["service"], "john/myproject/app");
    assert_eq!(format!("pods/{}", its["pod"].as_str().expect("an id")), pod);
    assert_eq!((&its["verified_at"], &its["problem"]), (&Value::Null, &Value::Null));
    assert_eq!(its["record"]["name"], "_podgate-verify.shop.example.org");
    assert_eq!(its["record"]["type"], "TXT");
    let value = its["record"]["value"].as_str().expect("text");
    assert!(
        value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit()),
        "{value}"
    );
    let read = api.get("certificates/SHOP.example.org").await;
    assert_eq!(read.headers["etag"], tag);
    assert_eq!(read.ok(), made);
    assert_eq!(api.get("certificates").await.ok()["items"], json!([made]));
    let other = api
        .post("certificates", claim("other.example.org", "john/myproject/app"))
        .await
        .made();
    assert_ne!(other["claims"][0]["record"]["value"], json!(value), "by chance alone");

    // What was wrong is told.
    let how = store::Verifying {
        problem: Some("there is no TXT record".to_owned()),
        checked_at: Some(UnixMillis(0)),
        failures: 2,
        due_at: UnixMillis(60_000),
    };
    let claims = api.store.claims(&[SHOP.parse().expect("a name")]).await.expect("read");
    let batch = api.store.begin().await.expect("begin");
    batch
        .note_claim(&claims[0].domain, claims[0].verifying.due_at, &how)
        .await
        .expect("note");
    batch.commit().await.expect("commit");
    let shown = api.get("certificates/shop.example.org").await;
    assert_eq!(shown.headers["etag"], tag, "the claim is what it was");
    let shown = shown.ok();
    assert_eq!(
        (&shown["problem"], &shown["failures"], &shown["due_at"]),
        (
            &json!("there is no TXT record"),
            &json!(2),
            &json!("1970-01-01T00:01:00.000Z")
        )
    );
    let asked = api.post("certificates/shop.example.org/verify", Value::Null).await;
    assert_eq!(asked.status, 202);
    assert_ne!(asked.body["due_at"], shown["due_at"], "now, and not then");

    found(&api, SHOP, "john/myproject/app").await;
    let shown = api.get("certificates/shop.example.org").await.ok();
    assert_eq!((&shown["step"], &shown["problem"]), (&json!("waiting"), &Value::Null));
    assert!(shown["claims"][0]["verified_at"].is_string(), "{shown}");
    // It is looked for no more.
    let before = api.revision().await;
    assert_eq!(
        api.post("certificates/shop.example.org/verify", Value::Null)
            .await
            .status,
        202
    );
    assert_eq!(api.revision().await, before);

    api.delete("certificates/shop.example.org").await.gone();
    api.delete("certificates/shop.example.org")
        .await
        .refused(404, None, "shop.example.org");
    api.get("certificates/shop.example.org")
        .await
        .refused(404, None, "shop.example.org");
    let audit = api.get("audit").await.ok();
    let done: Vec<String> = audit["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            format!(
                "{} {}",
                it["action"].as_str().expect("text"),
                it["object"].as_str().expect("text")
            )
        })
        .filter(|it| it.starts_with("domains."))
        .collect();
    assert_eq!(
        done,
        [
            "domains.release shop.example.org",
            "domains.verify shop.example.org",
            "domains.claim other.example.org for john/myproject/app",
            "domains.claim shop.example.org for john/myproject/app",
        ]
    );
}

#[tokio::test]
async fn what_may_not_be_claimed_is_refused() {
    let api = Api::new().await;
    services(&api).await;
    let before = api.revision().await;
    let check = async |name: &str, says: &str| {
        let refused = api.post("certificates", claim(name, "john/myproject/app")).await;
        refused.refused(422, Some("name"), says);
    };
    check("example.dev", "the platform's own").await;
    check("app-myproject-john.example.dev", "the platform's own").await;
    check("a.b.EXAMPLE.dev.", "the platform's own").await;
    check("*.example.org", "no wildcards").await;
    check("192.0.2.1", "number").await;
    check("2001:db8::1", "not for names").await;
    check("localhost", "one label").await;
    check("", "empty").await;
    check("a b.example.org", "not for names").await;
    check("_dmarc.example.org", "no host's name").await;
    check("https://shop.example.org/", "no scheme").await;
    check("b\u{fc}ro.example.org", "A-labels").await;
    check(&format!("{}.org", "a".repeat(64)), "at most 63").await;
    check(&format!("{}example.org", "a.".repeat(120)), "more than 237").await;
    let check = async |service: &str, says: &str| {
        let refused = api.post("certificates", claim(SHOP, service)).await;
        refused.refused(422, Some("service"), says);
    };
    check("app", "write OWNER/POD/SERVICE").await;
    check("john/myproject/none", "There is no service").await;
    check("john/none/app", "There is no service").await;
    check("nobody/none/app", "There is no service").await;
    check("john/myproject/../app", "There is no service").await;
    check("john/myproject/", "There is no service").await;
    let refused = api.post("certificates", json!({ "name": SHOP })).await;
    refused.refused(422, Some("service"), "missing");
    assert_eq!(api.revision().await, before);
}

#[tokio::test]
async fn of_several_who_claim_a_name_one_has_it() {
    let api = Api::new().await;
    services(&api).await;
    let [read, own] = [api.token("read").await, api.token("own").await];
    api.post("certificates", claim(SHOP, "mary/hers/app")).await.made();
    // Hers is not john's to see, and does not keep him out.
    let hidden = api
        .call_as(&own, Method::GET, "certificates/shop.example.org", "")
        .await;
    hidden.refused(404, None, SHOP);
    let body = claim(SHOP, "john/myproject/app").to_string();
    let his = api
        .call_as(&own, Method::POST, "certificates", body.clone())
        .await
        .made();
    assert_eq!(his["claims"].as_array().map(Vec::len), Some(1), "{his}");
    let again = api.call_as(&own, Method::POST, "certificates", body.clone()).await;
    again.refused(409, Some("name"), "taken");
    let refused = api.call_as(&read, Method::POST, "certificates", body).await;
    refused.refused(403, None, "reading only");
    let hers = claim("other.example.org", "mary/hers/app").to_string();
    let refused = api.call_as(&own, Method::POST, "certificates", hers).await;
    refused.refused(403, None, "one user");

    // Whoever sees both says which is meant.
    let both = api.get("certificates/shop.example.org").await;
    assert!(!both.headers.contains_key("etag"));
    assert_eq!(both.ok()["claims"].as_array().map(Vec::len), Some(2));
    let path = "certificates/shop.example.org";
    api.delete(path).await.refused(409, None, "say which one");
    let verify = format!("{path}/verify");
    api.post(&verify, Value::Null).await.refused(409, None, "say which one");
    let of = |service: &str| format!("?service={}", service.replace('/', "%2F"));
    let nobody = api.delete(&format!("{path}{}", of("mary/hers/none"))).await;
    nobody.refused(404, None, "mary/hers/none");
    // He takes back his own, and nobody else's.
    let not_his = api
        .call_as(&own, Method::DELETE, &format!("{path}{}", of("mary/hers/app")), "")
        .await;
    not_his.refused(404, None, "mary/hers/app");
    let pod = his["claims"][0]["pod"].as_str().expect("an id");
    let by_id = api
        .call_as(
            &own,
            Method::POST,
            &format!("{verify}{}", of(&format!("{pod}/app"))),
            "",
        )
        .await;
    assert_eq!(by_id.status, 202, "{}", by_id.body);
    let unknown = api.delete(&format!("{path}?servce=x")).await;
    unknown.refused(400, None, "servce");

    found(&api, SHOP, "john/myproject/app").await;
    let shown = api.get(path).await.ok();
    assert_eq!(
        shown["claims"].as_array().map(Vec::len),
        Some(1),
        "hers is gone: {shown}"
    );
    let late = api.post("certificates", claim(SHOP, "mary/hers/app")).await;
    late.refused(409, Some("name"), "another service's already");
    let own_other = api.post("certificates", claim(SHOP, "john/myproject/api")).await;
    own_other.refused(409, Some("name"), "another service's already");

    // His user sees it with its certificate, and nothing of the platform's.
    for kept in [SHOP, "*.example.dev"] {
        let order = CertOrder::new(kept.parse().expect("a name"), UnixMillis(0));
        api.store.put_order(&order).await.expect("put");
    }
    let names = |list: Value| -> Vec<String> {
        let items = list["items"].as_array().expect("a list").clone();
        items
            .iter()
            .map(|it| it["name"].as_str().expect("text").to_owned())
            .collect()
    };
    let mine = api.call_as(&own, Method::GET, "certificates", "").await.ok();
    assert_eq!(names(mine), [SHOP]);
    assert_eq!(names(api.get("certificates").await.ok()), ["*.example.dev", SHOP]);
    for (path, body) in [
        ("certificates/%2A.example.dev", ""),
        ("certificates/%2A.example.dev/renew", "x"),
    ] {
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        let hidden = api.call_as(&own, method, path, "").await;
        hidden.refused(404, None, "*.example.dev");
    }
    let renewed = api.call_as(&own, Method::POST, &format!("{path}/renew"), "").await;
    assert_eq!((renewed.status.as_u16(), &renewed.body["asked"]), (202, &json!(true)));
    // The platform's own goes with its services, and is nobody's to take back.
    api.delete("certificates/%2A.example.dev")
        .await
        .refused(409, None, "the platform's own");
    api.call_as(&own, Method::DELETE, path, "").await.gone();
}

#[tokio::test]
async fn a_user_has_so_many() {
    let api = Api::new().await;
    services(&api).await;
    for name in ["a.example.org", "b.example.org", "c.example.org"] {
        api.post("certificates", claim(name, "john/myproject/app")).await.made();
    }
    let before = api.revision().await;
    let fourth = api
        .post("certificates", claim("d.example.org", "john/myproject/api"))
        .await;
    fourth.refused(409, None, "john has 3 domains already");
    assert_eq!(api.revision().await, before);
    api.post("certificates", claim("d.example.org", "mary/hers/app"))
        .await
        .made();
    api.delete("certificates/a.example.org").await.gone();
    api.post("certificates", claim("e.example.org", "john/myproject/api"))
        .await
        .made();
}

#[tokio::test]
async fn tickets_and_explanations_are_for_names_that_are_verified() {
    let api = Api::new().await;
    let pod = services(&api).await;
    api.post("certificates", claim(SHOP, "john/myproject/app")).await.made();
    let ticket = |host: &str| json!({ "user": "john", "host": host, "return_to": "/there" });
    let refused = api.post("tickets", ticket(SHOP)).await;
    refused.refused(422, Some("host"), "No service has the host");
    let explain = async |user: &str| api.get(&format!("explain?url=https://{SHOP}/{user}")).await.ok();
    assert_eq!(explain("").await["status"], 404);

    found(&api, SHOP, "john/myproject/app").await;
    let made = api.post("tickets", ticket("Shop.Example.ORG")).await.made();
    let url = made["url"].as_str().expect("a URL");
    assert!(
        url.starts_with("https://shop.example.org:8443/.podgate/login?ticket="),
        "{url}"
    );
    for (to, good) in [
        ("https://shop.example.org:8443/x", true),
        ("https://shop.example.org/x", true),
        ("https://app-myproject-john.example.dev:8443/x", false),
        ("https://www.example.org/x", false),
    ] {
        let ticket = json!({ "user": "john", "host": SHOP, "return_to": to });
        let answer = api.post("tickets", ticket).await;
        match good {
            true => drop(answer.made()),
            false => answer.refused(422, Some("return_to"), "begins with https://shop.example.org:8443/"),
        }
    }
    let explained = explain("").await;
    assert_eq!(
        (&explained["status"], &explained["route"]["label"]),
        (&json!(401), &json!("app-myproject-john"))
    );
    assert_eq!(explained["host"], SHOP);
    for elsewhere in ["www.shop.example.org", "example.org"] {
        let refused = api.post("tickets", ticket(elsewhere)).await;
        refused.refused(422, Some("host"), "No service has the host");
    }
    api.delete(&format!("{pod}/services/app")).await.gone();
    assert_eq!(explain("").await["status"], 404);
    api.get("certificates/shop.example.org").await.refused(404, None, SHOP);
}

#[tokio::test]
async fn a_claim_is_checked_again_where_it_is_written() {
    let api = Api::new().await;
    services(&api).await;
    // Two at once: the store's line decides, not what was read before.
    let claim = |host: &str, value: &str| CustomDomain {
        name: SHOP.parse().expect("a name"),
        host: host.parse().expect("a label"),
        value: value.to_owned(),
        verified_at: None,
    };
    let (his, hers) = (claim("app-myproject-john", "1"), claim("app-hers-mary", "2"));
    for it in [&his, &hers] {
        let batch = api.store.begin().await.expect("begin");
        batch.claim_domain(it, 9).await.expect("claim");
        batch.commit().await.expect("commit");
    }
    let verify = async |it: &CustomDomain| {
        let batch = api.store.begin().await.expect("begin");
        let verified = batch.verify_claim(it).await.expect("verify");
        batch.commit().await.expect("commit");
        verified
    };
    let (one, other) = tokio::join!(verify(&his), verify(&hers));
    assert_eq!(u8::from(one) + u8::from(other), 1);
}
