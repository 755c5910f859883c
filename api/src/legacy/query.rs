//! The part of a URL after `?`.

use std::borrow::Cow;

/// Names and values, decoded. Of a name that stands twice the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=2`, without the `?`. Nothing is refused: what does not decode stands for itself.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split(['&', ';']).filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name).into_owned(), decode(value).into_owned())
                })
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// True unless the query names another value: how lists are narrowed to one id.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        self.get(name).is_none_or(|wanted| wanted == value)
    }

    /// A whole number; `default` if none is given or it is not one.
    pub fn number(&self, name: &str, default: usize) -> usize {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
}

/// With `%2F` as `/` and `+` as a space; what is no escape stands for itself.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = &after[2..];
                continue;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Checks a span of time in Mesos' form, such as `100ms`; the error is Mesos' text. Figures are at hand at once, so no
/// reader waits and the span itself is of no use.
pub fn duration(text: &str) -> Result<(), String> {
    const UNITS: [&str; 8] = ["ns", "us", "ms", "secs", "mins", "hrs", "days", "weeks"];
    let bad = |why: String| Err(format!("Invalid timeout '{text}': {why}"));
    let Some(split) = text.find(|c: char| !c.is_ascii_digit() && c != '.') else {
        return bad(format!("Invalid duration '{text}'"));
    };
    let (number, unit) = text.split_at(split);
    if number.parse::<f64>().is_err() {
        bad(format!("Failed to convert '{number}' to number"))
    } else if !UNITS.contains(&unit) {
        bad(format!("Unknown duration unit '{unit}'"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let query = Query::parse("task_id=a%2Fb+c&limit=7&limit=8&jsonp&bad=%zz%4");
        assert_eq!(query.get("task_id"), Some("a/b c"));
        assert_eq!(query.number("limit", 100), 8);
        assert_eq!(query.get("jsonp"), Some(""));
        assert_eq!(query.get("bad"), Some("%zz%4"));
        assert!(query.admits("framework_id", "any") && query.admits("task_id", "a/b c"));
        assert!(!query.admits("task_id", "a"));
        assert_eq!(Query::parse("limit=-1").number("limit", 100), 100);
    }

    #[test]
    fn a_timeout_has_a_unit() {
        assert_eq!(duration("100ms"), Ok(()));
        assert_eq!(duration("1.5secs"), Ok(()));
        for (text, why) in [
            ("5", "Invalid duration '5'"),
            ("x", "Failed to convert '' to number"),
            ("5 years", "Unknown duration unit ' years'"),
        ] {
            assert_eq!(duration(text), Err(format!("Invalid timeout '{text}': {why}")));
        }
    }
}
