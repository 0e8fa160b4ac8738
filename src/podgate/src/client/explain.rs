//! `podgate explain`.

use serde_json::Value;

use super::api::{Api, segment};
use super::names::{Names, Ref};
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
    let mut facts = vec![("request", text(&told["url"])), ("as", caller)];
    let route = &told["route"];
    if route.is_null() {
        facts.push(("route", "none".to_owned()));
    } else {
        facts.push(("route", service(api, route).await?));
    }
    let peer = &told["peer"];
    facts.push(("peer", peer_line(peer)));
    facts.push(("answer", answer(&told["status"])));
    output.facts(facts)?;
    output.text("")?;
    let steps = told["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |step: &Value| [text(&step["step"]), text(&step["outcome"]), text(&step["detail"])];
    output.table(["STEP", "OUTCOME", ""], steps.iter().map(row))
}

/// `john/myproject/app, port 3000, private`.
async fn service(api: &Api, route: &Value) -> anyhow::Result<String> {
    let mut names = Names::default();
    names.learn_pods(api, [&route["pod"]]).await?;
    Ok(format!(
        "{}/{}, port {}, {}",
        names.of(&route["pod"]),
        text(&route["name"]),
        text(&route["port"]),
        text(&route["visibility"])
    ))
}

fn peer_line(peer: &Value) -> String {
    let address = text(&peer["address"]);
    match text(&peer["via"]) {
        via if via.is_empty() => address,
        via => format!("{address} via {via}"),
    }
}

/// `403 Forbidden`; without a status, what the pod says.
fn answer(status: &Value) -> String {
    let known = status
        .as_u64()
        .and_then(|status| u16::try_from(status).ok())
        .and_then(|status| http::StatusCode::from_u16(status).ok());
    match known {
        Some(status) if status.is_success() => format!("let in ({status})"),
        Some(status) => format!("refused with {status}"),
        None => "the pod's own".to_owned(),
    }
}
