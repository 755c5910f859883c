//! Names of images, by the grammar of Docker's own (distribution/reference): `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`.
//! A name that is taken can stand in a path: none of its parts begins with a dot, and there is no other character in it
//! that a file system knows.

use std::fmt;

use super::digest::Digest;

/// A name that was taken apart. Two that mean the same image are equal: a name without a tag and a digest has `latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `host` or `host:port`, where the name says it.
    pub registry: Option<String>,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Longest name, bytes: one in a registry has 255 at most, a host as many, and tag and digest 200.
const NAME_BYTES_MAX: usize = 712;
const TAG_BYTES_MAX: usize = 128;

/// A name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no name of an image: {why}")]
pub struct BadReference {
    pub name: String,
    pub why: &'static str,
}

impl Reference {
    /// # Errors
    /// Says which part is not as it has to be.
    pub fn parse(name: &str) -> Result<Self, BadReference> {
        let bad = |why| BadReference { name: name.chars().take(NAME_BYTES_MAX).collect(), why };
        if name.len() > NAME_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).ok_or_else(|| bad(DIGEST))?)),
            None => (name, None),
        };
        // A colon before the last slash is a port's.
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(
                "its tag is of letters, digits, '_', '.' and '-', and begins with none of the last two",
            ));
        }
        let (registry, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
            _ => (None, path),
        };
        if registry.is_some_and(|host| !is_host(host)) {
            return Err(bad("its registry is no host, nor a host and a port"));
        }
        if !repository.split('/').all(is_component) {
            return Err(bad(
                "its repository is of lower case letters and digits, with '.', '_', '-' between them",
            ));
        }
        let latest = || digest.is_none().then_some("latest");
        Ok(Self {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.or_else(latest).map(str::to_owned),
            digest,
        })
    }

    /// Without tag and digest.
    pub fn name(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.repository),
            None => self.repository.clone(),
        }
    }

    /// Whether an archive that calls an image `name` means this one. What Docker leaves out of names on its own registry
    /// (`docker.io/library/`) may be left out here or there.
    pub fn is_called(&self, name: &str) -> bool {
        let Ok(other) = Self::parse(name) else { return false };
        (familiar(&self.name()), &self.tag) == (familiar(&other.name()), &other.tag)
    }
}

const DIGEST: &str = "its digest is not 'sha256:' and 64 hexadecimal digits in lower case";

fn familiar(name: &str) -> &str {
    let name =
        name.strip_prefix("docker.io/").or_else(|| name.strip_prefix("index.docker.io/")).unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// As it is written in full, which is what the archive of a local registry is called by.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= TAG_BYTES_MAX
        && tag.starts_with(is_word)
        && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        label.starts_with(|c: char| c.is_ascii_alphanumeric())
            && label.ends_with(|c: char| c.is_ascii_alphanumeric())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.split('.').all(is_label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Runs of letters and digits, with one dot, one or two underscores, or any number of dashes between them.
fn is_component(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = part.split(is_word).filter(|between| !between.is_empty());
    let is_separator =
        |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-');
    part.starts_with(is_word) && part.ends_with(is_word) && separators.all(is_separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_name_is_taken_apart_and_shown_in_full() {
        for (name, registry, repository, shown) in [
            ("busybox", None, "busybox", "busybox:latest"),
            ("busybox:1.35", None, "busybox", "busybox:1.35"),
            ("library/busybox", None, "library/busybox", "library/busybox:latest"),
            ("localhost/a__b", Some("localhost"), "a__b", "localhost/a__b:latest"),
            ("quay.io:80/a/b-c.d:T_1", Some("quay.io:80"), "a/b-c.d", "quay.io:80/a/b-c.d:T_1"),
        ] {
            let reference = Reference::parse(name).expect(name);
            assert_eq!(
                (reference.registry.as_deref(), &*reference.repository),
                (registry, repository),
                "{name}"
            );
            assert_eq!(reference.to_string(), shown);
            assert_eq!(Reference::parse(shown), Ok(reference), "{name}");
        }
        let pinned = Reference::parse(&format!("a@sha256:{HEX}")).expect("a name");
        assert_eq!((&pinned.tag, pinned.to_string()), (&None, format!("a@sha256:{HEX}")));
    }

    #[test]
    fn nothing_that_could_leave_a_folder_is_a_name() {
        let long = "a".repeat(800);
        for name in [
            "",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a:..",
            "a:",
            "a:-b",
            "A",
            "a b",
            "a\0b",
            "a:b/c",
            "host..x/a",
            "-h.x/a",
            "h.x:p/a",
            "a@sha256:12",
            "a@md5:12",
            "a@sha256:",
            "a___b",
            "a.-b",
            &long,
        ] {
            let error = Reference::parse(name).expect_err(name).to_string();
            assert!(error.contains("is no name of an image: "), "{error}");
        }
    }

    #[test]
    fn an_archives_own_names_are_understood_as_docker_writes_them() {
        let is_called = |name: &str, other: &str| Reference::parse(name).expect(name).is_called(other);
        assert!(is_called("busybox", "busybox:latest"));
        assert!(is_called("library/busybox", "docker.io/library/busybox:latest"));
        assert!(is_called("docker.io/a/b:1", "a/b:1"));
        assert!(!is_called("busybox", "busybox:1"));
        assert!(!is_called("quay.io/busybox", "busybox:latest"));
        assert!(!is_called("busybox", "..."));
    }
}
