//! W3C trace context (<https://www.w3.org/TR/trace-context/>, level 1): a request's
//! place in somebody's trace, with the edge as one hop of it.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName};

use super::request_id::{RequestId, write_hex};

/// The header field of a request's place in a trace.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems add to it.
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Where the pod's own trace hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trace {
    trace: [u8; 32],
    sampled: bool,
    /// Whether the client had begun the trace, so that its `tracestate` belongs to it.
    pub(super) continued: bool,
}

impl Trace {
    /// The trace that a request is part of, or a new one: under the request's id when
    /// that has the form of a trace id, so that one search finds both.
    ///
    /// A new trace is marked as sampled, which leaves the choice to the pod: the usual
    /// sampler follows the mark, and unmarked an app behind us would never trace.
    pub(super) fn of(headers: &HeaderMap, id: &RequestId) -> Self {
        if let Some(trace) = continued(headers) {
            return trace;
        }
        let mut trace = [0; 32];
        match <[u8; 32]>::try_from(id.as_str().as_bytes()) {
            Ok(text) if is_hex_and_some(&text) => trace = text,
            _ => write_hex(&some_bits::<16>(), &mut trace),
        }
        Self {
            trace,
            sampled: true,
            continued: false,
        }
    }

    /// Writes a `traceparent` with a span id of the edge's own.
    pub(super) fn write(self, to: &mut BytesMut) {
        let mut span = [0; 16];
        write_hex(&some_bits::<8>(), &mut span);
        to.extend_from_slice(b"00-");
        to.extend_from_slice(&self.trace);
        to.extend_from_slice(b"-");
        to.extend_from_slice(&span);
        to.extend_from_slice(if self.sampled { b"-01" } else { b"-00" });
    }
}

/// Section 3.2: `00-{32 hex}-{16 hex}-{2 hex}`; a later version may add to it after
/// another `-`, and is read as this one.
fn continued(headers: &HeaderMap) -> Option<Trace> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?.as_bytes();
    let (known, more) = line.split_at_checked(55)?;
    let field = |from: usize, to: usize| known.get(from..to).filter(|hex| hex.iter().all(is_lower_hex));
    let version = field(0, 2)?;
    let trace: [u8; 32] = field(3, 35)?.try_into().ok()?;
    let parent = field(36, 52)?;
    let flags = field(53, 55)?;
    let fits = match version {
        b"ff" => false,
        b"00" => more.is_empty(),
        _ => more.is_empty() || more[0] == b'-',
    };
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    if !fits || !dashes || !is_hex_and_some(&trace) || !is_hex_and_some(parent) {
        return None;
    }
    Some(Trace {
        trace,
        sampled: matches!(flags[1], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f'),
        continued: true,
    })
}

fn is_lower_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// All zeros is no id.
fn is_hex_and_some(text: &[u8]) -> bool {
    text.iter().all(is_lower_hex) && text.iter().any(|b| *b != b'0')
}

/// Random bytes, not all zero.
fn some_bits<const N: usize>() -> [u8; N]
where
    rand::distr::StandardUniform: rand::distr::Distribution<[u8; N]>,
{
    loop {
        let bits: [u8; N] = rand::random();
        if bits.iter().any(|byte| *byte != 0) {
            return bits;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn written(lines: &[&str]) -> (bool, String) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(TRACEPARENT, HeaderValue::from_str(line).expect(line));
        }
        let trace = Trace::of(&headers, &RequestId::random());
        let mut text = BytesMut::new();
        trace.write(&mut text);
        (trace.continued, String::from_utf8(text.to_vec()).expect("ASCII"))
    }

    #[test]
    fn a_valid_trace_goes_on_under_a_new_parent() {
        let check = |line: &str, flags: Option<&str>| {
            let (continued, text) = written(&[line]);
            assert_eq!(continued, flags.is_some(), "{line}");
            assert_eq!(text.len(), 55);
            assert!(!text.contains("00f067aa0ba902b7"), "the parent is the edge");
            match flags {
                Some(flags) => assert!(
                    text.starts_with(&format!("00-{TRACE}-")) && text.ends_with(flags),
                    "{text}"
                ),
                None => assert!(!text.contains(TRACE) && text.ends_with("-01"), "{text}"),
            }
        };
        check(&format!("00-{TRACE}-00f067aa0ba902b7-01"), Some("-01"));
        check(&format!("00-{TRACE}-00f067aa0ba902b7-00"), Some("-00"));
        check(&format!("00-{TRACE}-00f067aa0ba902b7-03"), Some("-01"));
        check(&format!("cc-{TRACE}-00f067aa0ba902b7-01"), Some("-01"));
        check(&format!("cc-{TRACE}-00f067aa0ba902b7-01-more"), Some("-01"));
        check(&format!("cc-{TRACE}-00f067aa0ba902b7-01.more"), None);
        check(&format!("00-{TRACE}-00f067aa0ba902b7-01-more"), None);
        check(&format!("ff-{TRACE}-00f067aa0ba902b7-01"), None);
        check(&format!("00-{TRACE}-0000000000000000-01"), None);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None);
        check(&format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()), None);
        check(&format!("00-{TRACE}-00f067aa0ba902b7-1"), None);
        check(&format!("00_{TRACE}-00f067aa0ba902b7-01"), None);
        check("", None);
        let twice = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert!(!written(&[&twice, &twice]).0);
    }

    #[test]
    fn a_new_trace_goes_by_the_request_id() {
        let id = RequestId::random();
        let mut text = BytesMut::new();
        Trace::of(&HeaderMap::new(), &id).write(&mut text);
        assert!(text.starts_with(format!("00-{}-", id.as_str()).as_bytes()));
    }
}
