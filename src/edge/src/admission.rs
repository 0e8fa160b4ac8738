//! Asking the gate, and bringing it what it lacks: a key that an issuer may have published
//! by now, or what other edges have counted.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use filters::client::Client;
use filters::{Admitted, Attempt, Denied, Lack, Now};
use http::request::Parts;

use crate::shared::{Settings, Shared};
use crate::table::EntryRef;

/// What the gate said, and by which settings.
pub(crate) type Judged = (Arc<Settings>, Result<Admitted<EntryRef>, Denied<EntryRef>>);

impl Shared {
    /// Asks the gate about a request, as often as it takes.
    pub(crate) async fn judge(&self, request: &Parts, client: &Client, now: Now) -> Judged {
        let mut attempt = Attempt::patient();
        match self.consider(request, client, &mut attempt, now) {
            // Boxed: few requests ever wait here, and all would carry the room for it.
            (_, Err(Denied { lacks: Some(lack), .. })) => {
                Box::pin(self.reconsider(request, client, attempt, lack)).await
            }
            judged => judged,
        }
    }

    fn consider(&self, request: &Parts, client: &Client, attempt: &mut Attempt, now: Now) -> Judged {
        let settings = Arc::clone(&*self.settings());
        let judged = settings
            .gate
            .consider(&self.table.snapshot(), request, client, attempt, now);
        (settings, judged)
    }

    async fn reconsider(&self, request: &Parts, client: &Client, mut attempt: Attempt, mut lack: Box<Lack>) -> Judged {
        let mut hope = None;
        loop {
            match &*lack {
                Lack::Key(source) => {
                    if !self.await_key(source, &mut hope).await {
                        attempt.hurry();
                    }
                }
                Lack::Counts => self.count_together(&mut attempt).await,
            }
            let now = Now {
                instant: Instant::now(),
                unix: SystemTime::now().into(),
            };
            match self.consider(request, client, &mut attempt, now) {
                (_, Err(Denied { lacks: Some(next), .. })) => lack = next,
                judged => return judged,
            }
        }
    }
}
