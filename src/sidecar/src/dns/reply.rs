//! What goes back to a pod, as bytes that fit.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;

/// What we say we take, and the most that we send over UDP: no fragments on any path
/// (DNS flag day 2020).
pub(super) const PAYLOAD: u16 = 1232;
/// The option of extended errors (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// Why an answer is not what was asked for; a pod's `dig` shows it (RFC 8914).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// The pod's policy does not have the name.
    OffPolicy,
    /// The name leads into private networks.
    Rebinding,
    /// The name's addresses could not be opened to the pod.
    NotAdmitted,
    /// No upstream answered.
    NoUpstream,
}

impl Note {
    /// RFC 8914, section 4, and words for a person.
    fn parts(self) -> (u16, &'static str) {
        match self {
            Self::OffPolicy => (18, "not allowed by the pod's policy"),
            Self::Rebinding => (15, "a public name that resolves to a private address"),
            Self::NotAdmitted => (0, "the address could not be opened to the pod"),
            Self::NoUpstream => (22, "no upstream resolver answered"),
        }
    }

    fn option(self) -> EdnsOption {
        let (code, text) = self.parts();
        let mut data = code.to_be_bytes().to_vec();
        data.extend(text.bytes());
        EdnsOption::Unknown(EXTENDED_ERROR, data)
    }
}

/// What an answer repeats of its question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: u16,
    pub(super) op_code: OpCode,
    pub(super) recursion_desired: bool,
    pub(super) checking_disabled: bool,
    /// As it was asked, capitals and all.
    pub(super) query: Option<Query>,
    /// The largest answer it takes over UDP, when it speaks EDNS.
    pub(super) edns: Option<u16>,
}

impl Client {
    /// One of whom the id is all that is known.
    pub(super) fn bare(id: u16) -> Self {
        Self {
            id,
            op_code: OpCode::Query,
            recursion_desired: false,
            checking_disabled: false,
            query: None,
            edns: None,
        }
    }

    /// Bytes that an answer over UDP may have.
    pub(super) fn udp_size(&self) -> u16 {
        self.edns.unwrap_or(512).clamp(512, PAYLOAD)
    }
}

/// An answer to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) client: Client,
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Record>,
    /// The SOA record of a negative answer.
    pub(super) authority: Option<Record>,
    pub(super) note: Option<Note>,
}

impl Reply {
    /// A code and no records.
    pub(super) fn code(client: Client, code: ResponseCode, note: impl Into<Option<Note>>) -> Self {
        Self {
            client,
            code,
            answers: Vec::new(),
            authority: None,
            note: note.into(),
        }
    }

    /// The bytes; without records and with the TC bit when they would be more than `size`.
    pub(super) fn encode(self, size: u16) -> Vec<u8> {
        let mut message = Message::new(self.client.id, MessageType::Response, self.client.op_code);
        message.metadata.recursion_desired = self.client.recursion_desired;
        message.metadata.checking_disabled = self.client.checking_disabled;
        message.metadata.recursion_available = true;
        message.metadata.response_code = self.code;
        message.queries.extend(self.client.query);
        message.answers = self.answers;
        message.authorities.extend(self.authority);
        if self.client.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            if let Some(note) = self.note {
                edns.options_mut().insert(note.option());
            }
            message.edns = Some(edns);
        }
        match message.to_vec() {
            // The encoder itself stops at what a length of two bytes can say, and tells.
            Ok(bytes) if bytes.len() <= usize::from(size) => bytes,
            _ => {
                let mut short = message.truncate();
                short.edns = message.edns.map(|mut edns| {
                    edns.options_mut().remove(EXTENDED_ERROR.into());
                    edns
                });
                short.to_vec().unwrap_or_else(|_| failed(self.client.id))
            }
        }
    }
}

/// The header of a SERVFAIL: an answer for when none can be made.
fn failed(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    // QR and RA, code 2, and no sections.
    vec![high, low, 0x80, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, RecordType};

    use super::*;

    fn reply(records: u32, edns: Option<u16>) -> Reply {
        let name = Name::from_ascii("Www.Example.").expect("a name");
        let mut client = Client::bare(9);
        client.recursion_desired = true;
        client.query = Some(Query::query(name.clone(), RecordType::A));
        client.edns = edns;
        let mut reply = Reply::code(client, ResponseCode::NoError, None);
        reply.answers = (0..records)
            .map(|n| Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::from(n)))))
            .collect();
        reply
    }

    #[test]
    fn an_answer_that_does_not_fit_says_so() {
        let check = |records: u32, edns: Option<u16>, fits: bool| {
            let reply = reply(records, edns);
            let size = reply.client.udp_size();
            let bytes = reply.encode(size);
            assert!(bytes.len() <= usize::from(size), "{records} {edns:?}");
            let read = Message::from_vec(&bytes).expect("it reads");
            assert_eq!(read.metadata.truncation, !fits, "{records} {edns:?}");
            assert_eq!(read.answers.len(), if fits { records as usize } else { 0 });
            assert_eq!(read.queries.len(), 1);
            assert_eq!(read.edns.map(|edns| edns.max_payload()), edns.map(|_| PAYLOAD));
        };
        check(10, None, true);
        check(30, None, true);
        check(31, None, false);
        check(31, Some(300), false);
        check(31, Some(900), true);
        check(74, Some(4096), true);
        // Never more than 1232 bytes, whatever the client says.
        check(90, Some(4096), false);
    }

    #[test]
    fn more_than_a_tcp_length_can_say_is_cut_too() {
        let read = Message::from_vec(&reply(5000, None).encode(u16::MAX)).expect("it reads");
        assert!(read.metadata.truncation);
    }

    #[test]
    fn a_note_goes_to_those_who_speak_edns() {
        let noted = |edns| {
            let mut reply = reply(0, edns);
            reply.note = Some(Note::OffPolicy);
            let read = Message::from_vec(&reply.encode(512)).expect("it reads");
            read.edns.and_then(|edns| edns.option(EXTENDED_ERROR.into()).cloned())
        };
        let Some(EdnsOption::Unknown(_, data)) = noted(Some(1232)) else {
            panic!("no note");
        };
        assert_eq!(data[..2], [0, 18]);
        assert_eq!(noted(None), None);
    }

    #[test]
    fn the_last_resort_is_a_servfail() {
        let read = Message::from_vec(&failed(0x1234)).expect("it reads");
        assert_eq!(read.metadata.id, 0x1234);
        assert_eq!(read.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(read.metadata.message_type, MessageType::Response);
    }
}
