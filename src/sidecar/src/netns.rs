//! Network namespaces by name, as `ip netns` knows them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

/// Where named namespaces are (ip-netns(8)).
const DIRECTORY: &str = "/run/netns";
/// Where `ip netns exec` finds files that stand in for those in `/etc`.
const ETC: &str = "/etc/netns";

/// The file of a namespace.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Has others see what is mounted where named namespaces are, and what they mount there be
/// seen: as `ip netns add` does, whichever of the two comes first.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn share() -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let none = None::<&str>;
    let shared = || mount(none, DIRECTORY, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match shared() {
        // Nothing is mounted there, so that there is nothing to be shared.
        Err(Errno::EINVAL) => {
            mount(
                Some(DIRECTORY),
                DIRECTORY,
                none,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                none,
            )?;
            Ok(shared()?)
        }
        other => Ok(other?),
    }
}

/// Makes a namespace that has no name yet and ends when nobody holds it, and what `inside`
/// makes in it.
///
/// # Errors
/// When the kernel refuses, or what `inside` says.
pub(crate) fn fresh<T: Send>(inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<(File, T)> {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok((File::open("/proc/thread-self/ns/net")?, inside()?))
    })
}

/// Gives a namespace a name. A file of that name without a namespace, as a crash leaves it,
/// is used.
///
/// # Errors
/// When the kernel refuses; the name is nobody's then.
pub(crate) fn give(name: &str, namespace: &File) -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let path = path(name);
    match File::create_new(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !is_namespace(&path) => {}
        other => drop(other?),
    }
    let it = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    let none = None::<&str>;
    let given = mount(Some(it.as_str()), &path, none, MsFlags::MS_BIND, none);
    if given.is_err() {
        // What failed says more than what comes of tidying up.
        let _ = remove(name);
    }
    Ok(given?)
}

/// Runs something inside a namespace.
///
/// # Errors
/// When there is no such namespace, or what `inside` says.
pub(crate) fn enter<T: Send>(name: &str, inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let file = open(name)?;
    on_thread(|| {
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
        inside()
    })
}

/// A handle of a namespace, for those who put something into it.
///
/// # Errors
/// When there is none of this name.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let path = path(name);
    if !is_namespace(&path) {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is no namespace", path.display()),
        ));
    }
    File::open(path)
}

/// Takes a name off a namespace; it ends with the last process in it. No such name is fine.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn remove(name: &str) -> io::Result<()> {
    let path = path(name);
    // Several mounts may lie on each other where somebody else has been at work.
    while is_namespace(&path) {
        umount2(&path, MntFlags::MNT_DETACH)?;
    }
    absent(fs::remove_file(&path))?;
    absent(fs::remove_dir_all(Path::new(ETC).join(name)))
}

/// The names that begin so, and whether there is a namespace behind each.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn list(prefix: &str) -> io::Result<Vec<(String, bool)>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name.starts_with(prefix)
        {
            names.push((name, is_namespace(&entry.path())));
        }
    }
    Ok(names)
}

/// Writes the file that processes in a namespace see as `/etc/resolv.conf` when they are
/// started by `ip netns exec` or by `podgate pod exec`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_resolv_conf(name: &str, text: &str) -> io::Result<()> {
    let path = resolv_conf(name);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)
}

/// Where [`write_resolv_conf`] writes.
pub(crate) fn resolv_conf(name: &str) -> PathBuf {
    Path::new(ETC).join(name).join("resolv.conf")
}

fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|about| about.filesystem_type() == NSFS_MAGIC)
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// On a thread that ends with it: a thread that has been elsewhere is not given back.
fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}
