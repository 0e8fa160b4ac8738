//! Where the API listens: a loopback address or a unix socket; elsewhere only with TLS.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that are through their handshake and not yet served.
const AHEAD: usize = 64;

/// An address of the API's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket, written `unix:/run/podgate/api.sock`: who may write to it is let
    /// in to the token check.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(format!("`{text}`: the path of a unix socket begins with `/`"));
            }
            return Ok(Self::Unix(path.into()));
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| format!("`{text}` is neither an address such as `127.0.0.1:9091` nor `unix:` and a path"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The API's certificate with its key.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>, Vec<u8>);

impl Tls {
    /// Takes a chain and a key in PEM.
    ///
    /// # Errors
    /// Which of `cert` and `key` is wrong, and how.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, (&'static str, String)> {
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ("cert", format!("not PEM: {error}")))?;
        if chain.is_empty() {
            return Err(("cert", "holds no certificate".to_owned()));
        }
        let parsed =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| ("key", format!("not a PEM private key: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, parsed))
            .map_err(|error| ("key", format!("does not go with the certificate: {error}")))?;
        Ok(Self(Arc::new(config), [cert, key].concat()))
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// A listener that is open.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Plain(TcpListener),
    Unix(UnixListener),
    Tls(TcpListener, Tls),
}

impl Listener {
    /// Opens it. A unix socket is its owner's and group's; one that a podgate left
    /// behind is replaced.
    ///
    /// # Errors
    /// When that fails, or something is there already.
    pub async fn bind(address: &Address, tls: Option<Tls>) -> io::Result<Self> {
        Ok(Self(match (address, tls) {
            (Address::Tcp(addr), None) => Kind::Plain(TcpListener::bind(addr).await?),
            (Address::Tcp(addr), Some(tls)) => Kind::Tls(TcpListener::bind(addr).await?, tls),
            (Address::Unix(path), _) => Kind::Unix(bind_unix(path)?),
        }))
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(self, router: Router) -> io::Result<()> {
        match self.0 {
            Kind::Plain(listener) => axum::serve(listener, router).await,
            Kind::Unix(listener) => axum::serve(listener, router).await,
            Kind::Tls(listener, tls) => {
                let local = listener.local_addr()?;
                let (ready, handshaken) = mpsc::channel(AHEAD);
                tokio::spawn(shake_hands(listener, TlsAcceptor::from(tls.0), ready));
                axum::serve(Handshaken { local, handshaken }, router).await
            }
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let left_behind = || {
        let socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        socket && std::os::unix::net::UnixStream::connect(path).is_err()
    };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && left_behind() => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Handshakes beside each other: one slow client must not keep others waiting.
async fn shake_hands(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    while !ready.is_closed() {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: it passes.
                tracing::warn!(%error, "accept a connection to the API");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // Nobody receives any more when the API is at its end.
                Ok(Ok(stream)) => drop(ready.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%error, %peer, "TLS handshake with the API"),
                Err(_) => tracing::debug!(%peer, "TLS handshake with the API: too slow"),
            }
        });
    }
}

struct Handshaken {
    local: SocketAddr,
    handshaken: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl axum::serve::Listener for Handshaken {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.handshaken.recv().await {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}
