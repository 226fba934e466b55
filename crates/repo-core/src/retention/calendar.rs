//! The calendar that policies go by: a time zone, and what counts as the future.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::clock::now_ms;
use crate::retention::policy::{KeepSpan, Period};

/// The calendar that policies go by.
///
/// Hours, days and longer periods are those of one time zone for all snapshots. The present is only
/// used to recognise snapshots dated later; see [`plan_forget`](super::plan_forget).
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
    now_ms: i64,
}

impl Calendar {
    /// The calendar of this system: its time zone, and the present by its clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(TimeZone::system(), now_ms())
    }

    /// The calendar of UTC at `now_ms`, in milliseconds since 1970.
    #[must_use]
    pub fn utc(now_ms: i64) -> Self {
        Self::new(TimeZone::UTC, now_ms)
    }

    pub(super) fn new(zone: TimeZone, now_ms: i64) -> Self {
        Self { zone, now_ms }
    }

    pub(super) fn is_future(&self, time_ms: i64) -> bool {
        time_ms > self.now_ms
    }

    /// A number for the period a time is in: equal in one period, and greater in each later one.
    pub(super) fn bucket(&self, period: Period, time_ms: i64) -> i64 {
        let time = timestamp(time_ms);
        if period == Period::Hour {
            // The start of the hour as a point in time: the hour that is repeated when summer time
            // ends is two hours.
            let offset = i64::from(self.zone.to_offset(time).seconds());
            return (time.as_second() + offset).div_euclid(3600) * 3600 - offset;
        }
        let date = self.zone.to_datetime(time).date();
        let year = i64::from(date.year());
        match period {
            Period::Hour | Period::Day => year * 1000 + i64::from(date.day_of_year()),
            Period::Week => {
                let week = date.iso_week_date();
                i64::from(week.year()) * 100 + i64::from(week.week())
            }
            Period::Month => year * 100 + i64::from(date.month()),
            Period::Year => year,
        }
    }

    /// The time that lies `span` before `time_ms`. Years and months that have no such day end on
    /// their last; what is before the calendar begins is the begin of time.
    pub(super) fn before(&self, time_ms: i64, span: KeepSpan) -> i64 {
        let earlier = || -> Result<Timestamp, jiff::Error> {
            let dates = Span::new()
                .try_years(span.years)?
                .try_months(span.months)?
                .try_days(span.days)?;
            let hours = Span::new().try_hours(span.hours)?;
            let zoned = timestamp(time_ms).to_zoned(self.zone.clone());
            zoned.checked_sub(dates)?.timestamp().checked_sub(hours)
        };
        earlier().map_or(i64::MIN, Timestamp::as_millisecond)
    }
}

/// The point in time; one out of the calendar's range is its nearest end.
fn timestamp(time_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(time_ms).unwrap_or(if time_ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        let time: Timestamp = text.parse().expect("a time");
        time.as_millisecond()
    }

    /// Central European rules.
    fn europe() -> Calendar {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        Calendar::new(zone, i64::MAX)
    }

    #[test]
    fn periods_have_their_first_and_last_moment() {
        let utc = Calendar::utc(i64::MAX);
        for (period, last, first) in [
            (
                Period::Hour,
                "2026-03-01T10:59:59.999Z",
                "2026-03-01T11:00:00Z",
            ),
            (Period::Day, "2024-02-28T23:59:59Z", "2024-02-29T00:00:00Z"),
            (Period::Day, "2023-12-31T23:59:59Z", "2024-01-01T00:00:00Z"),
            (Period::Week, "2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z"),
            (
                Period::Month,
                "2026-02-28T23:59:59Z",
                "2026-03-01T00:00:00Z",
            ),
            (Period::Year, "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
            (Period::Hour, "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
        ] {
            let (before, after) = (utc.bucket(period, ms(last)), utc.bucket(period, ms(first)));
            assert!(before < after, "{period:?} {last}");
            let second_before = utc.bucket(period, ms(last) - 1000);
            assert_eq!(before, second_before, "{period:?} {last}");
        }
    }

    #[test]
    fn a_week_belongs_to_the_year_of_its_thursday() {
        let utc = Calendar::utc(i64::MAX);
        let week = |text| utc.bucket(Period::Week, ms(text));
        assert_eq!(week("2024-12-30T00:00:00Z"), 202_501);
        assert_eq!(week("2025-01-05T23:00:00Z"), 202_501);
        assert_eq!(week("2027-01-03T12:00:00Z"), 202_653);
        assert!(week("2027-01-04T00:00:00Z") > week("2027-01-03T23:59:59Z"));
    }

    #[test]
    fn days_are_those_of_the_zone_and_the_repeated_hour_is_two() {
        let europe = europe();
        let day = |text| europe.bucket(Period::Day, ms(text));
        assert!(day("2026-01-31T22:59:59Z") < day("2026-01-31T23:00:00Z"));
        // A day of 23 hours and one of 25.
        assert_eq!(day("2026-03-28T23:00:00Z"), day("2026-03-29T21:59:59Z"));
        assert_eq!(day("2026-10-24T22:00:00Z"), day("2026-10-25T22:59:59Z"));
        let hour = |text| europe.bucket(Period::Hour, ms(text));
        let (summer, winter) = (hour("2026-10-25T00:30:00Z"), hour("2026-10-25T01:30:00Z"));
        assert!(summer < winter);
        assert!(winter < hour("2026-10-25T02:30:00Z"));
    }

    #[test]
    fn spans_go_back_by_the_calendar() {
        let span = |text: &str| text.parse().expect("a span");
        let utc = Calendar::utc(i64::MAX);
        for (from, text, to) in [
            ("2026-03-31T12:00:00Z", "1m", "2026-02-28T12:00:00Z"),
            ("2024-02-29T12:00:00Z", "1y", "2023-02-28T12:00:00Z"),
            ("2026-03-01T01:00:00Z", "1d3h", "2026-02-27T22:00:00Z"),
            ("2026-03-31T12:00:00Z", "2y1m1d", "2024-02-28T12:00:00Z"),
        ] {
            assert_eq!(utc.before(ms(from), span(text)), ms(to), "{from} {text}");
        }
        // The day before keeps the time of day, though one of its hours is missing.
        let noon = ms("2026-03-29T10:00:00Z");
        assert_eq!(
            europe().before(noon, span("1d")),
            ms("2026-03-28T11:00:00Z")
        );
        assert_eq!(
            europe().before(noon, span("24h")),
            ms("2026-03-28T10:00:00Z")
        );
    }

    #[test]
    fn times_out_of_range_are_no_panic() {
        let endless = KeepSpan {
            years: u32::MAX,
            months: u32::MAX,
            days: u32::MAX,
            hours: u32::MAX,
        };
        let year = KeepSpan {
            years: 1,
            ..KeepSpan::default()
        };
        for calendar in [Calendar::utc(0), europe()] {
            assert_eq!(calendar.before(0, endless), i64::MIN);
            assert_eq!(calendar.before(i64::MIN, year), i64::MIN);
            for period in Period::ALL {
                let buckets = [i64::MIN, 0, i64::MAX].map(|at| calendar.bucket(period, at));
                assert!(buckets.is_sorted(), "{period:?}");
            }
        }
    }
}
