//! Header values written into one buffer, so that a request's dozen values cost
//! one allocation and not a dozen.

use bytes::BytesMut;
use http::HeaderValue;

/// Writes header values that share one buffer.
#[derive(Debug)]
pub(crate) struct Values(BytesMut);

impl Values {
    /// Room for `bytes` of values; more is made when needed.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }

    /// One value: what `write` puts into the buffer, which must be characters that
    /// a field value may hold.
    pub(crate) fn put(&mut self, write: impl FnOnce(&mut BytesMut)) -> HeaderValue {
        write(&mut self.0);
        HeaderValue::from_maybe_shared(self.0.split().freeze()).expect("callers write only what a field value may hold")
    }
}

/// Writes a number in decimal.
pub(crate) fn decimal(to: &mut BytesMut, number: u32) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        // A digit fits a byte.
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_decimal() {
        for number in [0, 7, 10, 4_294_967_295] {
            let mut values = Values::with_capacity(0);
            assert_eq!(values.put(|to| decimal(to, number)), number.to_string());
        }
    }
}
