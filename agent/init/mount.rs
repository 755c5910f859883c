//! Steps that change what the container sees of file systems. Whatever lies in a container's root or in its sandbox may have
//! been made by somebody hostile: places there are resolved by the kernel below a folder that is trusted, and then used by
//! descriptor. openat2(2), open_tree(2) and move_mount(2) need Linux 5.6, mount_setattr(2) 5.12.

use core::ffi::CStr;

use crate::kernel::{self, EINVAL, ENOENT, ENOTDIR, Errno, number, plain};
use crate::spec::{
    self, ATTACH_MAKE, ATTACH_NO_LINKS, ATTACH_OPTIONAL, SLOTS_MAX, TREE_MAKE, TREE_OPTIONAL, TREE_RECURSIVE, wide,
};

/// include/uapi/linux/fcntl.h: relative to the working folder.
const AT_FDCWD: usize = -100_isize as usize;
const AT_EMPTY_PATH: usize = 0x1000;
const AT_RECURSIVE: usize = 0x8000;
const O_CREAT: u64 = 0o100;
const O_EXCL: u64 = 0o200;
const O_CLOEXEC: u64 = 0o2_000_000;
const O_PATH: u64 = 0o10_000_000;
/// These two have changed places on ARM.
#[cfg(target_arch = "x86_64")]
const O_DIRECTORY: u64 = 0o200_000;
#[cfg(target_arch = "aarch64")]
const O_DIRECTORY: u64 = 0o40_000;
/// include/uapi/linux/openat2.h
const RESOLVE_NO_MAGICLINKS: u64 = 2;
const RESOLVE_NO_SYMLINKS: u64 = 4;
const RESOLVE_BENEATH: u64 = 8;
const RESOLVE_IN_ROOT: u64 = 16;
/// include/uapi/linux/mount.h
const OPEN_TREE_CLONE: usize = 1;
const MOVE_MOUNT_EMPTY_PATHS: usize = 0x4 | 0x40;
const FSCONFIG_SET_STRING: usize = 1;
const FSCONFIG_CMD_CREATE: usize = 6;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
const MS_MOVE: usize = 8192;
const MNT_DETACH: usize = 2;

/// Detached mounts, until each is attached.
pub struct Slots([i32; SLOTS_MAX]);

impl Slots {
    pub fn new() -> Self {
        Self([-1; SLOTS_MAX])
    }

    fn put(&mut self, payload: &[u8], mount: Fd) -> Result<(), Errno> {
        let slot = spec::number(payload, 0).ok_or(EINVAL)?;
        *self.0.get_mut(slot as usize).ok_or(EINVAL)? = mount.keep();
        Ok(())
    }

    /// `None`: there is nothing in it.
    fn take(&mut self, payload: &[u8]) -> Result<Option<Fd>, Errno> {
        let slot = spec::number(payload, 0).ok_or(EINVAL)?;
        let fd = core::mem::replace(self.0.get_mut(slot as usize).ok_or(EINVAL)?, -1);
        Ok((fd >= 0).then_some(Fd(fd)))
    }
}

/// Closed when it is dropped.
struct Fd(i32);

impl Fd {
    fn of(number: usize) -> Self {
        Self(number as i32)
    }

    fn number(&self) -> usize {
        self.0 as usize
    }

    fn keep(self) -> i32 {
        let fd = self.0;
        core::mem::forget(self);
        fd
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        kernel::close(self.0);
    }
}

/// The texts of a payload, one after the other.
struct Texts<'a>(&'a [u8]);

impl<'a> Texts<'a> {
    fn next(&mut self) -> Option<&'a CStr> {
        let text = CStr::from_bytes_until_nul(self.0).ok()?;
        self.0 = self.0.get(text.count_bytes() + 1..)?;
        Some(text)
    }

    fn expect(&mut self) -> Result<&'a CStr, Errno> {
        self.next().ok_or(EINVAL)
    }
}

fn texts(payload: &[u8], header_bytes: usize) -> Result<Texts<'_>, Errno> {
    payload.get(header_bytes..).map(Texts).ok_or(EINVAL)
}

fn at(text: &CStr) -> usize {
    text.as_ptr() as usize
}

pub fn propagation(flags: usize) -> Result<(), Errno> {
    plain(number::MOUNT, [0, at(c"/"), 0, flags, 0]).map(drop)
}

pub fn mount(payload: &[u8]) -> Result<(), Errno> {
    let flags = spec::number(payload, 0).ok_or(EINVAL)?;
    let mut texts = texts(payload, 8)?;
    let [source, target, kind, data] =
        [texts.expect()?, texts.expect()?, texts.expect()?, texts.expect()?];
    plain(number::MOUNT, [at(source), at(target), at(kind), flags as usize, at(data)]).map(drop)
}

pub fn tree(payload: &mut [u8], slots: &mut Slots) -> Result<(), Errno> {
    let flags = spec::number(payload, 4).ok_or(EINVAL)?;
    let attributes = wide(payload, 8).ok_or(EINVAL)?;
    let users = wide(payload, 16).ok_or(EINVAL)?;
    let place = Place { header_bytes: 24, resolve: 0, makes: (flags & TREE_MAKE != 0).then_some(Kind::Folder) };
    let source = match place.open(payload) {
        Err(ENOENT) if flags & TREE_OPTIONAL != 0 => return Ok(()),
        found => found?,
    };
    let is_recursive = flags & TREE_RECURSIVE != 0;
    let mount = copy(source.number(), c"", is_recursive)?;
    if attributes != 0 || users != spec::NULL {
        set_attributes(&mount, attributes, users, is_recursive)?;
    }
    slots.put(payload, mount)
}

/// What lies there, mounted once more and nowhere yet.
fn copy(base: usize, path: &CStr, is_recursive: bool) -> Result<Fd, Errno> {
    let flags = OPEN_TREE_CLONE | O_CLOEXEC as usize | AT_EMPTY_PATH | if is_recursive { AT_RECURSIVE } else { 0 };
    plain(number::OPEN_TREE, [base, at(path), flags]).map(Fd::of)
}

/// `users`: a descriptor of the user namespace by which owners are seen, or [`spec::NULL`].
fn set_attributes(mount: &Fd, attributes: u64, users: u64, is_recursive: bool) -> Result<(), Errno> {
    // struct mount_attr: what to set, what to clear, propagation, a user namespace.
    let change = match users {
        spec::NULL => [attributes, 0, 0, 0],
        users => [attributes | MOUNT_ATTR_IDMAP, 0, 0, users],
    };
    let flags = AT_EMPTY_PATH | if is_recursive { AT_RECURSIVE } else { 0 };
    let [empty, change, length] = [at(c""), change.as_ptr() as usize, size_of_val(&change)];
    plain(number::MOUNT_SETATTR, [mount.number(), empty, flags, change, length]).map(drop)
}

pub fn filesystem(payload: &[u8], slots: &mut Slots) -> Result<(), Errno> {
    let attributes = spec::number(payload, 4).ok_or(EINVAL)?;
    let mut texts = texts(payload, 8)?;
    let kind = texts.expect()?;
    let context = plain(number::FSOPEN, [at(kind), 1]).map(Fd::of)?;
    while let Some(name) = texts.next() {
        let value = texts.expect()?;
        let string = [context.number(), FSCONFIG_SET_STRING, at(name), at(value), 0];
        plain(number::FSCONFIG, string)?;
    }
    slots.put(payload, make_filesystem(&context, attributes as usize)?)
}

fn make_filesystem(context: &Fd, attributes: usize) -> Result<Fd, Errno> {
    plain(number::FSCONFIG, [context.number(), FSCONFIG_CMD_CREATE, 0, 0, 0])?;
    // 1: close-on-exec, here and in fsopen.
    plain(number::FSMOUNT, [context.number(), 1, attributes]).map(Fd::of)
}

pub fn attach(payload: &mut [u8], slots: &mut Slots) -> Result<(), Errno> {
    let flags = spec::number(payload, 4).ok_or(EINVAL)?;
    let is_optional = flags & ATTACH_OPTIONAL != 0;
    let mount = match slots.take(payload)? {
        Some(mount) => mount,
        None if is_optional => return Ok(()),
        None => return Err(EINVAL),
    };
    let resolve = if flags & ATTACH_NO_LINKS != 0 { RESOLVE_NO_SYMLINKS } else { 0 };
    let makes = (flags & ATTACH_MAKE != 0).then(|| match open(mount.number(), c".", O_PATH | O_DIRECTORY, 0) {
        Ok(_) => Kind::Folder,
        Err(_) => Kind::File,
    });
    match (Place { header_bytes: 8, resolve, makes }).open(payload) {
        Err(ENOENT) if is_optional => Ok(()),
        place => move_to(&mount, &place?),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    File,
    Folder,
}

/// Two texts of a payload: a folder to be trusted, and a place below it.
struct Place {
    /// What stands before them.
    header_bytes: usize,
    resolve: u64,
    /// What is made of it if it is not there.
    makes: Option<Kind>,
}

impl Place {
    fn open(&self, payload: &mut [u8]) -> Result<Fd, Errno> {
        let base = texts(payload, self.header_bytes)?.expect()?;
        let path_begin = self.header_bytes + base.count_bytes() + 1;
        // From the root on there is nothing to lead out to, and absolute links are as good as any.
        let below = if base == c"/" { RESOLVE_IN_ROOT } else { RESOLVE_BENEATH };
        let resolve = self.resolve | below | RESOLVE_NO_MAGICLINKS;
        let base = open(AT_FDCWD, base, O_PATH | O_DIRECTORY, 0)?;
        let path = payload.get_mut(path_begin..).ok_or(EINVAL)?;
        match (open(base.number(), first_text(path)?, O_PATH, resolve), self.makes) {
            (Err(ENOENT), Some(kind)) => make(&base, path, resolve, kind),
            (found, _) => found,
        }
    }
}

fn first_text(bytes: &[u8]) -> Result<&CStr, Errno> {
    CStr::from_bytes_until_nul(bytes).map_err(|_| EINVAL)
}

fn move_to(mount: &Fd, place: &Fd) -> Result<(), Errno> {
    let arguments = [mount.number(), at(c""), place.number(), at(c""), MOVE_MOUNT_EMPTY_PATHS];
    plain(number::MOVE_MOUNT, arguments).map(drop)
}

fn open(base: usize, path: &CStr, flags: u64, resolve: u64) -> Result<Fd, Errno> {
    let mode = if flags & O_CREAT == 0 { 0 } else { 0o644 };
    // struct open_how
    let how = [flags | O_CLOEXEC, mode, resolve];
    plain(number::OPENAT2, [base, at(path), how.as_ptr() as usize, size_of_val(&how)]).map(Fd::of)
}

/// Makes what is missing of a path, and opens it. It has no empty components and no `..`.
fn make(base: &Fd, path: &mut [u8], resolve: u64, kind: Kind) -> Result<Fd, Errno> {
    let owner = owner(base)?;
    let mut above = open(base.number(), c".", O_PATH | O_DIRECTORY, resolve)?;
    let mut begin = 0;
    loop {
        let is_end = |byte: &u8| matches!(byte, b'/' | 0);
        let end = begin + path.get(begin..).and_then(|rest| rest.iter().position(is_end)).ok_or(EINVAL)?;
        let is_last = path[end] == 0;
        path[end] = 0;
        // From the base each time: a link in the middle may lead anywhere below it.
        let mut found = open(base.number(), first_text(path)?, O_PATH, resolve);
        if let Err(ENOENT) = found {
            let name = first_text(&path[begin..])?;
            if is_last && kind == Kind::File {
                drop(open(above.number(), name, O_CREAT | O_EXCL, resolve)?);
            } else {
                plain(number::MKDIRAT, [above.number(), at(name), 0o755])?;
            }
            const AT_SYMLINK_NOFOLLOW: usize = 0x100;
            let [uid, gid] = owner;
            plain(number::FCHOWNAT, [above.number(), at(name), uid, gid, AT_SYMLINK_NOFOLLOW])?;
            found = open(base.number(), first_text(path)?, O_PATH, resolve);
        }
        above = found?;
        if is_last {
            return Ok(above);
        }
        path[end] = b'/';
        begin = end + 1;
    }
}

/// User and group.
fn owner(file: &Fd) -> Result<[usize; 2], Errno> {
    const STATX_UID_GID: usize = 0x8 | 0x10;
    // struct statx, of which words 5 and 6 are the owner.
    let mut status = [0_u32; 64];
    // SAFETY: the call writes 256 bytes, into `status`.
    unsafe {
        let arguments =
            [file.number(), at(c""), AT_EMPTY_PATH, STATX_UID_GID, status.as_mut_ptr() as usize, 0];
        kernel::call(number::STATX, arguments)?;
    }
    Ok([status[5] as usize, status[6] as usize])
}

pub fn pivot(path: &CStr) -> Result<(), Errno> {
    // A root has to be a mount of its own.
    let root = copy(AT_FDCWD, path, true)?;
    let place = open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0)?;
    move_to(&root, &place)?;
    plain(number::FCHDIR, [root.number()])?;
    // The old root comes to lie on top of the new one, from where it is taken away.
    match plain(number::PIVOT_ROOT, [at(c"."), at(c".")]) {
        Ok(_) => plain(number::UMOUNT2, [at(c"."), MNT_DETACH])?,
        // The machine runs from its initramfs, which stays for ever: the new root is put over it.
        Err(EINVAL) => {
            plain(number::MOUNT, [at(c"."), at(c"/"), 0, MS_MOVE, 0])?;
            plain(number::CHROOT, [at(c".")])?
        }
        Err(errno) => return Err(errno),
    };
    kernel::chdir(c"/").map(drop)
}

pub fn symlink(payload: &[u8]) -> Result<(), Errno> {
    let mut texts = texts(payload, 0)?;
    let [says, place] = [texts.expect()?, texts.expect()?];
    plain(number::SYMLINKAT, [at(says), AT_FDCWD, at(place)]).map(drop)
}

pub fn mask(path: &CStr) -> Result<(), Errno> {
    let mount = match open(AT_FDCWD, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS) {
        Ok(_) => {
            let context = plain(number::FSOPEN, [at(c"tmpfs"), 1]).map(Fd::of)?;
            make_filesystem(&context, MOUNT_ATTR_RDONLY as usize)?
        }
        Err(ENOTDIR) => copy(AT_FDCWD, c"/dev/null", false)?,
        Err(ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    move_to(&mount, &open(AT_FDCWD, path, O_PATH, RESOLVE_NO_SYMLINKS)?)
}

pub fn read_only(path: &CStr) -> Result<(), Errno> {
    let place = match open(AT_FDCWD, path, O_PATH, RESOLVE_NO_SYMLINKS) {
        Ok(place) => place,
        Err(ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mount = copy(AT_FDCWD, path, true)?;
    set_attributes(&mount, MOUNT_ATTR_RDONLY, spec::NULL, true)?;
    move_to(&mount, &place)
}
