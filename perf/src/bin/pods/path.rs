//! What rules cost those who send: from the first pod and from the last of many, with the
//! rules in place and without any.

use std::time::Duration;

use anyhow::Result;
use integration::machine::program;

use crate::life::Seats;
use crate::rival::podgate::Podgate;
use crate::rival::{Rival, Seat};
use crate::traffic::Traffic;

/// Which way out of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// No rules at all: nothing is even followed.
    Bare,
    /// One rule that masquerades, for what following connections costs.
    Masquerade,
    /// podgate's first pod.
    First,
    /// podgate's last pod.
    Last,
    /// The scripts' last pod.
    Shell,
    /// CNI's last pod.
    Cni,
}

impl Way {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 6] = [
        Self::Bare,
        Self::Masquerade,
        Self::First,
        Self::Last,
        Self::Shell,
        Self::Cni,
    ];

    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "no rules at all",
            Self::Masquerade => "one rule that masquerades",
            Self::First => "podgate, first pod",
            Self::Last => "podgate, last pod",
            Self::Shell => "shell, last pod",
            Self::Cni => "CNI, last pod",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    /// Which way.
    pub way: Way,
    /// What.
    pub traffic: Traffic,
    /// Which turn it was, from 0.
    pub round: usize,
    /// How much of it in a second.
    pub rate: f64,
}

/// Has all ways take turns, each for so long.
pub(crate) fn pass(seats: &Seats, rounds: usize, time: Duration) -> Result<Vec<Passed>> {
    // The last pods are whole ones, and not put there in bulk.
    seats.shell.run(|shell| shell.add().map(drop))?;
    seats.cni.run(|cni| cni.add().map(drop))?;
    let mut all = Vec::new();
    for round in 0..rounds {
        for traffic in Traffic::ALL {
            // Whoever comes first has the caches cold: that is another each time.
            let mut ways = Way::ALL;
            ways.rotate_left(round % Way::ALL.len());
            for way in ways {
                let rate = match way {
                    Way::Shell => last(&seats.shell, traffic, time)?,
                    Way::Cni => last(&seats.cni, traffic, time)?,
                    _ => seats
                        .podgate
                        .run(move |podgate| podgates(podgate, way, traffic, time))?,
                };
                all.push(Passed {
                    way,
                    traffic,
                    round,
                    rate,
                });
            }
        }
    }
    Ok(all)
}

fn last<R: Rival>(seat: &Seat<R>, traffic: Traffic, time: Duration) -> Result<f64> {
    seat.run(move |rival| traffic.from(&rival.last(), time))
}

fn podgates(podgate: &mut Podgate, way: Way, traffic: Traffic, time: Duration) -> Result<f64> {
    let [first, last] = podgate.ends()?;
    if way == Way::Last {
        return traffic.from(&last, time);
    }
    if way == Way::First {
        return traffic.from(&first, time);
    }
    program("nft", &["delete", "table", "inet", "podgate"]);
    if way == Way::Masquerade {
        let rule = "table ip one { chain out { type nat hook postrouting priority srcnat; \
                    ip saddr 10.100.0.0/16 masquerade; }; }";
        program("nft", &[rule]);
    }
    let rate = traffic.from(&first, time);
    if way == Way::Masquerade {
        program("nft", &["delete", "table", "ip", "one"]);
    }
    podgate.put_back()?;
    rate
}
