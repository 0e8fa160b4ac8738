//! What 10,000 certificates cost an edge: memory for each, a full handshake by a name among them
//! next to one of an edge that has a single one, and how long a new one takes from the store to
//! the first handshake that shows it. Exits with an error when handshakes cost a tenth more.
//!
//! Certificates are as authorities issue them: a P-256 leaf and one above it, the key sealed. Both
//! edges follow a PostgreSQL of their own, each on the same one core, and take turns. Handshakes resume
//! nothing; what is printed of them are medians over the rounds. `PODGATE_BIN` names the program
//! to measure.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use certs::{Keyring, row};
use clap::Parser;
use integration::client::{Door, Request};
use integration::database::Postgres;
use model::{CertName, Certificate, UnixMillis};
use perf::load::Counts;
use perf::median::median;
use perf::process::{Program, Running};
use perf::site::{Cores, free_address, target_dir};
use perf::turn::{Turn, turn};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use store::Store;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const DOMAIN: &str = "bench.test";
const ALLOWED: f64 = 1.10;
/// Handshakes at a time.
const AT_A_TIME: usize = 8;
const SETTLE: Duration = Duration::from_secs(60);
/// A certificate that is not served by then is lost.
const LOST: Duration = Duration::from_secs(10);

/// Measures what 10,000 certificates cost an edge
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Certificates
    #[arg(long, default_value_t = 10_000)]
    certificates: usize,
    /// Turns of each edge
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of one turn
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Certificates that are renewed and looked for
    #[arg(long, default_value_t = 300)]
    renewals: usize,
}

/// Who signs, and seals.
struct Authority {
    root: CertificateDer<'static>,
    issuer: CertifiedIssuer<'static, KeyPair>,
    keyring: Keyring,
}

/// The key that seals, in hex.
fn sealing_key() -> String {
    "5a".repeat(32)
}

impl Authority {
    fn new() -> Result<Self> {
        let params = |name: &str| -> Result<CertificateParams> {
            let mut params = CertificateParams::new(Vec::<String>::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            Ok(params)
        };
        let root = CertifiedIssuer::self_signed(params("a root")?, KeyPair::generate()?)?;
        let issuer = CertifiedIssuer::signed_by(params("what it signs with")?, KeyPair::generate()?, &root)?;
        Ok(Self {
            root: root.der().clone(),
            issuer,
            keyring: Keyring::new([(1, sealing_key().as_bytes())])?,
        })
    }

    fn issue(&self, name: &str) -> Result<Certificate> {
        let now = SystemTime::now();
        let (from, until) = (now - Duration::from_secs(60), now + Duration::from_secs(90 * 86_400));
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.not_before = from.into();
        params.not_after = until.into();
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let name: CertName = name.parse()?;
        Ok(Certificate {
            chain: format!("{}{}", leaf.pem(), self.issuer.pem()),
            key: self.keyring.seal(&row::certificate(&name), &key.serialize_der())?,
            not_before: UnixMillis::from(from),
            not_after: UnixMillis::from(until),
            name,
        })
    }

    fn client(&self) -> Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn name(at: usize) -> String {
    format!("app-myproject-u{at:06}.{DOMAIN}")
}

/// An edge with its store.
struct Edge {
    certificates: usize,
    https: SocketAddr,
    admin: Door,
    store: Store,
    running: Running,
}

impl Edge {
    async fn start(dir: &Path, cores: &Cores, url: &str, authority: &Authority, certificates: usize) -> Result<Self> {
        let store = Store::open(url).await.context("open the store")?;
        let batch = store.begin().await?;
        for at in 0..certificates {
            batch.put_certificate(&authority.issue(&name(at))?).await?;
        }
        batch.commit().await?;
        let [https, admin] = [free_address()?, free_address()?];
        let config = config(dir, url, https, admin, certificates)?;
        let program = Program {
            name: format!("podgate-{certificates}"),
            path: integration::edge::podgate::binary().to_owned(),
            args: ["run", "--roles", "edge", "-c"]
                .into_iter()
                .map(Into::into)
                .chain([config.into()])
                .collect(),
            env: Vec::new(),
            listens: vec![https, admin],
        };
        let running = Running::start(&program, &[cores.edge], dir)?;
        let edge = Self {
            certificates,
            https,
            admin: Door::plain(admin),
            store,
            running,
        };
        let since = Instant::now();
        while edge.served().await? != certificates {
            ensure!(since.elapsed() < SETTLE, "not served:\n{}", edge.running.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(edge)
    }

    /// How many certificates it serves, by its metrics.
    async fn served(&self) -> Result<usize> {
        let request = Request::get(&self.admin, "localhost", "/metrics");
        let answer = request.try_send().await?;
        let of = "podgate_certificate_expiry_timestamp_seconds{";
        Ok(answer.body().lines().filter(|line| line.starts_with(of)).count())
    }
}

fn config(dir: &Path, url: &str, https: SocketAddr, admin: SocketAddr, certificates: usize) -> Result<PathBuf> {
    let data = dir.join(format!("data-{certificates}"));
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
    }
    std::fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
    let text = format!(
        "[store]\nurl = \"{url}\"\ndata_dir = \"{}\"\n\
         [edge]\nhttp = []\nhttps = \"{https}\"\nadmin = \"{admin}\"\ndomain = \"{DOMAIN}\"\nthreads = 1\n\
         [[tls.sealing_keys]]\nid = 1\nkey = \"{}\"\n[log]\naccess = \"off\"\n",
        data.display(),
        sealing_key(),
    );
    let path = data.join("podgate.toml");
    std::fs::write(&path, text).context("write a config")?;
    Ok(path)
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(
        cli.certificates > 1 && cli.rounds > 0 && cli.seconds > 0,
        "nothing would be measured"
    );
    let cores = Cores::split()?;
    cores.take_the_load_side()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.load.len())
        .enable_all()
        .build()
        .context("start a runtime")?
        .block_on(measure(&cli, &cores))
}

async fn measure(cli: &Cli, cores: &Cores) -> Result<()> {
    let dir = target_dir().join("certificates");
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let authority = Authority::new()?;
    let [small, large] = [Postgres::start().await, Postgres::start().await];
    let one = Edge::start(&dir, cores, &small.url(), &authority, 1).await?;
    let many = Edge::start(&dir, cores, &large.url(), &authority, cli.certificates).await?;

    let memory = [one.running.resident()?, many.running.resident()?];
    let each = memory[1].saturating_sub(memory[0]) / (cli.certificates as u64 - 1);
    println!(
        "memory: {} MiB with one certificate, {} MiB with {}: {each} bytes for each",
        memory[0] >> 20,
        memory[1] >> 20,
        cli.certificates
    );

    let client = authority.client()?;
    let mut rounds = Vec::new();
    for _ in 0..cli.rounds {
        let one = take_turn(&one, cores, &client, cli.seconds).await?;
        let many = take_turn(&many, cores, &client, cli.seconds).await?;
        rounds.push([one, many]);
    }
    let cost = |at: usize| median(rounds.iter().map(|round| round[at].cpu_us()[0])).unwrap_or_default();
    let ratio = median(rounds.iter().map(|[one, many]| many.cpu_us()[0] / one.cpu_us()[0])).unwrap_or_default();
    let busy = |at: usize| median(rounds.iter().map(|round| round[at].edge_busy)).unwrap_or_default() * 100.0;
    println!(
        "a full handshake, CPU us: {:.1} with one certificate, {:.1} by names among {}, ratio {ratio:.3} \
         ({} rounds of {} s; the edge's core {:.0}% and {:.0}% busy)",
        cost(0),
        cost(1),
        cli.certificates,
        cli.rounds,
        cli.seconds,
        busy(0),
        busy(1),
    );

    let mut waits = Vec::new();
    for at in 0..cli.renewals {
        let name = name(at * 7919 % cli.certificates);
        waits.push(renew(&many, &authority, &client, &name).await?.as_secs_f64() * 1e3);
    }
    waits.sort_by(f64::total_cmp);
    if let (Some(p50), Some(p99), Some(max)) = (
        waits.get(waits.len() / 2),
        waits.get(waits.len() * 99 / 100),
        waits.last(),
    ) {
        println!("from the store to a handshake, ms: p50 {p50:.1}, p99 {p99:.1}, max {max:.1}");
    }
    ensure!(ratio <= ALLOWED, "a handshake costs {ratio:.3} times as much");
    Ok(())
}

async fn take_turn(edge: &Edge, cores: &Cores, client: &TlsConnector, seconds: u64) -> Result<Turn<1>> {
    handshakes(edge, client, Duration::from_secs(1))
        .await
        .context("warm up")?;
    let cpu = || Ok([edge.running.cpu()?]);
    let load = handshakes(edge, client, Duration::from_secs(seconds));
    let turn = turn(cores, cpu, load).await;
    turn.with_context(|| format!("{} certificates:\n{}", edge.certificates, edge.running.log_tail()))
}

/// Full handshakes, so many at a time, by names that are spread over all of the edge's.
async fn handshakes(edge: &Edge, client: &TlsConnector, time: Duration) -> Result<Counts> {
    let start = Instant::now();
    let end = start + time;
    let tasks: Vec<_> = (0..AT_A_TIME)
        .map(|task| {
            let (client, https, certificates) = (client.clone(), edge.https, edge.certificates);
            tokio::spawn(async move {
                let (mut done, mut failed) = (0, 0);
                while Instant::now() < end {
                    let name = name((done * AT_A_TIME + task) * 7919 % certificates);
                    match leaf(&client, https, &name).await {
                        Ok(_) => done += 1,
                        Err(_) => failed += 1,
                    }
                }
                (done as u64, failed)
            })
        })
        .collect();
    let (mut done, mut failed) = (0, 0);
    for task in tasks {
        let (d, f) = task.await.context("a handshake task ended")?;
        done += d;
        failed += f;
    }
    Ok(Counts {
        done,
        failed,
        refused: 0,
        elapsed: start.elapsed(),
        p50: None,
        p99: None,
    })
}

/// The leaf that a handshake for a name shows.
async fn leaf(client: &TlsConnector, https: SocketAddr, name: &str) -> Result<CertificateDer<'static>> {
    let stream = TcpStream::connect(https).await?;
    stream.set_nodelay(true)?;
    let stream = client.connect(ServerName::try_from(name.to_owned())?, stream).await?;
    let chain = stream.get_ref().1.peer_certificates().context("a chain")?;
    Ok(chain.first().context("a leaf")?.clone().into_owned())
}

/// How long it takes from the commit to the first handshake that shows it.
async fn renew(edge: &Edge, authority: &Authority, client: &TlsConnector, name: &str) -> Result<Duration> {
    let certificate = authority.issue(name)?;
    let new = CertificateDer::from_pem_slice(certificate.chain.as_bytes())?;
    edge.store.put_certificate(&certificate).await?;
    let since = Instant::now();
    while since.elapsed() < LOST {
        if leaf(client, edge.https, name).await? == new {
            return Ok(since.elapsed());
        }
    }
    bail!("{name}: not served within {LOST:?}")
}
