//! A content's SHA-256, by which images name what they are made of: 64 hexadecimal digits and nothing else, so that one can
//! be part of a path. Computes none.

use std::fmt;

/// The digits, in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(Box<str>);

impl Digest {
    /// `sha256:` and the digits. Other algorithms are none: nobody uses them.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of_hex(text.strip_prefix("sha256:")?)
    }

    pub fn of_hex(hex: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (hex.len() == 64 && hex.bytes().all(is_digit)).then(|| Self(hex.into()))
    }

    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Self::of_hex(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
