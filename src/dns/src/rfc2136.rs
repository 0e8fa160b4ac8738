//! A server that takes dynamic updates (RFC 2136), each signed by a key that it shares with us
//! (TSIG, RFC 8945). Over TCP: an update that comes twice, or half, is nothing to be had.
//!
//! On hickory's messages, and not on a client of theirs: `dns-update`, made for this, sets a name's
//! records by deleting and appending them in two messages, and a challenge's record must come and
//! go beside others of its name.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode, UpdateMessage as _};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// How long a server may take, its connection included.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far its clock may be from ours, in seconds (RFC 8945, 10).
const FUDGE: u16 = 300;
/// How long a challenge's record may be kept by resolvers, in seconds.
const CHALLENGE_TTL: u32 = 60;

/// Why a server did not do it.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It is not there, or does not answer.
    #[error("{server} does not answer: {why}")]
    Away {
        /// The server.
        server: SocketAddr,
        /// Why.
        why: String,
    },
    /// It knows the key otherwise, or not at all.
    #[error("{server} does not take the key {key} (dns.key_name, dns.key, dns.algorithm; or the clocks differ)")]
    Key {
        /// The server.
        server: SocketAddr,
        /// What the key is called.
        key: Name,
    },
    /// It refuses.
    #[error("{server} answers {code} to an update of {zone} (dns.zone; may the key change it?)")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// What it says.
        code: ResponseCode,
        /// The zone.
        zone: Name,
    },
    /// A name of another zone, or none.
    #[error("`{0}` is not a name in the zone")]
    Name(String),
    /// The key is none.
    #[error("the key cannot be used: {0}")]
    Unusable(String),
}

/// A server that takes updates of a zone.
#[derive(Clone)]
pub struct Rfc2136 {
    server: SocketAddr,
    zone: Name,
    signer: TSigner,
}

impl fmt::Debug for Rfc2136 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rfc2136({} of {})", self.zone, self.server)
    }
}

impl PartialEq for Rfc2136 {
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.signer.signer_name().clone(), it.signer.algorithm().clone());
        self.server == other.server
            && self.zone == other.zone
            && key(self) == key(other)
            && self.signer.key() == other.signer.key()
    }
}

impl Eq for Rfc2136 {}

impl Rfc2136 {
    /// The server of a zone that knows a key by a name.
    ///
    /// # Errors
    /// When the key is no key.
    pub fn new(
        server: SocketAddr,
        mut zone: Name,
        key_name: Name,
        key: Zeroizing<Vec<u8>>,
        algorithm: TsigAlgorithm,
    ) -> Result<Self, UpdateError> {
        zone.set_fqdn(true);
        let signer = TSigner::new(key.to_vec(), algorithm, key_name, FUDGE);
        Ok(Self {
            server,
            zone,
            signer: signer.map_err(|error| UpdateError::Unusable(error.to_string()))?,
        })
    }

    /// Puts a TXT record beside those that a name has. Done twice it is there once.
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub async fn put_txt(&self, name: &str, value: &str) -> Result<(), UpdateError> {
        self.update(self.txt(name, value)?).await
    }

    /// Takes that one away, if it is there, and leaves the others.
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub async fn remove_txt(&self, name: &str, value: &str) -> Result<(), UpdateError> {
        let mut record = self.txt(name, value)?;
        // One record of a set (RFC 2136, 2.5.4).
        record.dns_class = DNSClass::NONE;
        record.ttl = 0;
        self.update(record).await
    }

    fn txt(&self, name: &str, value: &str) -> Result<Record, UpdateError> {
        let no = || UpdateError::Name(name.to_owned());
        let mut parsed = Name::from_ascii(name).map_err(|_| no())?;
        parsed.set_fqdn(true);
        if !self.zone.zone_of(&parsed) {
            return Err(no());
        }
        let data = RData::TXT(TXT::new(vec![value.to_owned()]));
        Ok(Record::from_rdata(parsed, CHALLENGE_TTL, data))
    }

    async fn update(&self, record: Record) -> Result<(), UpdateError> {
        let mut zone = Query::new();
        zone.set_name(self.zone.clone())
            .set_query_class(DNSClass::IN)
            .set_query_type(RecordType::SOA);
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        message.add_zone(zone);
        message.add_update(record);

        let away = |why: String| UpdateError::Away {
            server: self.server,
            why,
        };
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let signed = message.finalize(&self.signer, now.as_secs());
        let verifier = signed.map_err(|error| UpdateError::Unusable(error.to_string()))?;
        let bytes = message
            .to_vec()
            .map_err(|error| UpdateError::Unusable(error.to_string()))?;
        let answer = tokio::time::timeout(PATIENCE, self.exchange(&bytes)).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| away(error.to_string()))?,
            Err(_) => return Err(away(format!("nothing within {} s", PATIENCE.as_secs()))),
        };
        // What is not signed by the key is nobody's word, but for why there is no signature.
        let verified = verifier.map(|mut verifier| verifier.verify(&answer));
        let code = match verified {
            Some(Ok(answer)) => answer.metadata.response_code,
            _ => {
                let said = Message::from_vec(&answer).map_err(|error| away(error.to_string()))?;
                return Err(match said.metadata.response_code {
                    code @ (ResponseCode::Refused | ResponseCode::FormErr | ResponseCode::NotImp) => {
                        UpdateError::Refused {
                            server: self.server,
                            code,
                            zone: self.zone.clone(),
                        }
                    }
                    _ => UpdateError::Key {
                        server: self.server,
                        key: self.signer.signer_name().clone(),
                    },
                });
            }
        };
        match code {
            ResponseCode::NoError => Ok(()),
            code => Err(UpdateError::Refused {
                server: self.server,
                code,
                zone: self.zone.clone(),
            }),
        }
    }

    /// One message there, one back, each after its length (RFC 1035, 4.2.2).
    async fn exchange(&self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.server).await?;
        let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(message);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}
