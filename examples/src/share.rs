//! What is counted by whom: the files of an input in a fixed order, cut into shares of equal bytes. A cut may fall inside
//! a file, even inside a word; [`crate::count`] says whose word that is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::codec::{self, Malformed};

/// A regular file of the input and its size when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: PathBuf,
    pub size_bytes: u64,
}

/// Bytes `from..to` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub path: PathBuf,
    pub from: u64,
    pub to: u64,
}

/// What one task counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub parts: Vec<Part>,
}

/// The input cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the input {path}")]
pub struct Unreadable {
    pub path: PathBuf,
    pub source: io::Error,
}

/// All regular files under `root` (or `root` itself), in the order of their paths. Symbolic links are not followed, so
/// that nothing is counted twice; sockets and devices have no end and are left out.
pub fn list(root: &Path) -> Result<Vec<File>, Unreadable> {
    let mut files = Vec::new();
    let mut folders = Vec::new();
    let unreadable = |path: &Path, source| Unreadable { path: path.to_owned(), source };
    // The root may be a link: whoever names it means what it leads to.
    let kind = std::fs::metadata(root).map_err(|source| unreadable(root, source))?;
    if kind.is_dir() {
        folders.push(root.to_owned());
    } else {
        files.push(File { path: root.to_owned(), size_bytes: kind.len() });
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|source| unreadable(&folder, source))? {
            let path = entry.map_err(|source| unreadable(&folder, source))?.path();
            let kind = std::fs::symlink_metadata(&path).map_err(|source| unreadable(&path, source))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(File { path, size_bytes: kind.len() });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// Cuts the files into at most `count` shares whose sizes differ by one byte at most; fewer where there are fewer bytes.
/// Empty files are nobody's work but everybody's files: they go where the bytes before them went.
pub fn split(files: &[File], count: usize) -> Vec<Share> {
    let total: u64 = files.iter().map(|file| file.size_bytes).sum();
    let count = (count as u64).min(total).max(1);
    let end_of = |share: u64| (u128::from(total) * u128::from(share + 1) / u128::from(count)) as u64;
    let mut shares = vec![Share::default()];
    let mut before = 0; // bytes of the files before this one
    for file in files {
        let mut from = 0;
        loop {
            let end = end_of(shares.len() as u64 - 1);
            let to = (end - before).min(file.size_bytes);
            if to > from || file.size_bytes == 0 {
                let part = Part { path: file.path.clone(), from, to };
                shares.last_mut().expect("there is always a share being filled").parts.push(part);
            }
            from = to;
            if from == file.size_bytes {
                break;
            }
            shares.push(Share::default());
        }
        before += file.size_bytes;
    }
    shares
}

impl Share {
    pub fn size_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.to - part.from).sum()
    }

    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        codec::put_number(&mut out, self.parts.len() as u64);
        for part in &self.parts {
            codec::put_bytes(&mut out, part.path.as_os_str().as_bytes());
            codec::put_number(&mut out, part.from);
            codec::put_number(&mut out, part.to);
        }
        out.into()
    }

    pub fn decode(mut data: Bytes) -> Result<Self, Malformed> {
        let mut parts = Vec::new();
        for _ in 0..codec::number(&mut data)? {
            let path = PathBuf::from(OsStr::from_bytes(&codec::bytes(&mut data)?));
            let (from, to) = (codec::number(&mut data)?, codec::number(&mut data)?);
            if from > to {
                return Err(Malformed("a part that ends before it begins"));
            }
            parts.push(Part { path, from, to });
        }
        codec::end(&data)?;
        Ok(Self { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_are_equal_and_cover_every_byte_once(
            sizes in prop::collection::vec(prop_oneof![Just(0), 0_u64..50, 0_u64..100_000], 0..30),
            count in 1_usize..40,
        ) {
            let files: Vec<File> = sizes
                .iter()
                .enumerate()
                .map(|(index, size_bytes)| File { path: format!("{index:03}").into(), size_bytes: *size_bytes })
                .collect();
            let shares = split(&files, count);
            let total: u64 = sizes.iter().sum();
            prop_assert_eq!(shares.len() as u64, (count as u64).min(total).max(1));
            let (least, most) = (total / shares.len() as u64, total.div_ceil(shares.len() as u64));
            let mut next = Vec::new(); // (path, where its next part begins)
            for share in &shares {
                prop_assert!((least..=most).contains(&share.size_bytes()));
                prop_assert_eq!(&Share::decode(share.encode()).expect("our own"), share);
                for part in &share.parts {
                    match next.last_mut() {
                        Some((path, end)) if *path == part.path => {
                            prop_assert_eq!(*end, part.from);
                            *end = part.to;
                        }
                        _ => {
                            prop_assert_eq!(part.from, 0);
                            next.push((part.path.clone(), part.to));
                        }
                    }
                }
            }
            let covered: Vec<File> = next.into_iter().map(|(path, size_bytes)| File { path, size_bytes }).collect();
            prop_assert_eq!(covered, files);
        }
    }

    #[test]
    fn links_are_not_followed_and_order_is_by_path() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("b")).expect("writable");
        for (name, text) in [("b/2", "xx"), ("a", "y"), ("c", "")] {
            std::fs::write(at(name), text).expect("writable");
        }
        std::os::unix::fs::symlink(root.path(), at("b/loop")).expect("writable");
        let listed = list(root.path()).expect("readable");
        let expect = [("a", 1), ("b/2", 2), ("c", 0)];
        assert_eq!(listed, expect.map(|(name, size_bytes)| File { path: at(name), size_bytes }));
        assert_eq!(list(&at("a")).expect("a file is an input").len(), 1);
        assert_eq!(list(&at("none")).expect_err("not there").path, at("none"));
    }
}
