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

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Items,
}

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
            (None, None) => (
                Unit::Bytes,
                None,
                "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}",
            ),
        };
        let bar = ProgressBar::with_draw_target(length, target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(phase.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.current() = Current { bar, unit };
    }

    fn advance(&self, bytes: u64, items: u64) {
        if !self.visible {
            return;
        }
        let current = self.current();
        current.bar.inc(match current.unit {
            Unit::Bytes => bytes,
            Unit::Items => items,
        });
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
