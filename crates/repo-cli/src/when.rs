//! Points in time on the command line.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Reads RFC 3339, or a local `YYYY-MM-DD HH:MM:SS`, as milliseconds since 1970, UTC.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    parse_in(text, TimeZone::system())
}

fn parse_in(text: &str, zone: TimeZone) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let expected = || "expected RFC 3339 or \"YYYY-MM-DD HH:MM:SS\"".to_owned();
    let local: DateTime = text.parse().map_err(|_| expected())?;
    let zoned = local.to_zoned(zone).map_err(|_| expected())?;
    Ok(zoned.timestamp().as_millisecond())
}

/// Reads a span of time such as `30d`, `1h` or `90m`, in milliseconds.
pub(crate) fn span(text: &str) -> Result<u64, String> {
    let expected = || "expected a number and s, m, h, d or w".to_owned();
    let text = text.trim();
    let unit = text.chars().next_back().ok_or_else(expected)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    number
        .checked_mul(seconds * 1000)
        .ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_local() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (text, ms) in [
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("1970-01-01T02:00:01.5+02:00", Some(1500)),
            ("1970-01-01 02:00:01", Some(1000)),
            ("1970-01-01T02:00:01", Some(1000)),
            ("1970-01-01 02:00", Some(0)),
            ("1969-12-31T23:59:59Z", Some(-1000)),
            ("2026-02-30 00:00:00", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse_in(text, zone.clone()).ok(), ms, "{text}");
        }
    }

    #[test]
    fn spans_have_one_unit() {
        for (text, ms) in [
            ("30d", Some(30 * 86_400_000)),
            ("1h", Some(3_600_000)),
            ("90m", Some(5_400_000)),
            ("2w", Some(14 * 86_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("d", None),
            ("5", None),
            ("-1d", None),
            ("1h30m", None),
            ("1\u{e9}", None),
            ("99999999999999999999s", None),
            ("18446744073709551615w", None),
        ] {
            assert_eq!(span(text).ok(), ms, "{text}");
        }
    }
}
