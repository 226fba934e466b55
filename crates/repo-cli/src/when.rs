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
}
