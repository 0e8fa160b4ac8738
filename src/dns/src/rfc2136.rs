//! A server that takes dynamic updates (RFC 2136), each signed by a key that it shares with us
//! (TSIG, RFC 8945). Over TCP: an update that comes twice, or half, is nothing to be had.
//!
//! On hickory's messages, and not on a client of theirs: `dns-update`, made for this, sets a name's
//! records by deleting and appending them in two messages, and a challenge's record must come and
//! go beside others of its name.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hickory_proto::op::{DnsResponse, Message, OpCode, Query, ResponseCode, UpdateMessage as _};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::rdata::{CNAME, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigVerifier, TSigner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::{DnsError, MARK, Own, Pointer, Seen, Step};

/// How long a server may take for a message, its connection included.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take for a whole zone.
const LONGEST_TRANSFER: Duration = Duration::from_secs(120);
/// How far its clock may be from ours, in seconds (RFC 8945, 10).
const FUDGE: u16 = 300;
/// How long a challenge's record may be kept by resolvers, in seconds.
const CHALLENGE_TTL: u32 = 60;

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
    ) -> Result<Self, DnsError> {
        zone.set_fqdn(true);
        let signer = TSigner::new(key.to_vec(), algorithm, key_name, FUDGE);
        Ok(Self {
            server,
            zone,
            signer: signer.map_err(|error| DnsError::Unusable(error.to_string()))?,
        })
    }

    /// Puts a TXT record beside those that a name has. Done twice it is there once.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub async fn put_txt(&self, name: &str, value: &str) -> Result<(), DnsError> {
        let mut message = self.update();
        message.add_update(self.txt(name, value)?);
        self.send(message).await
    }

    /// Takes that one away, if it is there, and leaves the others.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub async fn remove_txt(&self, name: &str, value: &str) -> Result<(), DnsError> {
        let mut message = self.update();
        message.add_update(gone(self.txt(name, value)?));
        self.send(message).await
    }

    /// What the zone holds below a domain, by a transfer of all of it (RFC 5936).
    ///
    /// # Errors
    /// See [`DnsError`]; among them that the key may not transfer the zone.
    pub(crate) async fn observe(&self, domain: &str) -> Result<Seen, DnsError> {
        let mut found = Found::new(domain);
        tokio::time::timeout(LONGEST_TRANSFER, self.transfer(|record| found.take(record)))
            .await
            .map_err(|_| self.away(format!("no whole zone within {} s", LONGEST_TRANSFER.as_secs())))??;
        Ok(found.seen())
    }

    /// Carries a step out if the zone is as it was seen, and notes what is there from then on.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub(crate) async fn apply(&self, step: &Step, seen: &mut Seen) -> Result<(), DnsError> {
        let name = self.name(step.name())?;
        let mark = Record::from_rdata(
            self.name(&mark(step.name()))?,
            step.to().or(step.from()).map_or(0, |pointer| pointer.ttl),
            RData::TXT(TXT::new(vec![MARK.to_owned()])),
        );
        let cname = |pointer: &Pointer| {
            let mut target = Name::from_ascii(&pointer.target).map_err(|_| DnsError::Name(pointer.target.clone()))?;
            target.set_fqdn(true);
            let data = RData::CNAME(CNAME(target));
            Ok::<_, DnsError>(Record::from_rdata(name.clone(), pointer.ttl, data))
        };
        let mut message = self.update();
        // What was seen is what is changed, or nothing is (RFC 2136, 2.4). A name that has other
        // records takes no CNAME, and says nothing of it.
        match step.from() {
            Some(pointer) => {
                let mut there = cname(pointer)?;
                there.ttl = 0;
                message.add_pre_requisite(there);
            }
            None if step.to().is_some() => {
                let mut free = Record::update0(name.clone(), 0, RecordType::ANY);
                free.dns_class = DNSClass::NONE;
                message.add_pre_requisite(free);
            }
            None => {}
        }
        if !matches!(step, Step::Create { .. }) {
            let mut marked = mark.clone();
            marked.ttl = 0;
            message.add_pre_requisite(marked);
        }
        if let Some(pointer) = step.from() {
            message.add_update(gone(cname(pointer)?));
        }
        match step.to() {
            Some(pointer) => {
                message.add_update(cname(pointer)?);
                // Its lifetime goes with the record's.
                message.add_update(mark);
            }
            None => message.add_update(gone(mark)),
        }
        self.send(message).await?;
        match step.to() {
            Some(pointer) => {
                let own = Own {
                    id: String::new(),
                    pointer: Some(pointer.clone()),
                };
                seen.own.insert(step.name().to_owned(), own);
            }
            None => {
                seen.own.remove(step.name());
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<Name, DnsError> {
        let no = || DnsError::Name(name.to_owned());
        let mut parsed = Name::from_ascii(name).map_err(|_| no())?;
        parsed.set_fqdn(true);
        match self.zone.zone_of(&parsed) {
            true => Ok(parsed),
            false => Err(no()),
        }
    }

    fn txt(&self, name: &str, value: &str) -> Result<Record, DnsError> {
        let data = RData::TXT(TXT::new(vec![value.to_owned()]));
        Ok(Record::from_rdata(self.name(name)?, CHALLENGE_TTL, data))
    }

    /// An update of the zone that changes nothing yet.
    fn update(&self) -> Message {
        let mut zone = Query::new();
        zone.set_name(self.zone.clone())
            .set_query_class(DNSClass::IN)
            .set_query_type(RecordType::SOA);
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        message.add_zone(zone);
        message
    }

    async fn send(&self, mut message: Message) -> Result<(), DnsError> {
        let mut verifier = self.sign(&mut message)?;
        let exchange = async {
            let mut stream = self.connect(&message).await?;
            receive(&mut stream).await
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(late()));
        let answer = answer.map_err(|error| self.away(error.to_string()))?;
        match self.verified(&mut verifier, &answer)?.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            code => Err(self.refused(code)),
        }
    }

    /// Asks for all records of the zone; each but the last, which is the first again, is handed on.
    async fn transfer(&self, mut take: impl FnMut(&Record)) -> Result<(), DnsError> {
        let mut query = Query::new();
        query
            .set_name(self.zone.clone())
            .set_query_class(DNSClass::IN)
            .set_query_type(RecordType::AXFR);
        let mut message = Message::query();
        message.metadata.recursion_desired = false;
        message.add_query(query);
        let mut verifier = self.sign(&mut message)?;
        let away = |error: std::io::Error| self.away(error.to_string());
        let stream = tokio::time::timeout(PATIENCE, self.connect(&message)).await;
        let mut stream = stream.unwrap_or_else(|_| Err(late())).map_err(away)?;
        let mut begun = false;
        loop {
            let answer = tokio::time::timeout(PATIENCE, receive(&mut stream)).await;
            let answer = answer.unwrap_or_else(|_| Err(late())).map_err(away)?;
            let answer = self.verified(&mut verifier, &answer)?;
            match answer.metadata.response_code {
                ResponseCode::NoError => {}
                code => {
                    return Err(DnsError::Refused {
                        server: self.server.to_string(),
                        why: format!("{code} to a transfer of {} (may the key transfer it?)", self.zone),
                    });
                }
            }
            if answer.answers.is_empty() {
                return Err(self.away(format!("an empty transfer of {}", self.zone)));
            }
            for record in &answer.answers {
                if record.record_type() == RecordType::SOA && record.name == self.zone {
                    if begun {
                        return Ok(());
                    }
                    begun = true;
                }
                take(record);
            }
        }
    }

    fn sign(&self, message: &mut Message) -> Result<Option<TSigVerifier>, DnsError> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        message
            .finalize(&self.signer, now.as_secs())
            .map_err(|error| DnsError::Unusable(error.to_string()))
    }

    /// What is not signed by the key is nobody's word, but for why there is no signature.
    fn verified(&self, verifier: &mut Option<TSigVerifier>, answer: &[u8]) -> Result<DnsResponse, DnsError> {
        if let Some(Ok(answer)) = verifier.as_mut().map(|verifier| verifier.verify(answer)) {
            return Ok(answer);
        }
        let said = Message::from_vec(answer).map_err(|error| self.away(error.to_string()))?;
        Err(match said.metadata.response_code {
            code @ (ResponseCode::Refused | ResponseCode::FormErr | ResponseCode::NotImp) => self.refused(code),
            _ => DnsError::Key(format!(
                "{} does not take the key {} (dns.key_name, dns.key, dns.algorithm; or the clocks differ)",
                self.server,
                self.signer.signer_name(),
            )),
        })
    }

    fn away(&self, why: String) -> DnsError {
        DnsError::Away {
            server: self.server.to_string(),
            why,
        }
    }

    fn refused(&self, code: ResponseCode) -> DnsError {
        let server = self.server.to_string();
        match code {
            ResponseCode::ServFail => DnsError::Later {
                server,
                why: format!("{code} to an update of {}", self.zone),
                wait: None,
            },
            ResponseCode::YXDomain | ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::NXDomain => {
                DnsError::Refused {
                    server,
                    why: format!("{code}: others change records there"),
                }
            }
            code => DnsError::Refused {
                server,
                why: format!(
                    "{code} to an update of {} (dns.zone; may the key change it?)",
                    self.zone
                ),
            },
        }
    }

    /// Connects and sends a message after its length (RFC 1035, 4.2.2).
    async fn connect(&self, message: &Message) -> std::io::Result<TcpStream> {
        let message = message.to_vec().map_err(std::io::Error::other)?;
        let mut stream = TcpStream::connect(self.server).await?;
        let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&message);
        stream.write_all(&framed).await?;
        Ok(stream)
    }
}

async fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn late() -> std::io::Error {
    std::io::Error::other(format!("nothing within {} s", PATIENCE.as_secs()))
}

/// One record of a set goes (RFC 2136, 2.5.4).
fn gone(mut record: Record) -> Record {
    record.dns_class = DNSClass::NONE;
    record.ttl = 0;
    record
}

/// Where a name's mark is: beside a CNAME there can be nothing (RFC 2181, 10.1).
fn mark(name: &str) -> String {
    match name.strip_prefix("*.") {
        Some(domain) => format!("_podgate._any.{domain}"),
        None => format!("_podgate.{name}"),
    }
}

/// A zone's records below a domain, as they come.
struct Found<'a> {
    domain: &'a str,
    marked: BTreeSet<String>,
    seen: Seen,
}

impl<'a> Found<'a> {
    fn new(domain: &'a str) -> Self {
        Self {
            domain,
            marked: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    fn take(&mut self, record: &Record) {
        let name = plain(&record.name);
        let below = name.strip_suffix(self.domain);
        if !below.is_some_and(|below| below.ends_with('.')) {
            return;
        }
        match &record.data {
            RData::TXT(text) if name.starts_with("_podgate.") && text.to_string() == MARK => {
                let rest = name.trim_start_matches("_podgate.");
                let marked = match rest.strip_prefix("_any.") {
                    Some(domain) => format!("*.{domain}"),
                    None => rest.to_owned(),
                };
                self.marked.insert(marked);
            }
            RData::CNAME(target) => {
                let own = Own {
                    id: String::new(),
                    pointer: Some(Pointer {
                        target: plain(target),
                        ttl: record.ttl,
                        proxied: false,
                    }),
                };
                self.seen.own.insert(name, own);
            }
            // Signatures come and go with what they are of.
            _ if matches!(record.record_type(), RecordType::RRSIG | RecordType::NSEC) => {}
            _ => {
                self.seen.taken.insert(name);
            }
        }
    }

    fn seen(mut self) -> Seen {
        let marked = self.marked;
        let (own, others) = std::mem::take(&mut self.seen.own)
            .into_iter()
            .partition::<std::collections::BTreeMap<_, _>, _>(|(name, _)| marked.contains(name));
        self.seen.own = own;
        self.seen.taken.extend(others.into_keys());
        for name in marked {
            self.seen.own.entry(name).or_insert(Own {
                id: String::new(),
                pointer: None,
            });
        }
        self.seen
    }
}

/// Lower case, and no dot at its end.
fn plain(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.trim_end_matches('.').to_owned()
}
