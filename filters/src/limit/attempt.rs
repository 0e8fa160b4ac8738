//! One request's way to a decision.

use smallvec::SmallVec;

use super::Charge;
use super::gcra::Step;
use super::key::Key;

/// A request's way to a decision, which may take several looks: each limit counts it
/// once, a wrong guess is counted at the last.
#[derive(Debug, Default)]
pub struct Attempt {
    /// What it was counted under, and what came of it.
    taken: SmallVec<[(Key, Step); 2]>,
    /// What is to be decided elsewhere.
    due: Vec<Charge>,
    waits: bool,
    patient: bool,
}

impl Attempt {
    /// Of a request that is decided on at once.
    pub fn once() -> Self {
        Self::default()
    }

    /// Of a request that can wait for a key to be fetched, and for limits to be decided
    /// where all edges count.
    pub fn patient() -> Self {
        Self {
            waits: true,
            patient: true,
            ..Self::default()
        }
    }

    /// The next look is the last, as far as keys go.
    pub fn hurry(&mut self) {
        self.patient = false;
    }

    pub(crate) fn is_patient(&self) -> bool {
        self.patient
    }

    /// What is to be decided where all edges count before the request can go on.
    pub fn due(&self) -> &[Charge] {
        &self.due
    }

    pub(super) fn can_wait(&self) -> bool {
        self.waits
    }

    pub(super) fn taken(&self, key: Key) -> Option<Step> {
        self.taken
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, step)| *step)
    }

    pub(super) fn take(&mut self, key: Key, step: Step) {
        self.taken.push((key, step));
    }

    pub(super) fn put_off(&mut self, charge: Charge) {
        // Looked at again for another reason, it is still one request.
        if self.due.iter().all(|due| due.key != charge.key) {
            self.due.push(charge);
        }
    }

    pub(super) fn take_due(&mut self) -> Vec<Charge> {
        std::mem::take(&mut self.due)
    }
}
