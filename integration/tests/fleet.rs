//! A control plane and three edges as separate processes on PostgreSQL: what the API
//! answers is so at every edge right after, whatever becomes of the database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use integration::edge::Fleet;
use integration::edge::fleet::Member;
use integration::edge::podgate::binary;
use integration::origin;
use integration::process::Program;
use integration::wait::{full_size, until};
use model::{Change, Entity, Key};
use serde_json::{Value, json};

const LABEL: &str = "app-myproject-john";

/// Waits until every edge answers so.
async fn all_answer(fleet: &Fleet, token: Option<&str>, expected: u16) {
    for (at, edge) in fleet.edges.iter().enumerate() {
        let request = edge.request(LABEL, "/");
        let request = match token {
            Some(token) => request.token(token),
            None => request,
        };
        until(&format!("{expected} at edge {at}"), async || {
            (request.try_send().await.ok()?.status() == expected).then_some(())
        })
        .await;
    }
}

/// john's pod with its service at `target`, made as operators do; answers the path of
/// the pod.
async fn make(fleet: &Fleet, target: std::net::SocketAddr) -> &'static str {
    let podgate = async |line: &str| {
        let made = Program::at(binary())
            .args(line.split(' '))
            .env("PODGATE_URL", &fleet.api.url)
            .env("PODGATE_TOKEN", fleet.api.token)
            .finish()
            .await;
        assert!(
            made.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        String::from_utf8(made.stdout).expect("UTF-8")
    };
    for user in ["john", "mary", "ann"] {
        podgate(&format!("user add {user}")).await;
    }
    podgate("team add crew").await;
    podgate("pod add john/myproject --team crew").await;
    let service = format!("service add john/myproject/app --port 3000 --visibility public --target {target}");
    let told = podgate(&service).await;
    assert!(told.contains(&format!("{LABEL}.podgate.localhost")), "{told}");
    "pods/john%2Fmyproject"
}

#[tokio::test]
async fn every_edge_serves_what_the_api_made_and_closes_what_it_closed() {
    let origin = origin::http1().route("/", "hello").run().await;
    let fleet = Fleet::start(3).await;
    let pod = make(&fleet, origin.addr()).await;
    let api = &fleet.api;
    all_answer(&fleet, None, 200).await;
    let token = async |user: &str| {
        let token = api
            .ok(Method::POST, "tokens", json!({ "user": user, "ttl": "1h" }))
            .await;
        token["token"].as_str().expect("a token").to_owned()
    };
    let (john, mary, ann) = (token("john").await, token("mary").await, token("ann").await);

    api.ok(
        Method::PATCH,
        &format!("{pod}/services/app"),
        json!({ "visibility": "private" }),
    )
    .await;
    all_answer(&fleet, None, 401).await;
    all_answer(&fleet, Some(&john), 200).await;

    all_answer(&fleet, Some(&ann), 403).await;
    api.ok(Method::PUT, "teams/crew/members/ann", json!({ "status": "active" }))
        .await;
    all_answer(&fleet, Some(&ann), 200).await;
    api.ok(Method::DELETE, "teams/crew/members/ann", Value::Null).await;
    all_answer(&fleet, Some(&ann), 403).await;

    let share = format!("{pod}/shares/mary");
    api.ok(Method::PUT, &share, json!({ "expires_at": "2999-01-01T00:00:00Z" }))
        .await;
    all_answer(&fleet, Some(&mary), 200).await;
    api.ok(Method::DELETE, &share, Value::Null).await;
    all_answer(&fleet, Some(&mary), 403).await;

    api.ok(Method::DELETE, "users/mary", Value::Null).await;
    all_answer(&fleet, Some(&mary), 401).await;
    api.ok(Method::DELETE, pod, Value::Null).await;
    all_answer(&fleet, Some(&john), 404).await;
}

#[tokio::test]
async fn a_limit_of_ones_own_is_in_force_at_every_edge() {
    let origin = origin::http1().route("/", "hello").run().await;
    let fleet = Fleet::start(2).await;
    let pod = make(&fleet, origin.addr()).await;
    all_answer(&fleet, None, 200).await;
    let told = fleet
        .api
        .ok(
            Method::PATCH,
            &format!("{pod}/services/app"),
            json!({"limits": {"public": {"rate": "3/1h"}, "service": {"rate": "unlimited"}}}),
        )
        .await;
    assert_eq!(told["limits"]["public"]["rate"], "3/1h");
    for edge in &fleet.edges {
        let over = until("the limit", async || {
            let answer = edge.get(LABEL, "/").await;
            (answer.status() == 429).then_some(answer)
        })
        .await;
        assert_eq!(over.header("ratelimit-policy"), Some("\"public\";q=3;w=3600"));
    }
    fleet
        .api
        .ok(Method::PATCH, &format!("{pod}/services/app"), json!({"limits": null}))
        .await;
    all_answer(&fleet, None, 200).await;
}

#[tokio::test]
async fn a_ticket_works_once_at_all_edges_together() {
    let origin = origin::http1().route("/", "hello").run().await;
    let fleet = Fleet::start(3).await;
    let pod = make(&fleet, origin.addr()).await;
    let private = json!({ "visibility": "private" });
    fleet
        .api
        .ok(Method::PATCH, &format!("{pod}/services/app"), private)
        .await;
    all_answer(&fleet, None, 401).await;
    // What an edge sends a browser away with is good at any of them.
    let nonce = format!("__Host-podgate-login={}.Lw", "0f".repeat(16));
    let ticket = async || {
        let made = fleet
            .api
            .ok(
                Method::POST,
                "tickets",
                json!({ "user": "john", "host": format!("{LABEL}.podgate.localhost") }),
            )
            .await;
        made["ticket"].as_str().expect("a ticket").to_owned()
    };
    let bring = async |edge: &Member, ticket: &str| {
        edge.request(LABEL, &format!("/.podgate/login?ticket={ticket}"))
            .header("cookie", &nonce)
            .send()
            .await
    };
    let first = ticket().await;
    let signed_in = bring(&fleet.edges[0], &first).await;
    assert_eq!(signed_in.status(), 303, "{signed_in:?}");
    for edge in &fleet.edges {
        let replayed = bring(edge, &first).await;
        assert_eq!(replayed.status(), 403, "{replayed:?}");
        assert!(replayed.body().contains("used_ticket"), "{replayed:?}");
        assert!(!replayed.headers().contains_key("set-cookie"));
    }
    // At all of them at once.
    let raced = ticket().await;
    let answers = futures_util::future::join_all(fleet.edges.iter().map(|edge| bring(edge, &raced))).await;
    let won = answers.iter().filter(|answer| answer.status() == 303).count();
    assert_eq!(won, 1, "{answers:?}");

    // The session that one edge made opens every edge, as soon as they know its key.
    let cookie = signed_in.header("set-cookie").expect("a session");
    let cookie = cookie.split(';').next().expect("a pair");
    for edge in &fleet.edges {
        until("the session to be known", async || {
            let request = edge.request(LABEL, "/").header("cookie", cookie);
            (request.try_send().await.ok()?.status() == 200).then_some(())
        })
        .await;
    }

    // Nobody signs in while nobody can tell whether a ticket was used; sessions go on.
    let late = ticket().await;
    fleet.postgres.freeze();
    let refused = bring(&fleet.edges[1], &late).await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert!(!refused.headers().contains_key("set-cookie"));
    let page = fleet.edges[1].request(LABEL, "/").header("cookie", cookie).send().await;
    assert_eq!(page.status(), 200);
    fleet.postgres.thaw();
}

#[tokio::test]
async fn what_the_api_closes_ends_what_is_open_at_every_edge() {
    let origin = origin::http1().run().await;
    let fleet = Fleet::start(2).await;
    let pod = make(&fleet, origin.addr()).await;
    let api = &fleet.api;
    let private = json!({ "visibility": "private" });
    api.ok(Method::PATCH, &format!("{pod}/services/app"), private).await;
    let share = json!({ "expires_at": "2999-01-01T00:00:00Z" });
    api.ok(Method::PUT, &format!("{pod}/shares/mary"), share).await;
    api.ok(Method::PUT, "teams/crew/members/ann", json!({ "status": "active" }))
        .await;
    fleet.caught_up().await;

    let open = async |user: &str| {
        let issued = api.ok(Method::POST, "tokens", json!({ "user": user, "ttl": "1h" }));
        let token = issued.await["token"].as_str().expect("a token").to_owned();
        let sockets = fleet.edges.iter().map(async |edge| {
            let mut socket = edge
                .websocket(LABEL, "/ws", &[("x-podgate-token", &token)])
                .await
                .expect("an upgrade");
            assert_eq!(socket.ask("hello").await.as_deref(), Some("hello"));
            socket
        });
        futures_util::future::join_all(sockets).await
    };
    for (user, path) in [
        ("mary", "sessions/mary".to_owned()),
        ("mary", format!("{pod}/shares/mary")),
        ("ann", "teams/crew/members/ann".to_owned()),
        ("john", pod.to_owned()),
    ] {
        // Tokens of the next turn are of a later second than the end of these sessions.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let mut sockets = open(user).await;
        let mut others = if user == "john" { vec![] } else { open("john").await };
        api.ok(Method::DELETE, &path, Value::Null).await;
        for socket in &mut sockets {
            assert_eq!(socket.next().await, None, "{path}");
        }
        for other in &mut others {
            assert_eq!(other.ask("still").await.as_deref(), Some("still"), "{path}");
        }
    }
    until("the pod to see all of them gone", async || {
        (origin.open() == 0).then_some(())
    })
    .await;
}

/// Asks every edge without pause; counts answers and what was no 200.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    answers: Arc<AtomicUsize>,
    failures: Arc<AtomicUsize>,
}

impl Load {
    fn on(edges: &[Member]) -> Self {
        let (stop, answers, failures): (Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let tasks = edges.iter().map(|edge| {
            let request = edge.request(LABEL, "/");
            let (stop, answers, failures) = (Arc::clone(&stop), Arc::clone(&answers), Arc::clone(&failures));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let status = request.try_send().await.map(|answer| answer.status());
                    answers.fetch_add(1, Ordering::Relaxed);
                    if !matches!(status, Ok(200)) {
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
            answers,
            failures,
        }
    }

    async fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        (
            self.answers.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_a_while_costs_no_request_and_no_change() {
    let away = Duration::from_secs(if full_size() { 60 } else { 5 });
    let origin = origin::http1().route("/", "hello").run().await;
    let mut fleet = Fleet::start(3).await;
    let pod = make(&fleet, origin.addr()).await;
    all_answer(&fleet, None, 200).await;

    let load = Load::on(&fleet.edges);
    fleet.postgres.stop().await;
    tokio::time::sleep(away).await;
    for edge in &fleet.edges {
        let age = edge
            .metric("podgate_table_staleness_seconds", &[])
            .await
            .expect("the gauge");
        assert!(age > away.as_secs_f64() - 1.0, "{age}");
        assert_eq!(edge.admin("/readyz").await.status(), 200);
    }
    let refused = fleet.api.call(Method::DELETE, pod, Value::Null).await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    fleet.postgres.resume().await;
    for edge in &fleet.edges {
        until("the edge to hear from its store", async || {
            (edge.metric("podgate_table_staleness_seconds", &[]).await? < 1.0).then_some(())
        })
        .await;
    }
    let (answers, failures) = load.end().await;
    assert!(answers > 100, "{answers} answers");
    assert_eq!(failures, 0, "of {answers}");
    until("the API to work again", async || {
        let answer = fleet.api.call(Method::DELETE, pod, Value::Null).await;
        (answer.status() == 204).then_some(())
    })
    .await;
    all_answer(&fleet, None, 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_while_listeners_are_killed() {
    let changes = if full_size() { 1_000 } else { 150 };
    let origin = origin::http1().route("/", "hello").run().await;
    let fleet = Fleet::start(3).await;
    let pod = make(&fleet, origin.addr()).await;
    let api = &fleet.api;

    // Whoever listens or reads is cut off, again and again.
    let killing = AtomicBool::new(true);
    let kill = async {
        let mut killed = 0;
        while killing.load(Ordering::Relaxed) {
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE application_name = 'podgate' AND query LIKE 'LISTEN%'";
            killed += fleet.postgres.sql(sql).await.parse::<usize>().expect("a number");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        killed
    };
    let target = origin.addr().to_string();
    let change = async {
        for at in 0..changes {
            let service = format!("{pod}/services/s{}", at / 3);
            match at % 3 {
                0 => {
                    let new = json!({ "name": format!("s{}", at / 3), "port": 80, "visibility": "public", "targets": [target] });
                    api.ok(Method::POST, &format!("{pod}/services"), new).await;
                }
                1 => drop(
                    api.ok(Method::PATCH, &service, json!({ "visibility": "private" }))
                        .await,
                ),
                // Every second one goes again.
                _ if at % 2 == 0 => drop(api.ok(Method::DELETE, &service, Value::Null).await),
                _ => drop(api.ok(Method::PATCH, &service, json!({ "port": 8080 })).await),
            }
        }
        killing.store(false, Ordering::Relaxed);
    };
    let (killed, ()) = tokio::join!(kill, change);
    assert!(killed > 3, "{killed} listeners killed");
    fleet.caught_up().await;

    let truth = table(&fleet).await;
    assert!(truth.len() > changes / 6);
    for edge in &fleet.edges {
        let routes = edge.metric("podgate_routes", &[]).await.expect("the gauge");
        assert_eq!(routes as usize, truth.len());
        // All that ever was: what is there answers as it should, what is gone is gone.
        for service in (0..changes.div_ceil(3)).map(|at| format!("s{at}-myproject-john")) {
            let expected = match truth.get(&service).map(String::as_str) {
                None => 404,
                Some("public") => 200,
                Some(_) => 401,
            };
            assert_eq!(edge.get(&service, "/").await.status(), expected, "{service}");
        }
    }
}

/// Every service of the store by its label, with its visibility.
async fn table(fleet: &Fleet) -> BTreeMap<String, String> {
    let mut feed = fleet.store.follow();
    let mut services = BTreeMap::new();
    loop {
        let update = feed.next().await.expect("a piece");
        for change in update.changes {
            match change {
                Change::Put(Entity::Service(service)) => {
                    let visibility = format!("{:?}", service.visibility).to_lowercase();
                    services.insert(service.host.to_string(), visibility);
                }
                Change::Remove(Key::Service(host)) => drop(services.remove(host.as_str())),
                _ => {}
            }
        }
        if update.revision.is_some() {
            return services;
        }
    }
}
