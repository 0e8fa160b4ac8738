//! Set-up and teardown of one more pod, with few and with many there already. The rivals
//! take turns, so that whatever else the machine does falls on all of them.

use anyhow::{Context, Result};

use crate::rival::cni::Cni;
use crate::rival::podgate::Podgate;
use crate::rival::shell::Shell;
use crate::rival::{Rival, Seat, Took, reaches};

/// Who sets pods up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// podgate, a pod that may go anywhere.
    Open,
    /// podgate, a pod with a list of names.
    Restricted,
    /// Scripts.
    Shell,
    /// CNI's plugins.
    Cni,
}

impl Who {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 4] = [Self::Open, Self::Restricted, Self::Shell, Self::Cni];

    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "podgate, open",
            Self::Restricted => "podgate, restricted to names",
            Self::Shell => "shell: ip + iptables",
            Self::Cni => "CNI: bridge + portmap + bandwidth",
        }
    }
}

/// One set-up, and the teardown after it.
#[derive(Debug)]
pub(crate) struct Life {
    /// Whose.
    pub who: Who,
    /// Pods that were there already.
    pub pods: usize,
    /// Which turn it was, from 0.
    pub round: usize,
    /// The set-up.
    pub up: Took,
    /// The teardown.
    pub down: Took,
}

/// The rivals on their machines.
pub(crate) struct Seats {
    /// podgate.
    pub podgate: Seat<Podgate>,
    /// Scripts.
    pub shell: Seat<Shell>,
    /// CNI's plugins.
    pub cni: Seat<Cni>,
}

impl Seats {
    /// All of them, with no pods.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            podgate: Seat::start(Podgate::start)?,
            shell: Seat::start(Shell::start)?,
            cni: Seat::start(Cni::start)?,
        })
    }

    /// Has each have so many pods.
    pub(crate) fn fill(&self, pods: usize) -> Result<()> {
        self.podgate.run(move |podgate| podgate.fill(pods))?;
        self.shell.run(move |shell| shell.fill(pods))?;
        self.cni.run(move |cni| cni.fill(pods))
    }

    /// Has them take turns.
    pub(crate) fn live(&self, pods: usize, rounds: usize) -> Result<Vec<Life>> {
        self.fill(pods)?;
        let mut lives = Vec::new();
        // The first is not counted: it finds everything cold.
        for round in 0..=rounds {
            for who in Who::ALL {
                let (up, down) = match who {
                    Who::Open => self.podgate.run(|podgate| {
                        podgate.restrict(false);
                        live(podgate, true)
                    }),
                    Who::Restricted => self.podgate.run(|podgate| {
                        podgate.restrict(true);
                        let lived = live(podgate, false);
                        podgate.restrict(false);
                        lived
                    }),
                    Who::Shell => self.shell.run(|shell| live(shell, true)),
                    Who::Cni => self.cni.run(|cni| live(cni, true)),
                }
                .with_context(|| format!("{}, {pods} pods, round {round}", who.name()))?;
                if let Some(round) = round.checked_sub(1) {
                    lives.push(Life {
                        who,
                        pods,
                        round,
                        up,
                        down,
                    });
                }
            }
        }
        Ok(lives)
    }
}

/// Sets a pod up, looks whether it reaches the world where it is `open` to it, and takes it
/// away.
fn live<R: Rival>(rival: &mut R, open: bool) -> Result<(Took, Took)> {
    let up = rival.add()?;
    if open {
        reaches(&rival.last())?;
    }
    let down = rival.remove()?;
    Ok((up, down))
}
