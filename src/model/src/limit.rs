//! How much is too much: the policies of the config, and what single users and
//! services have in their place.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Section;
use crate::{BitRate, Object, Rate};

/// A bound, or the word `unlimited`, which lifts the one that would hold otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound<T> {
    /// None.
    Unlimited,
    /// At most this.
    At(T),
}

impl<T> Bound<T> {
    /// What is allowed at most; `None` for anything.
    pub fn at(self) -> Option<T> {
        match self {
            Self::Unlimited => None,
            Self::At(most) => Some(most),
        }
    }
}

const UNLIMITED: &str = "unlimited";

impl<T: FromStr> FromStr for Bound<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            UNLIMITED => Ok(Self::Unlimited),
            text => text.parse().map(Self::At),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Bound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str(UNLIMITED),
            Self::At(most) => most.fmt(f),
        }
    }
}

/// A number of things at once, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub NonZeroU32);

/// Text that is not a [`Count`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a whole number from 1, nor \"unlimited\"")]
pub struct CountError(String);

impl FromStr for Count {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, CountError> {
        text.parse().map(Self).map_err(|_| CountError(text.to_owned()))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// Bounds are written as people write them; a count may also be a plain number.

impl<T: fmt::Display> Serialize for Bound<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Bound<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "text or a whole number")]
        enum Given {
            Number(u64),
            Text(String),
        }
        let text = match Given::deserialize(from)? {
            Given::Number(number) => number.to_string(),
            Given::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

/// What one policy limits. What is `None` is as the policy says that this one stands in
/// for; in the config, unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Requests in a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Bound<Rate>>,
    /// How many of them may come at once; the rate's count when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// Requests under way at once, WebSockets apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Bound<Count>>,
    /// WebSockets (upgraded connections of any kind) open at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websockets: Option<Bound<Count>>,
    /// Bytes of answers in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bound<BitRate>>,
    /// Count, and refuse nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<bool>,
}

/// What a policy is about, which says what it may limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A client's address: IPv4, or the /64 of IPv6.
    Address,
    /// A known caller.
    User,
    /// All requests for a service.
    Service,
    /// All requests for the services of a pod.
    Pod,
}

impl Subject {
    /// The fields that a policy about it may have.
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Address => &["rate", "burst", "shadow"],
            Self::User | Self::Pod => &["rate", "burst", "requests", "websockets", "shadow"],
            Self::Service => &["rate", "burst", "bandwidth", "shadow"],
        }
    }
}

impl Policy {
    /// A rate and nothing else.
    pub const fn of(rate: Rate) -> Self {
        Self {
            rate: Some(Bound::At(rate)),
            burst: None,
            requests: None,
            websockets: None,
            bandwidth: None,
            shadow: None,
        }
    }

    /// This policy in the place of another, which says what this one does not. A burst
    /// belongs to its rate.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            rate: self.rate.or(base.rate),
            burst: if self.rate.is_some() {
                self.burst
            } else {
                self.burst.or(base.burst)
            },
            requests: self.requests.or(base.requests),
            websockets: self.websockets.or(base.websockets),
            bandwidth: self.bandwidth.or(base.bandwidth),
            shadow: self.shadow.or(base.shadow),
        }
    }

    /// The rate in force, if any, and how many requests may come at once.
    pub fn pace(&self) -> Option<(Rate, NonZeroU32)> {
        let rate = self.rate?.at()?;
        Some((rate, self.burst.unwrap_or(rate.count)))
    }

    /// Whether it refuses nothing.
    pub fn is_shadow(&self) -> bool {
        self.shadow == Some(true)
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets a field to what a text says; without one, to nothing.
    ///
    /// # Errors
    /// Why the text is no such thing, or that there is no such field.
    pub fn set(&mut self, field: &str, text: Option<&str>) -> Result<(), String> {
        fn read<T: FromStr<Err: fmt::Display>>(text: Option<&str>) -> Result<Option<T>, String> {
            text.map(|text| text.parse().map_err(|error: T::Err| error.to_string()))
                .transpose()
        }
        match field {
            "rate" => self.rate = read(text)?,
            "burst" => {
                let whole = |text: &str| {
                    text.parse()
                        .map_err(|_| format!("`{text}` is not a whole number from 1"))
                };
                self.burst = text.map(whole).transpose()?;
            }
            "requests" => self.requests = read(text)?,
            "websockets" => self.websockets = read(text)?,
            "bandwidth" => self.bandwidth = read(text)?,
            "shadow" => {
                let flag = |text: &str| text.parse().map_err(|_| format!("`{text}` is not true or false"));
                self.shadow = text.map(flag).transpose()?;
            }
            _ => return Err(format!("there is no limit `{field}`")),
        }
        Ok(())
    }

    /// What it says that means nothing for its subject: the field, and why.
    ///
    /// # Errors
    /// The first such field.
    pub fn check(&self, about: Subject) -> Result<(), (&'static str, &'static str)> {
        let counted = matches!(about, Subject::User | Subject::Pod);
        if self.requests.is_some() && !counted {
            return Err(("requests", "requests at once are limited per user and per pod"));
        }
        if self.websockets.is_some() && !counted {
            return Err(("websockets", "WebSockets are limited per user and per pod"));
        }
        if self.bandwidth.is_some() && about != Subject::Service {
            return Err(("bandwidth", "bandwidth is limited per service"));
        }
        if self.burst.is_some() && self.rate == Some(Bound::Unlimited) {
            return Err(("burst", "there is no burst without a rate"));
        }
        Ok(())
    }

    /// Reads a key of a section: a rate such as `"100/1m"`, or a table. What is wrong is
    /// noted in the section.
    pub fn read(section: &mut Section<'_>, key: &str, about: Subject) -> Option<Self> {
        if !section.is_table(key) {
            let rate = section.parse(key);
            return rate.map(|rate| Self {
                rate: Some(rate),
                ..Self::default()
            });
        }
        let mut table = section.section(key)?;
        let policy = Self {
            rate: table.parse("rate"),
            burst: table
                .integer("burst", 1, u32::MAX.into())
                .and_then(|burst| u32::try_from(burst).ok())
                .and_then(NonZeroU32::new),
            requests: table.number_or_word("requests"),
            websockets: table.number_or_word("websockets"),
            bandwidth: table.parse("bandwidth"),
            shadow: table.flag("shadow"),
        };
        if let Err((field, why)) = policy.check(about) {
            table.problem(field, why);
        }
        section.absorb(table);
        Some(policy)
    }
}

impl fmt::Display for Policy {
    /// As people read it: `1000/1m, at most 50 at once, 20 WebSockets`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.rate.map(|rate| rate.to_string()));
        parts.extend(self.burst.map(|burst| format!("burst {burst}")));
        parts.extend(self.requests.map(|most| format!("{most} requests at once")));
        parts.extend(self.websockets.map(|most| format!("{most} WebSockets")));
        parts.extend(self.bandwidth.map(|most| most.to_string()));
        if self.is_shadow() {
            parts.push("shadow".to_owned());
        }
        if parts.is_empty() {
            parts.push(match self.shadow {
                Some(false) => "no shadow".to_owned(),
                Some(true) | None => UNLIMITED.to_owned(),
            });
        }
        f.write_str(&parts.join(", "))
    }
}

/// What a user has in the place of the config's policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserLimits {
    /// For `limits.user`: as a caller, wherever it goes.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Policy::is_empty")]
    pub user: Policy,
    /// For `limits.pod`: each pod that it owns.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Policy::is_empty")]
    pub pod: Policy,
}

/// What a service has in the place of the config's policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceLimits {
    /// For `limits.public`: each address, counted at this service apart.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Policy::is_empty")]
    pub public: Policy,
    /// For `limits.service`: everybody together.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Policy::is_empty")]
    pub service: Policy,
}

fn object<'de, D: Deserializer<'de>>(from: D) -> Result<Policy, D::Error> {
    Object::deserialize(from).map(|Object(policy)| policy)
}

/// What a user's and a service's limits have in common: two policies by name.
pub trait OwnLimits: Copy + Default + PartialEq + Serialize + DeserializeOwned {
    /// What its policies are called, and what each is about.
    const POLICIES: [(&'static str, Subject); 2];

    /// Its policies, in that order.
    fn policies(&self) -> [Policy; 2];

    /// Limits of these policies, in that order.
    fn of(policies: [Policy; 2]) -> Self;

    /// Whether they say nothing.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As records keep them: limits that say nothing are none.
    fn kept(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }

    /// What means nothing where it stands: the dotted field, and why.
    ///
    /// # Errors
    /// The first such field.
    fn check(&self) -> Result<(), (String, &'static str)> {
        for ((name, about), policy) in Self::POLICIES.into_iter().zip(self.policies()) {
            policy
                .check(about)
                .map_err(|(field, why)| (format!("{name}.{field}"), why))?;
        }
        Ok(())
    }
}

impl OwnLimits for UserLimits {
    const POLICIES: [(&'static str, Subject); 2] = [("user", Subject::User), ("pod", Subject::Pod)];

    fn policies(&self) -> [Policy; 2] {
        [self.user, self.pod]
    }

    fn of([user, pod]: [Policy; 2]) -> Self {
        Self { user, pod }
    }
}

impl OwnLimits for ServiceLimits {
    const POLICIES: [(&'static str, Subject); 2] = [("public", Subject::Address), ("service", Subject::Service)];

    fn policies(&self) -> [Policy; 2] {
        [self.public, self.service]
    }

    fn of([public, service]: [Policy; 2]) -> Self {
        Self { public, service }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn limits_are_written_as_people_write_them() {
        let text = json!({
            "user": {"rate": "5000/1m", "burst": 100, "requests": "unlimited", "websockets": "20"},
            "pod": {"shadow": true},
        });
        let limits: UserLimits = from_value(text.clone()).expect("good");
        assert_eq!(to_value(limits).expect("JSON"), text);
        assert_eq!(
            limits.user.to_string(),
            "5000/1m, burst 100, unlimited requests at once, 20 WebSockets"
        );
        let number: Policy = from_value(json!({"requests": 5})).expect("a plain number");
        assert_eq!(number, from_value(json!({"requests": "5"})).expect("the same"));
        assert_eq!(to_value(ServiceLimits::default()).expect("JSON"), json!({}));
        assert_eq!(UserLimits::default().kept(), None, "what says nothing is none");
        assert_eq!(limits.kept(), Some(Box::new(limits)));
        for bad in [
            json!([]),
            json!([{"rate": "5/1m"}]),
            json!({"user": ["5/1m"]}),
            json!({"user": null}),
            json!({"service": {}}),
        ] {
            assert!(from_value::<Object<UserLimits>>(bad.clone()).is_err(), "{bad}");
        }
        for bad in [
            json!({"rate": "100"}),
            json!({"rate": "0/1m"}),
            json!({"requests": 0}),
            json!({"requests": "many"}),
            json!({"burst": 0}),
            json!({"bandwidth": "10"}),
            json!({"window": "1m"}),
        ] {
            assert!(from_value::<Policy>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_override_says_what_it_says_and_leaves_the_rest() {
        let policy = |text: serde_json::Value| from_value::<Policy>(text).expect("good");
        let base = policy(json!({"rate": "100/1m", "burst": 20, "requests": 5, "shadow": true}));
        let check = |over, expected| assert_eq!(policy(over).over(base), policy(expected));
        check(
            json!({}),
            json!({"rate": "100/1m", "burst": 20, "requests": 5, "shadow": true}),
        );
        check(
            json!({"rate": "9/1s", "shadow": false}),
            json!({"rate": "9/1s", "requests": 5, "shadow": false}),
        );
        check(
            json!({"burst": 3, "requests": "unlimited"}),
            json!({"rate": "100/1m", "burst": 3, "requests": "unlimited", "shadow": true}),
        );
        let (rate, burst) = base.pace().expect("a rate");
        assert_eq!((rate.count.get(), burst.get()), (100, 20));
        assert_eq!(policy(json!({"rate": "unlimited"})).pace(), None);
    }

    #[test]
    fn fields_are_set_by_text() {
        let all = [
            ("rate", "9/1s"),
            ("burst", "3"),
            ("requests", "5"),
            ("websockets", "unlimited"),
            ("bandwidth", "10mbit"),
            ("shadow", "true"),
        ];
        for about in [Subject::Address, Subject::User, Subject::Service, Subject::Pod] {
            for (field, text) in all {
                let mut policy = Policy::default();
                policy.set(field, Some(text)).expect("good");
                let means = policy.check(about).is_ok();
                assert_eq!(means, about.fields().contains(&field), "{about:?} {field}");
                assert!(
                    policy.set(field, Some("what")).is_err_and(|why| why.contains("`what`")),
                    "{field}"
                );
                assert!(!policy.is_empty(), "a bad text changes nothing");
                policy.set(field, None).expect("good");
                assert!(policy.is_empty(), "{field}");
            }
        }
        assert!(Policy::default().set("window", None).is_err());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let check = |policy: serde_json::Value, about, field: Option<&str>| {
            let policy: Policy = from_value(policy).expect("good");
            assert_eq!(policy.check(about).err().map(|(field, _)| field), field, "{policy}");
        };
        check(json!({"requests": 1}), Subject::Address, Some("requests"));
        check(json!({"websockets": 1}), Subject::Service, Some("websockets"));
        check(json!({"bandwidth": "1mbit"}), Subject::Pod, Some("bandwidth"));
        check(json!({"rate": "unlimited", "burst": 1}), Subject::User, Some("burst"));
        check(json!({"bandwidth": "1mbit"}), Subject::Service, None);
        check(json!({"requests": 1, "websockets": 1}), Subject::Pod, None);
        let limits: ServiceLimits = from_value(json!({"public": {"requests": 1}})).expect("good");
        assert_eq!(limits.check().expect_err("per user and per pod").0, "public.requests");
    }
}
