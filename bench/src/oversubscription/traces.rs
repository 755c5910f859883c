//! Series of usage from files: a folder of them, an archive, or a folder with archives. Each file is one series, a line a step,
//! its columns per cent of what the series was given.

use anyhow::{Context, bail};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Usage as a part of what was given, step by step.
pub(super) type Series = Vec<f64>;

/// Where they are, unless the caller says: `INGOT_TRACES`, or beside the checkout.
pub(super) fn usual() -> PathBuf {
    std::env::var_os("INGOT_TRACES").map_or_else(|| "../shared/traces".into(), PathBuf::from)
}

/// All series under a path, in the order of their names; `column` counts from 0. Those shorter than the longest are left
/// out: machines are made of series that run together.
pub(super) fn read(path: &Path, column: usize) -> anyhow::Result<Vec<Series>> {
    let mut texts = Vec::new();
    collect(path, &mut texts).with_context(|| format!("read series from {}", path.display()))?;
    texts.sort();
    let all: Vec<Series> = texts.iter().filter_map(|(_, text)| parse(text, column)).collect();
    let steps = all.iter().map(Vec::len).max().unwrap_or(0);
    let whole: Vec<Series> = all.into_iter().filter(|series| series.len() == steps).collect();
    if whole.is_empty() {
        bail!("no series of numbers under {}", path.display());
    }
    Ok(whole)
}

fn collect(path: &Path, texts: &mut Vec<(PathBuf, String)>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in path.read_dir()? {
            collect(&entry?.path(), texts)?;
        }
    } else if path.to_string_lossy().ends_with(".tar.gz") {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path)?));
        for entry in archive.entries()? {
            let mut entry = entry?;
            if entry.header().entry_type().is_file() {
                let name = entry.path()?.into_owned();
                let mut text = String::new();
                if entry.read_to_string(&mut text).is_ok() {
                    texts.push((name, text));
                }
            }
        }
    } else if let Ok(text) = std::fs::read_to_string(path) {
        texts.push((path.to_owned(), text));
    }
    Ok(())
}

/// `None`: not a table of numbers. What is no usage (negative, not finite) makes a line none.
fn parse(text: &str, column: usize) -> Option<Series> {
    let line = |line: &str| {
        let value: f64 = line
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|it| !it.is_empty())
            .nth(column)?
            .parse()
            .ok()?;
        (value.is_finite() && value >= 0.0).then_some(value / 100.0)
    };
    let series: Option<Series> = text.lines().filter(|it| !it.trim().is_empty()).map(line).collect();
    series.filter(|series| !series.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_numbers_are_series_and_other_files_are_not() {
        assert_eq!(parse("50 10\n25.0 20\n", 0), Some(vec![0.5, 0.25]));
        assert_eq!(parse("50 10\n25.0 20\n", 1), Some(vec![0.1, 0.2]));
        assert_eq!(parse("50\n25\n", 0), Some(vec![0.5, 0.25]));
        assert_eq!(parse("# About these traces\n", 0), None);
        assert_eq!(parse("50\nNaN\n", 0), None);
        assert_eq!(parse("", 0), None);
    }
}
