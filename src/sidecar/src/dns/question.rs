//! What a pod asks, read from bytes that nobody has checked.
//!
//! Everything that is not one plain question is answered or dropped here, so that what
//! follows never sees it.

use hickory_proto::op::{Header, HeaderCounts, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

use super::reply::{Client, Reply};

/// A header: RFC 1035, 4.1.1.
const HEADER: usize = 12;

/// One question of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// What the answer repeats.
    pub(super) client: Client,
    /// The name, lower-cased.
    pub(super) name: Name,
    /// The type of records.
    pub(super) kind: RecordType,
}

/// What is to be done with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// Decide on it.
    Ask(Question),
    /// Send this, and nothing else.
    Turn(Box<Reply>, Turned),
    /// Say nothing: it asks nothing.
    Ignore,
}

/// Why a packet was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// It cannot be read.
    Malformed,
    /// It can be read, and is nothing that a pod gets from here.
    Unsupported,
}

/// Reads a packet.
///
/// An answer is ignored, and so is what is too short to tell an answer from a question;
/// else whatever has an id gets an answer with it.
pub(super) fn read(packet: &[u8]) -> Packet {
    // Bit 7 of the third byte: it is an answer. To answer one could begin a loop.
    let [high, low, flags, ..] = *packet else {
        return Packet::Ignore;
    };
    if flags & 0x80 != 0 {
        return Packet::Ignore;
    }
    let mut client = Client::bare(u16::from_be_bytes([high, low]));
    if packet.len() < HEADER {
        return turn(client, ResponseCode::FormErr, Turned::Malformed);
    }
    let mut decoder = BinDecoder::new(packet);
    let Ok(header) = Header::read(&mut decoder) else {
        return turn(client, ResponseCode::FormErr, Turned::Malformed);
    };
    client.op_code = header.metadata.op_code;
    client.recursion_desired = header.metadata.recursion_desired;
    client.checking_disabled = header.metadata.checking_disabled;
    if client.op_code != OpCode::Query {
        return turn(client, ResponseCode::NotImp, Turned::Unsupported);
    }
    if header.counts.queries != 1 {
        return turn(client, ResponseCode::FormErr, Turned::Malformed);
    }
    let Ok(query) = Query::read(&mut decoder) else {
        return turn(client, ResponseCode::FormErr, Turned::Malformed);
    };
    let Ok(edns) = edns(&mut decoder, header.counts) else {
        return turn(client, ResponseCode::FormErr, Turned::Malformed);
    };
    if let Some(edns) = edns {
        client.edns = Some(edns.payload);
        if edns.version != 0 {
            return turn(client, ResponseCode::BADVERS, Turned::Unsupported);
        }
    }
    let (name, kind, class) = (query.name.to_lowercase(), query.query_type, query.query_class);
    client.query = Some(query);
    if class != DNSClass::IN {
        return turn(client, ResponseCode::Refused, Turned::Unsupported);
    }
    if is_meta(kind) {
        return turn(client, ResponseCode::NotImp, Turned::Unsupported);
    }
    Packet::Ask(Question { client, name, kind })
}

/// What a client says of itself (RFC 6891, 6.1.2 and 6.1.3).
struct Said {
    payload: u16,
    version: u8,
}

/// Finds the OPT record after the question, and that all records are whole.
///
/// What they hold is not read: nothing in a question needs it, and hickory's reader writes
/// a warning for an option that is cut short, as often as a pod likes.
fn edns(decoder: &mut BinDecoder<'_>, counts: HeaderCounts) -> Result<Option<Said>, DecodeError> {
    let before = u32::from(counts.answers) + u32::from(counts.authorities);
    let mut said = None;
    for n in 0..before + u32::from(counts.additionals) {
        let name = Name::read(decoder)?;
        let kind = decoder.read_u16()?.unverified();
        let class = decoder.read_u16()?.unverified();
        let [_, version, ..] = decoder.read_u32()?.unverified().to_be_bytes();
        let length = decoder.read_u16()?.unverified();
        decoder.read_slice(length.into())?;
        if kind == u16::from(RecordType::OPT) {
            if said.is_some() || n < before || !name.is_root() {
                return Err(DecodeError::DuplicateEdns);
            }
            said = Some(Said {
                payload: class,
                version,
            });
        }
    }
    Ok(said)
}

/// Types that are no records: pseudo-records, zone transfers, and what asks for several
/// types at once (RFC 6895, 3.1: 128 to 255). ANY has an answer of its own (RFC 8482).
fn is_meta(kind: RecordType) -> bool {
    let number = u16::from(kind);
    kind != RecordType::ANY && (number == 0 || kind == RecordType::OPT || (128..=255).contains(&number))
}

fn turn(client: Client, code: ResponseCode, why: Turned) -> Packet {
    Packet::Turn(Box::new(Reply::code(client, code, None)), why)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, Message, MessageType};
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        message
    }

    fn bytes(message: &Message) -> Vec<u8> {
        message.to_vec().expect("a message encodes")
    }

    fn turned(packet: &[u8]) -> (u16, Turned) {
        match read(packet) {
            Packet::Turn(reply, why) => {
                let sent = Message::from_vec(&reply.encode(512)).expect("a reply that reads");
                assert_eq!(sent.metadata.message_type, MessageType::Response);
                assert_eq!(sent.metadata.id, u16::from_be_bytes([packet[0], packet[1]]), "the id");
                // 16 is BADVERS here, and BADSIG where there are signatures.
                (u16::from(sent.metadata.response_code), why)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_question_is_read_with_its_name_in_lower_case() {
        let mut message = query("WwW.Example.", RecordType::AAAA);
        message
            .set_edns(Edns::new())
            .edns
            .as_mut()
            .expect("set")
            .set_max_payload(1400);
        let Packet::Ask(asked) = read(&bytes(&message)) else {
            panic!("not a question");
        };
        assert!(asked.name.eq_case(&Name::from_ascii("www.example.").expect("a name")));
        assert_eq!(asked.kind, RecordType::AAAA);
        assert_eq!(asked.client.edns, Some(1400));
        let repeated = asked.client.query.expect("the query");
        assert!(
            repeated.name.eq_case(&message.queries[0].name),
            "repeated as it was asked"
        );
    }

    #[test]
    fn what_is_no_question_is_turned_away() {
        let check = |packet: &[u8], code: ResponseCode, why: Turned| {
            assert_eq!(turned(packet), (u16::from(code), why));
        };
        let plain = bytes(&query("www.example.", RecordType::A));

        // Too short for a header, or for what the header promises.
        check(&plain[..3], ResponseCode::FormErr, Turned::Malformed);
        check(&plain[..11], ResponseCode::FormErr, Turned::Malformed);
        check(&plain[..12], ResponseCode::FormErr, Turned::Malformed);
        check(&plain[..plain.len() - 1], ResponseCode::FormErr, Turned::Malformed);

        let mut none = query("www.example.", RecordType::A);
        none.queries.clear();
        check(&bytes(&none), ResponseCode::FormErr, Turned::Malformed);
        let mut two = query("www.example.", RecordType::A);
        two.add_query(two.queries[0].clone());
        check(&bytes(&two), ResponseCode::FormErr, Turned::Malformed);

        for op in [OpCode::Status, OpCode::Notify, OpCode::Update] {
            let mut message = query("www.example.", RecordType::SOA);
            message.metadata.op_code = op;
            check(&bytes(&message), ResponseCode::NotImp, Turned::Unsupported);
        }

        for class in [DNSClass::CH, DNSClass::ANY, DNSClass::Unknown(7)] {
            let mut message = query("version.bind.", RecordType::TXT);
            message.queries[0].query_class = class;
            check(&bytes(&message), ResponseCode::Refused, Turned::Unsupported);
        }

        for kind in [
            RecordType::AXFR,
            RecordType::IXFR,
            RecordType::OPT,
            RecordType::Unknown(249),
        ] {
            check(
                &bytes(&query("www.example.", kind)),
                ResponseCode::NotImp,
                Turned::Unsupported,
            );
        }

        let mut future = query("www.example.", RecordType::A);
        future.set_edns(Edns::new()).edns.as_mut().expect("set").set_version(1);
        check(&bytes(&future), ResponseCode::BADVERS, Turned::Unsupported);
    }

    /// Records behind the question, which is no reason to turn it away if they are whole;
    /// what is in them is nobody's business.
    #[test]
    fn only_one_opt_record_in_its_place_is_one() {
        let opt = |name: &[u8], payload: u16| {
            let mut record = name.to_vec();
            record.extend([0, 41]);
            record.extend(payload.to_be_bytes());
            // An option that is cut short.
            record.extend([0, 0, 0, 0, 0, 3, 0, 10, 0]);
            record
        };
        let check = |counts: [u8; 3], records: &[&[u8]], expected: Option<Option<u16>>| {
            let mut packet = bytes(&query("www.example.", RecordType::A));
            [packet[7], packet[9], packet[11]] = counts;
            packet.extend(records.concat());
            match read(&packet) {
                Packet::Ask(asked) => assert_eq!(Some(asked.client.edns), expected, "{counts:?} {records:?}"),
                other => assert_eq!((None, turned(&packet).1), (expected, Turned::Malformed), "{other:?}"),
            }
        };
        let (good, txt) = (opt(&[0], 1400), vec![0, 0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 200, 1]);
        check([0, 0, 0], &[], Some(None));
        check([0, 0, 1], &[&good], Some(Some(1400)));
        check([1, 1, 2], &[&txt, &txt, &txt, &good], Some(Some(1400)));
        check([0, 0, 1], &[&opt(&[0], 0)], Some(Some(0)));
        check([0, 0, 2], &[&good, &good], None);
        check([1, 0, 0], &[&good], None);
        check([0, 1, 0], &[&good], None);
        check([0, 0, 1], &[&opt(&[1, b'a', 0], 1400)], None);
        check([0, 0, 2], &[&good], None);
        check([0, 0, 1], &[&good[..good.len() - 1]], None);
    }

    #[test]
    fn answers_and_crumbs_are_ignored() {
        let answer = bytes(&query("www.example.", RecordType::A).into_response());
        for packet in [&answer[..], &answer[..5], &[], &[0], &[0, 7]] {
            assert_eq!(read(packet), Packet::Ignore, "{packet:?}");
        }
    }

    #[test]
    fn a_name_that_points_at_itself_is_malformed() {
        let mut packet = bytes(&query("www.example.", RecordType::A));
        packet.truncate(HEADER);
        packet.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(turned(&packet), (u16::from(ResponseCode::FormErr), Turned::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn no_bytes_make_it_panic(packet in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Packet::Turn(reply, _) = read(&packet) {
                prop_assert!(reply.encode(512).len() <= 512);
            }
        }

        /// Random bytes rarely get beyond the header: bend a good packet.
        #[test]
        fn no_bent_packet_makes_it_panic(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            more in prop::collection::vec(any::<u8>(), 0..40),
            counts in prop::option::of(0u8..4),
        ) {
            let mut message = query("a.long.name.of.some.example.", RecordType::A);
            message.set_edns(Edns::new());
            let mut packet = bytes(&message);
            for (at, byte) in edits {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            packet.extend(more);
            // Header counts that promise records in what was appended.
            if let Some(counts) = counts {
                packet[7] = counts;
                packet[9] = counts;
            }
            packet[2] &= 0x7f;
            match read(&packet) {
                Packet::Turn(reply, _) => prop_assert!(reply.encode(512).len() <= 512),
                Packet::Ask(asked) => prop_assert_eq!(asked.name.clone(), asked.name.to_lowercase()),
                Packet::Ignore => prop_assert!(false, "it has an id and asks"),
            }
        }
    }
}
