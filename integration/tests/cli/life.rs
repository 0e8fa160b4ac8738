//! The verbs, from the first user to the last removal, and what they say when refused.

use integration::process::Program;

use super::Site;

#[tokio::test]
async fn a_whole_life() {
    let site = Site::start().await;
    assert_eq!(site.ok("user add john").await, "added user john\n");
    let mary = site.json("user create mary").await;
    site.ok("team add devs").await;
    site.ok("team join devs mary").await;
    assert_eq!(site.json("team members devs").await[0]["status"], "active");
    site.ok("team join devs mary --status suspended").await;
    assert_eq!(site.ok("team members devs").await, "USER  STATUS\nmary  suspended\n");

    let pod = site.json("pod add john/myproject --team devs").await;
    assert_eq!(pod["state"], "ready");
    let id = pod["id"].as_str().expect("an id");
    assert_eq!(site.json(&format!("pod show {id}")).await, pod, "by id as by name");
    assert_eq!(site.json("pod get john/myproject").await, pod);
    let service = site.json("service add john/myproject/app --port 3000").await;
    assert_eq!(service["visibility"], "private");
    assert_eq!(service["host"], "app-myproject-john.podgate.localhost");
    let two = "--target 127.0.0.1:8000 --target 127.0.0.1:8001";
    site.ok(&format!(
        "service add john/myproject/api --port 8000 --visibility public {two}"
    ))
    .await;
    let api = site.json("service show john/myproject/api").await;
    assert_eq!(api["targets"], serde_json::json!(["127.0.0.1:8000", "127.0.0.1:8001"]));
    let changed = site
        .json("service set john/myproject/api --port 80 --target none")
        .await;
    assert_eq!(
        (&changed["port"], &changed["targets"]),
        (&80.into(), &serde_json::json!([]))
    );
    assert_eq!(changed["visibility"], "public", "what is not named stays");

    let share = site.json("share add john/myproject mary --for 1h --service app").await;
    assert_eq!(share["user"], mary["id"]);
    let table = site.ok("share list john/myproject").await;
    assert!(
        table.starts_with("USER  UNTIL") && table.contains("\nmary  20") && table.ends_with("  app\n"),
        "{table}"
    );
    site.ok("share add john/myproject mary --until 2100-01-01T00:00:00Z")
        .await;
    let share = site.json("share show john/myproject mary").await;
    assert_eq!(share["expires_at"], "2100-01-01T00:00:00.000Z");
    assert_eq!(share["services"], serde_json::json!([]));

    let routes = site.json("route list").await;
    let hosts: Vec<&str> = routes
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|route| route["host"].as_str())
        .collect();
    assert_eq!(
        hosts,
        [
            "api-myproject-john.podgate.localhost",
            "app-myproject-john.podgate.localhost"
        ]
    );
    let table = site.ok("route ls").await;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "HOST                                  SERVICE             PORT  VISIBILITY  TARGETS"
    );
    assert_eq!(
        lines[2],
        "app-myproject-john.podgate.localhost  john/myproject/app  3000  private     -"
    );

    let token = site.ok("token add mary --ttl 5m").await;
    assert_eq!(token.trim().split('.').count(), 3, "a token and nothing else: {token}");

    site.ok("pod set john/myproject --state stopped --team none").await;
    let pod = site.json("pod show john/myproject").await;
    assert_eq!(
        (&pod["state"], &pod["team"]),
        (&"stopped".into(), &serde_json::Value::Null)
    );
    let table = site.ok("pod list").await;
    assert!(
        table.contains("\njohn/myproject  stopped  -     -     -        01"),
        "{table}"
    );

    assert_eq!(site.ok("share rm john/myproject mary --json").await, "");
    site.ok("service delete john/myproject/api").await;
    assert_eq!(
        site.json("service list john/myproject").await.as_array().map(Vec::len),
        Some(1)
    );
    site.ok("team leave devs mary").await;
    site.ok("team remove devs").await;
    site.ok("pod remove john/myproject").await;
    site.ok("user remove john").await;
    assert_eq!(site.json("route list").await, serde_json::json!([]));
    assert_eq!(site.ok("user list").await.lines().count(), 2, "mary under her head");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let site = Site::start().await;
    site.ok("user add john").await;
    site.ok("pod add john/p").await;

    let said = site.refused("user add john").await;
    assert!(said.contains("name: ") && said.contains("`john` is taken"), "{said}");
    assert!(said.contains("`podgate user list`"), "{said}");
    for (line, what, how) in [
        (
            "pod show john/nothing",
            "There is no pod `john/nothing`",
            "`podgate pod list`",
        ),
        ("user show nobody", "There is no user `nobody`", "`podgate user list`"),
        (
            "service show john/p/app",
            "There is no service `app`",
            "`podgate route list`",
        ),
        ("team join devs john", "There is no team `devs`", "`podgate team list`"),
        ("pod add nobody/p", "owner: There is no user `nobody`", ""),
        ("token add john --ttl 90days", "ttl: A token lasts", ""),
        ("share add john/p john --for 1h --service app", "services[0]: ", ""),
    ] {
        let said = site.refused(line).await;
        assert!(
            said.starts_with("podgate: ") && said.contains(what) && said.contains(how),
            "{line}: {said}"
        );
    }
    assert_eq!(
        site.json("user list").await.as_array().map(Vec::len),
        Some(1),
        "nothing was written"
    );
}

#[tokio::test]
async fn what_is_not_understood_asks_nobody() {
    let site = Site::start().await;
    for (line, why) in [
        ("user add John", "a-z"),
        ("user add", "required"),
        ("user rename john", "unrecognized"),
        ("user set john", "required"),
        (
            "user set john --limit rate=5",
            "there is no limit `rate` here; there are user.rate,",
        ),
        ("user set john --limit user.rate", "KEY=VALUE"),
        ("user add john --limit user.rate=5", "no `/`"),
        (
            "service set john/p/app --limit public.requests=5",
            "there are public.rate,",
        ),
        ("service set john/p/app --limit service.bandwidth=1", "10mbit"),
        ("pod show john", "OWNER/POD"),
        ("pod show ../x", "not a pod"),
        ("pod show john/a%2fb", "not a pod"),
        ("pod set john/p", "required"),
        ("service show john/p", "OWNER/POD/SERVICE"),
        ("service add john/p/app --port 0", "--port"),
        (
            "service add john/p/app --port 1 --visibility open",
            "private, authenticated, public",
        ),
        ("share add john/p mary", "required"),
        ("share add john/p mary --for soon", "duration"),
        (
            "share add john/p mary --for 1h --until 2100-01-01T00:00:00Z",
            "cannot be used with",
        ),
        ("token add john --ttl 1", "duration"),
        ("user list --url ftp://x", "must be http"),
        ("user list --url http://gate.example", "use https"),
    ] {
        let args: Vec<&str> = line.split_whitespace().collect();
        // Nobody listens there: exit code 2 comes before anybody is asked.
        let said = site
            .program(&args)
            .env("PODGATE_URL", "http://127.0.0.1:1")
            .finish()
            .await;
        let said = super::Said::of(&args, said).failed(2);
        assert!(said.contains(why), "{line}: {said}");
    }
}

#[tokio::test]
async fn only_a_terminal_sees_bold() {
    let site = Site::start().await;
    site.ok("user add john").await;
    assert!(!site.ok("user list").await.contains('\u{1b}'));
    let command = format!("{} user list", integration::edge::podgate::binary().display());
    let on_terminal = Program::find("script", "bsdutils (Debian)")
        .args(["-qec", &command, "/dev/null"])
        .env("PODGATE_URL", site.url())
        .env("PODGATE_TOKEN", super::TOKEN);
    let bold = String::from_utf8(on_terminal.finish().await.stdout).expect("UTF-8");
    assert!(
        bold.starts_with("\u{1b}[1mNAME  ID") && bold.contains("\njohn  "),
        "{bold:?}"
    );
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_failure() {
    let site = Site::start().await;
    let users: String = (0..3000).map(|n| format!("- user-{n}\n")).collect();
    let file = site.file("users.yaml", &format!("users:\n{users}"));
    site.ok(&format!("apply -f {file}")).await;
    let users = site.json("user list").await;
    assert_eq!(users.as_array().map(Vec::len), Some(3000), "page by page");
    let line = format!(
        "set -o pipefail; {} user list | head -n 1",
        integration::edge::podgate::binary().display()
    );
    let head = Program::find("bash", "bash")
        .args(["-c", &line])
        .env("PODGATE_URL", site.url())
        .env("PODGATE_TOKEN", super::TOKEN)
        .finish()
        .await;
    let said = super::Said::of(&["user list | head"], head);
    assert_eq!(said.err, "");
    assert!(said.good().starts_with("NAME"));
}
