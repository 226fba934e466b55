//! Progress bars on a terminal, and the way a signal reaches the library.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use repo_core::{Finding, Progress};

use crate::context::Cancel;

const REDRAWS_PER_SECOND: u8 = 10;

/// One bar for the phase at hand, where somebody looks.
pub(crate) struct Bars {
    visible: bool,
    current: Mutex<Current>,
    cancel: Cancel,
}

/// The bar, and what it counts.
struct Current {
    bar: ProgressBar,
    unit: Unit,
}

enum Unit {
    Bytes,
    Items,
    /// Without totals: bytes from the first one on, until then items.
    Either {
        bytes: u64,
        items: u64,
    },
}

const SPINNER_BYTES: &str = "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}";
const SPINNER_ITEMS: &str = "{spinner} {msg} {human_pos} {elapsed}";

impl Bars {
    /// Shows bars if `visible` and standard error is a terminal.
    pub(crate) fn new(visible: bool, cancel: Cancel) -> Self {
        Self {
            visible: visible && io::stderr().is_terminal(),
            current: Mutex::new(Current {
                bar: ProgressBar::hidden(),
                unit: Unit::Bytes,
            }),
            cancel,
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_template(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl Progress for Bars {
    fn start(&self, phase: &str, bytes: Option<u64>, items: Option<u64>) {
        if !self.visible {
            return;
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        let (unit, length, template) = match (bytes, items) {
            (Some(bytes), _) => (
                Unit::Bytes,
                Some(bytes),
                "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta}",
            ),
            (None, Some(items)) => (
                Unit::Items,
                Some(items),
                "{msg} {wide_bar} {human_pos}/{human_len} eta {eta}",
            ),
            (None, None) => (Unit::Either { bytes: 0, items: 0 }, None, SPINNER_ITEMS),
        };
        let bar = ProgressBar::with_draw_target(length, target);
        set_template(&bar, template);
        bar.set_message(phase.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.current() = Current { bar, unit };
    }

    fn advance(&self, bytes: u64, items: u64) {
        if !self.visible {
            return;
        }
        let current = &mut *self.current();
        match &mut current.unit {
            Unit::Bytes => current.bar.inc(bytes),
            Unit::Items => current.bar.inc(items),
            Unit::Either {
                bytes: all_bytes,
                items: all_items,
            } => {
                if *all_bytes == 0 && bytes > 0 {
                    set_template(&current.bar, SPINNER_BYTES);
                }
                *all_bytes += bytes;
                *all_items += items;
                let shown = if *all_bytes > 0 {
                    *all_bytes
                } else {
                    *all_items
                };
                current.bar.set_position(shown);
            }
        }
    }

    // Findings are shown from the report, where they are in order.
    fn finding(&self, _: &Finding) {}

    fn cancelled(&self) -> bool {
        self.cancel.asked()
    }

    fn finish(&self) {
        if self.visible {
            self.current().bar.finish_and_clear();
        }
    }
}
