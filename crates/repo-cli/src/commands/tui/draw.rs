//! How the screens look: a title, rows, a line about what happened, and the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use repo_core::{Entry, EntryType, SnapshotRef};

use super::keys::folded;
use super::load::Version;
use super::model::{App, Cursor, Screen};
use crate::show;

/// Most lines for the keys: on a screen too narrow for that, what is looked at matters more.
const KEY_LINES_MAX: u16 = 4;

/// Columns from which on times of files are shown: on fewer they would push out names.
const TIMES_WIDTH: u16 = 70;

/// Draws the screen on top.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let help = folded(&app.shown_keys(), usize::from(frame.area().width));
    let help_lines = u16::try_from(help.len()).unwrap_or(KEY_LINES_MAX);
    let places = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(help_lines.min(KEY_LINES_MAX)),
    ]);
    let [title, body, status, keys] = places.areas(frame.area());
    app.page = usize::from(body.height).max(1);
    let (heading, rows) = content(app, body.width >= TIMES_WIDTH);
    let strong = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(heading).style(strong), title);
    frame.render_widget(Paragraph::new(rows), body);
    let line = match &app.prompt {
        Some(prompt) => format!("{}{}_", prompt.what, prompt.text),
        None => app.status.clone(),
    };
    frame.render_widget(Paragraph::new(line), status);
    let help: Vec<Line<'_>> = help.into_iter().map(Line::raw).collect();
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(help).style(reversed), keys);
}

/// The title and the rows of a page, with times of files or without.
fn content(app: &mut App, times: bool) -> (String, Vec<Line<'static>>) {
    let page = app.page;
    let (snapshots, selected, view) = (&app.snapshots, &app.selected, &app.view);
    let id = view
        .as_ref()
        .map_or_else(String::new, |view| show::short(&view.id()));
    match app.screens.last_mut() {
        Some(Screen::Snapshots(cursor)) => {
            let count = show::count(snapshots.len() as u64, "snapshot");
            (count, rows(snapshots, cursor, page, snapshot_row))
        }
        Some(Screen::Directory {
            path,
            entries,
            more,
            cursor,
        }) => {
            let count = show::count(entries.len() as u64, "entry");
            let more = if *more { ", more are not shown" } else { "" };
            let chosen = match selected.len() {
                0 => String::new(),
                count => format!(", {} selected", show::grouped(count as u64)),
            };
            let title = format!("{id}:{}/  {count}{more}{chosen}", show::path(path));
            let row = |entry: &Entry| {
                let full = match path.as_slice() {
                    [] => entry.name.clone(),
                    path => [path, b"/", &entry.name].concat(),
                };
                let directory = entry.kind == EntryType::Directory;
                entry_row(entry, selected.contains(&(full, directory)), times)
            };
            (title, rows(entries, cursor, page, row))
        }
        Some(Screen::Versions {
            path,
            versions,
            cursor,
        }) => {
            let count = show::count(versions.len() as u64, "version");
            let title = format!("{}  {count}", show::path(path));
            (title, rows(versions, cursor, page, version_row))
        }
        Some(Screen::Preview {
            title,
            lines,
            cursor,
        }) => (
            title.clone(),
            rows(lines, cursor, page, |line: &String| line.clone()),
        ),
        None => (String::new(), Vec::new()),
    }
}

/// The rows of a page, that of the cursor marked.
fn rows<T>(
    items: &[T],
    cursor: &mut Cursor,
    page: usize,
    row: impl Fn(&T) -> String,
) -> Vec<Line<'static>> {
    cursor.follow(page);
    let shown = items.iter().enumerate().skip(cursor.top).take(page);
    shown
        .map(|(at, item)| {
            let line = Line::raw(row(item));
            if at == cursor.at {
                line.style(Style::new().add_modifier(Modifier::REVERSED))
            } else {
                line
            }
        })
        .collect()
}

fn snapshot_row(known: &SnapshotRef) -> String {
    let snapshot = &known.snapshot;
    let paths: Vec<String> = snapshot
        .paths
        .iter()
        .map(|path| show::path(&path.0))
        .collect();
    let tags = match known.tags.is_empty() {
        true => String::new(),
        false => format!("  [{}]", show::path(known.tags.join(",").as_bytes())),
    };
    format!(
        "{}  {}  {:<12}  {:>10}  {}{tags}",
        show::short(&snapshot.id()),
        show::local_time(snapshot.time_ms),
        show::path(snapshot.host.as_bytes()),
        show::bytes(snapshot.stats.bytes),
        paths.join(", "),
    )
}

fn entry_row(entry: &Entry, selected: bool, times: bool) -> String {
    let size = match entry.kind {
        EntryType::Directory => entry.totals.unwrap_or_default().bytes,
        _ => entry.size,
    };
    let mut name = show::path(&entry.name);
    if entry.kind == EntryType::Directory {
        name.push('/');
    }
    if let Some(target) = &entry.target {
        name.push_str(" -> ");
        name.push_str(&show::path(target));
    }
    let time = match times {
        true => show::local_time(entry.mtime.seconds.saturating_mul(1000)) + "  ",
        false => String::new(),
    };
    format!(
        "{} {}  {:>10}  {time}{name}",
        if selected { '*' } else { ' ' },
        show::mode(entry.kind, entry.mode),
        show::bytes(size),
    )
}

fn version_row(version: &Version) -> String {
    let (first, last) = version.times;
    let times = match version.count {
        1 => show::local_time(last),
        _ => format!(
            "{} until {}",
            show::local_time(first),
            show::local_time(last)
        ),
    };
    format!(
        "{:>10}  changed {}  in {} of {times}",
        show::bytes(version.entry.size),
        show::local_time(version.entry.mtime.seconds.saturating_mul(1000)),
        show::count(version.count, "snapshot"),
    )
}
