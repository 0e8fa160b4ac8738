//! What the whole of podgate does on one machine: pods by the API, policies, restarts, other software.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http::Method;
use integration::database::Postgres;
use integration::edge;
use integration::machine::{self, Machine, ip};
use integration::process::free_address;
use integration::wait::until;
use integration::world::World;
use model::{Pod, PodId, PodState};
use serde_json::{Value, json};

use crate::node::{FAR, FARTHER, at};
use crate::site::{Site, machine, serve};

#[tokio::test]
async fn a_pod_made_by_the_api_serves_what_runs_in_it() {
    let site = Site::start(&[]).await;
    let (path, pod) = site.pod("myproject").await;
    assert_eq!(pod["address"], "10.100.0.2");
    // What runs in the pod is reached by its name, through the edge on its node.
    let inside = machine(&pod);
    let address: Ipv4Addr = pod["address"].as_str().expect("one").parse().expect("an address");
    serve(&inside);
    let service = json!({"name": "app", "port": 3000, "visibility": "public"});
    site.api.ok(Method::POST, &format!("{path}/services"), service).await;
    until("the service to answer", async || {
        let answer = site.podgate.get("app-myproject-john", "/").await;
        (answer.status() == 200 && answer.body() == "from here").then_some(())
    })
    .await;
    // And it reaches the world, as its node.
    assert!(inside.tcp(at(FAR, 80)[0]).is_some());
    // Gone from the API, it is gone from the machine, and its address is another's to have.
    site.api.ok(Method::DELETE, &path, Value::Null).await;
    until("nothing to be left of it", async || {
        let left = ip("-o link").contains("pg-") || ip("netns list").contains("podgate-");
        (!left).then_some(())
    })
    .await;
    until("the address to be free", async || {
        let (_, next) = site.pod(&format!("p{}", rand::random::<u16>())).await;
        (next["address"] == address.to_string()).then_some(())
    })
    .await;
}

/// What asks for a service by its public name from a pod comes to the edge on the node, and by
/// it to the pod: itself, if it is its own.
#[tokio::test]
async fn a_pod_reaches_itself_by_its_public_name() {
    let mut site = Site::start(&[]).await;
    let (path, pod) = site.pod("myproject").await;
    let inside = machine(&pod);
    serve(&inside);
    let service = json!({"name": "app", "port": 3000, "visibility": "public"});
    site.api.ok(Method::POST, &format!("{path}/services"), service).await;
    let ask = || {
        inside.run(|| {
            let to = SocketAddr::from(([192, 0, 2, 1], 8000));
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok()?;
            let host = edge::host("app-myproject-john");
            write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        })
    };
    assert_eq!(ask(), None, "nobody listens there");
    let own = site.podgate.http.address;
    site.podgate
        .edit_config(|text| text.replace(&format!("\"{own}\""), &format!("\"{own}\", \"192.0.2.1:8000\"")));
    site.podgate.restart().await;
    let answered = |answer: String| answer.ends_with("from here").then_some(());
    until("the service to answer", async || ask().and_then(answered)).await;
    let policy = json!({"egress": {"mode": "restricted"}});
    site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
    until("the policy to be in force", async || ask().is_none().then_some(())).await;
    let policy = json!({"egress": {"mode": "restricted", "cidrs": ["192.0.2.1:8000"]}});
    site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
    until("the service to answer", async || ask().and_then(answered)).await;
}

#[tokio::test]
async fn a_policy_is_in_force_before_the_answer_is_old() {
    let site = Site::start(&[]).await;
    let (path, pod) = site.pod("myproject").await;
    let inside = machine(&pod);
    let [far, farther] = [FAR, FARTHER].map(|to| at(to, 80)[0]);
    assert!(inside.tcp(far).is_some() && inside.tcp(farther).is_some());
    let mut slowest = Duration::ZERO;
    for (policy, open) in [
        (
            json!({"egress": {"mode": "restricted", "cidrs": ["198.51.100.0/24:80"]}}),
            [true, false],
        ),
        (json!({"egress": {"mode": "open"}}), [true, true]),
        (json!({"egress": {"mode": "restricted"}}), [false, false]),
    ] {
        site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
        let since = Instant::now();
        until("the policy to be in force", async || {
            ([inside.tcp(far).is_some(), inside.tcp(farther).is_some()] == open).then_some(())
        })
        .await;
        slowest = slowest.max(since.elapsed());
    }
    // A probe that is refused takes its second; this bounds failures only.
    assert!(slowest < Duration::from_secs(20), "{slowest:?}");
}

#[tokio::test]
async fn what_cannot_be_had_says_why_and_comes_when_it_can() {
    let site = Site::start(&[]).await;
    let (path, _) = site.pod("myproject").await;
    let (other, _) = site.pod("other").await;
    let policy = json!({"egress": {"mode": "restricted", "internal": ["databases"]}});
    site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
    let failed = site.is(&path, "failed").await;
    let reason = failed["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("`databases`") && reason.contains("sidecar.internal"),
        "{reason}"
    );
    site.is(&other, "ready").await;
    site.api
        .ok(Method::DELETE, &format!("{path}/policy"), Value::Null)
        .await;
    site.is(&path, "ready").await;
    // What runs in one that cannot be had is shut, and not ended.
    let (again, pod) = site.pod("third").await;
    let inside = machine(&pod);
    serve(&inside);
    let policy = json!({"egress": {"mode": "restricted", "internal": ["databases"]}});
    site.api.ok(Method::PUT, &format!("{again}/policy"), policy).await;
    site.is(&again, "failed").await;
    let own = SocketAddr::from(([127, 0, 0, 1], 3000));
    assert!(inside.connect(own).is_ok(), "it runs on");
    assert_eq!(
        [inside.tcp(at(FAR, 80)[0]), inside.tcp(at(FARTHER, 80)[0])],
        [None, None]
    );
    site.api
        .ok(Method::DELETE, &format!("{again}/policy"), Value::Null)
        .await;
    site.is(&again, "ready").await;
    assert!(inside.tcp(at(FAR, 80)[0]).is_some());
    // An operator's stop takes its network away; starting gives it the same address again.
    let before = site.api.ok(Method::PATCH, &path, json!({"state": "stopped"})).await;
    until("its network to be gone", async || {
        let gone = !ip("netns list").contains(before["id"].as_str().expect("an id"));
        gone.then_some(())
    })
    .await;
    site.api.ok(Method::PATCH, &path, json!({"state": "pending"})).await;
    let after = site.is(&path, "ready").await;
    assert_eq!(after["address"], before["address"]);
}

#[tokio::test]
async fn killed_and_started_again_it_goes_on() {
    let mut site = Site::start(&[]).await;
    let (_, pod) = site.pod("myproject").await;
    let (gone, _) = site.pod("gone").await;
    let held = machine(&pod).connect(at(FAR, 80)[0]).expect("open");
    site.podgate.process().signal(rustix::process::Signal::KILL);
    site.podgate.process().ended(Duration::from_secs(10)).await;
    ip("link del pg-0a640003");
    machine::program("nft", &["flush map inet podgate mode"]);
    site.podgate.restart().await;
    site.api.ok(Method::DELETE, &gone, Value::Null).await;
    until("all to be as it shall be", async || {
        let left = ip("-o link").matches("pg-").count();
        (left == 1 && machine(&pod).tcp(at(FAR, 80)[0]).is_some()).then_some(())
    })
    .await;
    assert!(machine::ask_again(&held).is_ok(), "what was open stays open");
}

/// Without the store a node keeps its pods as they were last to be: what others break is mended, and
/// after a start, of the machine even, they are there again.
#[tokio::test]
async fn without_its_store_a_node_goes_by_what_it_knows() {
    machine::alone();
    let mut postgres = Postgres::start().await;
    let mut site = Site::with(edge::with_world(World::new()).store(&postgres.url()), &[]).await;
    let (path, pod) = site.pod("myproject").await;
    let policy = json!({"egress": {"mode": "restricted", "cidrs": ["198.51.100.0/24:80"]}});
    site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
    let [far, farther] = [FAR, FARTHER].map(|to| at(to, 80)[0]);
    let holds = || {
        let inside = machine(&pod);
        inside.tcp(far).is_some() && inside.tcp(farther).is_none()
    };
    until("the policy to be in force", async || holds().then_some(())).await;
    site.podgate.caught_up().await;

    // It takes connections, and answers nobody.
    postgres.freeze();
    for _ in 0..2 {
        ip("link del pg-0a640002");
        until("the link to be there again", async || {
            ip("-o link").contains("pg-0a640002").then_some(())
        })
        .await;
        until("the policy to hold", async || holds().then_some(())).await;
    }
    postgres.thaw();

    postgres.stop().await;
    site.podgate.process().signal(rustix::process::Signal::KILL);
    site.podgate.process().ended(Duration::from_secs(10)).await;
    // All that a machine forgets when it is turned off.
    ip("link del pg-0a640002");
    ip(&format!("netns del podgate-{}", pod["id"].as_str().expect("an id")));
    machine::program("nft", &["delete table inet podgate"]);
    site.podgate.restart_without_store().await;
    until("the pod to be there again", async || {
        let there = ip("netns list").contains("podgate-") && ip("-o link").contains("pg-0a640002");
        (there && holds()).then_some(())
    })
    .await;

    postgres.resume().await;
    let (_, other) = until("the store to take a pod", async || {
        let made = json!({"name": "other", "owner": "john", "node": "here"});
        let made = site.api.call(Method::POST, "pods", made).await;
        let id = (made.status() == 201).then(|| made.json()["id"].as_str().map(str::to_owned))??;
        Some(((), site.is(&format!("pods/{id}"), "ready").await))
    })
    .await;
    assert!(machine(&other).tcp(farther).is_some());
    assert!(holds());
}

/// A node that has no address for all has those that it has one for.
#[tokio::test]
async fn pods_without_an_address_keep_no_other_from_having_one() {
    let site = Site::start(&[("sidecar.pod_cidr", "10.100.0.0/29".into())]).await;
    let first = site.pod("first").await;
    // Of eight addresses, the network's, the gateway's and the broadcast are nobody's.
    let of = |key: &str| first.1[key].as_str().expect(key).to_owned();
    let pod = |number: u8| Pod {
        id: PodId::new(),
        owner: of("owner").parse().expect("an id"),
        name: format!("p{number}").parse().expect("a name"),
        team: None,
        node: Some(of("node").parse().expect("an id")),
        address: None,
        address6: None,
        state: PodState::Pending,
        reason: None,
    };
    let more: Vec<Pod> = (0..6).map(pod).collect();
    let batch = site.podgate.store.begin().await.expect("begin");
    batch.add_pods(&more).await.expect("add pods");
    batch.commit().await.expect("commit");
    let states = async || {
        let all = site.api.ok(Method::GET, "pods", Value::Null).await;
        let all = all["items"].as_array().expect("a list").clone();
        let count = |state: &str| all.iter().filter(|pod| pod["state"] == state).count();
        (count("ready"), count("failed"), all)
    };
    let all = until("all to be seen to", async || {
        let (ready, failed, all) = states().await;
        ((ready, failed) == (5, 2)).then_some(all)
    })
    .await;
    let failed = all.iter().find(|pod| pod["state"] == "failed").expect("one");
    let why = failed["reason"].as_str().expect("a reason");
    assert!(why.contains("10.100.0.0/29"), "{why}");
    // Whoever goes makes room.
    site.api.ok(Method::DELETE, &first.0, Value::Null).await;
    until("another one to have it", async || {
        let (ready, failed, _) = states().await;
        ((ready, failed) == (5, 1)).then_some(())
    })
    .await;
}

/// Docker starts on a node that runs, and once more: pods are let through both times,
/// before the minute is over in which everything is looked at anyway.
#[tokio::test]
async fn docker_that_starts_later_is_noticed() {
    let site = Site::start(&[]).await;
    let (_, pod) = site.pod("myproject").await;
    let iptables = |words: &str| machine::program("iptables-nft", &words.split_whitespace().collect::<Vec<_>>());
    for command in ["-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-P FORWARD DROP"] {
        iptables(command);
    }
    for _ in 0..2 {
        until("pods to be let through", async || {
            iptables("-S DOCKER-USER").contains("podgate").then_some(())
        })
        .await;
        assert!(machine(&pod).tcp(at(FAR, 80)[0]).is_some());
        iptables("-F DOCKER-USER");
    }
    drop(site.outside);
}

/// What goes by a pod's link and what its services answer is told by the API and to
/// Prometheus, and forgotten with the pod.
#[tokio::test]
async fn what_goes_on_at_a_pod_is_told() {
    let admin = free_address();
    let site = Site::start(&[("sidecar.admin", admin.to_string().into())]).await;
    let (path, pod) = site.pod("myproject").await;
    let inside = machine(&pod);
    let metrics = format!("{path}/metrics");
    let none = site.api.ok(Method::GET, &metrics, Value::Null).await;
    assert_eq!(none["latency"], Value::Null);
    serve(&inside);
    let service = json!({"name": "app", "port": 3000, "visibility": "public"});
    site.api.ok(Method::POST, &format!("{path}/services"), service).await;
    let held = inside.connect(at(FAR, 80)[0]).expect("open");
    let told = until("all of it to be told", async || {
        site.podgate.get("app-myproject-john", "/").await;
        let told = site.api.ok(Method::GET, &metrics, Value::Null).await;
        let at_least = |pointer: &str| told.pointer(pointer).and_then(Value::as_f64).is_some_and(|is| is > 0.0);
        let all = [
            "/bandwidth/inbound",
            "/bandwidth/outbound",
            "/packets/received",
            "/packets/transmitted",
            "/connections/established",
            "/latency/p50",
        ];
        all.iter().all(|pointer| at_least(pointer)).then_some(told)
    })
    .await;
    let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_f64).expect(pointer);
    assert_eq!(
        number("/bandwidth/total"),
        number("/bandwidth/inbound") + number("/bandwidth/outbound")
    );
    assert!(number("/latency/p50") <= number("/latency/p95"), "{told}");
    assert!(number("/latency/p95") <= number("/latency/p99"), "{told}");
    assert!(
        number("/connections/active") >= number("/connections/established"),
        "{told}"
    );
    assert!(
        told["connections"]["timeWait"].is_u64() && told["at"].is_string(),
        "{told}"
    );

    let id = format!("pod=\"{}\"", pod["id"].as_str().expect("an id"));
    let series = [
        ("podgate_pod_network_bytes_total", "direction=\"outbound\""),
        ("podgate_pod_network_packets_total", "outcome=\"passed\""),
        ("podgate_pod_connections", "state=\"established\""),
    ];
    for (name, label) in series {
        let value = site.podgate.metric(name, &[&id, label]).await;
        assert!(value.is_some_and(|value| value > 0.0), "{name}: {value:?}");
    }
    // A node that is no edge shows the same on a listener of its own.
    let own = integration::client::Door::plain(admin);
    let page = integration::client::Request::get(&own, "node", "/metrics").send().await;
    assert!(page.body().contains("podgate_pod_connections{"), "{page:?}");
    let page = integration::client::Request::get(&own, "node", "/healthz").send().await;
    assert_eq!((page.status(), page.body()), (200, "ok\n"));

    drop(held);
    site.api.ok(Method::DELETE, &path, Value::Null).await;
    until("its series to be gone", async || {
        let value = site.podgate.metric("podgate_pod_connections", &[&id]).await;
        value.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_program_runs_in_a_pods_network() {
    let site = Site::start(&[]).await;
    let (_, pod) = site.pod("myproject").await;
    let run = |words: &'static [&'static str]| {
        let (url, token) = (site.api.url.clone(), site.api.token);
        async move {
            let ran = integration::process::Program::at(edge::podgate::binary())
                .args(["pod", "exec", "john/myproject", "--"])
                .args(words)
                .env("PODGATE_URL", url)
                .env("PODGATE_TOKEN", token)
                .finish()
                .await;
            (
                String::from_utf8_lossy(&ran.stdout).into_owned(),
                String::from_utf8_lossy(&ran.stderr).into_owned(),
            )
        }
    };
    let (links, _) = run(&["ip", "-4", "-o", "addr"]).await;
    assert!(links.contains(pod["address"].as_str().expect("one")), "{links}");
    let (resolver, _) = run(&["cat", "/etc/resolv.conf"]).await;
    assert!(resolver.contains("nameserver 169.254.1.1"), "{resolver}");
    // What runs beside a pod's own programs does not get the keys to all pods.
    let (environment, _) = run(&["env"]).await;
    assert!(environment.contains("PATH="));
    for key in ["PODGATE_TOKEN=", "PODGATE_URL="] {
        assert!(!environment.contains(key), "{key}");
    }
    let (_, said) = run(&["no-such-program"]).await;
    assert!(said.contains("run no-such-program"), "{said}");
    let here = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(!here.contains("169.254.1.1"), "the node keeps its own");
    let _: SocketAddr = at(FAR, 80)[0];
    drop(site.outside);
}

/// A name server of the world's, on this machine.
async fn name_server(address: SocketAddr) -> integration::process::Process {
    let home = tempfile::tempdir().expect("a temporary directory");
    let dir = home.path().to_owned();
    let zone = format!(
        "$ORIGIN test.\n$TTL 300\n@ SOA ns me 1 3600 600 86400 30\n@ NS ns\nns A 192.0.2.53\n\
         far A {}\nfar AAAA {}\nalias CNAME far\nfarther A {}\ninside A 10.9.0.2\n",
        FAR[0], FAR[1], FARTHER[0]
    );
    std::fs::write(dir.join("test.zone"), zone).expect("write the zone");
    let config = format!(
        "server:\n  rundir: {0}\n  listen: 127.0.0.1@{1}\ndatabase:\n  storage: {0}/db\n\
         zone:\n  - domain: test.\n    file: {0}/test.zone\n",
        dir.display(),
        address.port()
    );
    std::fs::write(dir.join("knot.conf"), config).expect("write the config");
    std::fs::create_dir(dir.join("db")).expect("make a directory");
    let program = integration::process::Program::find("knotd", "knot (Debian)");
    let mut server = program.arg("-c").arg(dir.join("knot.conf")).start_in(home);
    server.listening(address).await;
    server
}

fn resolve(pod: &Machine, name: &str, kind: &str) -> String {
    pod.run(|| machine::program("kdig", &["@169.254.1.1", name, kind, "+timeout=3", "+retry=1"]))
}

#[tokio::test]
async fn a_name_opens_the_way_to_what_it_leads_to() {
    let resolver = free_address();
    let site = Site::start(&[("sidecar.dns", vec![resolver.to_string()].into())]).await;
    // On the machine that the site has made.
    let _server = name_server(resolver).await;
    let (path, pod) = site.pod("myproject").await;
    let inside = machine(&pod);
    site.outside.answer(&at(FAR, 81));
    let policy = json!({"egress": {"mode": "restricted", "domains": ["far.test:80", "alias.test:80"]}});
    site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
    let [far, farther] = [FAR, FARTHER].map(|to| at(to, 80)[0]);
    until("the policy to be in force", async || {
        inside.tcp(farther).is_none().then_some(())
    })
    .await;
    assert_eq!(
        inside.tcp(far),
        None,
        "its address opens nothing before its name was asked for"
    );
    let refused = resolve(&inside, "farther.test", "A");
    assert!(refused.contains("status: REFUSED"), "{refused}");
    let told = resolve(&inside, "alias.test", "A");
    assert!(told.contains(FAR[0]), "{told}");
    assert!(inside.tcp(far).is_some(), "as soon as it was told");
    assert_eq!(inside.tcp(at(FAR, 80)[1]), None, "IPv6 was not asked for");
    assert_eq!(inside.udp(far), None, "its rule is of TCP");
    assert_eq!([inside.tcp(at(FAR, 81)[0]), inside.tcp(farther)], [None, None]);
    assert!(!inside.ping(far.ip()));
    assert!(resolve(&inside, "nowhere.test", "A").contains("REFUSED"));
    // Another pod has not learned it.
    let (other_path, other) = site.pod("other").await;
    site.api
        .ok(
            Method::PUT,
            &format!("{other_path}/policy"),
            json!({"egress": {"mode": "restricted", "domains": ["far.test:80"]}}),
        )
        .await;
    let other = machine(&other);
    until("its policy to be in force", async || {
        other.tcp(far).is_none().then_some(())
    })
    .await;
    // A policy without the name closes what the name has opened.
    let held = inside.connect(far).expect("open");
    assert!(machine::ask_again(&held).is_ok());
    let policy = json!({"egress": {"mode": "restricted", "domains": ["farther.test:80"]}});
    site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
    until("it to be closed", async || inside.tcp(far).is_none().then_some(())).await;
    assert!(machine::ask_again(&held).is_err(), "and what went through it");
    assert!(resolve(&inside, "farther.test", "A").contains(FARTHER[0]));
    assert!(inside.tcp(farther).is_some());
    // Ranges of two names that overlap, and lead to one address.
    let policy = json!({"egress": {"mode": "restricted", "domains": ["far.test:70-80", "alias.test:75-81"]}});
    site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
    for name in ["far.test", "alias.test"] {
        until("the name to be allowed", async || {
            resolve(&inside, name, "A").contains(FAR[0]).then_some(())
        })
        .await;
    }
    assert!(inside.tcp(far).is_some() && inside.tcp(at(FAR, 81)[0]).is_some());
    // A name that leads inside opens nothing there.
    let policy = json!({"egress": {"mode": "restricted", "domains": ["inside.test:80"]}});
    site.api.ok(Method::PUT, &format!("{path}/policy"), policy).await;
    until("the name to be allowed", async || {
        let told = resolve(&inside, "inside.test", "A");
        assert!(!told.contains("10.9.0.2"), "{told}");
        told.contains("NOERROR").then_some(())
    })
    .await;
}
