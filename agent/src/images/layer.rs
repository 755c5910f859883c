//! Unpacks one layer into a folder of its own, as overlayfs wants to find it, whoever made the layer.
//!
//! The folder is confined like a sandbox that is fetched into: the kernel resolves every name beneath it and through no link.
//! Other than there owners, modes (setuid too) and links to anywhere are kept: all of it is looked at from inside a
//! container only, and the store is closed to everybody but root. Devices are left out.
//!
//! What a layer takes away of those below stands in it as files called `.wh.NAME` (OCI image-spec, layer.md); overlayfs has a
//! device 0/0 called NAME for that, and an attribute for a folder that hides all that is below it.

use std::cell::{Cell, RefCell};
use std::ffi::{CString, OsStr};
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use ring::digest::{Context, SHA256};
use tar::{Archive, Entry, EntryType};

use super::digest::Digest;
use super::source::Part;
use crate::containerizer::fetch::beneath::Sandbox;
use crate::containerizer::fetch::extract::tar::{Bounded, HEADERS_BYTES_MAX};
use crate::containerizer::fetch::extract::{ExtractError, MEMBERS_MAX, decode, member_path, write_error};
use crate::sys::xattr;

/// Why a layer is none.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error(transparent)]
    Member(#[from] ExtractError),
    #[error("its {what} has the digest {found}, not {expected}: it is damaged, or another one's")]
    Damaged { what: &'static str, found: Digest, expected: Digest },
    #[error("it is {found} bytes long, not {expected}")]
    Length { found: u64, expected: u64 },
    #[error("more than {bytes_max} bytes come out of it")]
    TooMuch { bytes_max: u64 },
}

/// How much one layer may come to, with a block for each of its members.
pub const BYTES_MAX: u64 = 64 << 30;
/// What a member takes on a disk at least, and files in multiples of.
const BLOCK_BYTES: u64 = 4096;

const WHITEOUT: &[u8] = b".wh.";
/// Other names of the same begin are AUFS' own.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Kept of what a layer says; `trusted.` would be instructions to overlayfs.
const XATTRS: [&str; 2] = ["security.capability", "user."];

/// What a layer has to be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Of the content as it is kept, where a manifest says it.
    pub blob: Option<Digest>,
    /// Of the tar file in it.
    pub content: Digest,
}

/// Unpacks into `folder`, which is empty, and returns about how many bytes that takes. What came out before an error stays.
pub fn unpack(part: Part, expected: &Expected, folder: &Path) -> Result<u64, LayerError> {
    let blob = Digests::new();
    let content = Digests::new();
    let source = Hashed { stream: part, digests: blob.clone() };
    let stream = decode::open(source).map_err(ExtractError::Read)?;
    let budget = Rc::new(Cell::new(HEADERS_BYTES_MAX));
    let stream = Hashed { stream, digests: content.clone() };
    let mut archive = Archive::new(Bounded { stream, budget: budget.clone() });
    let mut layer = Layer::of(folder)?;
    layer.members(&mut archive, &budget)?;
    // To the very end: the digests are of all of it.
    budget.set(layer.bytes_left());
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(ExtractError::Read)?;
    if let Some(expected) = &expected.blob {
        blob.check("content", expected)?;
    }
    content.check("tar file", &expected.content)?;
    layer.finish()?;
    Ok(layer.bytes)
}

/// A digest that grows with what is read.
#[derive(Clone)]
struct Digests(Rc<RefCell<Context>>);

impl Digests {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(Context::new(&SHA256))))
    }

    fn check(&self, what: &'static str, expected: &Digest) -> Result<(), LayerError> {
        let found = self.0.borrow().clone().finish();
        let found = Digest::of_bytes(found.as_ref()).expect("SHA-256 has 32 bytes");
        if found == *expected {
            return Ok(());
        }
        Err(LayerError::Damaged { what, found, expected: expected.clone() })
    }
}

struct Hashed<R> {
    stream: R,
    digests: Digests,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(into)?;
        self.digests.0.borrow_mut().update(&into[..count]);
        Ok(count)
    }
}

struct Layer {
    root: Sandbox,
    bytes: u64,
    members: u64,
    /// Of folders, set when nothing is put into them any more.
    times: Vec<(std::path::PathBuf, i64)>,
}

/// What every member says of itself.
struct Header {
    uid: u32,
    gid: u32,
    mode: u32,
    /// Seconds since 1970.
    mtime: i64,
    xattrs: Vec<(CString, Vec<u8>)>,
}

impl Layer {
    fn of(folder: &Path) -> Result<Self, LayerError> {
        let root = Sandbox::open(folder).map_err(|source| write_error(folder, source))?;
        Ok(Self { root, bytes: 0, members: 0, times: Vec::new() })
    }

    fn bytes_left(&self) -> u64 {
        BYTES_MAX.saturating_sub(self.bytes)
    }

    fn members<R: Read>(
        &mut self,
        archive: &mut Archive<Bounded<R>>,
        budget: &Cell<u64>,
    ) -> Result<(), LayerError> {
        let mut members = archive.entries().map_err(ExtractError::Read)?;
        loop {
            // The headers of one member are read into memory by whoever reads them.
            budget.set(HEADERS_BYTES_MAX);
            let Some(member) = members.next() else { return Ok(()) };
            let mut member = member.map_err(ExtractError::Read)?;
            self.members += 1;
            if self.members > MEMBERS_MAX {
                return Err(ExtractError::TooMany.into());
            }
            self.bytes += member.size().next_multiple_of(BLOCK_BYTES).saturating_add(BLOCK_BYTES);
            if self.bytes > BYTES_MAX {
                return Err(LayerError::TooMuch { bytes_max: BYTES_MAX });
            }
            budget.set(u64::MAX);
            self.one(&mut member)?;
        }
    }

    fn one<R: Read>(&mut self, member: &mut Entry<'_, R>) -> Result<(), LayerError> {
        let kind = member.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let name = member.path_bytes().into_owned();
        let refused = |why| ExtractError::Refused { name: String::from_utf8_lossy(&name).into_owned(), why };
        let header = header(member)?;
        let path = member_path(&name)?;
        let Some(path) = path.as_deref() else {
            // The root folder itself.
            return if kind.is_dir() {
                self.folder(Path::new(""), &header)
            } else {
                Err(refused("it has no name").into())
            };
        };
        let file_name = path.file_name().expect("a plain path ends in a name").as_bytes();
        if file_name.starts_with(WHITEOUT) {
            return self.whiteout(path, file_name);
        }
        let link = |member: &Entry<'_, R>| {
            let link = member.link_name_bytes().map(|link| link.into_owned());
            link.ok_or_else(|| refused("it is a link to nowhere"))
        };
        match kind {
            EntryType::Directory => self.folder(path, &header),
            EntryType::Regular if name.ends_with(b"/") => self.folder(path, &header),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(path, &header, member)
            }
            EntryType::Symlink => {
                let link = link(member)?;
                let made = self.root.symlink(path, Path::new(OsStr::from_bytes(&link)));
                made.map_err(|source| write_error(path, source))?;
                self.own(path, &header, false)
            }
            EntryType::Link => match member_path(&link(member)?)? {
                Some(to) if to == path => Ok(()),
                Some(to) => Ok(self.root.hardlink(path, &to).map_err(|source| write_error(path, source))?),
                None => Err(refused("it is a link to nowhere").into()),
            },
            EntryType::Fifo => {
                self.special(path, SFlag::S_IFIFO)?;
                self.own(path, &header, true)
            }
            // Containers have a /dev of their own.
            EntryType::Char | EntryType::Block => Ok(()),
            _ => Err(refused("it is of an unknown kind").into()),
        }
    }

    fn folder(&mut self, path: &Path, header: &Header) -> Result<(), LayerError> {
        let error = |source| write_error(path, source);
        if self.stat(path)?.is_some_and(|stat| is_whiteout(&stat)) {
            // Taken away of those below, and made anew.
            self.root.remove(path).map_err(error)?;
            self.opaque(path)?;
        }
        let folder = self.root.folder(path).map_err(error)?;
        for (name, value) in &header.xattrs {
            xattr::set(folder, name, value).map_err(|source| error(source.errno.into()))?;
        }
        fchownat(
            folder,
            "",
            Some(Uid::from_raw(header.uid)),
            Some(Gid::from_raw(header.gid)),
            AtFlags::AT_EMPTY_PATH,
        )
        .and_then(|()| nix::sys::stat::fchmod(folder, Mode::from_bits_truncate(header.mode & 0o7777)))
        .map_err(|errno| error(errno.into()))?;
        self.times.push((path.to_owned(), header.mtime));
        Ok(())
    }

    fn file(&mut self, path: &Path, header: &Header, content: &mut dyn Read) -> Result<(), LayerError> {
        let error = |source| write_error(path, source);
        let mut file = self.root.replace(path).map_err(error)?;
        let mut block = vec![0; 128 << 10];
        loop {
            let count = match content.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ExtractError::Read(source).into()),
            };
            file.write_all(&block[..count]).map_err(error)?;
        }
        std::os::unix::fs::fchown(&file, Some(header.uid), Some(header.gid)).map_err(error)?;
        for (name, value) in &header.xattrs {
            xattr::set(&file, name, value).map_err(|source| error(source.errno.into()))?;
        }
        // Behind the owner, whose change takes setuid away.
        file.set_permissions(Permissions::from_mode(header.mode & 0o7777)).map_err(error)?;
        let time = TimeSpec::new(header.mtime, 0);
        // A time that the file system cannot hold is none.
        let _ = nix::sys::stat::futimens(&file, &time, &time);
        Ok(())
    }

    /// Owner, mode and time of what cannot be opened. The name was just made here, and nobody else works in this folder.
    fn own(&mut self, path: &Path, header: &Header, has_mode: bool) -> Result<(), LayerError> {
        let (folder, name) = self.root.place(path).map_err(|source| write_error(path, source))?;
        let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
        let done = fchownat(folder, name.as_os_str(), Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .and_then(|()| {
                let mode = Mode::from_bits_truncate(header.mode & 0o7777);
                let follow = nix::sys::stat::FchmodatFlags::FollowSymlink;
                if has_mode { fchmodat(folder, name.as_os_str(), mode, follow) } else { Ok(()) }
            });
        done.map_err(|errno| write_error(path, errno.into()))?;
        let time = TimeSpec::new(header.mtime, 0);
        let _ = utimensat(folder, name.as_os_str(), &time, &time, UtimensatFlags::NoFollowSymlink);
        Ok(())
    }

    fn special(&mut self, path: &Path, kind: SFlag) -> Result<(), LayerError> {
        let made = self.root.remove(path).and_then(|()| {
            let (folder, name) = self.root.place(path)?;
            Ok(mknodat(folder, name.as_os_str(), kind, Mode::S_IRUSR | Mode::S_IWUSR, 0)?)
        });
        Ok(made.map_err(|source| write_error(path, source))?)
    }

    fn whiteout(&mut self, path: &Path, file_name: &[u8]) -> Result<(), LayerError> {
        let above = path.parent().unwrap_or(Path::new(""));
        if file_name == OPAQUE {
            return self.opaque(above);
        }
        if file_name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        let refused = |why| ExtractError::Refused { name: path.display().to_string(), why };
        let hidden = match &file_name[WHITEOUT.len()..] {
            b"" | b"." | b".." => return Err(refused("it takes nothing away that could be there").into()),
            hidden => above.join(OsStr::from_bytes(hidden)),
        };
        match self.stat(&hidden)? {
            // What the layer itself has of that name stays, and hides what is below it.
            Some(stat) if kind(&stat) == SFlag::S_IFDIR => self.opaque(&hidden),
            Some(_) => Ok(()),
            None => self.special(&hidden, SFlag::S_IFCHR),
        }
    }

    fn opaque(&mut self, path: &Path) -> Result<(), LayerError> {
        let folder = self.root.folder(path).map_err(|source| write_error(path, source))?;
        let set = xattr::set(folder, c"trusted.overlay.opaque", b"y");
        Ok(set.map_err(|source| write_error(path, source.errno.into()))?)
    }

    fn stat(&mut self, path: &Path) -> Result<Option<FileStat>, LayerError> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let (folder, name) = match self.root.place(path) {
            Err(error) => return Err(write_error(path, error).into()),
            Ok(place) => place,
        };
        match fstatat(folder, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(write_error(path, errno.into()).into()),
        }
    }

    /// Folders' times; all on the disk.
    fn finish(&mut self) -> Result<(), LayerError> {
        for (path, mtime) in std::mem::take(&mut self.times).into_iter().rev() {
            let folder = self.root.folder(&path).map_err(|source| write_error(&path, source))?;
            let time = TimeSpec::new(mtime, 0);
            let _ = nix::sys::stat::futimens(folder, &time, &time);
        }
        let root = self.root.folder(Path::new("")).map_err(|source| write_error(Path::new("/"), source))?;
        // One call for all of them: a sync for each file is a commit for each.
        nix::unistd::syncfs(root).map_err(|errno| write_error(Path::new("/"), errno.into()))?;
        Ok(())
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

fn header<R: Read>(member: &mut Entry<'_, R>) -> Result<Header, ExtractError> {
    let number = |number: io::Result<u64>| {
        let number = number.map_err(ExtractError::Read)?;
        // That is how numbers mean nobody to chown(2).
        u32::try_from(number)
            .ok()
            .filter(|it| *it != u32::MAX)
            .ok_or_else(|| ExtractError::Read(io::Error::other(format!("{number} is no owner"))))
    };
    let (uid, gid) = (number(member.header().uid())?, number(member.header().gid())?);
    let mode = member.header().mode().map_err(ExtractError::Read)?;
    let mtime = i64::try_from(member.header().mtime().unwrap_or(0).min(1 << 40)).expect("less than 2^63");
    let mut xattrs = Vec::new();
    for extension in member.pax_extensions().map_err(ExtractError::Read)?.into_iter().flatten() {
        let extension = extension.map_err(ExtractError::Read)?;
        let name = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."));
        let kept = name.filter(|name| XATTRS.iter().any(|kept| name.starts_with(kept)));
        if let Some(name) = kept.and_then(|name| CString::new(name).ok()) {
            xattrs.push((name, extension.value_bytes().to_vec()));
        }
    }
    Ok(Header { uid, gid, mode, mtime, xattrs })
}
