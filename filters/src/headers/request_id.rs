//! The id that one request goes by everywhere: to the pod, in the answer, in the log.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::Client;

/// The header field of a request id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken from a proxy.
const MAX_ID: usize = 128;

/// A request's id: 128 random bits in hex, or what a trusted proxy called it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A fresh id.
    pub fn random() -> Self {
        let mut text = [0; 32];
        write_hex(&rand::random::<[u8; 16]>(), &mut text);
        Self(HeaderValue::from_bytes(&text).expect("hex is visible ASCII"))
    }

    /// The id that a trusted proxy gave the request, or a fresh one.
    ///
    /// Taken are 1 to 128 of `A-Z a-z 0-9 - _ . ~ : + / = @`: what ids are made of, and
    /// nothing that means anything to a log or a shell.
    pub fn of(headers: &HeaderMap, client: &Client) -> Self {
        let mut lines = headers.get_all(X_REQUEST_ID).iter().filter(|_| client.trusted);
        match (lines.next(), lines.next()) {
            (Some(given), None) if is_id(given.as_bytes()) => Self(given.clone()),
            _ => Self::random(),
        }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        // Always so: either ours, or checked.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a field value; sharing it costs no copy.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_id(text: &[u8]) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.~:+/=@".contains(b))
}

/// Writes bytes as lower-case hex; `text` is twice as long.
pub(super) fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn an_id_is_ours_unless_a_trusted_proxy_gave_one() {
        let check = |trusted: bool, lines: &[&str], kept: bool| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_REQUEST_ID, HeaderValue::from_bytes(line.as_bytes()).expect(line));
            }
            let address = IpAddr::from([192, 0, 2, 1]);
            let client = Client {
                address,
                peer: address,
                https: true,
                trusted,
            };
            let got = RequestId::of(&headers, &client);
            if kept {
                assert_eq!(got.as_str(), lines[0]);
            } else {
                assert_eq!(got.as_str().len(), 32, "{lines:?}");
                assert!(got.as_str().bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            }
        };
        check(false, &["abc"], false);
        check(true, &["abc"], true);
        check(true, &["7b7f3c1e-9d55-4a52-8a0e-0f6f4f0d6f10"], true);
        check(true, &["Root=1-67891233-abcdef012345678912345678"], true);
        check(true, &[], false);
        check(true, &[""], false);
        check(true, &["a b"], false);
        check(true, &["a\"b"], false);
        check(true, &["\u{e9}"], false);
        check(true, &["abc", "abc"], false);
        check(true, &[&"a".repeat(129)], false);
        assert_ne!(RequestId::random(), RequestId::random());
    }
}
