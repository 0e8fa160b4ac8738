//! How far long work has come: a bar on a terminal, a line now and then elsewhere.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

/// Shorter work is over before anybody looks.
const LONG: usize = 100;
/// Off a terminal, a line each so many.
const EACH: usize = 1000;

/// Tells how far work has come, on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    bar: RefCell<Option<ProgressBar>>,
    what: Cell<&'static str>,
    done: Cell<usize>,
    all: Cell<usize>,
}

impl Progress {
    /// Of work that has not begun.
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            bar: RefCell::default(),
            what: Cell::new(""),
            done: Cell::new(0),
            all: Cell::new(0),
        }
    }

    /// Work on so many things begins.
    pub(super) fn start(&self, what: &'static str, all: usize) {
        self.what.set(what);
        self.done.set(0);
        self.all.set(all);
        if self.terminal && all >= LONG {
            let bar = ProgressBar::new(all as u64).with_message(what);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar:.cyan} {human_pos}/{human_len} {eta}") {
                bar.set_style(style.progress_chars("━╸─"));
            }
            self.bar.replace(Some(bar));
        }
    }

    /// One of them is done.
    pub(super) fn step(&self) {
        self.done.set(self.done.get() + 1);
        if let Some(bar) = &*self.bar.borrow() {
            bar.inc(1);
        } else if !self.terminal && self.done.get().is_multiple_of(EACH) {
            crate::say(&format!(
                "{}: {} of {}",
                self.what.get(),
                self.done.get(),
                self.all.get()
            ));
        }
    }

    /// Prints something while the work goes on.
    pub(super) fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*self.bar.borrow() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// The work is over.
    pub(super) fn end(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
