//! Opening the database: SQLite or PostgreSQL, up to date, with the settings that
//! the store's promises hang on.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::LevelFilter;
use sea_orm::sqlx::ConnectOptions;
use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, RuntimeErr,
    SqliteTransactionMode, SqlxPostgresConnector, SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};
use tokio::sync::Mutex;

use crate::config::Location;
use crate::feed::Wake;
use crate::{Actor, Config, StoreError};

/// How long a statement waits for a connection or for another process's lock.
const WAIT: Duration = Duration::from_secs(5);
/// Statements slower than this are logged.
const SLOW: Duration = Duration::from_secs(1);
/// Keeps podgates apart that start at once on one PostgreSQL database: "podg".
const MIGRATION_LOCK: i64 = 0x706f_6467;

/// The database. Cheap to clone; the clones share connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) db: DatabaseConnection,
    /// SQLite: the writers of this process, in order of arrival. Its own lock makes
    /// them sleep and try again, in no order at all. (PostgreSQL queues for the
    /// revision's row.)
    pub(crate) line: Arc<Mutex<()>>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) poll: Duration,
    /// Whose writes the audit tells of.
    pub(crate) actor: Option<Actor>,
}

impl Store {
    /// Opens the store at `url` (`sqlite:PATH` or `postgres://...`) with defaults for
    /// the rest; see [`Store::connect`].
    ///
    /// # Errors
    /// As [`Store::connect`], and for a URL of neither form.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let config = Config::at(url).map_err(|reason| StoreError::Open {
            store: "given".to_owned(),
            reason,
        })?;
        Self::connect(&config).await
    }

    /// Opens the store, makes the file of an embedded one (readable by its owner
    /// only), and brings the schema up to date.
    ///
    /// # Errors
    /// When the database cannot be reached or made, or is of a newer podgate.
    pub async fn connect(config: &Config) -> Result<Self, StoreError> {
        let failed = |reason: String| StoreError::Open {
            store: config.location.to_string(),
            reason,
        };
        let db = match &config.location {
            Location::Sqlite(file) => {
                create_private(file).map_err(|e| failed(format!("create the file: {e}")))?;
                sqlite(file, config).await
            }
            Location::Postgres(url) => postgres(url, config).await,
        }
        .map_err(|e| failed(e.to_string()))?;
        migrate(&db).await.map_err(|e| failed(format!("migrate: {e}")))?;
        Ok(Self {
            wake: Arc::new(Wake::new()),
            db,
            line: Arc::default(),
            poll: config.poll,
            actor: None,
        })
    }

    /// Whether the database is in this machine, in a file of podgate's.
    pub(crate) fn is_embedded(&self) -> bool {
        self.db.get_database_backend() == DbBackend::Sqlite
    }
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database's.
fn create_private(file: &Path) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    // One that is there is not opened: closing it would end the locks that SQLite has on
    // it in this process (POSIX locks are the process's, not the descriptor's).
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

async fn sqlite(file: &Path, config: &Config) -> Result<DatabaseConnection, sea_orm::sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        // Readers see one state and never wait for the writer.
        .journal_mode(SqliteJournalMode::Wal)
        // A revision that followers have seen must not be handed out again after a
        // power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(WAIT)
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Warn, SLOW);
    let until = Instant::now() + WAIT;
    loop {
        let pool = SqlitePoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(WAIT)
            .connect_with(options.clone());
        match pool.await {
            // The change to WAL does not heed the timeout: another podgate that opens the
            // same new file may be at it.
            Err(sea_orm::sqlx::Error::Database(error)) if is_busy(&*error) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => return opened.map(SqlxSqliteConnector::from_sqlx_sqlite_pool),
        }
    }
}

/// SQLITE_BUSY, or one of its extended codes, whose lowest byte is the same.
fn is_busy(error: &dyn DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

async fn postgres(url: &str, config: &Config) -> Result<DatabaseConnection, sea_orm::sqlx::Error> {
    let options = url
        .parse::<PgConnectOptions>()?
        .application_name("podgate")
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Warn, SLOW);
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(WAIT)
        .connect_with(options)
        .await?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

async fn migrate(db: &DatabaseConnection) -> Result<(), DbErr> {
    if migrations::is_current(db).await? {
        return Ok(());
    }
    let transaction = begin_write(db).await?;
    if transaction.get_database_backend() == DbBackend::Postgres {
        transaction
            .execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            .await?;
    }
    migrations::up(&transaction).await?;
    transaction.commit().await
}

/// Begins a transaction that will write.
pub(crate) async fn begin_write(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        // A transaction that begins by reading would fail at once, whatever the
        // timeout, when another has written by the time it writes itself.
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    begin(db, options).await
}

/// Begins a transaction that sees one state of the database, however long it reads.
pub(crate) async fn begin_read(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = match db.get_database_backend() {
        DbBackend::Postgres => TransactionOptions {
            isolation_level: Some(IsolationLevel::RepeatableRead),
            access_mode: Some(AccessMode::ReadOnly),
            ..TransactionOptions::default()
        },
        // A WAL reader sees one state anyway.
        _ => TransactionOptions::default(),
    };
    begin(db, options).await
}

/// Begins in a task of its own, which goes on when the caller is dropped: sqlx 0.9
/// counts a transaction once `BEGIN` has been answered, and one dropped before that
/// stays open on a connection that goes back to the pool.
async fn begin(db: &DatabaseConnection, options: TransactionOptions) -> Result<DatabaseTransaction, DbErr> {
    let db = db.clone();
    tokio::spawn(async move { db.begin_with_options(options).await })
        .await
        .unwrap_or_else(|ended| Err(DbErr::Conn(RuntimeErr::Internal(ended.to_string()))))
}
