//! `podgate explain`.

use http::StatusCode;
use serde_json::Value;

use super::api::{Api, segment};
use super::names::Ref;
use super::output::{Output, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate explain https://app-myproject-john.pinacle.dev/
  podgate explain https://app-myproject-john.pinacle.dev/ --as mary";

/// What is to be explained.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address of a service, as one would open it
    url: String,
    /// Who asks for it (name or id); without it, somebody unknown
    #[arg(long = "as", value_name = "USER")]
    user: Option<Ref>,
}

pub(super) async fn run(args: Args, api: &Api, output: &Output) -> anyhow::Result<()> {
    let mut path = format!("explain?url={}", segment(&args.url));
    if let Some(user) = &args.user {
        path.push_str("&user=");
        path.push_str(&user.path());
    }
    let told = api.get(&path).await?;
    if output.is_json() {
        return output.json(&told);
    }
    let caller = args
        .user
        .map_or_else(|| "somebody unknown".to_owned(), |user| user.to_string());
    let route = match &told["route"] {
        Value::Null => "none".to_owned(),
        route => service(route),
    };
    output.facts([
        ("request", text(&told["url"])),
        ("as", caller),
        ("route", route),
        ("peer", peer(&told["peer"])),
        ("answer", answer(&told["status"])),
    ])?;
    output.text("")?;
    let steps = told["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |step: &Value| [text(&step["step"]), text(&step["outcome"]), text(&step["detail"])];
    output.table(["STEP", "OUTCOME", "WHY"], steps.iter().map(row))
}

/// `john/myproject/app, private, pod ready`.
fn service(route: &Value) -> String {
    format!(
        "{}/{}, {}, pod {}",
        text(&route["pod"]),
        text(&route["service"]),
        text(&route["visibility"]),
        text(&route["state"])
    )
}

/// `10.0.0.5:8000 (target), or 10.0.0.6:8000`.
fn peer(peer: &Value) -> String {
    if peer.is_null() {
        return "none".to_owned();
    }
    let mut line = format!("{} ({})", text(&peer["address"]), text(&peer["via"]));
    let others = text(&peer["others"]);
    if !others.is_empty() {
        line.push_str(", or the less busy of ");
        line.push_str(&others);
    }
    line
}

/// What comes back: an edge's refusal, or whatever the pod says.
fn answer(status: &Value) -> String {
    let known = status.as_u64().and_then(|status| u16::try_from(status).ok());
    match known.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(StatusCode::OK) | None => "the pod's own".to_owned(),
        Some(status) => status.to_string(),
    }
}
