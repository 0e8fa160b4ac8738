//! What a request must look like before anything else looks at it: one way to
//! read its length, and header fields within bounds.
//!
//! Two parsers that disagree on where a request ends are how one client's bytes
//! become another's request. What could be read in two ways is refused, even
//! where the server's own parser would have settled for one.

use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;

use crate::Refusal;
use crate::refusal::Malformed;

/// The largest header a request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Header fields, each copy counted.
    pub max_headers: usize,
    /// Bytes of the request target and of all names and values together.
    pub max_header_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_headers: 100,
            max_header_bytes: 64 * 1024,
        }
    }
}

impl Bounds {
    /// Checks framing and size.
    ///
    /// # Errors
    /// [`Malformed::Framing`] when the length of the body could be read in more
    /// than one way (RFC 9112, 6.1 to 6.3), [`Refusal::HeadersTooLarge`] when the
    /// header is over its bounds.
    pub fn check(&self, request: &Parts) -> Result<(), Refusal> {
        check_framing(request)?;
        if request.headers.len() > self.max_headers {
            return Err(Refusal::HeadersTooLarge);
        }
        let target = request.uri.path().len() + request.uri.query().map_or(0, |query| query.len() + 1);
        let bytes = request
            .headers
            .iter()
            .fold(target, |sum, (name, value)| sum + name.as_str().len() + value.len());
        if bytes > self.max_header_bytes {
            return Err(Refusal::HeadersTooLarge);
        }
        Ok(())
    }
}

fn check_framing(request: &Parts) -> Result<(), Refusal> {
    const BAD: Refusal = Refusal::Malformed(Malformed::Framing);
    let mut lengths = request.headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = request.headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(()),
        (Some(_), Some(_)) => Err(BAD),
        (Some(length), None) => {
            // A repeated equal length may be folded into one (RFC 9112, 6.3); no client
            // of ours has a reason to send it, and the next hop may fold it differently.
            let number = length.to_str().ok().filter(|_| lengths.next().is_none());
            let digits = number.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|text| text.parse::<u64>().ok()).map(drop).ok_or(BAD)
        }
        (None, Some(coding)) => {
            // HTTP/1.0 knows no transfer coding (6.1), HTTP/2 and 3 forbid the field.
            let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
            if chunked && codings.next().is_none() && request.version == Version::HTTP_11 {
                Ok(())
            } else {
                Err(BAD)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).uri("/a?b=c");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_length_reads_in_one_way() {
        const CL: &str = "content-length";
        const TE: &str = "transfer-encoding";
        let check = |version: Version, headers: &[(&str, &str)], good: bool| {
            let got = Bounds::default().check(&request(version, headers));
            let expected = if good {
                Ok(())
            } else {
                Err(Refusal::Malformed(Malformed::Framing))
            };
            assert_eq!(got, expected, "{version:?} {headers:?}");
        };
        let v11 = Version::HTTP_11;
        check(v11, &[], true);
        check(v11, &[(CL, "0")], true);
        check(v11, &[(CL, "18446744073709551615")], true);
        check(v11, &[(CL, "18446744073709551616")], false);
        check(v11, &[(CL, "")], false);
        check(v11, &[(CL, "+5")], false);
        check(v11, &[(CL, "-5")], false);
        check(v11, &[(CL, "5 ")], false);
        check(v11, &[(CL, "0x5")], false);
        check(v11, &[(CL, "5, 5")], false);
        check(v11, &[(CL, "5"), (CL, "5")], false);
        check(v11, &[(CL, "5"), (CL, "6")], false);
        check(v11, &[(CL, "5"), (TE, "chunked")], false);
        check(v11, &[(TE, "chunked"), (CL, "5")], false);
        check(v11, &[(TE, "chunked")], true);
        check(v11, &[(TE, "Chunked")], true);
        check(v11, &[(TE, "gzip, chunked")], false);
        check(v11, &[(TE, "chunked, chunked")], false);
        check(v11, &[(TE, "chunked"), (TE, "identity")], false);
        check(v11, &[(TE, "identity")], false);
        check(v11, &[(TE, "xchunked")], false);
        check(v11, &[(TE, "chunked;a")], false);
        check(Version::HTTP_10, &[(CL, "5")], true);
        check(Version::HTTP_10, &[(TE, "chunked")], false);
        check(Version::HTTP_2, &[(TE, "chunked")], false);
        check(Version::HTTP_2, &[(CL, "5")], true);
    }

    #[test]
    fn the_header_has_bounds() {
        let check = |bounds: Bounds, good: bool| {
            // 6 bytes of target, then 2 x (1 + 4).
            let parts = request(Version::HTTP_11, &[("a", "1234"), ("a", "5678")]);
            let expected = if good { Ok(()) } else { Err(Refusal::HeadersTooLarge) };
            assert_eq!(bounds.check(&parts), expected, "{bounds:?}");
        };
        let bounds = |max_headers, max_header_bytes| Bounds {
            max_headers,
            max_header_bytes,
        };
        check(bounds(2, 16), true);
        check(bounds(1, 16), false);
        check(bounds(2, 15), false);
        check(Bounds::default(), true);
    }
}
