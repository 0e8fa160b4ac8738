//! Waking followers when something was written: by this process directly, by others
//! through PostgreSQL's NOTIFY. (Another process's write to an SQLite file is found
//! by the poll.)

use std::sync::OnceLock;
use std::time::Duration;

use sea_orm::sqlx::{self, Executor as _, PgPool, postgres::PgListener};
use sea_orm::{DatabaseConnection, DbBackend};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// The channel that writers notify.
pub(crate) const CHANNEL: &str = "podgate";

const PAUSE: Duration = Duration::from_secs(1);
/// A listener that has heard nothing for this long is asked whether it still would.
const SILENCE: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(5);

/// Wakes the followers of one store.
#[derive(Debug)]
pub(crate) struct Wake {
    followers: watch::Sender<()>,
    listener: OnceLock<AbortHandle>,
}

impl Wake {
    pub(crate) fn new() -> Self {
        Self {
            followers: watch::Sender::new(()),
            listener: OnceLock::new(),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.followers.subscribe()
    }

    /// Wakes everybody.
    pub(crate) fn all(&self) {
        self.followers.send_replace(());
    }

    /// Begins to listen to other processes, when the database can tell of them.
    pub(crate) fn listen(&self, db: &DatabaseConnection) {
        if db.get_database_backend() == DbBackend::Postgres {
            self.listener.get_or_init(|| {
                let pool = db.get_postgres_connection_pool().clone();
                tokio::spawn(keep_listening(pool, self.followers.clone())).abort_handle()
            });
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

async fn keep_listening(pool: PgPool, followers: watch::Sender<()>) {
    loop {
        // A listener that has failed once may hold on to a dead connection: take a new
        // one. That the database is down is the feed's to report.
        if let Err(error) = listen(&pool, &followers).await {
            tracing::debug!(%error, "the store's listener starts over");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen(pool: &PgPool, followers: &watch::Sender<()>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    // Something may have been sent that nobody heard.
    followers.send_replace(());
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            // Heard; or, at `None`, the connection was lost and is back.
            Ok(heard) => {
                heard?;
                followers.send_replace(());
            }
            // A server that is gone without a word never says so: ask it.
            Err(_) => match timeout(ANSWER, listener.execute("SELECT 1")).await {
                Ok(answer) => {
                    answer?;
                }
                Err(_) => return Err(sqlx::Error::PoolTimedOut),
            },
        }
    }
}
