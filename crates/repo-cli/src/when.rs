//! Points in time and durations on the command line.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Longest duration, so that a point in time and it can be added: 1,000 years.
const DURATION_MAX_MS: i64 = 1_000 * 366 * 86_400_000;

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

/// Reads a duration such as `36h`, `7d` or `1d12h`, as milliseconds. `0` needs no unit.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let expected = || "expected a duration such as 36h, 7d or 1d12h".to_owned();
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(expected());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (number, after) = rest.split_at(digits.ok_or_else(expected)?);
        let unit_ms = match after.as_bytes().first() {
            Some(b's') => 1_000,
            Some(b'm') => 60_000,
            Some(b'h') => 3_600_000,
            Some(b'd') => 86_400_000,
            Some(b'w') => 7 * 86_400_000,
            _ => return Err(expected()),
        };
        let number: i64 = number.parse().map_err(|_| expected())?;
        let span = number.checked_mul(unit_ms);
        total = span
            .and_then(|span| total.checked_add(span))
            .filter(|total| *total <= DURATION_MAX_MS)
            .ok_or_else(|| "longer than 1,000 years".to_owned())?;
        rest = &after[1..];
    }
    Ok(total)
}

/// Reads a point in time, or a duration before now.
pub(crate) fn past(text: &str) -> Result<i64, String> {
    let now = now_ms();
    parse(text).or_else(|_| match duration(text) {
        Ok(ago) => Ok(now.saturating_sub(ago)),
        Err(_) => Err(
            "expected a time such as \"2026-03-01 10:00:00\", or a duration such as 7d".to_owned(),
        ),
    })
}

/// Milliseconds since 1970, UTC, by the system's clock; for what is shown and compared with dates.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
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
    fn durations_have_units() {
        const HOUR: i64 = 3_600_000;
        for (text, ms) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("90s", Some(90_000)),
            ("5m", Some(300_000)),
            (" 36h ", Some(36 * HOUR)),
            ("1d12h", Some(36 * HOUR)),
            ("2w", Some(14 * 24 * HOUR)),
            ("", None),
            ("24", None),
            ("h", None),
            ("1d12", None),
            ("-1h", None),
            ("1.5h", None),
            ("1y", None),
            ("1\u{e9}", None),
            ("999999999w", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(duration(text).ok(), ms, "{text}");
        }
    }
}
