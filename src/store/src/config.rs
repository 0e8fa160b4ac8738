//! The `[store]` section.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use model::config::Section;

const DEFAULT_URL: &str = "sqlite:podgate.db";
/// A writer, a feed's poll, a snapshot and the listener at once.
const FEWEST_CONNECTIONS: u32 = 4;

/// Where the store is and how it is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The database.
    pub(crate) location: Location,
    /// How often a feed looks for changes that it was not woken for.
    pub poll: Duration,
    /// Where podgate keeps files of its own: the issuer's key, the pid, snapshots.
    pub data_dir: PathBuf,
    /// How many connections to the database may be open at once.
    pub max_connections: u32,
}

/// Which database.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// An embedded one, in this file.
    Sqlite(PathBuf),
    /// A server, by its URL, which may hold a password.
    Postgres(String),
}

impl Location {
    /// The directory of podgate's own files when none is configured.
    fn data_dir(&self) -> PathBuf {
        let beside = match self {
            Self::Sqlite(file) => file.parent(),
            Self::Postgres(_) => None,
        };
        match beside {
            Some(directory) if directory != Path::new("") => directory.to_owned(),
            _ => PathBuf::from("."),
        }
    }
}

impl FromStr for Location {
    type Err = String;

    /// The messages never repeat the URL of a server: it may hold a password.
    fn from_str(url: &str) -> Result<Self, String> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        let Some(path) = url.strip_prefix("sqlite:") else {
            return Err("the URL must begin with `sqlite:` or `postgres://`".to_owned());
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path == ":memory:" {
            // Its connections would share one cache, whose locks do not wait.
            return Err("`sqlite::memory:` cannot be written and followed at once; name a file".to_owned());
        }
        if path.is_empty() || path.contains('?') {
            return Err(format!("`{url}` is not `sqlite:` and the path of a file"));
        }
        Ok(Self::Sqlite(path.into()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                // A query may name a password, too.
                write!(f, "postgres://{host}{}", path.split('?').next().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Config {
    /// The defaults, for a store at `url`.
    ///
    /// # Errors
    /// What is wrong with the URL, as a sentence without a full stop.
    pub fn at(url: &str) -> Result<Self, String> {
        let location: Location = url.parse()?;
        Ok(Self {
            poll: Duration::from_millis(200),
            data_dir: location.data_dir(),
            max_connections: 10,
            location,
        })
    }

    /// Whether the database is a file of this machine's, and not a server.
    pub fn is_embedded(&self) -> bool {
        matches!(self.location, Location::Sqlite(_))
    }

    /// Reads the section; what is wrong is noted in it.
    pub fn read(section: &mut Section<'_>) -> Self {
        let url = section.secret("url").map(String::from_utf8);
        let given = match url {
            None => Ok(DEFAULT_URL.to_owned()),
            Some(text) => text.map_err(|_| "the URL is not UTF-8".to_owned()),
        };
        let location = given.and_then(|url| url.parse()).unwrap_or_else(|message: String| {
            section.problem("url", message);
            Location::Sqlite(PathBuf::from("podgate.db"))
        });
        Self {
            poll: section.duration("poll").unwrap_or(Duration::from_millis(200)),
            data_dir: section.parse("data_dir").unwrap_or_else(|| location.data_dir()),
            max_connections: section
                .integer("max_connections", FEWEST_CONNECTIONS.into(), 1000)
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(10),
            location,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::config::Secrets;

    use super::*;

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(format!("{path}: no such file"))
        }
        fn env(&self, name: &str) -> Result<String, String> {
            (name == "DATABASE_URL")
                .then(|| "postgres://podgate:s3cret@db.example:5432/podgate?sslmode=require".to_owned())
                .ok_or_else(|| format!("{name} is not set"))
        }
    }

    fn read(text: &str) -> (Config, Vec<String>) {
        let mut section = Section::new("store", text.parse().expect("TOML"), &NoSecrets);
        let config = Config::read(&mut section);
        (config, section.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_configured_is_a_file_here() {
        let (config, problems) = read("");
        assert_eq!(problems, [""; 0]);
        assert_eq!(config.location, Location::Sqlite("podgate.db".into()));
        assert_eq!(
            (config.data_dir, config.poll),
            (PathBuf::from("."), Duration::from_millis(200))
        );
        let (config, _) = read("url = \"sqlite:///var/lib/podgate/store.db\"\npoll = \"1s\"\nmax_connections = 4");
        assert_eq!(config.location, Location::Sqlite("/var/lib/podgate/store.db".into()));
        assert_eq!(config.data_dir, PathBuf::from("/var/lib/podgate"));
        assert_eq!((config.poll, config.max_connections), (Duration::from_secs(1), 4));
    }

    #[test]
    fn a_password_is_never_shown() {
        let (config, problems) = read("url = \"env:DATABASE_URL\"\ndata_dir = \"/srv\"");
        assert_eq!(problems, [""; 0]);
        assert_eq!(config.location.to_string(), "postgres://db.example:5432/podgate");
        assert!(!format!("{config:?}").contains("s3cret"));
        assert_eq!(config.data_dir, PathBuf::from("/srv"));
    }

    #[test]
    fn every_problem_is_noted() {
        let check = |text: &str, key: &str| {
            let (_, problems) = read(text);
            assert!(
                matches!(&problems[..], [one] if one.starts_with(key)),
                "{text}: {problems:?}"
            );
        };
        check("url = \"mysql://x/y\"", "store.url");
        check("url = \"sqlite::memory:\"", "store.url");
        check("url = \"sqlite:\"", "store.url");
        check("url = \"sqlite:a.db?mode=ro\"", "store.url");
        check("poll = \"0s\"", "store.poll");
        check("max_connections = 3", "store.max_connections");
        check("path = \"x\"", "store.path");
    }
}
