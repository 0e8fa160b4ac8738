//! The clients of the API: `podgate user|team|pod|... VERB`, `explain`, `apply` and
//! `export`.
//!
//! Each resource is a file with its verbs, and the verbs are the same everywhere:
//! list, add, show, set, remove. They speak to a running podgate by [`api::Api`] and
//! never to its store.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod endpoint;
mod http;
mod token;
mod failure;
mod api;
mod names;
mod output;
mod values;
mod limit;
mod user;
mod dns;
mod keys;
mod team;
mod node;
mod pod;
mod service;
mod share;
mod policy;
mod port;
mod cert;
mod forward;
mod access;
mod route;
mod audit;
mod explain;
mod progress;
mod present;
mod apply;
mod export;

use api::Api;
use output::Output;

/// How to reach a podgate, and how to answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// Where the API is: http://, https://, or unix:/path/to.sock
    #[arg(
        long = "url",
        global = true,
        env = "PODGATE_URL",
        hide_env_values = true,
        help_heading = "Connection",
        default_value = "http://127.0.0.1:9091",
        hide_default_value = true,
        value_name = "URL"
    )]
    endpoint: endpoint::Endpoint,
    /// Trust this certificate authority (PEM) instead of the system's
    #[arg(
        long,
        global = true,
        env = "PODGATE_CA",
        hide_env_values = true,
        help_heading = "Connection",
        value_name = "FILE"
    )]
    ca: Option<std::path::PathBuf>,
    /// Print JSON, as the API answers it; a list is one array
    #[arg(long, global = true)]
    json: bool,
}

/// What the command line can ask of a running podgate.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Users: who owns pods, and who may enter them
    #[command(after_help = user::EXAMPLES)]
    User(Noun<user::Verb>),
    /// Teams, and who takes part in them
    #[command(after_help = team::EXAMPLES)]
    Team(Noun<team::Verb>),
    /// Nodes: the machines that run pods
    #[command(after_help = node::EXAMPLES)]
    Node(Noun<node::Verb>),
    /// Pods: users' environments, with services in them
    #[command(after_help = pod::EXAMPLES)]
    Pod(Noun<pod::Verb>),
    /// Services: ports of a pod with an address on the web
    #[command(after_help = service::EXAMPLES)]
    Service(Noun<service::Verb>),
    /// Shares: users let into a pod for a time
    #[command(after_help = share::EXAMPLES)]
    Share(Noun<share::Verb>),
    /// Policies: what a pod's network lets through, and how fast
    #[command(after_help = policy::EXAMPLES)]
    Policy(Noun<policy::Verb>),
    /// Ports: those of its node that are a pod's
    #[command(after_help = port::EXAMPLES)]
    Port(Noun<port::Verb>),
    /// Forwards: ports of its node that lead to a pod
    #[command(after_help = forward::EXAMPLES)]
    Forward(Noun<forward::Verb>),
    /// Certificates that podgate keeps: issued, renewed, and how it goes
    #[command(after_help = cert::EXAMPLES)]
    Cert(Noun<cert::Verb>),
    /// The records that lead services' names to the edges
    #[command(after_help = dns::EXAMPLES)]
    Dns(Noun<dns::Verb>),
    /// The keys that seal certificates' private keys in the store
    #[command(after_help = keys::EXAMPLES)]
    Keys(Noun<keys::Verb>),
    /// Tokens that let a user into pods
    #[command(after_help = access::TOKEN_EXAMPLES)]
    Token(Noun<access::TokenVerb>),
    /// Sessions: all that a user has signed in to
    #[command(after_help = access::SESSION_EXAMPLES)]
    Session(Noun<access::SessionVerb>),
    /// Tokens that open the API itself
    #[command(after_help = access::API_TOKEN_EXAMPLES)]
    ApiToken(Noun<access::ApiTokenVerb>),
    /// Routes: every service of every pod, by its address
    #[command(after_help = route::EXAMPLES)]
    Route(Noun<route::Verb>),
    /// The audit: who changed what, and when
    #[command(after_help = audit::EXAMPLES)]
    Audit(Noun<audit::Verb>),
    /// Say what becomes of a request: its route, each step of admission, and its peer
    #[command(after_help = explain::EXAMPLES)]
    Explain(Verbless<explain::Args>),
    /// Make users, teams, nodes and pods be as a file says
    #[command(after_help = apply::EXAMPLES)]
    Apply(Verbless<apply::Args>),
    /// Write down all users, teams, nodes and pods in the form that `apply` reads
    #[command(after_help = export::EXAMPLES)]
    Export(Verbless<export::Args>),
}

/// A resource with its verbs.
#[derive(Debug, Args)]
pub(crate) struct Noun<V: Subcommand> {
    #[command(subcommand)]
    verb: V,
    #[command(flatten)]
    connection: Connection,
}

/// A command that is a verb itself.
#[derive(Debug, Args)]
pub(crate) struct Verbless<A: Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    connection: Connection,
}

/// Runs a command to its end: 0 when done, 1 when refused or failed, 2 when it was not
/// understood.
pub(crate) fn run(client: Client) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(answer(client)),
        Err(error) => Err(anyhow::Error::new(error).context("start the runtime")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::tell(&error),
    }
}

async fn answer(client: Client) -> anyhow::Result<()> {
    match client {
        Client::User(it) => it.run(user::run).await,
        Client::Team(it) => it.run(team::run).await,
        Client::Node(it) => it.run(node::run).await,
        Client::Pod(it) => it.run(pod::run).await,
        Client::Service(it) => it.run(service::run).await,
        Client::Share(it) => it.run(share::run).await,
        Client::Policy(it) => it.run(policy::run).await,
        Client::Port(it) => it.run(port::run).await,
        Client::Forward(it) => it.run(forward::run).await,
        Client::Cert(it) => it.run(cert::run).await,
        Client::Dns(it) => it.run(dns::run).await,
        Client::Keys(it) => it.run(keys::run).await,
        Client::Token(it) => it.run(access::run_token).await,
        Client::Session(it) => it.run(access::run_session).await,
        Client::ApiToken(it) => it.run(access::run_api_token).await,
        Client::Route(it) => it.run(route::run).await,
        Client::Audit(it) => it.run(audit::run).await,
        Client::Explain(it) => it.run(explain::run).await,
        Client::Apply(it) => it.run(apply::run).await,
        Client::Export(it) => it.run(export::run).await,
    }
}

impl<V: Subcommand> Noun<V> {
    async fn run(self, command: impl AsyncFnOnce(V, &Api, &Output) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let (api, output) = self.connection.open()?;
        command(self.verb, &api, &output).await
    }
}

impl<A: Args> Verbless<A> {
    async fn run(self, command: impl AsyncFnOnce(A, &Api, &Output) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let (api, output) = self.connection.open()?;
        command(self.args, &api, &output).await
    }
}

impl Connection {
    fn open(self) -> anyhow::Result<(Api, Output)> {
        Ok((Api::new(self.endpoint, self.ca.as_deref())?, Output::new(self.json)))
    }
}
