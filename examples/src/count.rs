//! Counting. A word is a run of ASCII letters, digits and underscores and of any bytes from 0x80 up: UTF-8 letters hold
//! together, and what is not UTF-8 is counted all the same. A file's end ends a word. A word belongs to the part in which
//! its first byte lies: who counts that part reads on beyond its end, and who counts the next one skips the rest.

#![expect(clippy::disallowed_types, reason = "one look-up a word; the order never leaves: encoding sorts")]

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;

use crate::codec::{self, Malformed};
use crate::share::{Part, Share};

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often each word occurs.
    pub words: HashMap<Vec<u8>, u64>,
    pub word_count: u64,
    /// Line ends, as `wc -l` counts.
    pub line_count: u64,
    pub byte_count: u64,
    pub file_count: u64,
}

/// A part cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has become shorter than the {expected} bytes it had")]
    Shorter { path: PathBuf, expected: u64 },
}

/// Counts all parts of a share.
pub fn share(share: &Share) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    for part in &share.parts {
        let read = |source| Error::Read { path: part.path.clone(), source };
        let file = fs::File::open(&part.path).map_err(read)?;
        let counted = tally.part(file, part.from, part.to).map_err(read)?;
        if counted < part.to - part.from {
            return Err(Error::Shorter { path: part.path.clone(), expected: part.to });
        }
    }
    Ok(tally)
}

/// Counts whole files, one after the other: what all shares together must come to.
pub fn alone(files: &[crate::share::File]) -> Result<Tally, Error> {
    let whole = |file: &crate::share::File| Part { path: file.path.clone(), from: 0, to: file.size_bytes };
    share(&Share { parts: files.iter().map(whole).collect() })
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl Tally {
    /// Counts bytes `from..to` of one file; returns how many of them there were.
    pub fn part(&mut self, mut file: impl io::Read + Seek, from: u64, to: u64) -> io::Result<u64> {
        if from == 0 {
            self.file_count += 1;
        }
        file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let mut foreign = false; // inside a word that began before `from`
        if from > 0 {
            let mut before = [0];
            io::Read::read_exact(&mut reader, &mut before)?;
            foreign = is_word(before[0]);
        }
        let mut word = Vec::new();
        let mut counted = 0;
        while counted < to - from {
            let buffer = reader.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let here = buffer.len().min(usize::try_from(to - from - counted).unwrap_or(usize::MAX));
            for byte in &buffer[..here] {
                if !is_word(*byte) {
                    foreign = false;
                    self.line_count += u64::from(*byte == b'\n');
                    self.end_word(&mut word);
                } else if !foreign {
                    word.push(*byte);
                }
            }
            reader.consume(here);
            counted += here as u64;
        }
        // Only the rest of a word that began here: an empty one means that there is none.
        while !word.is_empty() {
            let buffer = reader.fill_buf()?;
            let rest = buffer.iter().take_while(|byte| is_word(**byte)).count();
            word.extend_from_slice(&buffer[..rest]);
            if rest < buffer.len() || buffer.is_empty() {
                self.end_word(&mut word);
            }
            reader.consume(rest);
        }
        self.byte_count += counted;
        Ok(counted)
    }

    fn end_word(&mut self, word: &mut Vec<u8>) {
        if word.is_empty() {
            return;
        }
        self.word_count += 1;
        match self.words.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(self.words.insert(word.clone(), 1)),
        }
        word.clear();
    }

    /// Adds what another task counted.
    pub fn merge(&mut self, other: Self) {
        for (word, count) in other.words {
            *self.words.entry(word).or_default() += count;
        }
        self.word_count += other.word_count;
        self.line_count += other.line_count;
        self.byte_count += other.byte_count;
        self.file_count += other.file_count;
    }

    /// The words, the most frequent first, equally frequent ones by their bytes.
    pub fn ranking(&self) -> Vec<(&[u8], u64)> {
        let mut ranking: Vec<(&[u8], u64)> =
            self.words.iter().map(|(word, count)| (&word[..], *count)).collect();
        ranking.sort_unstable_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        ranking
    }

    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        for total in [self.word_count, self.line_count, self.byte_count, self.file_count] {
            codec::put_number(&mut out, total);
        }
        let mut words: Vec<_> = self.words.iter().collect();
        words.sort_unstable();
        codec::put_number(&mut out, words.len() as u64);
        for (word, count) in words {
            codec::put_bytes(&mut out, word);
            codec::put_number(&mut out, *count);
        }
        out.into()
    }

    pub fn decode(mut data: Bytes) -> Result<Self, Malformed> {
        let data = &mut data;
        let mut tally = Self {
            word_count: codec::number(data)?,
            line_count: codec::number(data)?,
            byte_count: codec::number(data)?,
            file_count: codec::number(data)?,
            words: HashMap::new(),
        };
        for _ in 0..codec::number(data)? {
            let word = codec::bytes(data)?;
            if tally.words.insert(word.to_vec(), codec::number(data)?).is_some() {
                return Err(Malformed("a word that occurs twice"));
            }
        }
        codec::end(data)?;
        if tally.words.values().sum::<u64>() != tally.word_count {
            return Err(Malformed("words that do not add up"));
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::{list, split};
    use proptest::prelude::*;
    use std::io::Cursor;

    /// The count a reader would write down first: whole files, cut at whatever is no word.
    fn straightforward(texts: &[Vec<u8>]) -> Tally {
        let mut tally = Tally::default();
        for text in texts {
            tally.file_count += 1;
            tally.byte_count += text.len() as u64;
            tally.line_count += text.iter().filter(|byte| **byte == b'\n').count() as u64;
            for word in text.split(|byte| !is_word(*byte)).filter(|word| !word.is_empty()) {
                tally.word_count += 1;
                *tally.words.entry(word.to_vec()).or_default() += 1;
            }
        }
        tally
    }

    #[track_caller]
    fn check(text: &str, expect: &[(&str, u64)]) {
        let mut tally = Tally::default();
        tally.part(Cursor::new(text), 0, text.len() as u64).expect("in memory");
        let expect: Vec<(&[u8], u64)> =
            expect.iter().map(|(word, count)| (word.as_bytes(), *count)).collect();
        assert_eq!(tally.ranking(), expect);
    }

    #[test]
    fn words_are_runs_of_letters_digits_and_underscores() {
        check("", &[]);
        check("--- !\n", &[]);
        check("a b a", &[("a", 2), ("b", 1)]);
        check("fn is_word(byte: u8)", &[("byte", 1), ("fn", 1), ("is_word", 1), ("u8", 1)]);
        check("größer, größer", &[("größer", 2)]);
    }

    #[test]
    fn a_word_belongs_to_the_part_in_which_it_begins() {
        let text = b"ab cd ef";
        for cut in 0..=text.len() as u64 {
            let (mut one, mut other) = (Tally::default(), Tally::default());
            one.part(Cursor::new(text), 0, cut).expect("in memory");
            other.part(Cursor::new(text), cut, text.len() as u64).expect("in memory");
            assert_eq!(one.word_count, cut.div_ceil(3), "cut at {cut}");
            one.merge(other);
            assert_eq!(one.words, straightforward(&[text.to_vec()]).words, "cut at {cut}");
        }
    }

    #[test]
    fn a_file_that_shrank_is_an_error_and_no_wrong_count() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("f");
        std::fs::write(&path, "one two").expect("writable");
        let part = |to| Share { parts: vec![Part { path: path.clone(), from: 0, to }] };
        assert_eq!(share(&part(7)).expect("whole").word_count, 2);
        assert!(matches!(share(&part(8)), Err(Error::Shorter { expected: 8, .. })));
    }

    /// Texts that are unkind to cuts: long words, runs of separators, bytes that are not UTF-8, nothing at all.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let word =
            prop_oneof![Just(b"a".to_vec()), "[a-z_0-9]{1,9}".prop_map(String::into_bytes), any::<Vec<u8>>()];
        let gap = prop_oneof![
            Just(b" ".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"--\n\n".to_vec()),
            Just(Vec::new())
        ];
        prop::collection::vec((word, gap), 0..12)
            .prop_map(|pairs| pairs.into_iter().flat_map(|(word, gap)| word.into_iter().chain(gap)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn however_it_is_split_the_sum_is_the_same(texts in prop::collection::vec(text(), 0..6), count in 1_usize..12) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            for (index, text) in texts.iter().enumerate() {
                let sub = folder.path().join(format!("{}", index % 3));
                std::fs::create_dir_all(&sub).expect("writable");
                std::fs::write(sub.join(format!("{index}")), text).expect("writable");
            }
            let files = list(folder.path()).expect("readable");
            let mut merged = Tally::default();
            for part in split(&files, count) {
                let counted = share(&part).expect("unchanged");
                prop_assert_eq!(&Tally::decode(counted.encode()).expect("our own"), &counted);
                merged.merge(counted);
            }
            prop_assert_eq!(&merged, &straightforward(&texts));
            prop_assert_eq!(&merged, &alone(&files).expect("unchanged"));
        }
    }
}
