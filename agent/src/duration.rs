//! Lengths of time as Mesos writes and reads them in flags, environment and messages: `500ms`, `5secs`, `1mins`, `2days`.

/// Nanoseconds of each unit, smallest first.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("secs", 1_000_000_000),
    ("mins", 60_000_000_000),
    ("hrs", 3_600_000_000_000),
    ("days", 86_400_000_000_000),
    ("weeks", 604_800_000_000_000),
];

/// In the largest unit that shows it without a fraction: `1mins`, but `90secs`.
pub fn show_ns(ns: u64) -> String {
    let (name, unit) =
        UNITS.iter().rev().find(|(_, unit)| ns >= *unit && ns.is_multiple_of(*unit)).unwrap_or(&UNITS[0]);
    format!("{}{name}", ns / unit)
}

/// See [`show_ns`].
pub fn show_ms(ms: u64) -> String {
    show_ns(ms.saturating_mul(1_000_000))
}

/// A number, decimals allowed, and a unit. Milliseconds, rounded down; as a clap value parser.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    parse_ns(text).map(|ns| ns / 1_000_000)
}

/// See [`parse_ms`].
pub fn parse_ns(text: &str) -> Result<u64, String> {
    let names = || UNITS.map(|(name, _)| name).join(", ");
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, name) = text.split_at(at);
    let Some((_, unit)) = UNITS.iter().find(|(unit_name, _)| *unit_name == name) else {
        return Err(format!("expected a number and a unit of {} (such as '5secs')", names()));
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "expected a number before the unit (such as '5secs')".to_owned())?;
    // 2^63 ns are 292 years.
    let ns = number * *unit as f64;
    if (0.0..9.2e18).contains(&ns) { Ok(ns as u64) } else { Err("out of range (0 to 292 years)".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_mesos_shows_them() {
        for (ms, text) in
            [(5_000, "5secs"), (60_000, "1mins"), (90_000, "90secs"), (1_500, "1500ms"), (0, "0ns")]
        {
            assert_eq!(show_ms(ms), text);
        }
    }

    #[test]
    fn read_as_shown_and_with_decimals() {
        for (text, ms) in
            [("5secs", 5_000), ("1.5mins", 90_000), ("250ms", 250), ("1weeks", 604_800_000), ("0ns", 0)]
        {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
        for bad in ["", "5", "secs", "-1secs", "5 seconds", "1e30weeks", "NaNsecs"] {
            assert!(parse_ms(bad).is_err(), "{bad}");
        }
    }
}
