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

/// A length of time in Mesos' text form: in the largest unit that it reaches or, if it is no whole number of those, in
/// the next smaller one (`5secs`, `15mins`, `1500ms`).
pub fn show_ms(ms: u64) -> String {
    if ms == 0 {
        return "0ns".to_owned();
    }
    const LARGEST_FIRST: [(u64, &str); 6] = [
        (604_800_000, "weeks"),
        (86_400_000, "days"),
        (3_600_000, "hrs"),
        (60_000, "mins"),
        (1000, "secs"),
        (1, "ms"),
    ];
    let reached = LARGEST_FIRST.iter().position(|(unit, _)| ms >= *unit).unwrap_or(LARGEST_FIRST.len() - 1);
    let (unit, name) = LARGEST_FIRST[reached];
    match LARGEST_FIRST.get(reached + 1) {
        Some((smaller, smaller_name)) if !ms.is_multiple_of(unit) && ms.is_multiple_of(*smaller) => {
            format!("{}{smaller_name}", ms / smaller)
        }
        // A fraction, with the 15 digits that a double holds for sure.
        _ if !ms.is_multiple_of(unit) => {
            let value = ms as f64 / unit as f64;
            let decimals = 14 - value.log10().floor() as usize;
            format!("{}{name}", format!("{value:.decimals$}").trim_end_matches('0'))
        }
        _ => format!("{}{name}", ms / unit),
    }
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
    fn durations_read_as_mesos_writes_them() {
        let expect = [
            (0, "0ns"),
            (999, "999ms"),
            (1500, "1500ms"),
            (5000, "5secs"),
            (90_000, "90secs"),
            (90_500, "1.50833333333333mins"),
            (900_000, "15mins"),
            (5_400_000, "90mins"),
            (864_000_000, "10days"),
            (1_209_600_000, "2weeks"),
        ];
        for (ms, text) in expect {
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
