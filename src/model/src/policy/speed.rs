//! How fast a pod may send and receive.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{BitRate, Object, UnitError};

/// Why text is not a [`Speed`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpeedError {
    /// Not a bandwidth.
    #[error(transparent)]
    Rate(#[from] UnitError),
    /// A direction that is none, or one twice.
    #[error(
        "`{0}` is not a bandwidth such as \"10mbit\", nor one for each direction such as \"up=10mbit,down=100mbit\""
    )]
    Direction(String),
}

/// Bits in a second that leave a pod, and that come to it; at least one of the two.
///
/// As text `10mbit` (both ways) or `up=10mbit,down=100mbit`; in JSON that short form, or
/// `{"up": "10mbit", "down": "100mbit"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    up: Option<BitRate>,
    down: Option<BitRate>,
}

impl Speed {
    /// The same both ways.
    pub const fn both(rate: BitRate) -> Self {
        Self {
            up: Some(rate),
            down: Some(rate),
        }
    }

    /// One for each direction; `None` when neither is given.
    pub const fn of(up: Option<BitRate>, down: Option<BitRate>) -> Option<Self> {
        match (up, down) {
            (None, None) => None,
            (up, down) => Some(Self { up, down }),
        }
    }

    /// What leaves the pod.
    pub const fn up(self) -> Option<BitRate> {
        self.up
    }

    /// What comes to the pod.
    pub const fn down(self) -> Option<BitRate> {
        self.down
    }

    /// The one rate of both directions, if that is what it is.
    fn short(self) -> Option<BitRate> {
        self.up.filter(|_| self.up == self.down)
    }
}

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Self, SpeedError> {
        if !text.contains('=') {
            return Ok(Self::both(text.trim().parse()?));
        }
        let bad = || SpeedError::Direction(text.to_owned());
        let (mut up, mut down) = (None, None);
        for part in text.split(',') {
            let (direction, rate) = part.split_once('=').ok_or_else(bad)?;
            let place = match direction.trim() {
                "up" => &mut up,
                "down" => &mut down,
                _ => return Err(bad()),
            };
            if place.replace(rate.trim().parse()?).is_some() {
                return Err(bad());
            }
        }
        Self::of(up, down).ok_or_else(bad)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.short(), self.up, self.down) {
            (Some(rate), ..) => rate.fmt(f),
            (None, Some(up), Some(down)) => write!(f, "up={up},down={down}"),
            (None, Some(up), None) => write!(f, "up={up}"),
            (None, None, Some(down)) => write!(f, "down={down}"),
            (None, None, None) => Ok(()),
        }
    }
}

impl Serialize for Speed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let Some(rate) = self.short() {
            return to.collect_str(&rate);
        }
        let mut map = to.serialize_map(None)?;
        for (direction, rate) in [("up", self.up), ("down", self.down)] {
            if let Some(rate) = rate {
                map.serialize_entry(direction, &rate.to_string())?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Speed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a bandwidth such as \"10mbit\", or {up, down} with one for each direction"
        )]
        enum Given {
            Text(String),
            Ways(Object<Ways>),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Ways {
            up: Option<String>,
            down: Option<String>,
        }
        let Ways { up, down } = match Given::deserialize(from)? {
            Given::Text(text) => return text.parse().map_err(D::Error::custom),
            Given::Ways(Object(ways)) => ways,
        };
        let read = |text: Option<String>| text.as_deref().map(str::parse).transpose().map_err(D::Error::custom);
        Self::of(read(up)?, read(down)?).ok_or_else(|| D::Error::custom("neither `up` nor `down` is given"))
    }
}

/// Why two speeds are not a [`Bandwidth`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`guaranteed` ({guaranteed} {direction}) is over `max` ({max} {direction})")]
pub struct BandwidthError {
    direction: &'static str,
    guaranteed: BitRate,
    max: BitRate,
}

/// How fast a pod may send and receive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Given")]
pub struct Bandwidth {
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<Speed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guaranteed: Option<Speed>,
}

impl Bandwidth {
    /// At most `max`, and `guaranteed` of it whatever others do.
    ///
    /// # Errors
    /// When more is guaranteed than there is, in either direction.
    pub fn of(max: Option<Speed>, guaranteed: Option<Speed>) -> Result<Self, BandwidthError> {
        for (direction, most, least) in [
            ("up", max.and_then(Speed::up), guaranteed.and_then(Speed::up)),
            ("down", max.and_then(Speed::down), guaranteed.and_then(Speed::down)),
        ] {
            if let (Some(max), Some(guaranteed)) = (most, least)
                && guaranteed > max
            {
                return Err(BandwidthError {
                    direction,
                    guaranteed,
                    max,
                });
            }
        }
        Ok(Self { max, guaranteed })
    }

    /// The most, however idle the line is; without one there is no limit but the line's.
    pub const fn max(self) -> Option<Speed> {
        self.max
    }

    /// What the pod gets however busy the line is; never over [`Bandwidth::max`].
    pub const fn guaranteed(self) -> Option<Speed> {
        self.guaranteed
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    max: Option<Speed>,
    #[serde(default)]
    guaranteed: Option<Speed>,
}

impl TryFrom<Given> for Bandwidth {
    type Error = BandwidthError;

    fn try_from(given: Given) -> Result<Self, BandwidthError> {
        Self::of(given.max, given.guaranteed)
    }
}
