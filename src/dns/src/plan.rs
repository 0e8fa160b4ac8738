//! What has to be done to a zone for services' names to be in it: pure.

use std::collections::{BTreeMap, BTreeSet};

/// Where names shall point, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The name that edges are at: what a CNAME record leads to.
    pub target: String,
    /// How long resolvers may keep it, in seconds.
    pub ttl: u32,
    /// Whether the provider stands before it, where it can.
    pub proxied: bool,
}

impl Pointer {
    /// Whether a record that is so needs no change. What is proxied is kept by resolvers for as
    /// long as the provider likes.
    fn is_in_place(&self, seen: &Self) -> bool {
        self.target == seen.target && self.proxied == seen.proxied && (self.proxied || self.ttl == seen.ttl)
    }
}

/// A record that is marked as podgate's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// What it is called by the provider; empty where records have no names of their own.
    pub id: String,
    /// Where it points; nothing when there is the mark and no record.
    pub pointer: Option<Pointer>,
}

/// What a zone holds at names below the domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Ours, by name.
    pub own: BTreeMap<String, Own>,
    /// Names that have records of somebody else's.
    pub taken: BTreeSet<String>,
}

/// One change of one name. Each is done whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A record where nothing is.
    Create {
        /// Its name.
        name: String,
        /// Where it shall point.
        to: Pointer,
    },
    /// Another target, lifetime or way for a record of ours.
    Change {
        /// Its name.
        name: String,
        /// As it is.
        from: Own,
        /// As it shall be.
        to: Pointer,
    },
    /// No record of ours any more.
    Remove {
        /// Its name.
        name: String,
        /// As it is.
        from: Own,
    },
}

impl Step {
    /// `create`, `change` or `remove`.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Change { .. } => "change",
            Self::Remove { .. } => "remove",
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Self::Create { name, .. } | Self::Change { name, .. } | Self::Remove { name, .. } => name,
        }
    }

    /// Where it points until then.
    pub fn from(&self) -> Option<&Pointer> {
        match self {
            Self::Create { .. } => None,
            Self::Change { from, .. } | Self::Remove { from, .. } => from.pointer.as_ref(),
        }
    }

    /// Where it points from then on.
    pub fn to(&self) -> Option<&Pointer> {
        match self {
            Self::Create { to, .. } | Self::Change { to, .. } => Some(to),
            Self::Remove { .. } => None,
        }
    }
}

/// What is to be done, and what cannot be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// By name; what goes comes first.
    pub steps: Vec<Step>,
    /// Names that services have and somebody else's records stand at: they are left alone.
    pub taken: Vec<String>,
    /// How many names are as they shall be.
    pub in_place: usize,
}

/// Works out what makes a zone hold a pointer for each of these names, and for no other.
pub fn plan(names: &BTreeSet<String>, pointer: &Pointer, seen: &Seen) -> Plan {
    let mut plan = Plan::default();
    for (name, own) in &seen.own {
        if !names.contains(name) {
            plan.steps.push(Step::Remove {
                name: name.clone(),
                from: own.clone(),
            });
        }
    }
    for name in names {
        if seen.taken.contains(name) {
            plan.taken.push(name.clone());
            continue;
        }
        match seen.own.get(name) {
            Some(own) if own.pointer.as_ref().is_some_and(|it| pointer.is_in_place(it)) => plan.in_place += 1,
            Some(own) => plan.steps.push(Step::Change {
                name: name.clone(),
                from: own.clone(),
                to: pointer.clone(),
            }),
            None => plan.steps.push(Step::Create {
                name: name.clone(),
                to: pointer.clone(),
            }),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(target: &str) -> Pointer {
        Pointer {
            target: target.to_owned(),
            ttl: 300,
            proxied: false,
        }
    }

    fn own(target: Option<&str>) -> Own {
        Own {
            id: String::new(),
            pointer: target.map(pointer),
        }
    }

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_missing_comes_what_is_wrong_changes_what_is_left_over_goes() {
        let seen = Seen {
            own: [
                ("good".to_owned(), own(Some("edge"))),
                ("elsewhere".to_owned(), own(Some("old"))),
                ("half".to_owned(), own(None)),
                ("over".to_owned(), own(Some("edge"))),
            ]
            .into(),
            taken: names(&["mail", "theirs"]),
        };
        let wanted = names(&["elsewhere", "good", "half", "new", "theirs"]);
        let plan = plan(&wanted, &pointer("edge"), &seen);
        let told: Vec<_> = plan.steps.iter().map(|it| (it.verb(), it.name())).collect();
        let expected = [
            ("remove", "over"),
            ("change", "elsewhere"),
            ("change", "half"),
            ("create", "new"),
        ];
        assert_eq!(told, expected);
        assert_eq!(plan.taken, ["theirs"]);
        assert_eq!(plan.in_place, 1);
    }

    /// A mark beside a record of somebody else's: both stay while the name is wanted, and only
    /// the mark goes with it.
    #[test]
    fn a_record_of_somebody_elses_is_never_touched() {
        let seen = Seen {
            own: [("web".to_owned(), own(None))].into(),
            taken: names(&["web"]),
        };
        let kept = plan(&names(&["web"]), &pointer("edge"), &seen);
        assert_eq!((kept.steps.len(), kept.taken), (0, vec!["web".to_owned()]));
        let gone = plan(&names(&[]), &pointer("edge"), &seen);
        assert_eq!(gone.steps.len(), 1);
        assert_eq!(gone.steps[0].from(), None);
    }
}
