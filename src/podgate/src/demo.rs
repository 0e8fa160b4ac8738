//! `podgate demo`: the whole of podgate from one command, for somebody who has not
//! seen it yet.
//!
//! Nothing in it is special to the demo but what stands around the edge: it writes
//! a config file and a store as anybody might, starts three small services in a pod, or
//! on loopback ports where it may have none, and runs podgate on that file.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use model::UnixMillis;
use prometheus::Registry;

mod addresses;
mod network;
mod origin;
mod page;
mod pki;
mod place;
mod script;
mod summary;
mod traffic;
mod world;

use addresses::Addresses;
use network::Network;
use place::Place;
use script::Script;
use traffic::Traffic;
use world::World;

const DOMAIN: &str = "podgate.localhost";
/// How long the edge may take until it serves the page.
const START: Duration = Duration::from_secs(30);

/// Runs podgate with three small services behind it, to look at
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Print one JSON object instead of text: addresses, tokens, services
    #[arg(long)]
    json: bool,
    /// Where to listen for plain HTTP, which only redirects
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where to listen for HTTPS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    https: SocketAddr,
    /// Where to keep the certificates, the store and the tokens
    #[arg(long, value_name = "DIR", default_value = "podgate-demo")]
    dir: PathBuf,
}

/// Makes the demo's world, and hands the config file it wrote to `serve`, which runs
/// podgate on it until somebody interrupts; the metrics are to go to the registry.
pub(crate) fn run(args: &DemoArgs, serve: impl FnOnce(&Path, Registry) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let addresses = Addresses::free(args.http, args.https)?;
    let place = Place::take(&args.dir)?;
    let pki = pki::prepare(place.dir(), DOMAIN, now)?;
    let network = Network::find()?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("demo")
        .enable_all()
        .build()
        .context("start the demo's runtime")?;
    let registry = Registry::new();
    let (script, world) = runtime.block_on(async {
        let here = match network.is_real() {
            true => None,
            false => Some([origin::bind().await?, origin::bind().await?, origin::bind().await?]),
        };
        let targets = here.as_ref().map(|here| here.each_ref().map(|(_, address)| *address));
        let world = World::make(&place, &addresses, targets, UnixMillis::from(now)).await?;
        let script = Script::new(
            addresses.https,
            &pki.ca,
            &world.suffix(),
            &world.john.token,
            &world.mary.token,
        )?;
        let facts = summary::facts(&world, &place);
        let traffic = Traffic::watch(registry.clone());
        let routers = [
            origin::app::router(facts.clone(), traffic, script.clone())?,
            origin::api::router(),
            origin::code::router(facts)?,
        ];
        match here {
            Some(here) => {
                for ((listener, _), router) in here.into_iter().zip(routers) {
                    origin::serve(listener, router);
                }
            }
            None => drop(tokio::spawn(origin::serve_inside(world.id, routers))),
        }
        anyhow::Ok((script, world))
    })?;
    let config = place.file("podgate.toml");
    fs::write(&config, configuration(&place, &addresses, &pki, &network))
        .with_context(|| format!("write {}", config.display()))?;

    let text = if args.json {
        format!("{}\n", summary::json(&world, &addresses, &pki, &network))
    } else {
        summary::text(&world, &addresses, &place, &network, std::io::stdout().is_terminal())
    };
    // Told once the page can be had, and not at all when it cannot.
    runtime.spawn(async move {
        match tokio::time::timeout(START, script.until_it_serves(addresses.admin)).await {
            Ok(()) => {
                let mut out = std::io::stdout().lock();
                if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    tracing::warn!(%error, "print the addresses");
                }
            }
            Err(_) => tracing::error!("the edge has not served the demo's page for {} s", START.as_secs()),
        }
    });
    let result = serve(&config, registry);
    runtime.shutdown_background();
    // Last: what serves in the pod ends before its network does.
    drop(network);
    result
}

/// The config file, as somebody might have written it.
fn configuration(place: &Place, addresses: &Addresses, pki: &pki::Pki, network: &Network) -> String {
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    format!(
        r#"# Written by `podgate demo` at each start. While it runs, change something here
# (the limits, say) and try: podgate reload -c {shown}

[store]
url = {store}

[edge]
domain = "{DOMAIN}"
http = "{http}"
https = "{https}"
admin = "{admin}"
{allow_targets}
[edge.timeouts]
# A page that stays open should not hold up the end of the demo.
drain = "1s"

[[tls.certificates]]
cert = {certificate}
key = {key}

[auth]
# The demo's own page asks whom to be; see auth.login_url and auth.oidc for real ones.
demo_users = ["john", "mary"]

[limits]
public = "100/1m"
user = "1000/1m"

[control]
listen = "{control}"
admin_token = {admin_token}

{sidecar}
[log]
level = "warn"
access = "json"
access_file = {access_file}
"#,
        shown = place.shown("podgate.toml"),
        store = toml::Value::String(place.store_url()),
        allow_targets = match network.is_real() {
            true => "",
            false =>
                "# The demo's services run on this machine, not in a pod's network.\n\
                 allow_targets = [\"127.0.0.1/32\"]\n",
        },
        sidecar = network.section(),
        http = addresses.http,
        https = addresses.https,
        admin = addresses.admin,
        control = addresses.control,
        certificate = quoted(&pki.certificate),
        key = quoted(&pki.key),
        admin_token = toml::Value::String(format!("file:{}", place.file("admin.token").display())),
        access_file = quoted(&place.file("access.log")),
    )
}
