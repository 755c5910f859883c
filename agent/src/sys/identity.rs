//! Acting on files as another user, on this thread only.
#![expect(
    unsafe_code,
    reason = "glibc's setgroups changes every thread of the process; only the raw call changes one"
)]

use super::SysError;

/// Who a process runs as, all numbers looked up: nothing of it needs the user database any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, `gid` among them.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Looks a user up in the machine's user database (which may be slow where that is a network service).
    /// `None`: there is no such user.
    pub fn find(user: &str) -> Result<Option<Self>, SysError> {
        use nix::errno::Errno;
        let entry = match nix::unistd::User::from_name(user) {
            Ok(Some(entry)) => entry,
            // getpwnam_r(3): some sources of the database answer so instead of finding nothing.
            Ok(None) | Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
            Err(errno) => return Err(SysError { call: "getpwnam_r", errno }),
        };
        let name = std::ffi::CString::new(user).expect("a name with a NUL was not found");
        let groups = nix::unistd::getgrouplist(&name, entry.gid).map_err(SysError::of("getgrouplist"))?;
        Ok(Some(Self {
            uid: entry.uid.as_raw(),
            gid: entry.gid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        }))
    }
}

/// From here on this thread opens, creates and searches files as `identity`, without root's right to override
/// permissions; other threads are as before. There is no way back: for threads that end with their work.
pub fn assume_for_files(identity: &Identity) -> Result<(), SysError> {
    let groups = &identity.groups;
    // SAFETY: the raw call reads `len` group numbers from a live slice of that length; it changes credentials of the
    // calling thread alone, which is what is wanted (glibc's own wrapper would change all threads').
    if unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } < 0 {
        return Err(SysError::last("setgroups"));
    }
    let gid = nix::unistd::Gid::from_raw(identity.gid);
    let uid = nix::unistd::Uid::from_raw(identity.uid);
    // These two report the *previous* id and never an error; a second call tells whether the first was obeyed.
    nix::unistd::setfsgid(gid);
    if nix::unistd::setfsgid(gid) != gid {
        return Err(SysError { call: "setfsgid", errno: nix::errno::Errno::EPERM });
    }
    nix::unistd::setfsuid(uid);
    if nix::unistd::setfsuid(uid) != uid {
        return Err(SysError { call: "setfsuid", errno: nix::errno::Errno::EPERM });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_nonsense_is_not() {
        let root = Identity::find("root").expect("the database answers").expect("root exists");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(Identity::find("no such user here"), Ok(None));
        assert_eq!(Identity::find("nul\0byte"), Ok(None));
    }
}
