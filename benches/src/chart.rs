//! A chart: for each piece of work a group of bars, one a set, as long as `repo` takes in units of a peer.
//! Plain SVG on white, written out by hand; a tick on each bar marks the target.

use std::fmt::Write;

use crate::report::against_best;
use crate::run::Results;
use crate::target::Row;

const WIDTH: f64 = 900.0;
/// Where bars begin, and how wide a letter of what stands before them is.
const LEFT_MIN: f64 = 190.0;
const LETTER: f64 = 6.2;
const RIGHT: f64 = 60.0;
const TOP: f64 = 84.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;
/// Sets that have a promise, with their colours: they differ in lightness too.
const SETS: [(&str, &str); 3] = [
    ("source", "#1b4f72"),
    ("postgres", "#2e9e6b"),
    ("lakehouse", "#e0a030"),
];
/// A bar that would be longer is cut here, and its label tells the value.
const RATIO_MAX: f64 = 2.0;

/// What is drawn.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// Whom the ratio 1 stands for.
    pub(crate) peer: &'static str,
    /// Sets and their colours, when there are several.
    pub(crate) sets: Vec<(&'static str, &'static str)>,
    /// Work, and its bars from top to bottom.
    pub(crate) groups: Vec<(String, Vec<Bar>)>,
}

/// One bar.
pub(crate) struct Bar {
    pub(crate) ratio: f64,
    pub(crate) target: Option<f64>,
    pub(crate) colour: &'static str,
}

/// Colour of bars where there is one set.
pub(crate) const COLOUR: &str = SETS[1].1;

/// Where a ratio lies on the page, and how far the page reaches.
struct Axis {
    start: f64,
    end: f64,
}

impl Axis {
    fn at(&self, ratio: f64) -> f64 {
        self.start + (WIDTH - self.start - RIGHT) * ratio.min(self.end) / self.end
    }
}

/// The chart of all rows that `repo` has a ratio for.
pub(crate) fn of_results(results: &Results) -> Chart {
    let groups = Row::ALL
        .into_iter()
        .map(|row| (row.name().to_owned(), bars(results, row)));
    Chart {
        title: "repo in units of the best peer on each row (shorter is better)".to_owned(),
        peer: "best peer",
        sets: SETS.to_vec(),
        groups: groups.collect(),
    }
}

fn bars(results: &Results, row: Row) -> Vec<Bar> {
    let bar = |&(set, colour): &(&'static str, &'static str)| {
        Some(Bar {
            ratio: against_best(results, set, row)?,
            target: row.target(set),
            colour,
        })
    };
    SETS.iter().filter_map(bar).collect()
}

impl Chart {
    /// The chart as a picture; groups without bars are left out.
    pub(crate) fn svg(&self) -> String {
        let groups = || self.groups.iter().filter(|(_, bars)| !bars.is_empty());
        let bars = groups().flat_map(|(_, bars)| bars);
        let longest = bars.map(|bar| bar.ratio).fold(1.0, f64::max);
        let letters = groups().map(|(work, _)| crate::stats::float(work.chars().count() as u64));
        let axis = Axis {
            start: letters.fold(LEFT_MIN, |start, letters| {
                start.max(letters * LETTER + 30.0)
            }),
            end: (longest * 1.1).min(RATIO_MAX),
        };
        let mut body = String::new();
        let mut y = TOP;
        for (work, bars) in groups() {
            let height = bars.iter().map(|_| BAR).sum::<f64>();
            text(
                &mut body,
                (axis.start - 12.0, y + height / 2.0 + 4.0),
                "end",
                work,
            );
            for bar in bars {
                draw(&mut body, &axis, y, bar);
                y += BAR;
            }
            y += GAP;
        }
        let frame = self.frame(&axis, y);
        let height = y + 34.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\" \
             aria-label=\"repo in units of {}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{frame}{body}</svg>\n",
            self.peer
        )
    }
}

fn draw(body: &mut String, axis: &Axis, y: f64, bar: &Bar) {
    let end = axis.at(bar.ratio);
    let (start, length, thick) = (axis.start, end - axis.start, BAR - 2.0);
    put(
        body,
        format_args!(
            "<rect x=\"{start}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{thick}\" fill=\"{}\"/>\n",
            bar.colour
        ),
    );
    let mut label = end + 5.0;
    if let Some(target) = bar.target {
        let x = axis.at(target);
        let (from, to) = (y - 1.0, y + BAR - 1.0);
        put(
            body,
            format_args!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\" stroke=\"#c0392b\" stroke-width=\"2\"/>\n"
            ),
        );
        // The label steps over a tick that stands just behind the bar.
        if (label - 4.0..label + 34.0).contains(&x) {
            label = x + 5.0;
        }
    }
    text(
        body,
        (label, y + BAR - 3.5),
        "start",
        &format!("{:.2}x", bar.ratio),
    );
}

impl Chart {
    /// Title, legend, grid and the line of the peer.
    fn frame(&self, axis: &Axis, bottom: f64) -> String {
        let mut out = String::new();
        put(
            &mut out,
            format_args!(
                "<text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"bold\" fill=\"#222222\">{}</text>\n",
                self.title
            ),
        );
        let mut x = axis.start;
        for (set, colour) in &self.sets {
            put(
                &mut out,
                format_args!(
                    "<rect x=\"{x}\" y=\"41\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n"
                ),
            );
            text(&mut out, (x + 18.0, 51.0), "start", set);
            x += 110.0;
        }
        put(
            &mut out,
            format_args!(
                "<line x1=\"{x}\" x2=\"{x}\" y1=\"40\" y2=\"54\" stroke=\"#c0392b\" stroke-width=\"2\"/>\n"
            ),
        );
        text(&mut out, (x + 8.0, 51.0), "start", "target");
        let (top, base) = (TOP - 8.0, bottom - GAP + 6.0);
        for step in 0..=8_u8 {
            let ratio = f64::from(step) / 4.0;
            if ratio > axis.end {
                break;
            }
            let at = axis.at(ratio);
            let (colour, dash) = if step == 4 {
                ("#222222", "5 3")
            } else {
                ("#dddddd", "none")
            };
            put(
                &mut out,
                format_args!(
                    "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top:.1}\" y2=\"{base:.1}\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\"/>\n"
                ),
            );
            let name = if step == 4 {
                self.peer.to_owned()
            } else {
                format!("{ratio}x")
            };
            text(&mut out, (at, base + 16.0), "middle", &name);
        }
        out
    }
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    put(
        out,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222222\">{words}</text>\n"
        ),
    );
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_a_bar_and_its_target_for_every_ratio() {
        let drawn = of_results(&crate::report::tests::example()).svg();
        // Full, incremental, stored and added have values on the one set of the example.
        assert_eq!(drawn.matches("fill=\"#1b4f72\"").count(), 1 + 4);
        assert_eq!(drawn.matches("stroke=\"#c0392b\"").count(), 1 + 4);
        assert!(drawn.contains(">0.30x<") && drawn.contains(">full snapshot<"));
        assert_eq!(
            drawn.matches("<text").count(),
            drawn.matches("</text>").count()
        );
    }
}
