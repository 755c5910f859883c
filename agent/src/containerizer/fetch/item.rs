//! What one URI asks for, as far as its text tells: where from, where to, what is done with it there. Decides; does not
//! look at the machine.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use api::v1::command_info::Uri;

use super::FetchError;

/// One file to be brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// As people are shown it: without a password.
    pub uri: String,
    /// As it was given: what the cache knows it by.
    pub value: String,
    pub source: Source,
    /// Relative to the sandbox, of plain names only.
    pub target: PathBuf,
    pub is_executable: bool,
    /// To be extracted into the sandbox.
    pub archive: Option<Archive>,
    pub checksum: Option<Checksum>,
    /// May come from the agent's cache, and may be kept there.
    pub is_cached: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    /// `http` or `https`.
    Http(http::Uri),
}

/// What its name says that it is. Which compression a tar file has is seen by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Archive {
    Tar,
    Zip,
    /// One compressed file, which loses the ending of its name.
    Gzip,
}

/// The digest that the content has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checksum {
    pub algorithm: Algorithm,
    pub expected: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub(super) fn digest(self) -> &'static ring::digest::Algorithm {
        match self {
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha512 => &ring::digest::SHA512,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        })
    }
}

/// What a URI asks for, or why it cannot be had.
pub(super) fn item(uri: &Uri) -> Result<Item, FetchError> {
    let text = uri.value.trim_start();
    let shown = without_password(text);
    let refused = |why: &str| FetchError::Refused { uri: shown.clone(), why: why.to_owned() };
    if text.contains(['\\', '\'', '\0']) {
        return Err(refused("Illegal characters in URI"));
    }
    let (text, checksum) = split_checksum(text).map_err(|why| refused(&why))?;
    let (source, name) = source(text).map_err(|why| refused(&why))?;
    let target = match &uri.output_file {
        Some(path) => {
            plain_path(path).ok_or_else(|| refused("output_file must be within the sandbox directory"))?
        }
        None => {
            let name = name.rsplit('/').next().unwrap_or_default();
            plain_path(name).ok_or_else(|| refused("it names no file"))?
        }
    };
    let is_executable = uri.executable();
    // An executable is never extracted, by Mesos' rule; `extract` is true where it is not said.
    let archive = if uri.extract() && !is_executable { archive(&target) } else { None };
    if archive == Some(Archive::Gzip) && unzipped_name(&target).is_none() {
        return Err(refused("extract: nothing is left of its name without '.gz'"));
    }
    let (value, is_cached) = (uri.value.trim_start().to_owned(), uri.cache());
    Ok(Item { uri: shown, value, source, target, is_executable, archive, checksum, is_cached })
}

fn source(text: &str) -> Result<(Source, &str), String> {
    match text.split_once("://") {
        None if text.starts_with('/') => Ok((Source::File(text.into()), text)),
        None => Err("a path must be absolute".to_owned()),
        Some(("file", rest)) => match rest.strip_prefix("localhost").unwrap_or(rest) {
            path if path.starts_with('/') => Ok((Source::File(path.into()), path)),
            _ => Err("File URI only supports absolute paths".to_owned()),
        },
        Some(("http" | "https", rest)) => {
            if rest.split_once('/').is_none_or(|(_, path)| path.is_empty()) {
                return Err("Malformed URI (missing path)".to_owned());
            }
            let uri: http::Uri = text.parse().map_err(|_| "Malformed URI".to_owned())?;
            Ok((Source::Http(uri), rest))
        }
        Some((scheme, _)) => {
            Err(format!("scheme '{scheme}' is not supported (file, http and https are, and absolute paths)"))
        }
    }
}

/// Takes `#sha256=<hex>` or `#sha512=<hex>` off the end. Another fragment is part of the name, as it is in Mesos.
fn split_checksum(text: &str) -> Result<(&str, Option<Checksum>), String> {
    let Some((rest, fragment)) = text.rsplit_once('#') else { return Ok((text, None)) };
    let Some((name, digits)) = fragment.split_once('=') else { return Ok((text, None)) };
    let (algorithm, length) = match name.to_ascii_lowercase().as_str() {
        "sha256" => (Algorithm::Sha256, 64),
        "sha512" => (Algorithm::Sha512, 128),
        // Taken for part of the name they would be ignored, by somebody who believes to have been careful.
        "md5" | "sha1" | "sha224" | "sha384" | "crc32" | "blake3" => {
            return Err(format!("checksum '{name}' is not supported (sha256 and sha512 are)"));
        }
        _ => return Ok((text, None)),
    };
    let expected = hex(digits).filter(|_| digits.len() == length);
    let expected = expected.ok_or_else(|| format!("checksum '{name}' must have {length} hex digits"))?;
    Ok((rest, Some(Checksum { algorithm, expected })))
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// `http://user:secret@host/` with the secret left out: errors are read by many.
fn without_password(text: &str) -> String {
    let hidden = || {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (userinfo, host) = rest[..end].rsplit_once('@')?;
        let (user, _) = userinfo.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}{}", &rest[end..]))
    };
    hidden().unwrap_or_else(|| text.to_owned())
}

/// The path, if it is relative, not empty, and goes only downwards.
pub(super) fn plain_path(path: &str) -> Option<PathBuf> {
    let parts: Vec<_> = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
    let is_plain = !parts.is_empty() && parts.iter().all(|part| matches!(part, Component::Normal(_)));
    // A trailing slash names a folder, and a NUL no file at all.
    (is_plain && !path.ends_with('/') && !path.contains('\0')).then(|| parts.into_iter().collect())
}

/// By the names that Mesos goes by, and two more.
fn archive(path: &Path) -> Option<Archive> {
    const TARS: [&str; 9] =
        [".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".tzst", ".tar.zst"];
    let name = path.to_string_lossy();
    if TARS.iter().any(|suffix| name.ends_with(suffix)) {
        Some(Archive::Tar)
    } else if name.ends_with(".zip") {
        Some(Archive::Zip)
    } else {
        name.ends_with(".gz").then_some(Archive::Gzip)
    }
}

/// What a gzipped file is called when it is not any more; in the sandbox itself, wherever the file is.
pub(super) fn unzipped_name(target: &Path) -> Option<PathBuf> {
    let name = target.file_name()?.to_str()?.strip_suffix(".gz")?;
    plain_path(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(value: &str) -> Uri {
        Uri { value: value.to_owned(), ..Uri::default() }
    }

    #[test]
    fn names_come_from_the_uri_or_from_output_file() {
        let check = |uri: &Uri, expect: &str| assert_eq!(item(uri).expect(expect).target, Path::new(expect));
        check(&uri("/data/a.txt"), "a.txt");
        check(&uri(" file:///data/a.txt"), "a.txt");
        check(&uri("file://localhost/data/a.txt"), "a.txt");
        check(&uri("http://host:80/x/y?z=1"), "y?z=1");
        check(&uri("https://host/x/y#part"), "y#part");
        check(&Uri { output_file: Some("lib/x/a.jar".to_owned()), ..uri("/data/a.txt") }, "lib/x/a.jar");
        check(&Uri { output_file: Some("./a".to_owned()), ..uri("/data/a.txt") }, "a");
    }

    #[test]
    fn what_is_extracted_is_told_by_the_name_it_gets() {
        let check = |uri: &Uri, expect| assert_eq!(item(uri).expect("a good URI").archive, expect, "{uri:?}");
        for name in ["tar", "tgz", "tar.gz", "tbz2", "tar.bz2", "txz", "tar.xz", "tar.zst", "tzst"] {
            check(&uri(&format!("http://host/a.{name}")), Some(Archive::Tar));
        }
        check(&uri("/data/a.zip"), Some(Archive::Zip));
        check(&uri("/data/a.gz"), Some(Archive::Gzip));
        check(&uri("/data/a.txt"), None);
        check(&uri("http://host/a.tgz?id=1"), None);
        let named = Some("x/a.tgz".to_owned());
        check(&Uri { output_file: named, ..uri("http://host/a?id=1") }, Some(Archive::Tar));
        check(&Uri { output_file: Some("a".to_owned()), ..uri("/data/a.tgz") }, None);
        check(&Uri { extract: Some(false), ..uri("/data/a.tar.gz") }, None);
        check(&Uri { executable: Some(true), extract: Some(true), ..uri("/data/a.gz") }, None);
    }

    #[test]
    fn a_checksum_is_a_fragment() {
        let digits = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let found = item(&uri(&format!("http://host/a.tgz#sha256={digits}"))).expect("a good URI");
        let checksum = found.checksum.expect("it has one");
        assert_eq!((checksum.algorithm, checksum.expected[0]), (Algorithm::Sha256, 0xe3));
        assert_eq!(found.target, Path::new("a.tgz"));
        assert_eq!(found.archive, Some(Archive::Tar));
        let named = item(&uri("/data/a#b=c")).expect("a good URI");
        assert_eq!((named.target.as_path(), named.checksum), (Path::new("a#b=c"), None));
    }

    #[test]
    fn what_cannot_be_fetched_is_refused_by_name() {
        let check = |uri: &Uri, why: &str| {
            let error = item(uri).expect_err(why);
            assert_eq!(error.to_string(), format!("fetch '{}': {why}", uri.value));
        };
        let outside = "output_file must be within the sandbox directory";
        for path in ["/etc/passwd", "../x", "a/../../x", "a/..", "", ".", "a/", "a\0b"] {
            check(&Uri { output_file: Some(path.to_owned()), ..uri("/data/a") }, outside);
        }
        check(&uri("/data/"), "it names no file");
        check(&uri("/data/.."), "it names no file");
        check(&uri("http://host"), "Malformed URI (missing path)");
        check(&uri("http://host/"), "Malformed URI (missing path)");
        check(&uri("http://host/a/"), "it names no file");
        check(&uri("http://ho st/a"), "Malformed URI");
        check(&uri("data/a"), "a path must be absolute");
        check(&uri("file://data/a"), "File URI only supports absolute paths");
        check(&uri("/data/it's"), "Illegal characters in URI");
        let schemes = "(file, http and https are, and absolute paths)";
        for scheme in ["hdfs", "ftp", "s3"] {
            let why = format!("scheme '{scheme}' is not supported {schemes}");
            check(&uri(&format!("{scheme}://host/a")), &why);
        }
        check(&uri("/data/.gz"), "extract: nothing is left of its name without '.gz'");
        check(&uri("/data/a#sha256=12"), "checksum 'sha256' must have 64 hex digits");
        check(&uri(&format!("/a#sha256={}", "zz".repeat(32))), "checksum 'sha256' must have 64 hex digits");
        let why = "checksum 'md5' is not supported (sha256 and sha512 are)";
        check(&uri("http://host/a#md5=d41d8cd98f00b204e9800998ecf8427e"), why);
    }

    #[test]
    fn a_password_is_not_told() {
        let error = item(&uri("ftp://me:secret@host/a")).expect_err("ftp");
        assert!(error.to_string().starts_with("fetch 'ftp://me:***@host/a': "), "{error}");
    }
}
