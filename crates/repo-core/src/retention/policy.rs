//! What a retention policy can say, and how it is written.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A kind of calendar period. Of each one a policy keeps the newest snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// An hour of the day.
    Hour,
    /// A day.
    Day,
    /// A week of ISO 8601: from Monday, in the year that has its Thursday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// All of them, shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// `hourly` and so on.
    #[must_use]
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

/// How many to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepCount {
    /// So many; 0 keeps none, as if it were not asked for.
    Newest(u32),
    /// All.
    Unlimited,
}

impl KeepCount {
    /// Whether it keeps none.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::Newest(0)
    }
}

impl FromStr for KeepCount {
    type Err = &'static str;

    /// Reads a number, `unlimited`, or `-1` for the same.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "unlimited" | "-1" => Ok(Self::Unlimited),
            // `parse` would take a plus sign.
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text
                .parse()
                .map(Self::Newest)
                .map_err(|_| "expected a number or \"unlimited\""),
            _ => Err("expected a number or \"unlimited\""),
        }
    }
}

/// A stretch of time in calendar units, as in `2y5m7d3h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeepSpan {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days, which need not have 24 hours.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

impl KeepSpan {
    /// Whether it has no length, and so keeps nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for KeepSpan {
    type Err = &'static str;

    /// Reads numbers each followed by `y`, `m`, `d` or `h`, each unit once.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a time span such as 2y5m7d3h";
        let mut span = Self::default();
        let mut seen = Vec::with_capacity(4);
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let number: u32 = number.parse().map_err(|_| EXPECTED)?;
            let unit = tail.chars().next().ok_or(EXPECTED)?;
            let field = match unit {
                'y' => &mut span.years,
                'm' => &mut span.months,
                'd' => &mut span.days,
                'h' => &mut span.hours,
                _ => return Err(EXPECTED),
            };
            if seen.contains(&unit) {
                return Err("a time span names a unit twice");
            }
            *field = number;
            seen.push(unit);
            rest = &tail[unit.len_utf8()..];
        }
        if seen.is_empty() {
            return Err(EXPECTED);
        }
        Ok(span)
    }
}

impl Display for KeepSpan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0h");
        }
        let parts = [
            (self.years, 'y'),
            (self.months, 'm'),
            (self.days, 'd'),
            (self.hours, 'h'),
        ];
        for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{number}{unit}")?;
        }
        Ok(())
    }
}

/// Which snapshots of a group are kept: each that any one of these rules keeps.
///
/// Snapshots are looked at from the newest to the oldest by their time. A count of a period keeps
/// the newest snapshot of each of the newest so many periods that have one; periods without a
/// snapshot are not counted. Where the count is not used up, the oldest snapshot is kept as well, so
/// that a group that is younger than its policy keeps its whole history. A span reaches back from
/// the newest snapshot and not from now, so a host that makes no more snapshots loses none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// So many of the newest.
    pub last: Option<KeepCount>,
    /// The newest of each of so many hours.
    pub hourly: Option<KeepCount>,
    /// The newest of each of so many days.
    pub daily: Option<KeepCount>,
    /// The newest of each of so many weeks.
    pub weekly: Option<KeepCount>,
    /// The newest of each of so many months.
    pub monthly: Option<KeepCount>,
    /// The newest of each of so many years.
    pub yearly: Option<KeepCount>,
    /// All within a span.
    pub within: Option<KeepSpan>,
    /// The newest of each hour within a span.
    pub within_hourly: Option<KeepSpan>,
    /// The newest of each day within a span.
    pub within_daily: Option<KeepSpan>,
    /// The newest of each week within a span.
    pub within_weekly: Option<KeepSpan>,
    /// The newest of each month within a span.
    pub within_monthly: Option<KeepSpan>,
    /// The newest of each year within a span.
    pub within_yearly: Option<KeepSpan>,
    /// All that have every tag of one of these lists. An empty list means no snapshot.
    pub tags: Vec<Vec<String>>,
}

impl Policy {
    /// Whether no rule keeps anything: then nothing may be forgotten either.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.keeps_by_time() && self.tags.iter().all(Vec::is_empty)
    }

    /// Whether a rule other than tags keeps something.
    pub(super) fn keeps_by_time(&self) -> bool {
        self.last().is_some()
            || self.within().is_some()
            || Period::ALL
                .iter()
                .any(|period| self.count(*period).is_some() || self.span(*period).is_some())
    }

    pub(super) fn last(&self) -> Option<KeepCount> {
        self.last.filter(|count| !count.is_none())
    }

    pub(super) fn within(&self) -> Option<KeepSpan> {
        self.within.filter(|span| !span.is_zero())
    }

    pub(super) fn count(&self, period: Period) -> Option<KeepCount> {
        let count = match period {
            Period::Hour => self.hourly,
            Period::Day => self.daily,
            Period::Week => self.weekly,
            Period::Month => self.monthly,
            Period::Year => self.yearly,
        };
        count.filter(|count| !count.is_none())
    }

    pub(super) fn span(&self, period: Period) -> Option<KeepSpan> {
        let span = match period {
            Period::Hour => self.within_hourly,
            Period::Day => self.within_daily,
            Period::Week => self.within_weekly,
            Period::Month => self.within_monthly,
            Period::Year => self.within_yearly,
        };
        span.filter(|span| !span.is_zero())
    }
}

/// What snapshots have in common that a policy is applied to together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// The host.
    pub host: bool,
    /// The paths, in any order.
    pub paths: bool,
    /// The tags.
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        Self {
            host: true,
            paths: true,
            tags: false,
        }
    }
}

impl FromStr for GroupBy {
    type Err = &'static str;

    /// Reads any of `host`, `paths` and `tags`, joined by commas; nothing makes one group of all.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut group = Self {
            host: false,
            paths: false,
            tags: false,
        };
        let names = text.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            match name {
                "host" => group.host = true,
                "paths" | "path" => group.paths = true,
                "tags" | "tag" => group.tags = true,
                _ => return Err("expected host, paths or tags, joined by commas"),
            }
        }
        Ok(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(years: u32, months: u32, days: u32, hours: u32) -> KeepSpan {
        KeepSpan {
            years,
            months,
            days,
            hours,
        }
    }

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, read, shown) in [
            ("2y5m7d3h", span(2, 5, 7, 3), "2y5m7d3h"),
            ("3h2y", span(2, 0, 0, 3), "2y3h"),
            ("75d", span(0, 0, 75, 0), "75d"),
            ("0d", span(0, 0, 0, 0), "0h"),
            ("4294967295h", span(0, 0, 0, u32::MAX), "4294967295h"),
        ] {
            assert_eq!(text.parse(), Ok(read), "{text}");
            assert_eq!(read.to_string(), shown);
        }
        for text in [
            "",
            "d",
            "7",
            "7 d",
            "-7d",
            "+7d",
            "7w",
            "7d7d",
            "1.5d",
            "4294967296h",
            "7\u{e4}",
        ] {
            assert!(text.parse::<KeepSpan>().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_numbers_or_unlimited() {
        for (text, read) in [
            ("0", KeepCount::Newest(0)),
            ("7", KeepCount::Newest(7)),
            ("-1", KeepCount::Unlimited),
            ("unlimited", KeepCount::Unlimited),
        ] {
            assert_eq!(text.parse(), Ok(read), "{text}");
        }
        for text in ["", "-2", "+1", "all", "1d", "4294967296"] {
            assert!(text.parse::<KeepCount>().is_err(), "{text}");
        }
    }

    #[test]
    fn groups_are_named() {
        let group = |host, paths, tags| GroupBy { host, paths, tags };
        for (text, read) in [
            ("host,paths", group(true, true, false)),
            ("tags, host", group(true, false, true)),
            ("", group(false, false, false)),
        ] {
            assert_eq!(text.parse(), Ok(read), "{text}");
        }
        assert!("user".parse::<GroupBy>().is_err());
    }

    #[test]
    fn a_policy_that_keeps_nothing_is_empty() {
        assert!(Policy::default().is_empty());
        let nothing = Policy {
            last: Some(KeepCount::Newest(0)),
            daily: Some(KeepCount::Newest(0)),
            within: Some(KeepSpan::default()),
            within_yearly: Some(KeepSpan::default()),
            tags: vec![Vec::new()],
            ..Policy::default()
        };
        assert!(nothing.is_empty());
        for something in [
            Policy {
                yearly: Some(KeepCount::Newest(1)),
                ..Policy::default()
            },
            Policy {
                within_hourly: Some(span(0, 0, 0, 1)),
                ..Policy::default()
            },
            Policy {
                tags: vec![vec!["a".to_owned()]],
                ..Policy::default()
            },
        ] {
            assert!(!something.is_empty());
        }
    }
}
