//! Programs inside a pod's namespaces, for operators and tests.

use std::io;
use std::os::fd::AsFd;

use model::PodId;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::{names, netns};

/// Puts this thread into a pod's network, with the pod's resolver in the place of the
/// node's; a program that it starts, or becomes, is there too.
///
/// # Errors
/// When this node has no such pod, or the kernel refuses: it takes CAP_SYS_ADMIN.
pub fn enter(pod: PodId) -> io::Result<()> {
    let namespace = names::namespace(pod);
    let file = netns::open(&namespace).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(error.kind(), "the pod has no network on this machine"),
        _ => error,
    })?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
    // Mounts of its own, so that nobody outside sees the other resolv.conf.
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )?;
    let resolver = netns::resolv_conf(&namespace);
    if resolver.exists() {
        mount(
            Some(&resolver),
            "/etc/resolv.conf",
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
    }
    Ok(())
}
