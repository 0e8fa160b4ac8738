//! Rates and sizes as config writes them.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::parse_duration;

/// Text that is not a rate or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not `COUNT/DURATION`.
    #[error("`{0}` is not a rate such as \"100/1m\": {1}")]
    Rate(String, String),
    /// Not `NUMBER[KiB|MiB|GiB]`.
    #[error("`{0}` is not a size such as \"64KiB\"")]
    Size(String),
    /// Not `NUMBER(bit|kbit|mbit|gbit)`.
    #[error("`{0}` is not a bandwidth such as \"10mbit\"")]
    Bits(String),
    /// Not `FIRST-LAST`.
    #[error("`{0}` is not a range of ports such as \"30000-40000\"")]
    Ports(String),
}

/// So many requests in so much time; `count` may also come at once (the burst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests in one window.
    pub count: NonZeroU32,
    /// The window; never zero, at most a day.
    pub window: Duration,
}

impl Rate {
    /// The time that one request costs: `window / count`.
    pub fn interval(self) -> Duration {
        self.window / self.count.get()
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = |why: &str| UnitError::Rate(text.to_owned(), why.to_owned());
        let (count, window) = text.split_once('/').ok_or_else(|| bad("no `/`"))?;
        let count = count
            .trim()
            .parse()
            .map_err(|_| bad("the count must be a whole number from 1"))?;
        let window = window.trim();
        // `100/m` reads well and means one of that unit.
        let window = match window.chars().next() {
            Some(c) if c.is_ascii_digit() => parse_duration(window),
            _ => parse_duration(&format!("1{window}")),
        }
        .map_err(|_| bad("the window must be a duration"))?;
        if window.is_zero() || window > Duration::from_secs(86_400) {
            return Err(bad("the window must be over zero and at most a day"));
        }
        Ok(Self { count, window })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, humantime::format_duration(self.window))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Ports, both ends included, written `30000-40000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest; not 0.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// Whether a port is one of them.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl Default for PortRange {
    /// What nodes hand out when nobody says otherwise.
    fn default() -> Self {
        Self {
            first: 30_000,
            last: 40_000,
        }
    }
}

impl FromStr for PortRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let ends = text.split_once('-').and_then(|(first, last)| {
            let range = Self {
                first: first.trim().parse().ok()?,
                last: last.trim().parse().ok()?,
            };
            (range.first > 0 && range.first <= range.last).then_some(range)
        });
        ends.ok_or_else(|| UnitError::Ports(text.to_owned()))
    }
}

/// Bits in a second, over zero, written `800bit`, `64kbit`, `10mbit` or `1gbit`: decimal
/// units, as `tc` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub NonZeroU64);

impl FromStr for BitRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::Bits(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit = match unit.trim() {
            "bit" => 1,
            "kbit" => 1_000,
            "mbit" => 1_000_000,
            "gbit" => 1_000_000_000,
            _ => return Err(bad()),
        };
        let bits = number.checked_mul(unit).and_then(NonZeroU64::new);
        bits.map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.get();
        for (unit, name) in [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit")] {
            if bits.is_multiple_of(unit) {
                return write!(f, "{}{name}", bits / unit);
            }
        }
        write!(f, "{bits}bit")
    }
}

/// A number of bytes, written `512`, `64KiB`, `10MiB` or `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::Size(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(bad()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let check = |text: &str, count: u32, seconds: u64| {
            let rate: Rate = text.parse().expect(text);
            assert_eq!(
                (rate.count.get(), rate.window),
                (count, Duration::from_secs(seconds)),
                "{text}"
            );
        };
        check("100/1m", 100, 60);
        check("5/s", 5, 1);
        check("50 / 10s", 50, 10);
        for bad in ["", "100", "0/1m", "-1/1m", "1/0s", "1/2days", "a/1m", "1/"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!("100/1m".parse::<Rate>().expect("good").to_string(), "100/1m");
    }

    #[test]
    fn bandwidths() {
        for (text, bits) in [
            ("800bit", 800),
            ("64kbit", 64_000),
            ("10 mbit", 10_000_000),
            ("1gbit", 1_000_000_000),
        ] {
            assert_eq!(text.parse::<BitRate>().expect(text).0.get(), bits);
        }
        for bad in ["", "10", "0mbit", "1.5mbit", "10Mbit", "10mbps", "99999999999gbit"] {
            assert!(bad.parse::<BitRate>().is_err(), "{bad}");
        }
        assert_eq!("2000kbit".parse::<BitRate>().expect("good").to_string(), "2mbit");
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("512", 512), ("64KiB", 65_536), ("1 GiB", 1 << 30)] {
            assert_eq!(text.parse::<ByteSize>().expect(text).0, bytes);
        }
        for bad in ["", "KiB", "1KB", "1.5MiB", "99999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize(65_536).to_string(), "64KiB");
    }
}
