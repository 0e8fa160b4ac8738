//! Limits that single users and services have of their own.

use serde_json::{Value, json};

use super::Site;

#[tokio::test]
async fn only_the_limits_that_are_named_change() {
    let site = Site::start().await;
    let limits = async |line: &str| site.json(line).await["limits"].clone();
    let some = "--limit user.rate=5000/1m --limit user.requests=200 --limit pod.websockets=unlimited";
    assert_eq!(
        limits(&format!("user create john {some}")).await,
        json!({"user": {"rate": "5000/1m", "requests": "200"}, "pod": {"websockets": "unlimited"}})
    );
    assert_eq!(
        site.ok("user set john --limit user.requests=none --limit user.burst=50 --limit pod.shadow=true")
            .await,
        "changed user john\n"
    );
    assert_eq!(
        limits("user show john").await,
        json!({"user": {"rate": "5000/1m", "burst": 50}, "pod": {"websockets": "unlimited", "shadow": true}})
    );
    let shown = site.ok("user show john").await;
    for line in [
        "name         john\n",
        "\nlimits.user  5000/1m, burst 50\n",
        "\nlimits.pod   unlimited WebSockets, shadow\n",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert_eq!(
        limits("user set john --no-limits --limit pod.requests=7").await,
        json!({"pod": {"requests": "7"}})
    );
    assert_eq!(limits("user set john --no-limits").await, Value::Null);
    assert!(site.ok("user show john").await.ends_with("\nlimits  -\n"));
    assert_eq!(limits("user add mary").await, Value::Null);

    site.ok("pod add john/p").await;
    let some = "--limit public.rate=10/1s --limit service.bandwidth=10mbit";
    assert_eq!(
        limits(&format!("service create john/p/app --port 80 {some}")).await,
        json!({"public": {"rate": "10/1s"}, "service": {"bandwidth": "10mbit"}})
    );
    let changed = site
        .json("service set john/p/app --port 81 --limit public.rate=20/1s")
        .await;
    assert_eq!(
        (&changed["port"], &changed["limits"]),
        (
            &json!(81),
            &json!({"public": {"rate": "20/1s"}, "service": {"bandwidth": "10mbit"}})
        )
    );
    let shown = site.ok("service show john/p/app").await;
    assert!(
        shown.contains("\nlimits.public   20/1s\n") && shown.contains("\nlimits.service  10mbit\n"),
        "{shown}"
    );
    let changed = site.json("service set john/p/app --port 82").await;
    assert_eq!(changed["limits"]["public"], json!({"rate": "20/1s"}), "the rest stays");
    assert_eq!(limits("service set john/p/app --no-limits").await, Value::Null);
}

#[tokio::test]
async fn what_is_refused_says_what_to_do() {
    let site = Site::start().await;
    site.ok("user add john --limit user.rate=9/1s --limit user.burst=3")
        .await;
    let before = site.revision().await;
    let args = ["user", "set", "john", "--limit", "user.rate=unlimited"];
    let said = site.run(&args).await.failed(2);
    assert!(said.contains("`--limit user.burst=none`"), "{said}");
    let said = site.refused("user set nobody --limit user.rate=1/1s").await;
    assert!(
        said.contains("There is no user `nobody`") && said.contains("`podgate user list`"),
        "{said}"
    );
    assert_eq!(site.revision().await, before + 1, "nothing was written");
}

/// What one has read is what it writes over: nobody's limit is lost to another's.
#[tokio::test]
async fn of_those_who_change_limits_at_once_none_undoes_another() {
    let site = Site::start().await;
    site.ok("user add john").await;
    let lines = [
        "user.rate=9/1s",
        "user.requests=5",
        "user.websockets=6",
        "pod.rate=8/1s",
        "pod.requests=7",
    ];
    let set = async |limit: &str| {
        loop {
            let said = site.run(&["user", "set", "john", "--limit", limit]).await;
            if said.code == Some(0) {
                return;
            }
            let why = said.failed(1);
            assert!(
                why.contains("somebody changed it meanwhile: look at it, and try again"),
                "{why}"
            );
        }
    };
    futures_util::future::join_all(lines.map(set)).await;
    assert_eq!(
        site.json("user show john").await["limits"],
        json!({
            "user": {"rate": "9/1s", "requests": "5", "websockets": "6"},
            "pod": {"rate": "8/1s", "requests": "7"},
        })
    );
}

const WORLD: &str = "\
users:
  - name: john
    limits:
      user:
        rate: \"5000/1m\"
        burst: 50
        websockets: \"20\"
      pod:
        requests: unlimited
        shadow: true
  - mary
pods:
  - name: p
    owner: john
    services:
      - name: app
        port: 80
        visibility: public
        limits:
          public:
            rate: \"10/1s\"
          service:
            rate: \"500/1s\"
            bandwidth: \"10mbit\"
            shadow: false
";

#[tokio::test]
async fn they_are_applied_and_exported() {
    let site = Site::start().await;
    let file = site.file("world.yaml", WORLD);
    let told = site.ok(&format!("apply -f {file}")).await;
    for line in [
        "+ user john limits user 5000/1m, burst 50, 20 WebSockets; pod unlimited requests at once, shadow\n",
        "+ user mary\n",
        "+ service john/p/app port 80, public, limits public 10/1s; service 500/1s, 10mbit\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert_eq!(site.ok("export").await, WORLD);
    let again = site.ok(&format!("apply -f {file}")).await;
    assert_eq!(again, "created 0, changed 0, removed 0, unchanged 4\n");
    let other = Site::start().await;
    let json = site.ok("export --json").await;
    other.ok(&format!("apply -f {}", other.file("world.json", &json))).await;
    assert_eq!(other.ok("export").await, WORLD);

    // What is left out stays, and what is given is all there is.
    let change = "\
users: [john, {name: mary, limits: {pod: {rate: 1/1s}}}]
pods: [{name: p, owner: john, services: [{name: app, port: 80, limits: {public: {rate: 20/1s}}}]}]
";
    let file = site.file("change.yaml", change);
    let expected = [
        "~ user mary limits - -> pod 1/1s",
        "~ service john/p/app limits public 10/1s; service 500/1s, 10mbit -> public 20/1s",
    ];
    let would = site.ok(&format!("apply --dry-run -f {file}")).await;
    let told = site.ok(&format!("apply -f {file}")).await;
    for told in [would, told] {
        let steps: Vec<&str> = told.lines().filter(|line| line.starts_with('~')).collect();
        assert_eq!(steps, expected);
    }
    assert_eq!(
        site.json("service show john/p/app").await["limits"],
        json!({"public": {"rate": "20/1s"}})
    );
    assert_ne!(site.json("user show john").await["limits"], Value::Null);

    let lift = "\
users: [{name: john, limits: null}, {name: mary, limits: {}}]
pods: [{name: p, owner: john, services: [{name: app, port: 80, limits: null}]}]
";
    let told = site.ok(&format!("apply -f {}", site.file("lift.yaml", lift))).await;
    assert!(
        told.contains("~ service john/p/app limits public 20/1s -> -\n")
            && told.ends_with("changed 3, removed 0, unchanged 1\n"),
        "{told}"
    );
    let exported = site.ok("export").await;
    assert!(
        exported.starts_with("users: [john, mary]\n") && !exported.contains("limits"),
        "{exported}"
    );
}
