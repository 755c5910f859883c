//! Users of a container's own: in its user namespace the ids from zero on stand for others of the machine, so that root in it
//! is nobody outside. Each container has ids that no other has while it is there.
//!
//! ```text
//!   --userns-remap=FIRST:COUNT    [ block 0 | block 1 | ... ]    65,536 ids each
//!   containers/ID/users           the first id of the container's block: it is taken as long as this file is there
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;

use super::init::Init;
use crate::sys::SysError;
use crate::sys::identity::Identity;

/// How many users, and groups, a container has: as many as Docker and Podman give, `nobody` (65534) among them.
pub const IDS: u32 = 1 << 16;

/// In the container's runtime folder.
const NAME: &str = "users";

/// Ids of the machine that are the containers'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: u32,
    blocks_count: u32,
}

impl Range {
    /// 4,096 blocks. systemd's table of ids (<https://systemd.io/UIDS-GIDS>) has nobody between its own containers, which end
    /// at 1879048191, and what does not fit into a signed number.
    pub const USUAL: Self = Self { first: 0x7000_0000, blocks_count: 0x1000 };
}

/// `FIRST:COUNT`, with room for one container at least.
impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "expected FIRST:COUNT, two numbers".to_owned();
        let (first, count) = text.split_once(':').ok_or_else(bad)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        let (first, count) = (number(first)?, number(count)?);
        // The very last id means "no id".
        if first == 0 || first.checked_add(count).is_none() {
            return Err("ids of containers are neither root's nor beyond 4294967294".to_owned());
        }
        match count / IDS {
            0 => Err(format!("a container has {IDS} ids")),
            blocks_count => Ok(Self { first, blocks_count }),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.first, self.blocks_count * IDS)
    }
}

/// Why a container has no users of its own.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    #[error("all ids of --userns-remap are those of other containers")]
    NoneLeft,
    #[error("id {id} is none of the {IDS} that a container has of its own (namespaces/user)")]
    NotMapped { id: u32 },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the user namespace")]
    Namespace(#[source] SysError),
}

/// A container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Users {
    /// Whom root is on the machine.
    first: u32,
}

impl Users {
    /// Who that is outside.
    pub(super) fn outside(self, inside: &Identity) -> Result<Identity, UsersError> {
        let of = |id: u32| if id < IDS { Ok(self.first + id) } else { Err(UsersError::NotMapped { id }) };
        let groups = inside.groups.iter().map(|gid| of(*gid)).collect::<Result<_, _>>()?;
        Ok(Identity { uid: of(inside.uid)?, gid: of(inside.gid)?, groups })
    }

    /// Those that a container was given, by its runtime folder. `None`: it has none of its own.
    pub(super) fn read(runtime: &Path) -> Option<Self> {
        let first = std::fs::read_to_string(runtime.join(NAME)).ok()?.trim_end().parse().ok()?;
        Some(Self { first })
    }

    /// They are the container's until its runtime folder goes.
    pub(super) fn write(self, runtime: &Path) -> Result<(), UsersError> {
        let path = runtime.join(NAME);
        let written = std::fs::write(&path, format!("{}\n", self.first));
        written.map_err(|source| UsersError::Write { path, source })
    }

    /// A namespace in which they are who they are. Somebody has to be in it while it is made: an init that stands still.
    pub(crate) fn namespace(self, init: &Init) -> Result<OwnedFd, UsersError> {
        // include/uapi/linux/sched.h
        const CLONE_NEWUSER: u64 = 0x1000_0000;
        let still = init.stand_still(CLONE_NEWUSER).map_err(UsersError::Namespace)?;
        let process = PathBuf::from(format!("/proc/{}", still.pid()));
        let failed = |call| {
            move |error: io::Error| {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
                UsersError::Namespace(SysError { call, errno })
            }
        };
        let map = format!("0 {} {IDS}\n", self.first);
        std::fs::write(process.join("uid_map"), &map).map_err(failed("write uid_map"))?;
        std::fs::write(process.join("gid_map"), &map).map_err(failed("write gid_map"))?;
        File::open(process.join("ns/user")).map(OwnedFd::from).map_err(failed("open ns/user"))
    }

    /// For [`super::isolation::confinement::Rootfs`]: what was made for the container's root on the machine, which holds few
    /// folders and no links of anybody else's yet, becomes the container's own.
    pub(super) fn adopt(self, folder: &Path) -> Result<(), UsersError> {
        use std::os::unix::fs::{MetadataExt, lchown};
        let adopt = || {
            let mut left = vec![folder.to_owned()];
            while let Some(path) = left.pop() {
                let metadata = std::fs::symlink_metadata(&path)?;
                if metadata.is_dir() {
                    let entries = std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path()));
                    left.extend(entries.collect::<io::Result<Vec<_>>>()?);
                }
                let of = |id: u32| if id < IDS { self.first + id } else { id };
                lchown(&path, Some(of(metadata.uid())), Some(of(metadata.gid())))?;
            }
            Ok(())
        };
        adopt().map_err(|source| UsersError::Write { path: folder.to_owned(), source })
    }
}

/// Who has which.
#[derive(Debug)]
pub(super) struct Blocks {
    range: Range,
    /// Where to begin to look for one that is free: not with that of who has just gone, whose files may still be there.
    next: u32,
    /// The runtime folders of their containers, which may have gone.
    taken: BTreeMap<u32, PathBuf>,
}

impl Blocks {
    /// `containers`: where all runtime folders are.
    pub(super) fn load(range: Range, containers: &Path) -> Self {
        let folders = std::fs::read_dir(containers).into_iter().flatten().flatten().map(|it| it.path());
        let taken = folders.filter_map(|folder| Some((Users::read(&folder)?.first, folder))).collect();
        Self { range, next: fastrand::u32(..range.blocks_count), taken }
    }

    /// For the container with this runtime folder, which is to be told by [`Users::write`].
    pub(super) fn take(&mut self, runtime: &Path) -> Result<Users, UsersError> {
        for _ in 0..self.range.blocks_count {
            let first = self.range.first + self.next * IDS;
            self.next = (self.next + 1) % self.range.blocks_count;
            if !self.is_taken(first) {
                self.taken.insert(first, runtime.to_owned());
                return Ok(Users { first });
            }
        }
        Err(UsersError::NoneLeft)
    }

    /// With another range than before, blocks may lie across each other.
    fn is_taken(&mut self, first: u32) -> bool {
        let near = self.taken.range(first.saturating_sub(IDS - 1)..=first + (IDS - 1));
        let near: Vec<u32> = near.map(|(first, _)| *first).collect();
        near.into_iter().any(|first| {
            let is_there = self.taken.get(&first).is_some_and(|folder| folder.join(NAME).exists());
            if !is_there {
                self.taken.remove(&first);
            }
            is_there
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_room_and_is_nobody_elses() {
        assert_eq!("100000:65536".parse(), Ok(Range { first: 100_000, blocks_count: 1 }));
        assert_eq!("100000:200000".parse(), Ok(Range { first: 100_000, blocks_count: 3 }));
        assert_eq!(Range::USUAL.to_string().parse(), Ok(Range::USUAL));
        for bad in ["", "1", "1:65535", "0:65536", "4294967295:65536", "4294901760:65536", "a:b"] {
            bad.parse::<Range>().map(|range| range.to_string()).expect_err(bad);
        }
    }

    #[test]
    fn no_two_containers_that_are_there_have_an_id_in_common() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).expect("made");
            path
        };
        let range = Range { first: 100_000, blocks_count: 2 };
        let mut blocks = Blocks::load(range, folder.path());
        let (a, b) = (runtime("a"), runtime("b"));
        let [one, other] = [&a, &b].map(|path| {
            let users = blocks.take(path).expect("there is one");
            users.write(path).expect("written");
            users
        });
        assert!(one.first.abs_diff(other.first) >= IDS);
        assert_eq!(Users::read(&b), Some(other));
        // Neither in this life of the agent nor in another, by whatever range.
        let mut later = Blocks::load(Range { first: 100_001, blocks_count: 1 }, folder.path());
        for blocks in [&mut blocks, &mut later] {
            assert!(matches!(blocks.take(&runtime("c")), Err(UsersError::NoneLeft)));
            std::fs::remove_dir(folder.path().join("c")).expect("removed");
        }
        std::fs::remove_dir_all(&a).expect("removed");
        assert_eq!(blocks.take(&runtime("d")).expect("it is free again"), one);
    }

    #[test]
    fn who_is_outside_is_told_but_for_those_that_the_container_does_not_have() {
        let users = Users { first: 100_000 };
        let alice = Identity { uid: 1000, gid: 100, groups: vec![100, 65_535] };
        let expect = Identity { uid: 101_000, gid: 100_100, groups: vec![100_100, 165_535] };
        assert_eq!(users.outside(&alice).expect("all are there"), expect);
        let far = Identity { groups: vec![65_536], ..alice };
        let told = users.outside(&far).expect_err("it has none").to_string();
        assert_eq!(told, "id 65536 is none of the 65536 that a container has of its own (namespaces/user)");
    }
}
