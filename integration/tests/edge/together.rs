//! Limits that several edges count together, and what becomes of them when Redis fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration::edge::in_process::InProcess;
use integration::edge::{self, Builder};
use integration::origin;
use integration::redis::{Cluster, Redis, Watched};
use integration::tls::Authority;
use integration::wait::{full_size, until};
use integration::world::World;
use model::Visibility;
use tokio::task::JoinSet;

const APP: &str = "app-pod-john";

/// Edges with one world and one Redis.
struct Edges {
    edges: Vec<InProcess>,
    // Answers for all of them.
    _origin: origin::http1::Origin,
}

impl Edges {
    async fn start(count: usize, mode: &str, redis: &str, configure: impl Fn(Builder) -> Builder) -> Self {
        let origin = origin::http1().route("/", "ok").run().await;
        let world = World::new().service(APP, Visibility::Public, [origin.addr()]).service(
            "api-pod-john",
            Visibility::Private,
            [origin.addr()],
        );
        let mut edges = Vec::new();
        for _ in 0..count {
            let edge = edge::with_world(world.clone())
                .set("limits.redis", redis)
                .set("limits.mode", mode)
                .set("limits.sync", "50ms");
            edges.push(configure(edge).run().await);
        }
        Self { edges, _origin: origin }
    }

    /// Waits until every edge says so of Redis, and knows of all others.
    async fn are(&self, up: bool) {
        for edge in &self.edges {
            until("the edges to hear of each other, or not", async || {
                let known = metric(edge, "podgate_limits_edges") == Some(self.edges.len() as f64);
                let so = metric(edge, "podgate_limits_redis_up") == Some(up.into());
                (so && (known || !up)).then_some(())
            })
            .await;
        }
    }

    /// Sends requests to all edges alike, so many a second in all, until `stop`.
    fn load(&self, rate: u32, stop: &Arc<AtomicBool>) -> JoinSet<Load> {
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for edge in &self.edges {
            let request = edge.request(APP, "/");
            let every = Duration::from_secs(self.edges.len() as u64) / rate;
            let stop = Arc::clone(stop);
            tasks.spawn(async move {
                let mut load = Load::default();
                let mut ticks = tokio::time::interval(every);
                let mut connection = request.open().await.expect("a connection");
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let asked = Instant::now();
                    match connection.send(&request).await.map(|answer| answer.status()) {
                        Ok(200) => load.passed.push(started.elapsed()),
                        Ok(429) => load.refused += 1,
                        other => panic!("a request failed: {other:?}"),
                    }
                    load.slowest = load.slowest.max(asked.elapsed());
                    load.took.push(asked.elapsed());
                }
                load
            });
        }
        tasks
    }

    async fn load_for(&self, rate: u32, time: Duration) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = self.load(rate, &stop);
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        Load::sum(tasks).await
    }
}

fn metric(edge: &InProcess, name: &str) -> Option<f64> {
    let families = edge.handle.metrics().registry().gather();
    let family = families.iter().find(|family| family.name() == name)?;
    let first = family.get_metric().first()?;
    Some(first.get_gauge().get_value() + first.get_counter().get_value())
}

fn asked_by_redis(edge: &InProcess) -> f64 {
    let families = edge.handle.metrics().registry().gather();
    let family = families
        .iter()
        .find(|family| family.name() == "podgate_limits_asked_total");
    let by_redis = family
        .into_iter()
        .flat_map(|family| family.get_metric())
        .find(|metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|label| label.value() == "redis")
        });
    by_redis.map_or(0.0, |metric| metric.get_counter().get_value())
}

/// What came of a load.
#[derive(Debug, Default)]
struct Load {
    /// When requests passed, since the load began.
    passed: Vec<Duration>,
    refused: usize,
    slowest: Duration,
    took: Vec<Duration>,
}

impl Load {
    async fn sum(tasks: JoinSet<Self>) -> Self {
        let mut sum = Self::default();
        for load in tasks.join_all().await {
            sum.passed.extend(load.passed);
            sum.refused += load.refused;
            sum.slowest = sum.slowest.max(load.slowest);
            sum.took.extend(load.took);
        }
        sum.passed.sort();
        sum.took.sort();
        sum
    }

    /// Nine of ten answers came at least this soon.
    fn most(&self) -> Duration {
        self.took[self.took.len() * 9 / 10]
    }

    /// The most that passed beyond `burst + rate * t` in any time from one request to
    /// another.
    fn overshoot(&self, burst: f64, rate: f64) -> f64 {
        let mut least = f64::INFINITY;
        let mut most = f64::NEG_INFINITY;
        for (at, moment) in self.passed.iter().enumerate() {
            let here = at as f64 - rate * moment.as_secs_f64();
            least = least.min(here);
            most = most.max(here + 1.0 - least);
        }
        most - burst
    }
}

/// The seed counted by reading a number and writing it back: two edges that read at one
/// moment both let pass what was one request's place.
#[tokio::test]
async fn two_edges_at_one_moment_share_what_is_left() {
    let redis = Redis::start().await;
    let configure = |edge: Builder| edge.set("limits.public", "10/1h").set("limits.redis_timeout", "1s");
    let edges = Edges::start(2, "exact", &redis.url(), configure).await;
    edges.are(true).await;
    let mut tasks = JoinSet::new();
    for edge in &edges.edges {
        for _ in 0..40 {
            let request = edge.request(APP, "/");
            tasks.spawn(async move { request.send().await.status() });
        }
    }
    let statuses = tasks.join_all().await;
    let passed = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!((passed, refused), (10, 70));
    assert_eq!(
        redis.cli(&["keys", "*"]).await.lines().count(),
        2,
        "the address, and the edges"
    );
}

#[tokio::test]
async fn exact_is_never_over() {
    let redis = Redis::start().await;
    let configure = |edge: Builder| edge.set("limits.public", "20/1s").set("limits.redis_timeout", "1s");
    let edges = Edges::start(8, "exact", &redis.url(), configure).await;
    edges.are(true).await;
    let time = Duration::from_secs(if full_size() { 30 } else { 5 });
    let load = edges.load_for(400, time).await;
    let over = load.overshoot(20.0, 20.0);
    // The moments are the clients', who see an answer later than Redis decided.
    assert!(over <= 1.0 + 20.0 * load.slowest.as_secs_f64(), "{over} over: {load:?}");
    let whole = 20.0 * time.as_secs_f64();
    assert!(
        load.passed.len() as f64 >= 0.8 * whole,
        "{} of {whole}",
        load.passed.len()
    );
    assert!(load.refused > load.passed.len());
}

#[tokio::test]
async fn shared_is_over_for_a_moment_and_pays_it_back() {
    let redis = Redis::start().await;
    let configure = |edge: Builder| edge.set("limits.public", "20/1s");
    let edges = Edges::start(8, "shared", &redis.url(), configure).await;
    edges.are(true).await;
    let time = Duration::from_secs(if full_size() { 30 } else { 8 });
    let load = edges.load_for(400, time).await;
    let over = load.overshoot(20.0, 20.0);
    // min((N - 1)(B + rT), LT), and what is offered while an exchange lasts, which a loaded
    // machine may draw out: the first is the bound whatever happens.
    let bound = 7.0 * (20.0 + 20.0 * 0.05);
    assert!(over <= bound, "{over} over, {bound} allowed");
    let whole = 20.0 + 20.0 * time.as_secs_f64();
    let passed = load.passed.len() as f64;
    let slack = if full_size() { 0.05 } else { 0.15 };
    assert!(passed <= whole * (1.0 + slack), "{passed} of {whole}");
    assert!(passed >= whole * 0.8, "{passed} of {whole}");
}

#[tokio::test]
async fn what_one_edge_has_let_pass_another_knows_of() {
    let redis = Redis::start().await;
    for mode in ["shared", "exact"] {
        let configure = |edge: Builder| {
            edge.set("limits.redis_timeout", "1s")
                .set("limits.public", "5/1h")
                .set("limits.default", "3/1h")
                .set("limits.user", "4/1h")
                .set("limits.redis_prefix", mode)
        };
        let edges = Edges::start(2, mode, &redis.url(), configure).await;
        edges.are(true).await;
        let [one, two] = edges.edges.as_slice() else {
            panic!("two edges")
        };
        for _ in 0..4 {
            assert_eq!(one.get(APP, "/").await.status(), 200);
        }
        let john = one.token("john");
        let private = async |edge: &InProcess| edge.request("api-pod-john", "/").token(&john).send().await;
        for _ in 0..4 {
            assert_eq!(private(one).await.status(), 200);
        }
        for _ in 0..3 {
            assert_eq!(one.get("no-such-pod", "/").await.status(), 404);
        }
        // What the other may still let pass, it does.
        until("the exchange", async || {
            let keys = redis.cli(&["keys", &format!("{mode}*")]).await;
            (keys.lines().count() == 4).then_some(())
        })
        .await;
        let last = two.get(APP, "/").await;
        assert_eq!(last.status(), 200);
        until("the exchange", async || {
            let over = two.get(APP, "/").await;
            (over.status() == 429).then_some(over)
        })
        .await;
        until("the exchange", async || {
            (private(two).await.status() == 429).then_some(())
        })
        .await;
        // Guesses are told after the fact in both modes; two more wrong ones may pass.
        until("the exchange", async || {
            (two.get("no-such-pod", "/").await.status() == 429).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn exact_knows_at_once() {
    let redis = Redis::start().await;
    let configure = |edge: Builder| edge.set("limits.public", "5/1h").set("limits.redis_timeout", "1s");
    let edges = Edges::start(3, "exact", &redis.url(), configure).await;
    edges.are(true).await;
    for turn in 0..8 {
        let answer = edges.edges[turn % 3].get(APP, "/").await;
        let left = format!("r={}", 4_usize.saturating_sub(turn));
        assert_eq!(answer.status(), if turn < 5 { 200 } else { 429 }, "{turn}");
        assert!(
            answer.header("ratelimit").is_some_and(|state| state.contains(&left)),
            "{turn}: {answer:?}"
        );
    }
}

/// Whoever else writes there: what makes no sense is no debt, or at most a whole one.
#[tokio::test]
async fn strange_values_in_redis_harm_nobody_for_long() {
    let redis = Redis::start().await;
    let configure = |edge: Builder| edge.set("limits.public", "5/2s").set("limits.redis_timeout", "1s");
    let edges = Edges::start(1, "exact", &redis.url(), configure).await;
    edges.are(true).await;
    assert_eq!(edges.edges[0].get(APP, "/").await.status(), 200);
    let key = redis.cli(&["keys", "podgate:public:*"]).await;
    let poison: [(&[&str], u16); 6] = [
        (&["set", &key, "nonsense"], 200),
        (&["set", &key, "nan"], 429),
        (&["set", &key, "-1e300"], 200),
        (&["set", &key, ""], 200),
        (&["set", &key, "inf"], 429),
        (&["hset", &key, "a", "b"], 200),
    ];
    for (at, (command, expected)) in poison.iter().enumerate() {
        redis.cli(&["del", &key]).await;
        redis.cli(command).await;
        // An edge that knows nothing of the key yet.
        let fresh = Edges::start(1, "exact", &redis.url(), configure).await;
        until("the edge to reach Redis", async || {
            (metric(&fresh.edges[0], "podgate_limits_redis_up") == Some(1.0)).then_some(())
        })
        .await;
        assert_eq!(
            fresh.edges[0].get(APP, "/").await.status(),
            *expected,
            "{at}: {command:?}"
        );
        assert_eq!(metric(&fresh.edges[0], "podgate_limits_redis_up"), Some(1.0));
        until("the window to pass", async || {
            (fresh.edges[0].get(APP, "/").await.status() == 200).then_some(())
        })
        .await;
    }
}

/// What one owes under a policy by the hour is not held against one by the second.
#[tokio::test]
async fn another_policy_is_in_force_at_once() {
    let redis = Redis::start().await;
    for mode in ["shared", "exact"] {
        let configure = |edge: Builder| {
            edge.set("limits.public", "4/1h")
                .set("limits.redis_timeout", "1s")
                .set("limits.redis_prefix", mode)
        };
        let mut edges = Edges::start(2, mode, &redis.url(), configure).await;
        edges.are(true).await;
        until("the limit at both", async || {
            let (one, two) = (edges.edges[0].get(APP, "/").await, edges.edges[1].get(APP, "/").await);
            (one.status() == 429 && two.status() == 429).then_some(())
        })
        .await;
        for edge in &mut edges.edges {
            edge.reload("limits.public", "4/1s");
        }
        for edge in &edges.edges {
            until("a request to pass", async || {
                (edge.get(APP, "/").await.status() == 200).then_some(())
            })
            .await;
        }
    }
}

/// Answers that come, and too late.
#[tokio::test]
async fn a_slow_redis_is_no_redis() {
    let redis = Redis::with(&["--enable-debug-command", "yes"]).await;
    let configure = |edge: Builder| edge.set("limits.public", "1000/1s");
    let edges = Edges::start(2, "exact", &redis.url(), configure).await;
    edges.are(true).await;
    // Each of them holds everybody up for a tenth of a second.
    let slow = redis.cli(&["-r", "60", "debug", "sleep", "0.1"]);
    let noticed = async {
        edges.are(false).await;
        let load = edges.load_for(100, Duration::from_secs(2)).await;
        assert!(load.most() < Duration::from_millis(50), "{:?}", load.most());
    };
    tokio::join!(slow, noticed);
    edges.are(true).await;
}

#[tokio::test]
async fn a_stopped_pod_is_limited_all_the_same() {
    let redis = Redis::start().await;
    let origin = origin::http1().route("/", "ok").run().await;
    let world = World::new()
        .service(APP, Visibility::Public, [origin.addr()])
        .pod("pod-john", model::PodState::Stopped);
    let edge = edge::with_world(world)
        .set("limits.redis", redis.url())
        .set("limits.mode", "exact")
        .set("limits.redis_timeout", "1s")
        .set("limits.public", "3/1h")
        .run()
        .await;
    until("Redis to be reached", async || {
        (metric(&edge, "podgate_limits_redis_up") == Some(1.0)).then_some(())
    })
    .await;
    for expected in [503, 503, 503, 429, 429] {
        assert_eq!(edge.get(APP, "/").await.status(), expected);
    }
}

/// Kills, freezes and empties Redis under load.
#[tokio::test]
async fn no_failure_of_redis_is_a_failure_of_a_request() {
    for mode in ["shared", "exact"] {
        let mut redis = Redis::start().await;
        // A part of the limit is 5 a second.
        let configure = |edge: Builder| edge.set("limits.public", "20/1s");
        let edges = Edges::start(4, mode, &redis.url(), configure).await;
        edges.are(true).await;
        let stop = Arc::new(AtomicBool::new(false));
        let load = edges.load(160, &stop);
        let pause = Duration::from_secs(if full_size() { 5 } else { 2 });
        tokio::time::sleep(pause).await;

        redis.kill().await;
        edges.are(false).await;
        tokio::time::sleep(pause).await;
        redis.resume().await;
        edges.are(true).await;
        tokio::time::sleep(pause).await;

        redis.freeze();
        edges.are(false).await;
        tokio::time::sleep(pause).await;
        redis.thaw();
        edges.are(true).await;
        tokio::time::sleep(pause).await;

        stop.store(true, Ordering::Relaxed);
        let load = Load::sum(load).await;
        // No request waited for Redis: what is slow here is a loaded machine. Redis is away
        // for half of the time.
        assert!(load.most() < Duration::from_millis(250), "{mode}: {:?}", load.most());
        assert!(load.slowest < Duration::from_secs(2), "{mode}: {:?}", load.slowest);
        let time = load.passed.last().copied().unwrap_or_default().as_secs_f64();
        let (passed, whole) = (load.passed.len() as f64, 20.0 + 20.0 * time);
        // Besides the limit: until they notice (0.5 s), and one burst more for an empty Redis.
        let more = 4.0 * 20.0 + 4.0 * 20.0 * 2.0 * 0.6;
        assert!(passed <= whole + more, "{mode}: {passed} of {whole} and {more}");
        assert!(passed >= whole * 0.6, "{mode}: {passed} of {whole}");
        for edge in &edges.edges {
            assert_eq!(metric(edge, "podgate_limits_edges"), Some(4.0));
        }
    }
}

/// Within its part of the limit each edge lets pass what it may without Redis.
#[tokio::test]
async fn without_redis_each_edge_lets_its_part_pass() {
    for mode in ["shared", "exact"] {
        let mut redis = Redis::start().await;
        let configure = |edge: Builder| edge.set("limits.public", "20/1h");
        let edges = Edges::start(4, mode, &redis.url(), configure).await;
        edges.are(true).await;
        redis.kill().await;
        edges.are(false).await;
        for edge in &edges.edges {
            let mut passed = 0;
            while edge.get(APP, "/").await.status() == 200 {
                passed += 1;
            }
            assert_eq!(passed, 5, "{mode}");
        }
    }
}

#[tokio::test]
async fn an_edge_that_never_reached_redis_takes_the_part_it_is_told() {
    let unreachable = "redis://127.0.0.1:1";
    let configure = |edge: Builder| edge.set("limits.public", "20/1h").set("limits.edges", 10);
    let edges = Edges::start(1, "exact", unreachable, configure).await;
    let edge = &edges.edges[0];
    let john = edge.token("john");
    let private = edge.request("api-pod-john", "/").token(&john).send().await;
    assert_eq!(private.status(), 200, "who may enter has nothing to do with Redis");
    assert_eq!(edge.request("api-pod-john", "/").send().await.status(), 401);
    let mut passed = 0;
    while edge.get(APP, "/").await.status() == 200 {
        passed += 1;
    }
    assert_eq!(passed, 2);
    assert_eq!(metric(edge, "podgate_limits_redis_up"), Some(0.0));
}

#[tokio::test]
async fn a_full_redis_is_no_redis() {
    let redis = Redis::start().await;
    let configure = |edge: Builder| edge.set("limits.public", "20/1h");
    let edges = Edges::start(2, "exact", &redis.url(), configure).await;
    edges.are(true).await;
    assert_eq!(redis.cli(&["config", "set", "maxmemory", "1mb"]).await, "OK");
    edges.are(false).await;
    for edge in &edges.edges {
        assert_eq!(edge.get(APP, "/").await.status(), 200);
    }
    assert_eq!(redis.cli(&["config", "set", "maxmemory", "0"]).await, "OK");
    edges.are(true).await;
    assert_eq!(redis.cli(&["script", "flush"]).await, "OK");
    for edge in &edges.edges {
        let answered = asked_by_redis(edge);
        until("Redis to count again", async || {
            assert_eq!(edge.get(APP, "/").await.status(), 200);
            (asked_by_redis(edge) > answered).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn sentinels_say_where_the_primary_is() {
    let mut redis = Watched::start().await;
    let configure = |edge: Builder| edge.set("limits.public", "20/1s");
    let rules = acl("podgate:*");
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    assert_eq!(redis.primary.cli(&rules).await, "OK");
    let named = redis.url().replace("//", "//podgate:secret@");
    let named = Edges::start(1, "exact", &named, configure).await;
    until("the user to be let in", async || {
        (metric(&named.edges[0], "podgate_limits_redis_up") == Some(1.0)).then_some(())
    })
    .await;
    drop(named);
    // Nobody is to count that one.
    assert_eq!(redis.primary.cli(&["flushall"]).await, "OK");
    let edges = Edges::start(2, "exact", &redis.url(), configure).await;
    edges.are(true).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = edges.load(100, &stop);
    redis.fail_over().await;
    edges.are(true).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let load = Load::sum(load).await;
    assert!(load.slowest < Duration::from_secs(2), "{:?}", load.slowest);
    let time = load.passed.last().copied().unwrap_or_default().as_secs_f64();
    let passed = load.passed.len() as f64;
    // A burst more: the new primary may not have heard of the last debts.
    assert!(passed <= 40.0 + 21.0 * time, "{passed} in {time} s");
}

#[tokio::test]
async fn a_cluster_has_each_key_in_its_place() {
    let cluster = Cluster::start().await;
    let configure = |edge: Builder| {
        edge.set("limits.user", "5/1h")
            .set("limits.service", "100/1h")
            .set("limits.pod", "100/1h")
            .set("limits.default", "50/1h")
            .set("limits.redis_timeout", "1s")
            .set("edge.trusted_proxies", vec!["127.0.0.0/8"])
    };
    cluster.cli(&acl("podgate:*")).await;
    let named = cluster.url().replace("//", "//podgate:secret@");
    Edges::start(1, "exact", &named, configure).await.are(true).await;
    cluster.cli(&["flushall".to_owned()]).await;
    let edges = Edges::start(2, "exact", &cluster.url(), configure).await;
    edges.are(true).await;
    let john = edges.edges[0].token("john");
    let statuses = async |count: usize| {
        let mut statuses = Vec::new();
        for turn in 0..count {
            let edge = &edges.edges[turn % 2];
            statuses.push(edge.request("api-pod-john", "/").token(&john).send().await.status());
        }
        statuses
    };
    assert_eq!(statuses(7).await, [200, 200, 200, 200, 200, 429, 429]);
    // Told in one exchange, to all three.
    for n in 0..40 {
        let from = format!("192.0.2.{n}");
        let stranger = edges.edges[0]
            .request("no-such-pod", "/")
            .header("x-forwarded-for", &from);
        assert_eq!(stranger.send().await.status(), 404);
    }
    until("every node to have some", async || {
        let keys = cluster.keys().await;
        (keys.iter().sum::<u64>() == 44 && !keys.contains(&0)).then_some(())
    })
    .await;
    edges.are(true).await;
}

/// A user who may do what the config file says that podgate needs, and nothing else.
fn acl(keys: &str) -> Vec<String> {
    let config = include_str!("../../../conf/podgate.toml");
    let (_, told) = config
        .split_once("needs `~podgate:*` and the commands ")
        .expect("it says so");
    let (named, _) = told.split_once('.').expect("a sentence");
    let named = named.replace(['#', '\n'], " ").replace(" and ", ", ");
    let commands = named.split(',').map(|command| format!("+{}", command.trim()));
    let user = ["acl", "setuser", "podgate", "on", ">secret"].map(str::to_owned);
    user.into_iter().chain([format!("~{keys}")]).chain(commands).collect()
}

#[tokio::test]
async fn redis_may_want_tls_and_a_user() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost"], dir.path(), "redis");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("write the authority");
    let other = dir.path().join("other.pem");
    std::fs::write(&other, Authority::new().pem()).expect("write another authority");
    let redis = Redis::with_tls(&certificate, &[]).await;
    let rules = acl("limits:*");
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    assert_eq!(redis.cli(&rules).await, "OK");
    let port = redis.address.port();
    let url = |user: &str| format!("rediss://{user}@localhost:{port}");
    let configure = |edge: Builder| {
        edge.set("limits.public", "2/1h")
            .set("limits.redis_prefix", "limits:")
            .set("limits.redis_timeout", "1s")
            .set("limits.redis_ca", ca.to_str().expect("UTF-8"))
    };
    let edges = Edges::start(2, "exact", &url("podgate:secret"), configure).await;
    edges.are(true).await;
    for (edge, status) in [(0, 200), (1, 200), (0, 429), (1, 429)] {
        assert_eq!(edges.edges[edge].get(APP, "/").await.status(), status);
    }
    edges.are(true).await;
    // With another password, or a certificate that nobody vouches for, it is out of reach.
    let stranger = |edge: Builder| configure(edge).set("limits.redis_ca", other.to_str().expect("UTF-8"));
    let url_of_podgate = url("podgate:secret");
    for refused in [
        Edges::start(1, "exact", &url("podgate:wrong"), configure).await,
        Edges::start(1, "exact", &url_of_podgate, stranger).await,
    ] {
        refused.are(false).await;
        // Enough for any number of tries to have come through.
        tokio::time::sleep(Duration::from_secs(1)).await;
        refused.are(false).await;
        assert_eq!(refused.edges[0].get(APP, "/").await.status(), 200);
    }
}

#[tokio::test]
async fn bytes_of_all_edges_are_one_services() {
    let redis = Redis::start().await;
    let configure = |edge: Builder| edge.set("limits.service", toml::toml! { bandwidth = "8mbit" });
    let edges = Edges::start(2, "shared", &redis.url(), configure).await;
    edges.are(true).await;
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for edge in &edges.edges {
        let request = edge.request(APP, "/bytes/1000000");
        tasks.spawn(async move { request.send().await.bytes().len() });
    }
    assert_eq!(tasks.join_all().await, [1_000_000; 2]);
    // Two megabytes at one a second, but for what each lets pass until it hears of the other.
    assert!(since.elapsed() >= Duration::from_millis(1500), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_reload_changes_who_counts() {
    let redis = Redis::start().await;
    let origin = origin::http1().route("/", "ok").run().await;
    let mut edge = edge::with_routes([(APP, origin.addr())])
        .set("limits.public", "3/1h")
        .run()
        .await;
    assert_eq!(edge.get(APP, "/").await.status(), 200);
    assert_eq!(metric(&edge, "podgate_limits_redis_up"), None);
    edge.reload("limits.redis", redis.url());
    until("Redis to be reached", async || {
        (metric(&edge, "podgate_limits_redis_up") == Some(1.0)).then_some(())
    })
    .await;
    for status in [200, 200, 429] {
        assert_eq!(
            edge.get(APP, "/").await.status(),
            status,
            "what was counted stays counted"
        );
    }
    until("the exchange", async || {
        let keys = redis.cli(&["keys", "podgate:public:*"]).await;
        (keys.lines().count() == 1).then_some(())
    })
    .await;
}
