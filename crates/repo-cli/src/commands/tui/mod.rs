//! `repo tui`: look around in snapshots, and restore what is selected.
//!
//! [`model`] is what is shown, [`keys`] what keys do to it, [`load`] what is read for that, [`draw`] how it
//! looks. This module owns the terminal: raw and on its other screen while the program runs, and as it
//! was afterwards, whichever way the program ends.

mod draw;
mod job;
mod keys;
mod load;
mod model;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::runtime::Handle;

use self::load::Loader;
use self::model::App;
use crate::context::{Cancel, Context};
use crate::exit::{Exit, Failure};
use crate::select::Filter;

/// How often what is not a key is looked at: a signal, and how far a restore is.
const TICK: Duration = Duration::from_millis(100);

/// Arguments of `tui`.
#[derive(Debug, Args)]
#[command(after_help = "The keys of each screen are shown at its foot.")]
pub(crate) struct TuiArgs {
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: TuiArgs) -> Result<Exit, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::failed("the screens need a terminal")
            .hint("`repo ls` and `repo find` write lines"));
    }
    let repository = context.open_at(args.at).await?;
    let mut snapshots = repository.snapshots();
    snapshots.retain(|known| args.filter.matches(known));
    snapshots.sort_by_key(|known| std::cmp::Reverse(known.snapshot.time_ms));
    let loader = Loader::new(repository, Handle::current());
    let mut app = App::new(loader, snapshots);
    context.cancel.end_by_itself();
    let cancel = context.cancel.clone();
    // When a second signal cuts it short, the terminal is given back all the same.
    let _given_back = GiveBack;
    let shown = tokio::task::spawn_blocking(move || show(&mut app, &cancel));
    match shown.await {
        Ok(ended) => ended,
        Err(error) => Err(Failure::because("the screens ended", &error)),
    }
}

/// Makes the terminal as it was when it is dropped, unless it is so already.
struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        // Raw mode is off when the screens have ended by themselves.
        if ratatui::crossterm::terminal::is_raw_mode_enabled().unwrap_or(false) {
            ratatui::try_restore().ok();
        }
    }
}

/// Shows screens until the user has enough or a signal comes.
fn show(app: &mut App, cancel: &Cancel) -> Result<Exit, Failure> {
    let failed = |error: io::Error| Failure::because("cannot use the terminal", &error);
    let terminal = ratatui::try_init().map_err(failed)?;
    let ended = interact(app, cancel, terminal);
    let restored = ratatui::try_restore().map_err(failed);
    app.stop();
    ended.map_err(failed)?;
    restored?;
    if cancel.asked() {
        return Err(Failure::cancelled());
    }
    Ok(Exit::Ok)
}

fn interact(app: &mut App, cancel: &Cancel, mut terminal: DefaultTerminal) -> io::Result<()> {
    while !app.is_done() && !cancel.asked() {
        terminal.draw(|frame| draw::draw(frame, app))?;
        if event::poll(TICK)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            app.press(key);
        }
        app.look_after_job();
    }
    Ok(())
}
