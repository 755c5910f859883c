//! Who an image's user is, by the files of the image: `/etc/passwd` and `/etc/group`, as texts. Decides.

/// Whom a program runs as, by numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, `gid` among them.
    pub groups: Vec<u32>,
}

/// A user that cannot be told from the image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("the image's user '{user}' is not in its /etc/passwd")]
    User { user: String },
    #[error("the group of the image's user '{user}' is not in its /etc/group")]
    Group { user: String },
}

/// `user`: as in an image's configuration: `user`, `uid`, `user:group`, `uid:gid`, `uid:group`, `user:gid`. A number needs no
/// entry. With a group only that counts; without, it is the user's own, and all groups that name him (as Docker has it).
pub fn find(user: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (name, wanted) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let entries = || passwd.lines().filter_map(Entry::read);
    // A name that is a number is looked for as a name first.
    let entry = entries().find(|entry| entry.name == name);
    let number = name.parse::<u32>().ok();
    let entry = entry.or_else(|| entries().find(|entry| Some(entry.uid) == number));
    let unknown = || UserError::User { user: user.to_owned() };
    let (uid, own_gid) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) => (uid, 0),
        (None, None) => return Err(unknown()),
    };
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
        let name = entry.map(|entry| entry.name);
        let mut groups = vec![own_gid];
        let others = group.lines().filter_map(Group::read);
        let has = |group: &Group<'_>| name.is_some_and(|name| group.members.split(',').any(|it| it == name));
        groups.extend(others.filter(has).map(|group| group.gid).filter(|gid| *gid != own_gid));
        groups.truncate(GROUPS_MAX);
        return Ok(User { uid, gid: own_gid, groups });
    };
    let found = group.lines().filter_map(Group::read).find(|group| group.name == wanted).map(|it| it.gid);
    let gid =
        found.or_else(|| wanted.parse().ok()).ok_or_else(|| UserError::Group { user: user.to_owned() })?;
    Ok(User { uid, gid, groups: vec![gid] })
}

/// The kernel's own limit (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl<'a> Entry<'a> {
    /// `name:password:uid:gid:…` (passwd(5)); `None` for a line that is none.
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    /// `name:password:gid:members` (group(5)).
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, gid) = (fields.next()?, fields.nth(1)?);
        Some(Self { name, gid: gid.parse().ok()?, members: fields.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# no entry\nweb:x:101:201::/:/bin/false\n7:x:77:78::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:201:\nlogs:x:300:root,web\nmore:x:301:webster\nempty:x:302\n";

    #[test]
    fn users_are_those_of_the_image() {
        let is = |user: &str, uid, gid, groups: &[u32]| {
            let expect = User { uid, gid, groups: groups.to_vec() };
            assert_eq!(find(user, PASSWD, GROUP), Ok(expect), "{user}");
        };
        is("web", 101, 201, &[201, 300]);
        is("101", 101, 201, &[201, 300]);
        is("web:", 101, 201, &[201, 300]);
        is("web:more", 101, 301, &[301]);
        is("web:999", 101, 999, &[999]);
        is("4242", 4242, 0, &[0]);
        is("4242:42", 4242, 42, &[42]);
        is("7", 77, 78, &[78]);
        is("root", 0, 0, &[0, 300]);
    }

    #[test]
    fn who_is_not_there_is_told_by_name() {
        let error = |user: &str| find(user, PASSWD, GROUP).expect_err(user).to_string();
        assert_eq!(error("db"), "the image's user 'db' is not in its /etc/passwd");
        assert_eq!(error("web:db"), "the group of the image's user 'web:db' is not in its /etc/group");
        assert_eq!(find("", "", ""), Err(UserError::User { user: String::new() }));
        // More than 32 bits are no number.
        assert!(find("4294967296", PASSWD, GROUP).is_err());
    }
}
