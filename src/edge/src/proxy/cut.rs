//! Requests whose future was dropped before its end: their access ended, or the process
//! did. Nothing more runs for them, so what is known of them is put down here; places
//! and gauges go back with the context itself.

use super::{Context, Stage};
use crate::leash;
use crate::record::{Line, Outcome, Record};

impl Drop for Context {
    fn drop(&mut self) {
        // Answered and counted long since, or never let in.
        let Stage::Admitted(passage) = &mut self.stage else {
            return;
        };
        let Line {
            method,
            host,
            path,
            version,
            agent,
        } = passage.line.take().unwrap_or_default();
        self.shared.finish(Record {
            time: self.time,
            id: self.id.clone(),
            client: self.client.address,
            method,
            host,
            path,
            version,
            status: self.told.or(passage.answered).map_or(0, |status| status.as_u16()),
            received: passage.received,
            sent: passage.sent,
            duration: self.started.elapsed(),
            outcome: Outcome::Admitted(passage.admitted.access()),
            entry: Some(passage.admitted.entry().clone()),
            user: passage.admitted.caller().map(|caller| caller.user.id),
            target: passage.target(),
            tries: passage.tries(),
            fault: Some(if leash::is_cut() { "revoked" } else { "shutdown" }),
            agent,
        });
    }
}
