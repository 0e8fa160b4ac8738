//! What the kernel has below `/proc/sys`: for the network, of the namespace of the thread that
//! asks.

use std::fs::{self, File};
use std::io::{self, Write as _};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// A value.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(key: &str) -> io::Result<String> {
    let path = format!("/proc/sys/{key}");
    let text = fs::read_to_string(&path);
    text.map(|text| text.trim().to_owned())
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// Sets a value, unless it is so already; whether it was changed.
///
/// # Errors
/// When it cannot be read or written.
pub(crate) fn write(key: &str, value: &str) -> io::Result<bool> {
    if read(key)? == value {
        return Ok(false);
    }
    let path = format!("/proc/sys/{key}");
    fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    Ok(true)
}

/// Which protocol's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4's.
    V4,
    /// IPv6's.
    V6,
}

/// The settings of this namespace's links.
///
/// Their directories are held open. Each namespace has its own, which the kernel keeps by
/// the same name in the same place: with a thousand namespaces it takes a millisecond to
/// find the right ones.
#[derive(Debug)]
pub(crate) struct OfLinks {
    v4: File,
    /// Nothing on a kernel without IPv6.
    v6: Option<File>,
}

impl OfLinks {
    /// Opens them.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) fn open() -> io::Result<Self> {
        let v6 = match File::open("/proc/sys/net/ipv6/conf") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        Ok(Self {
            v4: File::open("/proc/sys/net/ipv4/conf")?,
            v6,
        })
    }

    /// Sets a value of a link; nothing where there is no IPv6.
    ///
    /// # Errors
    /// When it cannot be written: `NotFound` when there is no such link.
    pub(crate) fn set(&self, family: Family, link: &str, key: &str, value: &str) -> io::Result<()> {
        let of = match family {
            Family::V4 => &self.v4,
            Family::V6 => match &self.v6 {
                Some(v6) => v6,
                None => return Ok(()),
            },
        };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{key} of {link}: {error}"));
        let path = format!("{link}/{key}");
        let file = openat(of, path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
        let mut file = file.map(File::from).map_err(|error| named(error.into()))?;
        file.write_all(value.as_bytes()).map_err(named)
    }
}
