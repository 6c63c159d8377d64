//! A part of the terminal that is drawn again in place.

use super::super::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};

/// Lines on standard error that are replaced as a whole. Clones draw the same lines; they vanish with the last clone.
#[derive(Clone, Debug)]
pub struct Live(ProgressBar);

impl Live {
    /// None where standard error is no terminal: there is nothing to draw on.
    ///
    /// # Errors
    /// None that is known: the template is fixed.
    pub fn on_stderr() -> Result<Option<Self>, Failure> {
        // At most ten pictures a second: more is only flicker.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if bar.is_hidden() {
            return Ok(None);
        }
        bar.set_style(ProgressStyle::with_template("{msg}")?);
        Ok(Some(Self(bar)))
    }

    /// Columns that a line may have.
    pub fn width(&self) -> usize {
        // One less than there are: a full line would make some terminals wrap.
        let columns = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0);
        usize::from(columns.max(2)) - 1
    }

    /// Draws `picture` in place of the last one.
    pub fn show(&self, picture: &str) {
        self.0.set_message(picture.trim_end().to_owned());
    }

    /// Takes the picture away while `write` uses the terminal.
    pub fn aside(&self, write: &mut dyn FnMut()) {
        self.0.suspend(write);
    }

    /// Takes the picture away for good.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// Text, such as the log's, goes to standard error above the picture.
impl Write for Live {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
