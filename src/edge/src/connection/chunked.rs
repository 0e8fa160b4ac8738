//! Where a chunked body ends, and whether every reader would say so (RFC 9112, 7.1).
//!
//! Pingora's reader is lenient (an empty chunk size is zero to it). This one only
//! watches the bytes go by: it changes none, refuses what is not exactly the grammar,
//! and knows which byte is the next request's first.

/// Digits of a chunk's size: 16^15 bytes is more than anybody sends.
const MAX_DIGITS: u8 = 15;
/// Bytes of one chunk's extensions, and of all trailers.
const MAX_EXTRA: u32 = 8 * 1024;

/// A body that is not well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeFeed,
    Data,
    DataReturn,
    DataFeed,
    /// The first byte of a trailer line, or of the end.
    Trailer,
    InTrailer,
    TrailerFeed,
    EndFeed,
    Done,
}

/// Follows a chunked body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunked {
    at: At,
    digits: u8,
    /// Of the chunk: its size as far as read, then what is left of it.
    left: u64,
    extra: u32,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Size,
            digits: 0,
            left: 0,
            extra: 0,
        }
    }

    /// Whether the body is over.
    pub(crate) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Takes note of `bytes`; answers how many of them are the body's.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.at != At::Done {
            if self.at == At::Data {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= here as u64;
                at += here;
                if self.left == 0 {
                    self.at = At::DataReturn;
                }
                continue;
            }
            self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.left = self.left * 16 + u64::from(digit);
                self.digits += 1;
                At::Size
            }
            (At::Size, b'\r') if self.digits > 0 => At::SizeFeed,
            (At::Size, b';') if self.digits > 0 => At::Extension,
            (At::Extension, b'\r') => At::SizeFeed,
            (At::Extension, b'\t' | 0x20..=0x7e | 0x80..) => self.more(At::Extension)?,
            (At::SizeFeed, b'\n') => {
                self.digits = 0;
                self.extra = 0;
                if self.left == 0 { At::Trailer } else { At::Data }
            }
            (At::DataReturn, b'\r') => At::DataFeed,
            (At::DataFeed, b'\n') => At::Size,
            (At::Trailer, b'\r') => At::EndFeed,
            // A blank would make it a folded line of the one before.
            (At::Trailer, 0x21..=0x7e) | (At::InTrailer, b'\t' | 0x20..=0x7e | 0x80..) => self.more(At::InTrailer)?,
            (At::InTrailer, b'\r') => At::TrailerFeed,
            (At::TrailerFeed, b'\n') => At::Trailer,
            (At::EndFeed, b'\n') => At::Done,
            _ => return Err(Malformed),
        };
        Ok(())
    }

    fn more(&mut self, at: At) -> Result<At, Malformed> {
        self.extra += 1;
        if self.extra > MAX_EXTRA { Err(Malformed) } else { Ok(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed whole and byte by byte, the answer is the same.
    fn run(bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut whole = Chunked::new();
        let result = whole.follow(bytes).map(|used| (used, whole.is_done()));
        let mut slow = Chunked::new();
        let mut used = 0;
        for byte in bytes {
            match slow.follow(std::slice::from_ref(byte)) {
                Ok(count) => used += count,
                Err(malformed) => {
                    assert_eq!(result, Err(malformed));
                    return result;
                }
            }
        }
        assert_eq!(result, Ok((used, slow.is_done())), "{}", bytes.escape_ascii());
        result
    }

    #[test]
    fn bodies_end_where_they_say() {
        let check = |body: &str, rest: &str| {
            let bytes = format!("{body}{rest}");
            assert_eq!(run(bytes.as_bytes()), Ok((body.len(), true)), "{bytes:?}");
        };
        check("0\r\n\r\n", "GET / HTTP/1.1\r\n");
        check("5\r\nhello\r\n0\r\n\r\n", "");
        check("a;name=\"v\"\r\n0123456789\r\n00\r\n\r\n", "x");
        check("1\r\n\n\r\n0\r\nDigest: x\r\nB: y\r\n\r\n", "\r\n");
        assert_eq!(run(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn what_another_reader_could_take_otherwise_is_refused() {
        for bad in [
            "\r\nabc\r\n0\r\n\r\n",
            "x\r\n",
            "0x5\r\n",
            "-1\r\n",
            "+5\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\nhello",
            "5\rhello",
            "5\r\nhello0\r\n",
            "5\r\nhello\n0\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "0\r\n B: folded\r\n\r\n",
            "ffffffffffffffff\r\n",
            "5;a\nb\r\n",
            "0\r\nA: \u{0}\r\n\r\n",
        ] {
            assert_eq!(run(bad.as_bytes()), Err(Malformed), "{bad:?}");
        }
        let long = format!("5;{}\r\n", "x".repeat(9000));
        assert_eq!(run(long.as_bytes()), Err(Malformed));
        let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(3000));
        assert_eq!(run(trailers.as_bytes()), Err(Malformed));
    }
}
