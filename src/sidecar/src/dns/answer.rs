//! What an upstream's message says about the name that was asked, and nothing more.
//!
//! An upstream is trusted to resolve, not to volunteer: only the chain of CNAME records
//! that begins at the name, and the records of the asked type at its end, are taken.
//! Whatever else the message holds could smuggle in addresses of names that nobody asked
//! for, and a policy would admit them.

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::svcb::SvcParamKey;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// CNAME records followed; resolvers themselves stop at about as many.
const MAX_CHAIN: usize = 16;
/// Records of one name and type: addresses beyond that would only cost memory, and
/// elements in the kernel's sets.
const MAX_RECORDS: usize = 256;

/// Bounds on how long answers are believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// The longest of an answer with records.
    pub(super) positive: Duration,
    /// The longest of "there is none" (RFC 2308).
    pub(super) negative: Duration,
    /// Of a failure (RFC 9520), and of "there is none" without an SOA record.
    pub(super) failure: Duration,
}

/// What is known of a name and a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// NOERROR or NXDOMAIN, or SERVFAIL when nobody could tell.
    pub(super) code: ResponseCode,
    /// The CNAME records, in order.
    pub(super) chain: Vec<Record>,
    /// Those of the asked type, at the end of the chain.
    pub(super) records: Vec<Record>,
    /// What proves that there are none.
    pub(super) soa: Option<Record>,
    /// How long it holds.
    pub(super) ttl: Duration,
}

impl Answer {
    /// Nobody could tell.
    pub(super) fn failure(lifetimes: Lifetimes) -> Self {
        Self {
            code: ResponseCode::ServFail,
            chain: Vec::new(),
            records: Vec::new(),
            soa: None,
            ttl: lifetimes.failure,
        }
    }

    /// Takes from a message what answers `name` and `kind`. Its code is NOERROR or NXDOMAIN.
    pub(super) fn take(message: Message, name: &Name, kind: RecordType, lifetimes: Lifetimes) -> Self {
        let code = message.metadata.response_code;
        let mut left: Vec<Record> = message.answers;
        left.retain(|record| record.dns_class == DNSClass::IN);

        let mut chain: Vec<Record> = Vec::new();
        let mut records = Vec::new();
        let mut end = name.clone();
        loop {
            let is_here = |record: &Record, kind| record.name == end && record.record_type() == kind;
            if left.iter().any(|record| is_here(record, kind)) {
                records = left.into_iter().filter(|record| is_here(record, kind)).collect();
                break;
            }
            // Taken out as it is followed, so that a loop ends.
            let Some(at) = left.iter().position(|record| is_here(record, RecordType::CNAME)) else {
                break;
            };
            let record = left.swap_remove(at);
            let RData::CNAME(target) = &record.data else { break };
            end = target.0.to_lowercase();
            chain.push(record);
            if chain.len() == MAX_CHAIN {
                break;
            }
        }
        if code != ResponseCode::NoError {
            records.clear();
        }
        records.truncate(MAX_RECORDS);

        // The one that covers where the chain ends; another proves nothing.
        let covers = |record: &&Record| matches!(&record.data, RData::SOA(_)) && record.name.zone_of(&end);
        let soa = if records.is_empty() {
            message.authorities.iter().find(covers).cloned()
        } else {
            None
        };

        let mut answer = Self {
            code,
            chain,
            records,
            soa,
            ttl: Duration::ZERO,
        };
        answer.limit(lifetimes);
        answer
    }

    /// Caps every record's TTL and finds how long the whole holds: the least of them.
    fn limit(&mut self, lifetimes: Lifetimes) {
        if let Some(soa) = &mut self.soa
            && let RData::SOA(data) = &soa.data
        {
            // RFC 2308, section 5.
            soa.ttl = soa.ttl.min(data.minimum).min(seconds(lifetimes.negative));
        }
        let most = seconds(lifetimes.positive);
        for record in self.chain.iter_mut().chain(&mut self.records) {
            // RFC 2181, section 8: with the top bit set it is none.
            record.ttl = if record.ttl > i32::MAX as u32 {
                0
            } else {
                record.ttl.min(most)
            };
        }
        let all = self.chain.iter().chain(&self.records).chain(&self.soa);
        let least = all.map(|record| record.ttl).min();
        let none_is_proved = !self.records.is_empty() || self.soa.is_some();
        self.ttl = match least {
            Some(least) if none_is_proved => Duration::from_secs(least.into()),
            _ => lifetimes.failure,
        };
    }

    /// Whether there are records of the asked type.
    pub(super) fn is_positive(&self) -> bool {
        !self.records.is_empty()
    }

    /// About what it holds in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let all = || self.chain.iter().chain(&self.records).chain(&self.soa);
        // Names and most data are within the record or in one allocation of their size.
        let data = |record: &Record| size_of::<Record>() + record.name.len() + inside(&record.data);
        size_of::<Self>() + all().map(data).sum::<usize>()
    }
}

/// What a record's data holds outside the record itself.
fn inside(data: &RData) -> usize {
    match data {
        RData::A(_) | RData::AAAA(_) => 0,
        RData::TXT(text) => text
            .txt_data
            .iter()
            .map(|part| part.len() + size_of::<Box<[u8]>>())
            .sum(),
        RData::Unknown { rdata, .. } => rdata.anything.len(),
        // A few names, keys or signatures.
        _ => 512,
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Takes address hints out of an HTTPS or SVCB record (RFC 9460, 7.3) when `lets` refuses
/// one of them: a client may connect to a hint without asking for the address.
pub(super) fn strip_hints(record: &mut Record, mut lets: impl FnMut(std::net::IpAddr) -> bool) {
    use hickory_proto::rr::rdata::svcb::SvcParamValue;

    let (RData::HTTPS(hickory_proto::rr::rdata::HTTPS(binding)) | RData::SVCB(binding)) = &mut record.data else {
        return;
    };
    let mut refused = false;
    for (_, value) in &binding.svc_params {
        match value {
            SvcParamValue::Ipv4Hint(hints) => refused |= hints.0.iter().any(|hint| !lets(hint.0.into())),
            SvcParamValue::Ipv6Hint(hints) => refused |= hints.0.iter().any(|hint| !lets(hint.0.into())),
            _ => {}
        }
    }
    if refused {
        let is_hint = |key: &SvcParamKey| matches!(key, SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint);
        binding.svc_params.retain(|(key, _)| !is_hint(key));
        for (_, value) in &mut binding.svc_params {
            if let SvcParamValue::Mandatory(keys) = value {
                keys.0.retain(|key| !is_hint(key));
            }
        }
        // A list of nothing is malformed.
        binding
            .svc_params
            .retain(|(_, value)| !matches!(value, SvcParamValue::Mandatory(keys) if keys.0.is_empty()));
    }
}

#[cfg(test)]
mod tests;
