//! Numbers as texts of few and bounded characters, so that columns stand still while figures move.

/// Widest texts, in characters: of [`cores`], [`bytes`], [`count`], [`duration`] and [`percent`].
pub(super) const CORES_WIDTH: u16 = 5;
pub(super) const BYTES_WIDTH: u16 = 5;
pub(super) const COUNT_WIDTH: u16 = 5;
pub(super) const DURATION_WIDTH: u16 = 5;
pub(super) const PERCENT_WIDTH: u16 = 4;

/// CPU cores: `0.25`, `12.5`, `1234`, `12.3k`.
pub(super) fn cores(cores: f64) -> String {
    match cores {
        _ if cores < 9.995 => format!("{cores:.2}"),
        _ if cores < 99.95 => format!("{cores:.1}"),
        _ if cores < 9_999.5 => format!("{cores:.0}"),
        _ => scaled(cores, 1_000.0, &["", "k", "M", "G"]),
    }
}

/// Bytes, or bytes a second, by powers of 1,024: `0`, `999`, `1.0Ki`, `12.3Mi`, `123Gi`.
pub(super) fn bytes(bytes: f64) -> String {
    scaled(bytes, 1_024.0, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
}

/// How many, or how many a second: `0`, `999`, `1.2k`, `12.3M`. Below ten with a decimal, where it has one.
pub(super) fn count(count: f64) -> String {
    if count < 9.95 && (count - count.round()).abs() >= 0.05 {
        return format!("{count:.1}");
    }
    scaled(count, 1_000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// A duration given in nanoseconds: `0`, `850ns`, `1.2us`, `120ms`, `17s`.
pub(super) fn duration(ns: f64) -> String {
    if ns < 0.5 {
        return "0".to_owned();
    }
    let mut value = ns;
    for unit in ["ns", "us", "ms"] {
        if value < 9.95 && unit != "ns" {
            return format!("{value:.1}{unit}");
        }
        if value < 999.5 {
            return format!("{value:.0}{unit}");
        }
        value /= 1_000.0;
    }
    if value < 9.95 { format!("{value:.1}s") } else { format!("{:.0}s", value.min(9_999.0)) }
}

/// A share of one, in percent: `0.0`, `12.3`, `100`; no more than 9999.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 99.95 { format!("{percent:.1}") } else { format!("{:.0}", percent.min(9_999.0)) }
}

/// How long ago, in whole seconds, then minutes, then hours.
pub(super) fn ago(since: std::time::Duration) -> String {
    match since.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

/// Three digits and the unit that leaves at most three before the point.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value.max(0.0);
    let mut unit = 0;
    // What would be rounded to four digits goes up one unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{value:.0}"),
        (_, ..9.95) => format!("{value:.1}{}", units[unit]),
        _ => format!("{:.0}{}", value.min(999.0), units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_have_a_unit() {
        let all = [
            (0.0, "0"),
            (999.0, "999"),
            (1_000.0, "1.0Ki"),
            (1_024.0, "1.0Ki"),
            (10_240.0, "10Ki"),
            (1_048_575.0, "1.0Mi"),
            (512.0 * 1_048_576.0, "512Mi"),
            (5_368_709_120.0, "5.0Gi"),
        ];
        for (value, text) in all {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn counts_durations_shares_and_cores() {
        for (value, text) in
            [(0.0, "0"), (0.5, "0.5"), (7.0, "7"), (999.4, "999"), (999.6, "1.0k"), (12_345.0, "12k")]
        {
            assert_eq!(count(value), text, "{value}");
        }
        for (value, text) in [
            (0.0, "0"),
            (850.0, "850ns"),
            (1_234.0, "1.2us"),
            (123_456.0, "123us"),
            (9.96e6, "10ms"),
            (17.2e9, "17s"),
        ] {
            assert_eq!(duration(value), text, "{value}");
        }
        for (value, text) in [(0.0, "0.0"), (0.1234, "12.3"), (1.0, "100"), (3.5, "350")] {
            assert_eq!(percent(value), text, "{value}");
        }
        for (value, text) in
            [(0.0, "0.00"), (9.999, "10.0"), (64.0, "64.0"), (123.4, "123"), (12_345.0, "12k")]
        {
            assert_eq!(cores(value), text, "{value}");
        }
    }

    #[test]
    fn no_number_is_wider_than_its_column() {
        for exponent in 0..190 {
            for part in [1.0, 0.9949, 0.99949, 0.5] {
                let value = part * 1.12_f64.powi(exponent);
                let checks = [
                    (bytes(value), BYTES_WIDTH),
                    (count(value), COUNT_WIDTH),
                    (duration(value), DURATION_WIDTH),
                    (percent(value), PERCENT_WIDTH),
                    (cores(value), CORES_WIDTH),
                ];
                for (text, width) in checks {
                    assert!(text.len() <= usize::from(width), "{value}: {text}");
                }
            }
        }
    }
}
