//! Amounts of bytes as Mesos writes and reads them in flags: `512B`, `10KB`, `2GB`; each unit is 1024 of the one before.

const UNITS: [(&str, u32); 5] = [("TB", 40), ("GB", 30), ("MB", 20), ("KB", 10), ("B", 0)];

/// In the largest unit of which it is a whole number.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let fits = |(_, shift): &&(&str, u32)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    let (unit, shift) = UNITS.iter().find(fits).unwrap_or(&("B", 0));
    format!("{}{unit}", bytes >> shift)
}

/// A whole number and a unit; as a clap value parser.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || "expected a whole number and a unit of B, KB, MB, GB, TB (such as '2GB')".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, name) = text.split_at(at);
    let (_, shift) = UNITS.iter().find(|(unit, _)| *unit == name).ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= i64::MAX.cast_unsigned());
    bytes.ok_or_else(|| "out of range (up to 8388607TB)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_as_shown() {
        for (text, bytes) in
            [("0B", 0), ("1B", 1), ("1023B", 1023), ("2GB", 2 << 30), ("1536MB", 3 << 29), ("8TB", 8 << 40)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
            assert_eq!(show_bytes(bytes), text);
        }
        for bad in ["", "2", "GB", "2 GB", "1.5GB", "-1B", "2gb", "9999999999TB", "99999999999999999999B"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
