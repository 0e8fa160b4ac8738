//! Asking servers outside for small documents: issuers' key sets, and what a sign-in is
//! about.
//!
//! They may be down, slow or lying: an exchange takes five seconds in all, an answer is
//! short or none, and nobody is followed to another place.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::config::Section;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

/// For a whole exchange, from the look-up of the name on; [`FetchError::Timeout`] says it.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a connection to one address of several, so that one that is dead leaves time for
/// the next.
const CONNECT: Duration = Duration::from_secs(2);
/// Far more than a key set of any issuer; [`FetchError::TooLong`] says it.
const LONGEST: usize = 256 * 1024;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("podgate/", env!("CARGO_PKG_VERSION")));

/// Asks servers by https, or by http where the address says so. Clones share what was
/// read of authorities.
#[derive(Clone, Default)]
pub struct Client(Arc<Trust>);

/// Whose certificates count.
#[derive(Default)]
struct Trust {
    /// Beside the system's authorities.
    extra: Vec<CertificateDer<'static>>,
    /// Made when https is first asked for: not every edge asks.
    tls: OnceCell<TlsConnector>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({} authorities of its own)", self.0.extra.len())
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The URL is not one to ask: no host, or another scheme.
    #[error("not an http or https URL")]
    BadUrl,
    /// The system's authorities cannot be read, and there are no others.
    #[error("read the certificate authorities: {0}")]
    Authorities(io::Error),
    /// No address of it takes a connection.
    #[error("connect: {0}")]
    Connect(io::Error),
    /// Its certificate is not one we trust, or it does not speak TLS.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// What came is not HTTP, or broke off.
    #[error("the exchange broke: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no answer for 5 s")]
    Timeout,
    /// More than anybody has to say.
    #[error("the answer is longer than 256 KiB")]
    TooLong,
    /// Another status than 200.
    #[error("it answered {0}")]
    Status(StatusCode),
}

impl Client {
    /// Reads a key such as `auth.ca`, a PEM file of authorities that count beside the
    /// system's.
    pub fn read(section: &mut Section<'_>, key: &str) -> Self {
        let Some(pem) = section.file(key) else {
            return Self::default();
        };
        match authorities(&pem) {
            Ok(extra) => Self(Arc::new(Trust {
                extra,
                tls: OnceCell::new(),
            })),
            Err(why) => {
                section.problem(key, why);
                Self::default()
            }
        }
    }

    /// The document at a URL.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(crate) async fn get(&self, url: &Uri) -> Result<Bytes, FetchError> {
        let request = Request::get(url).header(ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(|_| FetchError::BadUrl)?;
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(FetchError::Status(status)),
        }
    }

    /// The answer to a request for an absolute URL, whatever its status.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        tokio::time::timeout(PATIENCE, self.exchange(request))
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let url = request.uri().clone();
        let host = url.host().ok_or(FetchError::BadUrl)?.trim_matches(['[', ']']);
        match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => {
                let tls = self.tls().await?;
                let stream = connect(host, url.port_u16().unwrap_or(443)).await?;
                let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::BadUrl)?;
                let stream = tls.connect(name, stream).await.map_err(FetchError::Tls)?;
                ask(stream, request).await
            }
            Some(scheme) if *scheme == Scheme::HTTP => {
                ask(connect(host, url.port_u16().unwrap_or(80)).await?, request).await
            }
            _ => Err(FetchError::BadUrl),
        }
    }

    /// Whether both take the same authorities' word.
    pub(crate) fn trusts_the_same(&self, other: &Self) -> bool {
        self.0.extra == other.0.extra
    }

    /// What makes TLS connections by these authorities.
    ///
    /// # Errors
    /// [`FetchError::Authorities`].
    pub(crate) async fn tls(&self) -> Result<&TlsConnector, FetchError> {
        let make = async || {
            let extra = self.0.extra.clone();
            // The system's are files, some hundred of them.
            let made = tokio::task::spawn_blocking(move || connector(extra)).await;
            made.unwrap_or_else(|panic| Err(io::Error::other(panic)))
        };
        self.0.tls.get_or_try_init(make).await.map_err(FetchError::Authorities)
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("not PEM: {error}"))?;
    if found.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        let added = roots.add(certificate.clone());
        added.map_err(|error| format!("holds what is no authority's certificate: {error}"))?;
    }
    Ok(found)
}

fn connector(extra: Vec<CertificateDer<'static>>) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match rustls_native_certs::load_native_certs() {
        Ok(found) => {
            roots.add_parsable_certificates(found);
        }
        Err(error) if extra.is_empty() => return Err(error),
        Err(error) => tracing::warn!(%error, "read the system's certificate authorities; those of auth.ca alone count"),
    }
    roots.add_parsable_certificates(extra);
    if roots.is_empty() {
        let none = "the system has none (Debian: ca-certificates), and auth.ca names none";
        return Err(io::Error::new(io::ErrorKind::NotFound, none));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection to the first address that takes one.
async fn connect(host: &str, port: u16) -> Result<TcpStream, FetchError> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port))
        .await
        .map_err(FetchError::Connect)?
    {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(FetchError::Connect(failed))
}

/// One request on a connection of its own.
async fn ask<S>(stream: S, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| FetchError::Broken(error.into());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the sender; how, the request is told.
    tokio::spawn(connection);
    let (head, body) = sender
        .send_request(relative(request)?)
        .await
        .map_err(broken)?
        .into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            FetchError::TooLong
        } else {
            FetchError::Broken(error)
        }
    })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The request as an origin expects it: the path alone, and the authority in `Host`.
fn relative(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, FetchError> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.authority().ok_or(FetchError::BadUrl)?.as_str();
    let host = HeaderValue::from_str(host).map_err(|_| FetchError::BadUrl)?;
    let path = head.uri.path_and_query().cloned();
    head.uri = path.unwrap_or(PathAndQuery::from_static("/")).into();
    head.headers.insert(HOST, host);
    head.headers.insert(USER_AGENT, AGENT);
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(Request::from_parts(head, Full::new(body)))
}

#[cfg(test)]
mod tests {
    use model::config::{Problem, Secrets};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers every connection with these bytes.
    async fn saying(answer: Vec<u8>) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut head = [0; 1024];
                    let read = stream.read(&mut head).await.expect("a request");
                    let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
                    assert!(head.starts_with("get /keys?x=1 http/1.1\r\n"), "{head}");
                    assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
                    // It may hang up before all is said.
                    stream.write_all(&answer).await.ok();
                });
            }
        });
        format!("http://{address}/keys?x=1").parse().expect("a URL")
    }

    fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn a_short_200_is_a_document_and_nothing_else_is() {
        let get = async |bytes| Client::default().get(&saying(bytes).await).await;
        let document = get(answer("200 OK", "", b"{}")).await.expect("a document");
        assert_eq!(document, "{}");
        let most = vec![b' '; LONGEST];
        assert_eq!(
            get(answer("200 OK", "", &most)).await.expect("just short enough").len(),
            LONGEST
        );
        let more = vec![b' '; LONGEST + 1];
        assert!(matches!(
            get(answer("200 OK", "", &more)).await,
            Err(FetchError::TooLong)
        ));
        let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &more].concat();
        assert!(matches!(get(endless).await, Err(FetchError::TooLong)));
        for status in [
            "301 Moved",
            "302 Found",
            "307 Temporary",
            "204 None",
            "404 Not",
            "500 Oh",
        ] {
            let got = get(answer(status, "location: http://127.0.0.1:1/\r\n", b"{}")).await;
            assert!(
                matches!(got, Err(FetchError::Status(code)) if status.starts_with(code.as_str())),
                "{got:?}"
            );
        }
        for broken in ["", "hello\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"] {
            let got = get(broken.as_bytes().to_vec()).await;
            assert!(matches!(got, Err(FetchError::Broken(_))), "{got:?}");
        }
    }

    #[tokio::test]
    async fn what_does_not_answer_is_not_waited_for_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = |scheme: &str| -> Uri {
            let address = listener.local_addr().expect("bound");
            format!("{scheme}://{address}/").parse().expect("a URL")
        };
        tokio::time::pause();
        let got = Client::default().get(&url("http")).await;
        assert!(matches!(got, Err(FetchError::Timeout)), "{got:?}");
        tokio::time::resume();
        let told = FetchError::Timeout.to_string();
        assert!(told.ends_with(&format!("{} s", PATIENCE.as_secs())), "{told}");
        let told = FetchError::TooLong.to_string();
        assert!(told.contains(&format!("{} KiB", LONGEST / 1024)), "{told}");
        let (plain, dead) = (saying(b"HTTP/1.1 400 Bad\r\n\r\n".to_vec()), url("http"));
        drop((plain, listener));
        assert!(matches!(
            Client::default().get(&dead).await,
            Err(FetchError::Connect(_))
        ));
        for bad in ["/keys", "ftp://127.0.0.1/"] {
            let got = Client::default().get(&bad.parse().expect("a URI")).await;
            assert!(matches!(got, Err(FetchError::BadUrl)), "{got:?}");
        }
    }

    struct Files(Vec<u8>);

    impl Secrets for Files {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            (path == "ca.pem")
                .then(|| self.0.clone())
                .ok_or(format!("{path}: no such file"))
        }

        fn env(&self, name: &str) -> Result<String, String> {
            Err(name.to_owned())
        }
    }

    #[test]
    fn authorities_are_certificates_in_pem() {
        let read = |content: &[u8], name: &str| -> (usize, Vec<String>) {
            let files = Files(content.to_vec());
            let table = format!("ca = \"{name}\"").parse().expect("TOML");
            let mut section = Section::new("auth", table, &files);
            let client = Client::read(&mut section, "ca");
            let problems: Vec<Problem> = section.finish();
            (client.0.extra.len(), problems.iter().map(ToString::to_string).collect())
        };
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        assert_eq!(read(format!("{pem}{pem}").as_bytes(), "ca.pem"), (2, Vec::new()));
        for (content, name, words) in [
            (
                key.serialize_pem().into_bytes(),
                "ca.pem",
                "auth.ca: holds no certificate",
            ),
            (b"hello".to_vec(), "ca.pem", "auth.ca: holds no certificate"),
            (
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".to_vec(),
                "ca.pem",
                "auth.ca: holds what is no authority's",
            ),
            (pem.into_bytes(), "other.pem", "auth.ca: other.pem: no such file"),
        ] {
            let (count, problems) = read(&content, name);
            assert_eq!((count, problems.len()), (0, 1), "{problems:?}");
            assert!(problems[0].starts_with(words), "{problems:?}");
        }
    }
}
