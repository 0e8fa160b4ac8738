//! What this node has of ours.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use model::{NodePort, PodId};

use crate::desired::PodSpec;
use crate::forwards::Installed;
use crate::link::Link;
use crate::nft::Element;
use crate::shape::Shaping;

/// What this node has of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The elements in the table; nothing when there is no table, or not ours.
    pub elements: Option<Elements>,
    /// Links that are called as pods' are, by name.
    pub links: BTreeMap<String, Link>,
    /// Namespaces that are called as pods' are, and whether there is one behind the name.
    pub namespaces: BTreeMap<String, bool>,
    /// Addresses that are led to a link, by its number.
    pub routes: BTreeSet<(u32, IpAddr)>,
    /// Addresses whose hardware is known for good, by the number of their link.
    pub neighbours: BTreeSet<(u32, IpAddr)>,
    /// Namespaces whose `resolv.conf` is as it shall be.
    pub resolvers: BTreeSet<String>,
    /// What holds traffic back.
    pub shaping: Shaping,
    /// Ports of the node that lead to pods.
    pub forwards: BTreeMap<NodePort, Installed>,
    /// Pods that have been found or brought in order since all of this was looked at, as
    /// they were wanted then. Wanted so still, they are not compared again: one pod more
    /// costs what it takes itself, whatever the number of others.
    pub in_order: HashMap<PodId, PodSpec>,
}

/// Elements of pods, by the links that they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements {
    lasting: ByLink,
    learned: ByLink,
}

type ByLink = BTreeMap<Box<str>, BTreeSet<Element>>;

impl Elements {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Element> {
        let all = self.lasting.values().chain(self.learned.values());
        all.flatten()
    }

    /// The links that they are about; one may come twice.
    pub(crate) fn links(&self) -> impl Iterator<Item = &str> {
        self.lasting.keys().chain(self.learned.keys()).map(AsRef::as_ref)
    }

    /// Those about a link, what it has learned last.
    pub(crate) fn about(&self, link: &str) -> impl Iterator<Item = &Element> + use<'_> {
        let lasting = self.lasting.get(link).into_iter().flatten();
        lasting.chain(self.learned_by(link))
    }

    /// What a link has learned.
    pub(crate) fn learned_by(&self, link: &str) -> impl Iterator<Item = &Element> + use<'_> {
        self.learned.get(link).into_iter().flatten()
    }

    /// Takes these for all that there is of what links have learned.
    pub(crate) fn learn_anew(&mut self, learned: impl IntoIterator<Item = Element>) {
        self.learned.clear();
        self.extend(learned);
    }

    /// Puts one in; whether it was not there.
    pub(crate) fn insert(&mut self, element: Element) -> bool {
        let of = self.of(element.set.is_learned());
        match of.get_mut(element.about()) {
            Some(there) => there.insert(element),
            None => of.insert(element.about().into(), BTreeSet::from([element])).is_none(),
        }
    }

    /// Takes one out; whether it was there.
    pub(crate) fn remove(&mut self, element: &Element) -> bool {
        let of = self.of(element.set.is_learned());
        let Some(there) = of.get_mut(element.about()) else {
            return false;
        };
        let was = there.remove(element);
        if there.is_empty() {
            of.remove(element.about());
        }
        was
    }

    fn of(&mut self, learned: bool) -> &mut ByLink {
        match learned {
            true => &mut self.learned,
            false => &mut self.lasting,
        }
    }
}

impl Extend<Element> for Elements {
    fn extend<T: IntoIterator<Item = Element>>(&mut self, elements: T) {
        for element in elements {
            self.insert(element);
        }
    }
}

impl FromIterator<Element> for Elements {
    fn from_iter<T: IntoIterator<Item = Element>>(elements: T) -> Self {
        let mut all = Self::default();
        all.extend(elements);
        all
    }
}
