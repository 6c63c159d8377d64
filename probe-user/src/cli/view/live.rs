//! A part of the terminal that is drawn again in place.

use super::super::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Mutex, PoisonError},
};

/// The picture is fenced off the terminal's right edge by so many columns. indicatif fills its last line up; a terminal
/// that then shows `^C`, even twice, would go on to the next line, and the picture would be taken away one line too low.
const FENCE: u16 = 5;

/// Lines on standard error that are replaced as a whole. Clones draw the same lines; they vanish with the last clone.
#[derive(Clone, Debug)]
pub struct Live(ProgressBar);

impl Live {
    /// None where standard error is no terminal: there is nothing to draw on.
    ///
    /// # Errors
    /// None that is known: the template is fixed.
    pub fn on_stderr() -> Result<Option<Self>, Failure> {
        if !io::stderr().is_terminal() {
            return Ok(None);
        }
        // At most ten pictures a second: more is only flicker.
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 10);
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template("{msg}")?);
        Ok(Some(Self(bar)))
    }

    /// Columns that a line may have.
    pub fn width(&self) -> usize {
        usize::from(Screen::default().width())
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

/// Standard error, written to a whole picture at a time.
#[derive(Debug, Default)]
struct Screen(Mutex<Vec<u8>>);

impl Screen {
    fn push(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(text.as_bytes());
        Ok(())
    }

    /// ECMA-48's CUU, CUD, CUF and CUB. No steps are none: a zero would be read as one.
    fn go(&self, steps: usize, where_to: char) -> io::Result<()> {
        if steps > 0 { self.push(&format!("\x1b[{steps}{where_to}")) } else { Ok(()) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        let columns = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0);
        columns.saturating_sub(FENCE).max(1)
    }

    fn height(&self) -> u16 {
        terminal_size::terminal_size_of(io::stderr()).map_or(24, |(_, height)| height.0)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(text)?;
        self.push("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let picture = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        io::stderr().write_all(&picture)
    }
}
