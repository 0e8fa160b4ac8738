//! The `[limits]` section, as far as the steps need it.

use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use model::config::Section;
use model::{Policy, Rate, Subject};

/// Who counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each edge for itself, in memory.
    #[default]
    Memory,
    /// Each edge for itself, and tells the others every moment.
    Shared,
    /// All edges together, asked about each request.
    Exact,
}

/// The `[limits]` section: each policy is a rate (its count is also its burst) or a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// `public`: per client address on public services (100/1m).
    pub public: Policy,
    /// `user`: per known caller (1000/1m).
    pub user: Policy,
    /// `service`: per service, all its callers together (none).
    pub service: Policy,
    /// `pod`: per pod, all callers of all its services together (none).
    pub pod: Policy,
    /// `default`: per address, what nobody vouches for (50/1m): hosts that do not
    /// exist, credentials that fail, sign-ins that do; each counted apart.
    pub default: Policy,
    /// `exempt`: networks that are never limited.
    pub exempt: Vec<IpNet>,
    /// `mode`: who counts.
    pub mode: Mode,
}

impl Default for Policies {
    fn default() -> Self {
        let per_minute = |count: NonZeroU32| {
            Policy::of(Rate {
                count,
                window: Duration::from_secs(60),
            })
        };
        const PUBLIC: NonZeroU32 = NonZeroU32::new(100).expect("over zero");
        const USER: NonZeroU32 = NonZeroU32::new(1000).expect("over zero");
        const DEFAULT: NonZeroU32 = NonZeroU32::new(50).expect("over zero");
        Self {
            public: per_minute(PUBLIC),
            user: per_minute(USER),
            service: Policy::default(),
            pod: Policy::default(),
            default: per_minute(DEFAULT),
            exempt: Vec::new(),
            mode: Mode::default(),
        }
    }
}

impl Policies {
    /// Reads the section, but for what the exchange with Redis needs; what is wrong is
    /// noted in it.
    pub fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let redis = section.has("redis");
        // A policy says what it says; the rest is as by default.
        let mut policy = |key, about, default: Policy| {
            let given = Policy::read(section, key, about);
            given.map_or(default, |policy| policy.over(default))
        };
        let (public, user, service, pod, guesses) = (
            policy("public", Subject::Address, default.public),
            policy("user", Subject::User, default.user),
            policy("service", Subject::Service, default.service),
            policy("pod", Subject::Pod, default.pod),
            policy("default", Subject::Address, default.default),
        );
        let mode = match section.parse::<String>("mode").as_deref() {
            None if redis => Mode::Shared,
            None => Mode::Memory,
            Some("shared") => Mode::Shared,
            Some("exact") => Mode::Exact,
            Some(other) => {
                let message =
                    format!("`{other}` is neither \"shared\" nor \"exact\"; without limits.redis, leave it out");
                section.problem("mode", message);
                Mode::Memory
            }
        };
        if mode != Mode::Memory && !redis {
            section.problem("mode", "needs limits.redis, where edges count together");
        }
        Self {
            public,
            user,
            service,
            pod,
            default: guesses,
            exempt: section.list("exempt").unwrap_or_default(),
            mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::config::{Problem, Secrets};

    use super::*;

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(path.to_owned())
        }

        fn env(&self, name: &str) -> Result<String, String> {
            Err(name.to_owned())
        }
    }

    fn read(text: &str) -> (Policies, Vec<Problem>) {
        let mut section = Section::new("limits", text.parse().expect("TOML"), &NoSecrets);
        let policies = Policies::read(&mut section);
        (policies, section.finish())
    }

    #[test]
    fn the_section_has_defaults_and_reports_every_problem() {
        assert_eq!(read(""), (Policies::default(), Vec::new()));
        let (policies, problems) = read(
            "public = \"5/s\"\nexempt = [\"10.0.0.0/8\", \"::1/128\"]\n\
             pod = { requests = 100, websockets = 20, shadow = true }\nuser = { burst = 50 }\n\
             service = { rate = \"unlimited\", bandwidth = \"10mbit\" }",
        );
        assert_eq!(problems, []);
        assert_eq!(policies.public.to_string(), "5/1s");
        assert_eq!(policies.exempt.len(), 2);
        assert_eq!(policies.user.to_string(), "1000/1m, burst 50");
        assert_eq!(policies.service.to_string(), "unlimited, 10mbit");
        assert_eq!(policies.pod.to_string(), "100 requests at once, 20 WebSockets, shadow");
        let (_, problems) = read(
            "public = 5\nuser = \"0/1m\"\nexempt = [\"10.0.0.0/33\"]\nburst = 3\n\
             pod = { bandwidth = \"1mbit\", burst = 0 }\nservice = { rate = 3, window = \"1m\" }",
        );
        let keys: Vec<String> = problems.into_iter().map(|problem| problem.key).collect();
        assert_eq!(
            keys,
            [
                "limits.public",
                "limits.user",
                "limits.service.rate",
                "limits.service.window",
                "limits.pod.burst",
                "limits.pod.bandwidth",
                "limits.exempt[0]",
                "limits.burst",
            ]
        );
    }

    #[test]
    fn edges_count_together_where_there_is_a_place_for_it() {
        let mode = |text: &str| {
            let (policies, problems) = read(text);
            // The exchange reads the rest.
            let keys: Vec<String> = problems.into_iter().map(|problem| problem.key).collect();
            (policies.mode, keys)
        };
        let redis = || vec!["limits.redis".to_owned()];
        let wrong = || vec!["limits.mode".to_owned()];
        assert_eq!(mode(""), (Mode::Memory, vec![]));
        assert_eq!(mode("redis = \"r\""), (Mode::Shared, redis()));
        assert_eq!(mode("redis = \"r\"\nmode = \"shared\""), (Mode::Shared, redis()));
        assert_eq!(mode("redis = \"r\"\nmode = \"exact\""), (Mode::Exact, redis()));
        assert_eq!(mode("mode = \"exact\""), (Mode::Exact, wrong()));
        assert_eq!(mode("mode = \"memory\"").1, wrong());
    }
}
