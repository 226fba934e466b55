//! Growth over time: what the newest snapshots hold together, and what was stored for all of them.
//! Plain SVG on white, written out by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use repo_core::PathBytes;

use crate::show;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 50.0;
/// Lines across the page.
const GRID: u32 = 4;
/// Both lines with their colours, which differ in lightness too.
const LINES: [(&str, &str); 2] = [
    ("files of the newest snapshots", "#e0a030"),
    ("stored for all snapshots", "#1b4f72"),
];

/// One snapshot.
pub(super) struct Point {
    pub(super) time_ms: i64,
    pub(super) source: (String, Vec<PathBytes>),
    /// Size of its files.
    pub(super) bytes: u64,
    /// Bytes stored for it and all before it.
    pub(super) stored: u64,
}

/// The chart of snapshots, oldest first.
pub(super) fn svg(points: &[Point]) -> String {
    let mut newest = BTreeMap::new();
    let rows: Vec<(i64, [u64; 2])> = points
        .iter()
        .map(|point| {
            newest.insert(&point.source, point.bytes);
            (point.time_ms, [newest.values().sum(), point.stored])
        })
        .collect();
    let axes = Axes::over(&rows);
    let mut body = frame(&axes);
    for (at, (name, colour)) in LINES.iter().enumerate() {
        let mut path = String::new();
        let mut height = None;
        for (time_ms, values) in &rows {
            let (x, y) = (axes.x(*time_ms), axes.y(values[at]));
            // A step: nothing changes between two snapshots.
            let _infallible = match height {
                None => write!(path, "M{x:.1},{y:.1}"),
                Some(_) => write!(path, "H{x:.1}V{y:.1}"),
            };
            height = Some(y);
        }
        let legend = LEFT + 300.0 * f64::from(u32::try_from(at).unwrap_or(0));
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            body,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <rect x=\"{legend}\" y=\"22\" width=\"14\" height=\"4\" fill=\"{colour}\"/>\n\
             <text x=\"{}\" y=\"28\">{name}</text>",
            legend + 20.0,
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\" \
         aria-label=\"growth of the repository\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Where times and sizes lie on the page.
struct Axes {
    first_ms: i64,
    last_ms: i64,
    most: u64,
}

impl Axes {
    fn over(rows: &[(i64, [u64; 2])]) -> Self {
        let most = rows.iter().flat_map(|(_, values)| values).max();
        Self {
            first_ms: rows.first().map_or(0, |row| row.0),
            last_ms: rows.last().map_or(0, |row| row.0),
            most: most.copied().unwrap_or(0).max(1),
        }
    }

    fn x(&self, time_ms: i64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT)
            * share(
                time_ms.abs_diff(self.first_ms),
                self.last_ms.abs_diff(self.first_ms),
            )
    }

    fn y(&self, bytes: u64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share(bytes, self.most)
    }
}

/// A part of a whole, from 0 to 1, to a millionth.
fn share(part: u64, whole: u64) -> f64 {
    let millionths = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    f64::from(u32::try_from(millionths).unwrap_or(1_000_000)) / 1e6
}

fn frame(axes: &Axes) -> String {
    let mut text = String::new();
    let end = WIDTH - RIGHT;
    for line in 0..=GRID {
        let bytes = u128::from(axes.most) * u128::from(line) / u128::from(GRID);
        let bytes = u64::try_from(bytes).unwrap_or(axes.most);
        let y = axes.y(bytes);
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            text,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{end}\" y2=\"{y:.1}\" stroke=\"#d8d8d8\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            show::bytes(bytes),
        );
    }
    for (time_ms, anchor, x) in [(axes.first_ms, "start", LEFT), (axes.last_ms, "end", end)] {
        let _infallible = writeln!(
            text,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - BOTTOM + 22.0,
            show::local_time(time_ms),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(time_ms: i64, host: &str, bytes: u64, stored: u64) -> Point {
        Point {
            time_ms,
            source: (host.to_owned(), Vec::new()),
            bytes,
            stored,
        }
    }

    #[test]
    fn lines_rise_with_what_is_held_and_stored() {
        // Two hosts of 100 bytes each; the second snapshot of the first one adds nothing to hold.
        let points = [
            point(0, "a", 100, 50),
            point(1000, "b", 100, 80),
            point(2000, "a", 100, 200),
        ];
        let drawn = svg(&points);
        let paths: Vec<&str> = drawn
            .lines()
            .filter(|line| line.starts_with("<path"))
            .collect();
        assert_eq!(paths.len(), 2);
        let (low, high) = (HEIGHT - BOTTOM, TOP);
        let half = (low + high) / 2.0;
        assert!(
            paths[0].contains(&format!(
                "d=\"M90.0,{half:.1}H480.0V{high:.1}H870.0V{high:.1}\""
            )),
            "{}",
            paths[0]
        );
        assert!(
            paths[1].contains(&format!("H870.0V{high:.1}\"")),
            "{}",
            paths[1]
        );
    }

    #[test]
    fn an_empty_repository_has_a_chart() {
        assert!(svg(&[]).ends_with("</svg>\n"));
        assert!(svg(&[point(5, "a", 0, 0)]).contains("M90.0,310.0"));
    }
}
