//! What can go wrong in the store.

use sea_orm::DbErr;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A name or label that must be unique belongs to another already.
    #[error("{what} `{value}` is taken")]
    Taken {
        /// What must be unique, e.g. `host label`.
        what: &'static str,
        /// The one that is not.
        value: String,
    },
    /// Something that the request names does not exist.
    #[error("there is no {what} `{key}`")]
    NotFound {
        /// What is missing, e.g. `team`.
        what: &'static str,
        /// How it was named.
        key: String,
    },
    /// Something cannot go while others need it.
    #[error("the {what} `{key}` is in use by {by}")]
    InUse {
        /// What cannot go, e.g. `node`.
        what: &'static str,
        /// How it was named.
        key: String,
        /// By what.
        by: String,
    },
    /// A row is not as a [`Condition`](crate::Condition) wants it.
    #[error("it has changed meanwhile")]
    Changed,
    /// A row holds what podgate never writes.
    #[error("the store holds a bad {what}: `{value}`: {reason}")]
    Corrupt {
        /// Which column.
        what: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store cannot be opened.
    #[error("open the store {store}: {reason}")]
    Open {
        /// Which store, without its password.
        store: String,
        /// Why not.
        reason: String,
    },
    /// The database failed, or cannot be reached.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The database's own words; for the log, never for clients.
        source: DbErr,
    },
    /// The database took the question and never answered.
    #[error("{doing}: no answer within {} s", seconds)]
    NoAnswer {
        /// What was being done.
        doing: &'static str,
        /// How long it was given.
        seconds: u64,
    },
    /// The task that read the snapshot ended before its last piece.
    #[error("the snapshot broke off")]
    SnapshotEnded,
}

/// Names the operation in an error of the database's.
pub(crate) trait Doing<T> {
    /// Names it.
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, DbErr> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { doing, source })
    }
}
