//! A request head as bytes: where it ends, and whether it can be trusted to mean
//! the same to everybody who reads it.
//!
//! Pingora parses the head again once it is found good. This pass is stricter than
//! its parser on purpose: what two parsers could read differently (both lengths,
//! bare line feeds, folded lines, blanks before a colon) is refused, not repaired,
//! since a pod's server behind us may be the second parser (RFC 9112, 11.2).

use filters::refusal::{Malformed, Refusal};
use filters::shape::Bounds;

/// What follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing: the next byte is the next request's.
    None,
    /// So many bytes.
    Length(u64),
    /// It says itself where it ends.
    Chunked,
    /// It may not be a request's body at all: an upgrade.
    Open,
}

/// A good head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its bytes, the empty line included.
    pub(crate) length: usize,
    pub(crate) body: Body,
}

/// The client connection preface of HTTP/2 (RFC 9113, 3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const BAD: Refusal = Refusal::Malformed(Malformed::Head);
const FRAMING: Refusal = Refusal::Malformed(Malformed::Framing);

/// Looks for the end of the head in `buffer`, of which `seen` bytes have been
/// looked at before. `None`: not all here yet.
pub(crate) fn end(buffer: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    memchr::memmem::find(&buffer[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

/// Checks a whole head, which ends in an empty line.
pub(crate) fn check(head: &[u8], bounds: &Bounds) -> Result<Head, Refusal> {
    if head.len() > bounds.max_header_bytes {
        return Err(Refusal::HeadersTooLarge);
    }
    let mut lines = Lines(head);
    let version_1_0 = request_line(lines.next()?)?;

    let mut fields = 0;
    let mut length: Option<u64> = None;
    let mut chunked = false;
    let mut hosts = 0;
    let mut upgrade = false;
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > bounds.max_headers {
            return Err(Refusal::HeadersTooLarge);
        }
        let colon = memchr::memchr(b':', line).ok_or(BAD)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // Also refuses folded lines (they begin with a blank) and `Name :`.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(BAD);
        }
        if value
            .iter()
            .any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f)
        {
            return Err(BAD);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => hosts += 1,
            7 if name.eq_ignore_ascii_case(b"upgrade") => upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let value = value.trim_ascii();
                // No list, no sign, no second field, even of the same value.
                if length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                    return Err(FRAMING);
                }
                let digits = std::str::from_utf8(value).map_err(|_| FRAMING)?;
                length = Some(digits.parse().map_err(|_| FRAMING)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if chunked || version_1_0 || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(FRAMING);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    if chunked && length.is_some() {
        return Err(FRAMING);
    }
    match hosts {
        0 => return Err(Refusal::Malformed(Malformed::MissingHost)),
        1 => {}
        _ => return Err(Refusal::Malformed(Malformed::ConflictingHost)),
    }
    let body = match length {
        _ if upgrade => Body::Open,
        _ if chunked => Body::Chunked,
        None | Some(0) => Body::None,
        Some(length) => Body::Length(length),
    };
    Ok(Head {
        length: head.len(),
        body,
    })
}

/// `method SP request-target SP HTTP-version`; true for HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(target), Some(version), None) => (method, target, version),
        _ => return Err(BAD),
    };
    let visible = |byte: &u8| *byte > 0x20 && *byte != 0x7f;
    if method.is_empty()
        || !method.iter().all(|byte| is_token(*byte))
        || target.is_empty()
        || !target.iter().all(visible)
    {
        return Err(BAD);
    }
    // RFC 9112, 3.2: origin-form, absolute-form, or the asterisk or authority that
    // only these methods have.
    let form = match method {
        b"OPTIONS" if target == b"*" => true,
        b"CONNECT" => true,
        _ => {
            let scheme = |scheme: &[u8]| {
                target
                    .get(..scheme.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            };
            target.first() == Some(&b'/') || scheme(b"http://") || scheme(b"https://")
        }
    };
    if !form {
        return Err(BAD);
    }
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        _ => Err(BAD),
    }
}

/// Lines that end in CRLF and hold neither character elsewhere.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], Refusal> {
        let feed = memchr::memchr(b'\n', self.0).ok_or(BAD)?;
        let (line, rest) = self.0.split_at(feed + 1);
        self.0 = rest;
        let line = line.strip_suffix(b"\r\n").ok_or(BAD)?;
        if memchr::memchr(b'\r', line).is_some() {
            Err(BAD)
        } else {
            Ok(line)
        }
    }
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut at = 0;
        while at < 256 {
            let byte = at as u8;
            table[at] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
            at += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(head: &str) -> Result<Body, Refusal> {
        let bounds = Bounds {
            max_headers: 10,
            max_header_bytes: 300,
        };
        assert_eq!(end(head.as_bytes(), 0), Some(head.len()), "a whole head: {head:?}");
        check(head.as_bytes(), &bounds).map(|head| head.body)
    }

    #[test]
    fn good_heads() {
        let check = |head: &str, expected: Body| assert_eq!(run(head), Ok(expected), "{head:?}");
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Body::None);
        check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Body::None);
        check("GET HTTP://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Body::None);
        check("GET /ä HTTP/1.0\r\nHOST:a\r\n\r\n", Body::None);
        check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Body::None);
        check(
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:  17 \r\n\r\n",
            Body::Length(17),
        );
        check(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Body::Chunked,
        );
        check(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            Body::Open,
        );
        check("GET / HTTP/1.1\r\nHost: a\r\nX: \t\x7e\u{fc}\r\n\r\n", Body::None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let check = |head: &str, expected: Refusal| assert_eq!(run(head), Err(expected), "{head:?}");
        let with = |line: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        check(&with("Content-Length: 5\r\nTransfer-Encoding: chunked"), FRAMING);
        check(&with("Transfer-Encoding: chunked\r\nContent-Length: 5"), FRAMING);
        check(&with("Content-Length: 5\r\nContent-Length: 6"), FRAMING);
        check(&with("Content-Length: 5\r\nContent-Length: 5"), FRAMING);
        for length in ["", "5, 5", "+5", "-1", "0x5", "5 5", "99999999999999999999"] {
            check(&with(&format!("Content-Length: {length}")), FRAMING);
        }
        for coding in [
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "xchunked",
            "\"chunked\"",
            "identity",
            "",
        ] {
            check(&with(&format!("Transfer-Encoding: {coding}")), FRAMING);
        }
        check(
            &with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            FRAMING,
        );
        check(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            FRAMING,
        );
        check(
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            Refusal::Malformed(Malformed::ConflictingHost),
        );
        check(
            "GET / HTTP/1.1\r\nX: a\r\n\r\n",
            Refusal::Malformed(Malformed::MissingHost),
        );
        for line in [
            "X : a",
            " X: a",
            "X: a\r\n folded",
            "X: a\r\n\tfolded",
            ": a",
            "X",
            "X\u{1}: a",
            "X: a\u{0}b",
            "X: a\u{7f}",
            "X: a\rb",
            "X: a\nY: b",
            "X\n: b",
            "Transfer-Encoding : chunked",
            "Transfer\u{b}-Encoding: chunked",
        ] {
            check(&with(line), BAD);
        }
        for request in [
            "GET a HTTP/1.1",
            "GET * HTTP/1.1",
            "GET host:80 HTTP/1.1",
            "GET ftp://a/ HTTP/1.1",
            "GET /",
            "GET  / HTTP/1.1",
            "GET / x HTTP/1.1",
            "GET\t/ HTTP/1.1",
            " GET / HTTP/1.1",
            "GET / HTTP/2.0",
            "GET / HTTP/1.2",
            "GET / http/1.1",
            "G@T / HTTP/1.1",
            "GET /\u{1} HTTP/1.1",
            "GET / HTTP/1.1 ",
        ] {
            check(&format!("{request}\r\nHost: a\r\n\r\n"), BAD);
        }
        check(&with(&"X: a\r\n".repeat(10)[..10 * 6 - 2]), Refusal::HeadersTooLarge);
        check(&with(&format!("X: {}", "a".repeat(300))), Refusal::HeadersTooLarge);
    }

    #[test]
    fn the_end_is_found_across_reads() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for seen in 0..bytes.len() - 4 {
            let first = end(&bytes[..seen], 0);
            let found = first.or_else(|| end(bytes, seen));
            assert_eq!(found, Some(bytes.len() - 4), "{seen}");
        }
    }
}
