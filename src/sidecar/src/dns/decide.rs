//! From a question to its answer: may the pod ask, what is it, may it know, is the way open.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::HINFO;
use hickory_proto::rr::{RData, Record, RecordType};
use model::{Ports, UnixMillis};
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Lifetimes, strip_hints};
use super::book::{Book, Entry, Outcome, Page};
use super::cache::{Cache, Known};
use super::guard::Guard;
use super::pods::{Admit, Asker, Pods};
use super::question::{Packet, Question, Turned, read};
use super::reply::{Note, Reply};
use super::settings::Settings;
use super::upstream::Upstreams;

/// How long a pod may keep the answer to ANY, in seconds: it is always the same.
const ANY_TTL: u32 = 3600;

/// All that it takes to answer.
pub(super) struct Desk<P, A> {
    pub(super) settings: Settings,
    pub(super) pods: P,
    pub(super) book: Arc<Book>,
    admit: A,
    upstreams: Upstreams,
    cache: Cache,
    guard: Guard,
}

/// A reply and what became of the query.
struct Decision {
    reply: Reply,
    outcome: Outcome,
    cached: bool,
}

impl<P: Pods, A: Admit> Desk<P, A> {
    pub(super) fn new(settings: Settings, pods: P, admit: A, book: Arc<Book>) -> Self {
        Self {
            upstreams: Upstreams::new(&settings.upstreams, settings.upstream_timeout, settings.deadline),
            cache: Cache::new(settings.cache_entries),
            guard: Guard {
                private_domains: settings.private_domains.clone(),
                pod_networks: settings.pod_networks.clone(),
            },
            settings,
            pods,
            book,
            admit,
        }
    }

    /// Who sends from an address, and its page; `None` for somebody who is no pod.
    pub(super) fn asker(&self, source: IpAddr) -> Option<(Asker, Arc<Page>)> {
        let asker = self.pods.asker(source)?;
        let page = self.book.page(asker.pod, &self.settings);
        Some((asker, page))
    }

    /// The answer to a packet; `None` when it gets none.
    pub(super) async fn answer(&self, source: IpAddr, asker: Asker, page: &Page, packet: &[u8]) -> Option<Reply> {
        let began = Instant::now();
        let (name, kind, decision) = match read(packet) {
            Packet::Ignore => return None,
            Packet::Turn(reply, why) => {
                let outcome = match why {
                    Turned::Malformed => Outcome::Malformed,
                    Turned::Unsupported => Outcome::Unsupported,
                };
                let query = reply.client.query.as_ref();
                let name = query.map(|query| text(&query.name.to_lowercase())).unwrap_or_default();
                let kind = query.map(|query| query.query_type.to_string()).unwrap_or_default();
                (
                    name,
                    kind,
                    Decision {
                        reply: *reply,
                        outcome,
                        cached: false,
                    },
                )
            }
            Packet::Ask(question) => {
                let name = text(&question.name);
                let kind = question.kind.to_string();
                let decision = self.decide(source, asker, question, &name).await?;
                (name, kind, decision)
            }
        };
        let Decision { reply, outcome, cached } = decision;
        let took = began.elapsed();
        tracing::debug!(
            dns.name = name,
            dns.kind = kind,
            outcome = outcome.as_str(),
            cached,
            ?took,
            "dns query"
        );
        page.note(Entry {
            at: UnixMillis::from(SystemTime::now()),
            name: name.into(),
            kind: kind.into(),
            outcome,
            cached,
            took,
        });
        Some(reply)
    }

    /// `None` when whoever asked is gone.
    async fn decide(&self, source: IpAddr, asker: Asker, question: Question, name: &str) -> Option<Decision> {
        let Question {
            client,
            name: asked,
            kind,
        } = question;
        let plain = |reply, outcome| {
            Some(Decision {
                reply,
                outcome,
                cached: false,
            })
        };
        if asker.ports(name).is_none() {
            let reply = Reply::code(client, ResponseCode::Refused, Note::OffPolicy);
            return plain(reply, Outcome::OffPolicy);
        }
        if kind == RecordType::ANY {
            // RFC 8482, 4.2: no upstream has to gather what only amplifies.
            let data = HINFO::new("RFC8482".to_owned(), String::new());
            let record = Record::from_rdata(asked, ANY_TTL, RData::HINFO(data));
            let mut reply = Reply::code(client, ResponseCode::NoError, None);
            reply.answers.push(record);
            return plain(reply, Outcome::Answered);
        }
        if asker.is_restricted() && matches!(kind, RecordType::HTTPS | RecordType::SVCB) {
            // They name other hosts and addresses, which no rule has looked at. A client
            // without them asks for A and AAAA, and loses nothing but a hint.
            return plain(Reply::code(client, ResponseCode::NoError, None), Outcome::NoData);
        }

        let key = (asked, kind);
        let (known, cached) = self.cache.get(&key, self.resolve(&key.0, kind)).await;
        let mut reply = Reply::code(client, known.answer.code, None);
        if known.answer.code == ResponseCode::ServFail {
            reply.note = Some(Note::NoUpstream);
            return Some(Decision {
                reply,
                outcome: Outcome::Failed,
                cached,
            });
        }

        // Time has gone by: what holds for the pod now is what counts. Its address may even
        // be another's.
        let asker = self.pods.asker(source).filter(|now| now.pod == asker.pod)?;
        let Some(ports) = asker.ports(name) else {
            reply.code = ResponseCode::Refused;
            reply.note = Some(Note::OffPolicy);
            return Some(Decision {
                reply,
                outcome: Outcome::OffPolicy,
                cached,
            });
        };
        let records = self.records(&known, &key.0, &asker);
        if known.answer.is_positive() && records.is_empty() {
            // Empty, not an error: the name may have an address of the other family, and a
            // resolver that asks for both at once gives up both when one is refused.
            reply.note = Some(Note::Rebinding);
            return Some(Decision {
                reply,
                outcome: Outcome::Rebinding,
                cached,
            });
        }
        if asker.is_restricted() && self.open(&asker, &ports, &records).await.is_err() {
            reply.code = ResponseCode::ServFail;
            reply.note = Some(Note::NotAdmitted);
            return Some(Decision {
                reply,
                outcome: Outcome::NotAdmitted,
                cached,
            });
        }

        let now = Instant::now();
        let outcome = match (known.answer.code, records.is_empty()) {
            (ResponseCode::NXDomain, _) => Outcome::NoSuchName,
            (_, true) => Outcome::NoData,
            (_, false) => Outcome::Answered,
        };
        reply.answers = known
            .answer
            .chain
            .iter()
            .map(|record| known.aged(record, now))
            .collect();
        reply.answers.extend(records);
        reply.authority = known.answer.soa.as_ref().map(|soa| known.aged(soa, now));
        Some(Decision { reply, outcome, cached })
    }

    async fn resolve(&self, name: &hickory_proto::rr::Name, kind: RecordType) -> Answer {
        let lifetimes = Lifetimes {
            positive: self.settings.max_ttl,
            negative: self.settings.max_negative_ttl,
            failure: self.settings.failure_ttl,
        };
        match self.upstreams.ask(name, kind).await {
            Some(message) => Answer::take(message, name, kind, lifetimes),
            None => Answer::failure(lifetimes),
        }
    }

    /// The records that the pod may know, with the time that is left to them.
    fn records(&self, known: &Known, name: &hickory_proto::rr::Name, asker: &Asker) -> Vec<Record> {
        let now = Instant::now();
        let lets = |address| self.guard.lets(name, address, &asker.private);
        let records = known.answer.records.iter();
        let allowed = records.filter(|record| record.data.ip_addr().is_none_or(lets));
        allowed
            .map(|record| {
                let mut record = known.aged(record, now);
                strip_hints(&mut record, lets);
                record
            })
            .collect()
    }

    /// Opens the way to the addresses among records, for as long as they may be used.
    async fn open(&self, asker: &Asker, ports: &[Ports], records: &[Record]) -> Result<(), ()> {
        let lifetime =
            |ttl: u32| Duration::from_secs(ttl.into()).max(self.settings.admit_floor) + self.settings.admit_grace;
        let address = |record: &Record| Some((record.data.ip_addr()?, lifetime(record.ttl)));
        let addresses: Vec<_> = records.iter().filter_map(address).collect();
        if addresses.is_empty() {
            return Ok(());
        }
        match timeout(self.settings.admit_timeout, self.admit.admit(asker, ports, &addresses)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::debug!(pod.id = %asker.pod, %error, "not admitted");
                Err(())
            }
            Err(_) => {
                tracing::debug!(pod.id = %asker.pod, "not admitted in time");
                Err(())
            }
        }
    }
}

/// A name as rules and people have it.
fn text(name: &hickory_proto::rr::Name) -> String {
    let mut text = name.to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text
}
