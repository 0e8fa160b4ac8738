//! The OpenAPI document against what is served: schemathesis makes requests of it, good
//! and bad, and holds the answers against it.

use http::Method;
use integration::process::Program;
use integration::wait::full_size;
use serde_json::{Value, json};

use crate::{ADMIN_TOKEN, Control};

/// How a request that is no good is refused: as by their defaults, and because its body is too
/// large for anybody to look at what it says.
const REFUSALS: &str = "[checks.negative_data_rejection]\nexpected-statuses = \
                        [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, \"5xx\"]\n";

/// Runs schemathesis with its checks for everything but this: what a schema allows may
/// still be refused, as an owner that does not exist.
async fn schemathesis(control: &Control, more: &[&str], config: &str) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let config = format!("{REFUSALS}{config}");
    std::fs::write(home.path().join("schemathesis.toml"), config).expect("write the config");
    let examples = if full_size() { "400" } else { "15" };
    let output = Program::find("schemathesis", "it with `.ci/tools test`")
        .args(["run", "--exclude-checks", "positive_data_acceptance"])
        .args(["--continue-on-failure", "--no-color", "--max-examples", examples])
        .args(["--header", &format!("Authorization: Bearer {ADMIN_TOKEN}")])
        .args(more)
        .arg(format!("{}/api/v1/openapi.json", control.api.url))
        .dir(home.path())
        .finish()
        .await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("0 tested") && said.contains("passed"), "{said}");
}

/// Everything by its schema alone: names that nobody has, and what one request has made
/// in the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_undocumented() {
    let mut control = Control::start(None).await;
    schemathesis(&control, &[], "").await;
    assert!(control.process.is_running(), "{}", control.process.printed());
}

/// Things that exist, so that requests get as far as changing them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_undocumented_about_what_is_there() {
    let mut control = Control::start(None).await;
    let api = &control.api;
    for user in ["john", "mary"] {
        api.ok(Method::POST, "users", json!({ "name": user })).await;
    }
    api.ok(Method::PUT, "teams/crew", json!({})).await;
    api.ok(Method::PUT, "nodes/n1", json!({})).await;
    api.ok(Method::POST, "api-tokens", json!({ "name": "ci", "scope": "read" }))
        .await;
    let pod = json!({ "name": "myproject", "owner": "john" });
    let pod = api.ok(Method::POST, "pods", pod).await["id"].clone();
    let pod = pod.as_str().expect("an id");
    let service = json!({ "port": 3000, "visibility": "private" });
    api.ok(Method::PUT, &format!("pods/{pod}/services/app"), service).await;
    let share = json!({ "expires_at": "2090-01-01T00:00:00Z" });
    api.ok(Method::PUT, &format!("pods/{pod}/shares/mary"), share).await;

    let config = format!(
        "[parameters]\n\"path.pod\" = \"{pod}\"\n\"path.user\" = \"mary\"\n\"path.team\" = \"crew\"\n\
         \"path.node\" = \"n1\"\n\"path.service\" = \"app\"\n\"path.token\" = \"ci\"\n\"query.owner\" = \"john\"\n\
         \"query.url\" = \"https://app-myproject-john.example.dev/\"\n\"query.user\" = \"mary\"\n"
    );
    let phases = ["--phases", "examples,coverage,fuzzing", "--exclude-method", "DELETE"];
    schemathesis(&control, &phases, &config).await;
    assert!(control.process.is_running(), "{}", control.process.printed());
    // They were there to the end.
    let service = format!("pods/{pod}/services/app");
    for path in ["users/mary", "teams/crew", "nodes/n1", service.as_str()] {
        control.api.ok(Method::GET, path, Value::Null).await;
    }
}
