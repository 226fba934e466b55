//! The Markdown table: medians of every tool, `repo` as a ratio to the best peer, targets met or missed.

use std::fmt::Write;

use crate::data::Set;
use crate::run::Results;
use crate::stats::{float, least, median, ratio};
use crate::target::{PEAK_BYTES_MAX, Row, of};
use crate::tool::{Step, Tool};

const STEPS: [Step; 7] = [
    Step::Init,
    Step::Full,
    Step::Unchanged,
    Step::Incremental,
    Step::Restore,
    Step::RestoreInPlace,
    Step::Verify,
];

/// The whole report.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from("# Benchmarks\n\n");
    heading(&mut text, results);
    let mut cases: Vec<(&str, &str)> = Vec::new();
    for record in &results.records {
        let case = (record.set.as_str(), record.case.as_str());
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    let (rewrites, whole): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .partition(|(set, _)| *set == Set::ParquetRewrites.name());
    for (_, case) in whole {
        section(&mut text, results, case);
    }
    if !rewrites.is_empty() {
        rewritten(&mut text, results, &rewrites);
    }
    remarks(&mut text, "Failures", &results.failures);
    remarks(&mut text, "Notes", &results.notes);
    text
}

fn heading(text: &mut String, results: &Results) {
    let machine = &results.machine;
    let runs = results
        .records
        .iter()
        .map(|record| record.run + 1)
        .max()
        .unwrap_or(0);
    let versions: Vec<_> = results
        .versions
        .iter()
        .map(|(tool, said)| format!("{tool} ({said})"))
        .collect();
    put(
        text,
        format_args!("{} cores of {}, ", machine.cores, machine.processor),
    );
    put(
        text,
        format_args!("{} GB, Linux {}. ", machine.memory_gb, machine.kernel),
    );
    put(
        text,
        format_args!(
            "Medians of {runs} run(s), page cache warm for all. Tools: {}.\n\n",
            versions.join(", ")
        ),
    );
    text.push_str(
        "Made by `cargo run --release -p repo-benches -- run --data DIR --work DIR --peers DIR`.\n",
    );
    if Tool::ALL
        .into_iter()
        .any(|tool| tool == Tool::Repo && present(results, None, tool))
    {
        text.push_str("\n![ratio to the best peer](chart.svg)\n");
    }
}

/// The tables of one set.
fn section(text: &mut String, results: &Results, case: &str) {
    put(text, format_args!("\n## {case}\n\n"));
    if let Some(size) = results.sizes.get(case) {
        let (before, after) = (
            megabytes(float(size.bytes)),
            megabytes(float(size.bytes_after)),
        );
        put(
            text,
            format_args!(
                "{} files, {before} before and {after} after the change.\n\n",
                size.files
            ),
        );
    }
    let tools = tools_of(results, case);
    table_head(text, "wall clock, stored bytes", &tools);
    for row in Row::ALL {
        ratio_row(text, results, (case, row), row.name(), &tools);
    }
    text.push_str("\n| processor time, peak memory |");
    for tool in &tools {
        put(text, format_args!(" {tool} |"));
    }
    put(
        text,
        format_args!("\n|---|{}\n", "---|".repeat(tools.len())),
    );
    for step in STEPS {
        put(text, format_args!("| {} |", step.name()));
        for &tool in &tools {
            let records: Vec<_> = of(results, case, tool)
                .filter(|record| record.step == step)
                .collect();
            let cpu = median(
                &records
                    .iter()
                    .map(|record| record.cpu_s)
                    .collect::<Vec<_>>(),
            );
            let peak = median(
                &records
                    .iter()
                    .map(|record| float(record.peak_bytes))
                    .collect::<Vec<_>>(),
            );
            match cpu.zip(peak) {
                Some((cpu, peak)) => put(text, format_args!(" {cpu:.2} s, {} |", megabytes(peak))),
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    own_limits(text, results, case);
}

/// What `repo` promises about itself, whatever the peers do.
fn own_limits(text: &mut String, results: &Results, case: &str) {
    let peak = of(results, case, Tool::Repo).max_by_key(|record| record.peak_bytes);
    let Some(peak) = peak else { return };
    let bytes = float(peak.peak_bytes);
    put(
        text,
        format_args!(
            "\nPeak memory of `repo`: at most {} ({}), target {}: {}.",
            megabytes(bytes),
            peak.step.name(),
            megabytes(PEAK_BYTES_MAX),
            verdict(bytes <= PEAK_BYTES_MAX)
        ),
    );
    let full = of(results, case, Tool::Repo).find(|record| record.step == Step::Full);
    if let Some((full, size)) = full.zip(results.sizes.get(case)) {
        let share = ratio(float(full.index_bytes), float(size.bytes)).unwrap_or(0.0) * 100.0;
        let index = megabytes(float(full.index_bytes));
        put(
            text,
            format_args!(" Its index after full: {index}, {share:.3} % of the source.\n"),
        );
    }
}

/// The table of bytes that rewritten Parquet files add.
fn rewritten(text: &mut String, results: &Results, cases: &[(&str, &str)]) {
    let mut tools: Vec<Tool> = cases
        .iter()
        .flat_map(|(_, case)| tools_of(results, case))
        .collect();
    tools.sort_unstable();
    tools.dedup();
    text.push_str("\n## parquet-rewrites\n\nBytes that a rewrite of the same rows adds to the repository.\n\n");
    table_head(text, "added bytes", &tools);
    for (_, case) in cases {
        ratio_row(text, results, (case, Row::Added), case, &tools);
    }
}

fn table_head(text: &mut String, title: &str, tools: &[Tool]) {
    put(text, format_args!("| {title} |"));
    for tool in tools {
        put(text, format_args!(" {tool} |"));
    }
    put(
        text,
        format_args!(
            " ratio | target |\n|---|{}---|---|\n",
            "---:|".repeat(tools.len())
        ),
    );
}

/// One row: each tool's median, the best peer's in bold, `repo` against it.
fn ratio_row(
    text: &mut String,
    results: &Results,
    (case, row): (&str, Row),
    name: &str,
    tools: &[Tool],
) {
    let value = |tool| row.value(results, case, tool);
    let best = best_peer(results, case, row);
    put(text, format_args!("| {name} |"));
    for &tool in tools {
        match value(tool) {
            None => text.push_str(" |"),
            Some(found) if tool != Tool::Repo && Some(found) == best => {
                put(text, format_args!(" **{}** |", quantity(row, found)));
            }
            Some(found) => put(text, format_args!(" {} |", quantity(row, found))),
        }
    }
    let reached = against_best(results, case, row);
    match reached {
        Some(reached) => put(text, format_args!(" {reached:.2}x |")),
        None => text.push_str(" |"),
    }
    match (row.target(case), best, reached) {
        (Some(target), _, Some(reached)) => {
            put(
                text,
                format_args!(" {target}x: {} |\n", verdict(reached <= target)),
            );
        }
        (Some(target), Some(best), None) => {
            put(
                text,
                format_args!(" {target}x = {} |\n", quantity(row, target * best)),
            );
        }
        _ => text.push_str(" |\n"),
    }
}

/// The least value among the peers.
pub(crate) fn best_peer(results: &Results, case: &str, row: Row) -> Option<f64> {
    let peers = Tool::ALL.into_iter().filter(|tool| *tool != Tool::Repo);
    least(peers.filter_map(|tool| row.value(results, case, tool)))
}

/// `repo` in units of the best peer.
pub(crate) fn against_best(results: &Results, case: &str, row: Row) -> Option<f64> {
    ratio(
        row.value(results, case, Tool::Repo)?,
        best_peer(results, case, row)?,
    )
}

fn tools_of(results: &Results, case: &str) -> Vec<Tool> {
    Tool::ALL
        .into_iter()
        .filter(|tool| present(results, Some(case), *tool))
        .collect()
}

fn present(results: &Results, case: Option<&str>, tool: Tool) -> bool {
    results
        .records
        .iter()
        .any(|record| record.tool == tool && case.is_none_or(|case| record.case == case))
}

fn remarks(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    put(text, format_args!("\n## {title}\n\n"));
    for line in lines {
        put(text, format_args!("- {line}\n"));
    }
}

/// Whether a target is met, as tables say it.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

fn quantity(row: Row, value: f64) -> String {
    match row {
        Row::Time(_) => format!("{value:.2} s"),
        Row::Stored | Row::Added => megabytes(value),
    }
}

/// Megabytes, with more digits when there are few.
fn megabytes(bytes: f64) -> String {
    let amount = bytes / 1e6;
    if amount.abs() >= 100.0 {
        format!("{amount:.0} MB")
    } else {
        format!("{amount:.2} MB")
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes any text");
}

#[cfg(test)]
pub(crate) mod tests;
