//! A tally, for people and for files.

use std::io::{self, Write};

use crate::count::Tally;

/// The totals and the most frequent words.
pub fn print(out: &mut impl Write, tally: &Tally, top: usize) -> io::Result<()> {
    let ranking = tally.ranking();
    writeln!(out, "{:>15} files", grouped(tally.file_count))?;
    writeln!(out, "{:>15} lines", grouped(tally.line_count))?;
    writeln!(out, "{:>15} bytes", grouped(tally.byte_count))?;
    writeln!(out, "{:>15} words, {} different", grouped(tally.word_count), grouped(ranking.len() as u64))?;
    for (word, count) in ranking.into_iter().take(top) {
        writeln!(out, "{:>15}   {}", grouped(count), String::from_utf8_lossy(word))?;
    }
    Ok(())
}

/// Every word with its count, most frequent first, byte for byte: what two counts are compared by.
pub fn table(out: &mut impl Write, tally: &Tally) -> io::Result<()> {
    let Tally { file_count, line_count, byte_count, word_count, .. } = tally;
    writeln!(out, "files {file_count} lines {line_count} bytes {byte_count} words {word_count}")?;
    for (word, count) in tally.ranking() {
        write!(out, "{count}\t")?;
        out.write_all(word)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_top_is_shown_under_the_totals() {
        let mut tally = Tally::default();
        tally.part(io::Cursor::new("b a\nb c\n"), 0, 8).expect("in memory");
        let mut out = Vec::new();
        print(&mut out, &tally, 2).expect("in memory");
        let text = String::from_utf8(out).expect("ASCII");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines, ["1 files", "2 lines", "8 bytes", "4 words, 3 different", "2   b", "1   a"]);
        let mut out = Vec::new();
        table(&mut out, &tally).expect("in memory");
        assert_eq!(String::from_utf8_lossy(&out), "files 1 lines 2 bytes 8 words 4\n2\tb\n1\ta\n1\tc\n");
    }
}
