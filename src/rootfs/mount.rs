//! One mount of config.json: opened or made detached, given its attributes, and only then attached.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};

use super::live::mount_id;
use super::long_option::Open;
use super::source::{Locks, open_flags, open_inside};
use super::{
    CgroupView, RootfsError, Sources, bind_flags, cgroup_mount, copy_up, describe, move_to, open_tree,
    resolve, set_propagation,
};
use crate::plan::mounts::{Attributes, Mount, MountLabel, MountSource};
use crate::sys::mount::{MountAttr, mount_setattr};

/// `PROC_SUPER_MAGIC` of statfs(2).
const PROC_MAGIC: i64 = 0x9fa0;

/// Files below /proc that may be bound over, since tools such as lxcfs do so; anything else there could fool
/// a runtime that trusts /proc (CVE-2019-19921, CVE-2025-52881).
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Whether this mount is the container's own devpts.
pub fn is_new_devpts(mount: &Mount) -> bool {
    matches!(&mount.source, MountSource::Filesystem { fstype, .. } if fstype == "devpts")
        && mount.destination == Path::new("/dev/pts")
}

/// Whether this mount becomes read-only only with [`finish`]: what lies on it is still to be made, the
/// devices in /dev and the places of later mounts. Podman asks for a read-only /dev for its pods.
pub fn is_finished_later(mount: &Mount) -> bool {
    let made_here = match &mount.source {
        MountSource::Filesystem { fstype, .. } => fstype == "tmpfs" || mount.destination == Path::new("/dev"),
        _ => false,
    };
    made_here && mount.attributes.set & Attributes::RDONLY != 0
}

/// Whether this mount is the same in whatever cgroup it is made: it shows none, has no content that would be accounted
/// for, and the parent has nothing to do for it.
pub fn is_early(mount: &Mount) -> bool {
    match &mount.source {
        MountSource::Filesystem { fstype, .. } => {
            let known = ["proc", "sysfs", "tmpfs", "devpts", "mqueue"].contains(&fstype.as_str());
            known && !mount.copy_up
        }
        MountSource::Bind { .. } => mount.idmap.is_none(),
        MountSource::Cgroup | MountSource::Remount | MountSource::Reconfigure { .. } => false,
    }
}

/// Makes a mount read-only whose plan says so and for which that had to wait.
pub fn finish(mount: &Mount, tree: BorrowedFd<'_>) -> Result<(), RootfsError> {
    let read_only = Attributes {
        set: Attributes::RDONLY,
        clear: 0,
    };
    set_attributes(tree, read_only, false).map_err(Failing { mount }.fail("make it read-only"))
}

/// What a mount may need besides its plan.
pub struct Help<'h> {
    pub label: Option<MountLabel<'h>>,
    /// Without it a mount of that type is refused.
    pub cgroup: Option<&'h CgroupView<'h>>,
    pub map_ids: MapIds<'h>,
}

/// Has the id map of the plan's entry with this index set on a detached mount, by who may.
pub type MapIds<'h> = &'h dyn Fn(usize, BorrowedFd<'_>) -> io::Result<()>;

/// Carries out one mount and gives the root of what was mounted.
pub fn mount(
    root: BorrowedFd<'_>,
    mount: &Mount,
    sources: &mut Sources,
    help: &Help<'_>,
) -> Result<Option<OwnedFd>, RootfsError> {
    let at = Failing { mount };
    let mut locks = Locks::OfTheKernel;
    let tree = match &mount.source {
        MountSource::Bind { .. } => {
            if let Some(target) = sources.link(mount.index) {
                resolve::make_link(root, &mount.destination, target)
                    .map_err(at.fail("make the source's link at the destination"))?;
                return Ok(None);
            }
            let (tree, opened) = bind_source(&at, root, sources, help.map_ids)?;
            locks = opened;
            tree
        }
        MountSource::Filesystem { .. } => new_filesystem(
            &at,
            help.label,
            inherited_mode(root, mount)
                .map_err(at.fail("look at what it covers"))?
                .as_deref(),
        )?,
        MountSource::Cgroup => {
            let view = help
                .cgroup
                .ok_or_else(|| at.refuse("a container that runs gets no view of its cgroup"))?;
            cgroup_mount::mount(root, mount, view)?;
            return Ok(None);
        }
        MountSource::Remount | MountSource::Reconfigure { .. } => {
            remount(&at, root)?;
            return Ok(None);
        }
    };
    let place = place(&at, root, tree.as_fd())?;
    if mount.copy_up {
        let options = match &mount.source {
            MountSource::Filesystem { data, .. } => data.as_slice(),
            _ => &[],
        };
        copy_up::copy(root, &mount.destination, tree.as_fd(), options)
            .map_err(at.fail("copy up what the image has there"))?;
    }
    let mut attributes = mount.attributes;
    if is_finished_later(mount) {
        attributes.set &= !Attributes::RDONLY;
    }
    match mount.source {
        MountSource::Bind { cleared, .. } => {
            // Before anything is changed: what is locked is what the source has.
            bind_flags::check_recursive(tree.as_fd(), mount.recursive_attributes, &locks)
                .map_err(at.fail("set its recursive options"))?;
            bind_flags::set(tree.as_fd(), attributes, cleared, &locks)
        }
        _ => set_attributes(tree.as_fd(), attributes, false),
    }
    .map_err(at.fail("set its options"))?;
    set_attributes(tree.as_fd(), mount.recursive_attributes, true)
        .map_err(at.fail("set its recursive options"))?;
    for propagation in &mount.propagation {
        set_propagation(tree.as_fd(), propagation.kind, propagation.recursive)
            .map_err(at.fail("set its propagation"))?;
    }
    move_to(tree.as_fd(), place.as_fd()).map_err(at.fail("attach it"))?;
    Ok(Some(tree))
}

/// The source of a bind mount. In one that the host has opened for a user namespace the kernel has locked no flag; in one
/// that is opened here it has.
fn bind_source(
    at: &Failing<'_>,
    root: BorrowedFd<'_>,
    sources: &mut Sources,
    map_ids: MapIds<'_>,
) -> Result<(OwnedFd, Locks), RootfsError> {
    if let Some(tree) = sources.take(at.mount.index) {
        return Ok((tree, sources.locks(at.mount.index)));
    }
    let (tree, of_the_root) = open_source(at, root, map_ids)?;
    // The root's own mount is the host's work too.
    let locks = if of_the_root && sources.locked {
        Locks::Ours(Vec::new())
    } else {
        Locks::OfTheKernel
    };
    Ok((tree, locks))
}

/// Opens the source of a bind mount that the host has not opened; also tells whether it is on the root's own mount.
fn open_source(
    at: &Failing<'_>,
    root: BorrowedFd<'_>,
    map_ids: MapIds<'_>,
) -> Result<(OwnedFd, bool), RootfsError> {
    let MountSource::Bind {
        path,
        recursive,
        links,
        inside,
        ..
    } = &at.mount.source
    else {
        return Err(at.refuse("not a bind mount"));
    };
    let (tree, of_the_root) = match inside {
        Some(inside) => open_inside(root, inside, *recursive, *links),
        None => open_tree(path, open_flags(*recursive, *links)).map(|tree| (tree, false)),
    }
    .map_err(at.fail("open the source"))?;
    if at.mount.idmap.is_some() {
        map_ids(at.mount.index, tree.as_fd()).map_err(at.fail("have its ids mapped"))?;
    }
    Ok((tree, of_the_root))
}

/// Gives what is mounted at the destination already other options.
fn remount(at: &Failing<'_>, root: BorrowedFd<'_>) -> Result<(), RootfsError> {
    let mount = at.mount;
    let place = match &mount.source {
        // Of a file system the host may use too: an image must not choose which by a link.
        MountSource::Reconfigure { .. } => resolve::locate_link(root, &mount.destination),
        _ => resolve::locate(root, &mount.destination),
    }
    .map_err(at.fail("find it to remount it"))?;
    if let MountSource::Reconfigure { flags, data } = &mount.source {
        if resolve::is_link(&place).map_err(at.fail("examine it"))? {
            return Err(at.refuse("remount without bind does not follow a link; name where it leads"));
        }
        reconfigure(at, place.as_fd(), flags, data)?;
    }
    set_attributes(place.as_fd(), mount.attributes, false)
        .map_err(at.fail("remount it (is it a mount point?)"))?;
    set_attributes(place.as_fd(), mount.recursive_attributes, true)
        .map_err(at.fail("remount what is below it"))?;
    for propagation in &mount.propagation {
        set_propagation(place.as_fd(), propagation.kind, propagation.recursive)
            .map_err(at.fail("set its propagation"))?;
    }
    Ok(())
}

/// Gives the file system itself other options (`remount` without `bind`).
fn reconfigure(
    at: &Failing<'_>,
    place: BorrowedFd<'_>,
    flags: &[String],
    data: &[String],
) -> Result<(), RootfsError> {
    // Neither is an option of fsconfig(2): its messages go to the caller alone.
    let flags = flags
        .iter()
        .filter(|flag| !["silent", "loud"].contains(&flag.as_str()));
    let mut options = flags.chain(data).peekable();
    if options.peek().is_none() {
        return Ok(());
    }
    let context = rustix::mount::fspick(
        place,
        "",
        FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH,
    )
    .map_err(at.fail("remount it (is it a mount point?)"))?;
    for option in options {
        set_option(&context, option).map_err(at.fail(format!("remount it with {option:?}")))?;
    }
    rustix::mount::fsconfig_reconfigure(&context)
        .map_err(|error| at.fail(format!("remount it ({})", kernel_log(&context)))(error))
}

/// One `key` or `key=value`.
fn set_option(context: &OwnedFd, option: &str) -> rustix::io::Result<()> {
    match option.split_once('=') {
        Some((key, value)) => rustix::mount::fsconfig_set_string(context, key, value),
        // File systems that know no such option keep versions always or never: mount(2)'s flag means nothing to them.
        None if ["iversion", "noiversion"].contains(&option) => {
            match rustix::mount::fsconfig_set_flag(context, option) {
                Err(rustix::io::Errno::INVAL) => Ok(()),
                result => result,
            }
        }
        None => rustix::mount::fsconfig_set_flag(context, option),
    }
}

/// Names the mount in errors.
struct Failing<'m> {
    mount: &'m Mount,
}

impl<'m> Failing<'m> {
    fn fail<E: Into<io::Error>, A: Into<String>>(
        &self,
        action: A,
    ) -> impl FnOnce(E) -> RootfsError + use<'m, E, A> {
        let mount = self.mount;
        let action = action.into();
        move |source| RootfsError::Mount {
            index: mount.index,
            origin: describe(mount),
            destination: mount.destination.clone(),
            action,
            source: source.into(),
        }
    }

    fn refuse(&self, reason: &'static str) -> RootfsError {
        RootfsError::Refused {
            index: self.mount.index,
            destination: self.mount.destination.clone(),
            reason,
        }
    }
}

/// Opens the place to mount on, making it as a directory or file like the source, and guards /proc.
fn place(at: &Failing<'_>, root: BorrowedFd<'_>, tree: BorrowedFd<'_>) -> Result<OwnedFd, RootfsError> {
    let destination = &at.mount.destination;
    let kernel_view = |fstype: &str| fstype == "proc" || fstype == "sysfs";
    let place = if matches!(&at.mount.source, MountSource::Filesystem { fstype, .. } if kernel_view(fstype)) {
        ordinary_directory(at, root)?
    } else if matches!(&at.mount.source, MountSource::Bind { links, .. } if links.destination_nofollow) {
        resolve::locate_link(root, destination).map_err(at.fail("find the place to mount on"))?
    } else if resolve::is_directory(tree).map_err(at.fail("examine the source"))? {
        resolve::make_directory(root, destination).map_err(at.fail("make the place to mount on"))?
    } else {
        resolve::make_file(root, destination).map_err(at.fail("make the place to mount on"))?
    };
    if is_root(root, place.as_fd()).map_err(at.fail("examine the place"))? {
        return Err(at.refuse(ROOT_IS_NO_PLACE));
    }
    if destination == Path::new("/proc") {
        if !is_proc(tree).map_err(at.fail("examine the source"))? {
            return Err(at.refuse("only a proc file system may be mounted on /proc"));
        }
    } else if is_proc(place.as_fd()).map_err(at.fail("examine the place"))?
        && !PROC_FILES.iter().any(|file| destination == Path::new(file))
        && !is_proc(tree).map_err(at.fail("examine the source"))?
    {
        return Err(at.refuse("a mount below /proc would fool what reads it"));
    }
    Ok(place)
}

pub(super) const ROOT_IS_NO_PLACE: &str =
    "it leads to the root of the container (by a link of the image?), which nothing may be mounted on";

/// Whether a place is the root itself: what covers that would be passed by in looking up what comes later, and seen by
/// the container or not as the case may be.
pub(super) fn is_root(root: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<bool> {
    let (own, other) = (rustix::fs::fstat(root)?, rustix::fs::fstat(place)?);
    let same_file = (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino);
    Ok(same_file && mount_id(root)?.0 == mount_id(place)?.0)
}

/// The destination, as a directory that is no link: an image whose /proc is one would have the real one mounted
/// elsewhere and show its own (CVE-2019-19921).
fn ordinary_directory(at: &Failing<'_>, root: BorrowedFd<'_>) -> Result<OwnedFd, RootfsError> {
    let failed = |error: rustix::io::Errno| at.fail("make the place to mount on")(error);
    let (parent, name) =
        resolve::make_parent(root, &at.mount.destination).map_err(at.fail("find its parent"))?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
        Err(error) => return Err(failed(error)),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(&parent, name, flags, Mode::empty()).map_err(failed)?;
    if resolve::is_directory(&place).map_err(at.fail("examine the place"))? {
        return Ok(place);
    }
    Err(at.refuse("must be mounted on ordinary directory, and the image has a link or a file there"))
}

/// Whether a descriptor is of a procfs.
pub fn is_proc(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type == PROC_MAGIC)
}

/// Sets and clears attributes. The access-time mode is one field: the kernel wants the whole of it cleared
/// when any of it is set.
pub fn set_attributes(tree: BorrowedFd<'_>, attributes: Attributes, recursive: bool) -> io::Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    let attr = MountAttr {
        set: attributes.set,
        clear: attributes.clear,
        ..MountAttr::default()
    };
    mount_setattr(tree, recursive, &attr)
}

/// A tmpfs for which no mode is given has that of the directory it covers, as with runc; 1777 if there is none.
fn inherited_mode(root: BorrowedFd<'_>, mount: &Mount) -> io::Result<Option<String>> {
    let MountSource::Filesystem { fstype, data, .. } = &mount.source else {
        return Ok(None);
    };
    if fstype != "tmpfs" || data.iter().any(|option| option.starts_with("mode=")) {
        return Ok(None);
    }
    let place = match resolve::locate(root, &mount.destination) {
        Ok(place) => place,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mode = rustix::fs::fstat(&place)?.st_mode & 0o7777;
    Ok(Some(format!("mode={mode:o}")))
}

/// Makes a new instance of a file system, detached.
fn new_filesystem(
    at: &Failing<'_>,
    label: Option<MountLabel<'_>>,
    mode: Option<&str>,
) -> Result<OwnedFd, RootfsError> {
    let MountSource::Filesystem {
        fstype,
        source,
        superblock_flags,
        data,
    } = &at.mount.source
    else {
        return Err(at.refuse("not a file system"));
    };
    let context = rustix::mount::fsopen(fstype.as_str(), FsOpenFlags::FSOPEN_CLOEXEC).map_err(at.fail(
        format!("make a {fstype:?} file system (does this kernel have it?)"),
    ))?;
    let explain = |error: rustix::io::Errno, option: &str| {
        let reasons = kernel_log(&context);
        let because = if reasons.is_empty() {
            String::new()
        } else {
            format!(" ({reasons})")
        };
        at.fail(format!("configure {fstype} with {option:?}{because}"))(error)
    };
    let mut open = Open::default();
    if !source.is_empty() {
        let source = open.source(source).map_err(at.fail("use its source"))?;
        rustix::mount::fsconfig_set_string(&context, "source", source.as_str())
            .map_err(|e| explain(e, "source"))?;
    }
    for (bit, name) in SUPERBLOCK_FLAGS {
        if superblock_flags & bit != 0 {
            set_option(&context, name).map_err(|e| explain(e, name))?;
        }
    }
    let label = label
        .filter(|_| takes_context(fstype))
        .map(|MountLabel { option, label }| format!("{option}={label}"));
    let given = data.iter().chain(label.as_ref()).map(String::as_str);
    let options = open
        .options(fstype, given.chain(mode))
        .map_err(at.fail("open a layer"))?;
    for (short, option) in &options {
        set_option(&context, short).map_err(|e| explain(e, option))?;
    }
    rustix::mount::fsconfig_create(&context).map_err(|e| explain(e, "create"))?;
    open.leave()
        .map_err(at.fail("go back to the working directory"))?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(at.fail(format!("mount the new {fstype}")))
}

/// Superblock flags of mount(2) and what fsconfig(2) calls them. MS_SILENT has no name here: the new calls
/// report to their caller and not to the log anyway.
const SUPERBLOCK_FLAGS: &[(u64, &str)] = &[
    (libc::MS_SYNCHRONOUS, "sync"),
    (libc::MS_DIRSYNC, "dirsync"),
    (libc::MS_MANDLOCK, "mand"),
    (libc::MS_LAZYTIME, "lazytime"),
    (libc::MS_I_VERSION, "iversion"),
];

/// File systems that refuse an SELinux context of their own, as in runc.
fn takes_context(fstype: &str) -> bool {
    !matches!(fstype, "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")
}

/// What the kernel says of a failed configuration (fsopen(2): messages are read from the descriptor).
fn kernel_log(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(length @ 1..) = rustix::io::read(context.as_fd(), &mut buffer) {
        lines.push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned());
    }
    lines.join("; ")
}
