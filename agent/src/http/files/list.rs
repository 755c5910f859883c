//! Listings of directories.

use super::open::Opened;
use api::v1::{FileInfo, TimeInfo};
use nix::sys::stat::FileStat;
use nix::unistd::{Gid, Group, Uid, User};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Entries of a directory in the order of their names; none of what is no directory, as in Mesos.
pub(super) fn list(opened: &Opened, asked: &str) -> std::io::Result<Vec<FileInfo>> {
    if !opened.is_directory() {
        return Ok(Vec::new());
    }
    let mut names = Names::default();
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(opened.again())? {
        let name = entry?.file_name();
        // It may be gone again, or a link to nothing.
        let Some(stat) = opened.look(Path::new(&name)) else { continue };
        entries.push(names.info(format!("{asked}/{}", name.to_string_lossy()), &stat));
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// Names of users and groups, each looked up once.
#[derive(Default)]
struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    fn info(&mut self, path: String, stat: &FileStat) -> FileInfo {
        let user = |id: u32| User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name);
        let group = |id: u32| Group::from_gid(Gid::from_raw(id)).ok().flatten().map(|group| group.name);
        let named = |id: u32, name: Option<String>| name.unwrap_or_else(|| id.to_string());
        let (uid, gid) = (stat.st_uid, stat.st_gid);
        FileInfo {
            path,
            nlink: Some(i32::try_from(stat.st_nlink).unwrap_or(i32::MAX)),
            size: Some(u64::try_from(stat.st_size).unwrap_or(0)),
            mtime: Some(TimeInfo { nanoseconds: stat.st_mtime.saturating_mul(1_000_000_000) }),
            mode: Some(stat.st_mode),
            uid: Some(self.users.entry(uid).or_insert_with(|| named(uid, user(uid))).clone()),
            gid: Some(self.groups.entry(gid).or_insert_with(|| named(gid, group(gid))).clone()),
        }
    }
}

/// An entry as `/files/browse` shows it.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    gid: &'a str,
    mode: String,
    /// Whole seconds since 1970.
    mtime: f64,
    nlink: i32,
    path: &'a str,
    size: u64,
    uid: &'a str,
}

impl<'a> Shown<'a> {
    pub(super) fn of(info: &'a FileInfo) -> Self {
        Self {
            gid: info.gid(),
            mode: mode(info.mode()),
            mtime: info.mtime.as_ref().map_or(0.0, |at| (at.nanoseconds / 1_000_000_000) as f64),
            nlink: info.nlink(),
            path: &info.path,
            size: info.size(),
            uid: info.uid(),
        }
    }
}

/// `drwxr-x---`
fn mode(bits: u32) -> String {
    let kind = match bits & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '-',
    };
    let right = |at: usize| if bits >> at & 1 == 1 { ['x', 'w', 'r'][at % 3] } else { '-' };
    std::iter::once(kind).chain((0..9).rev().map(right)).collect()
}

#[cfg(test)]
mod tests {
    use super::mode;

    #[test]
    fn modes_read_as_ls_writes_them() {
        for (bits, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_750, "drwxr-x---"),
            (0o120_777, "lrwxrwxrwx"),
            (0o010_600, "prw-------"),
            (0o140_000, "s---------"),
            (0o104_755, "-rwxr-xr-x"),
        ] {
            assert_eq!(mode(bits), text);
        }
    }
}
